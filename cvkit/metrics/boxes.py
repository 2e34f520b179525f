"""Overlaps of boxes as arrays, and the assignment of detections to objects, of many images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cvkit.structures import Instances

AT_ONCE = 2**17
"""Number of pairs that are compared at a time; each takes some hundred bytes."""


@dataclass(frozen=True)
class Flat:
    """The objects of several images in columns, image by image.

    Attributes:
        starts: [I + 1] where each image begins, and the end of the last one.
        images: [N] number of the image.
        labels: [N] from 1.
        xywh: [N, 4] float64.
        scores: [N]; zeros for truth.
        crowd: [N] bool.
        spare: [N] bool, objects that do not count; see `uncounted`.
    """

    starts: np.ndarray
    images: np.ndarray
    labels: np.ndarray
    xywh: np.ndarray
    scores: np.ndarray
    crowd: np.ndarray
    spare: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Pairs:
    """Pairs of a detection and an object in the same image, by detection and then by object.

    Attributes:
        detections: [P] numbers of detections of a `Flat`.
        objects: [P] numbers of objects of another one.
        iou: [P] float64.
    """

    detections: np.ndarray
    objects: np.ndarray
    iou: np.ndarray

    def pick(self, which: np.ndarray) -> "Pairs":
        """Return the pairs at these positions."""
        return Pairs(self.detections[which], self.objects[which], self.iou[which])


Overlap = Callable[[np.ndarray, np.ndarray, float], np.ndarray]
"""Function that returns the [P] IoU of pairs from the numbers of their detections and objects.

The third argument is the smallest IoU that matters: for a smaller one, the result may be any number
below it.
"""


@dataclass(frozen=True)
class Scene:
    """The detections and objects of the same images, in columns and image by image."""

    results: Sequence[Instances]
    truths: Sequence[Instances]
    found: Flat
    truth: Flat


def scene(results: Sequence[Instances], truths: Sequence[Instances]) -> Scene:
    """Return the scene of these images."""
    return Scene(results, truths, flatten(results), flatten(truths))


def flatten(images: Sequence[Instances]) -> Flat:
    """Return the objects of all images in columns."""
    counts = np.array([len(each.labels) for each in images], np.int64)
    scores = [np.zeros(0), *(each.scores for each in images if each.scores is not None)]
    crowd = _marks([each.crowd for each in images], counts)
    return Flat(
        np.concatenate([[0], np.cumsum(counts)]),
        np.repeat(np.arange(len(images)), counts),
        np.concatenate([np.zeros(0, np.int64), *(each.labels for each in images)]),
        np.concatenate([np.zeros((0, 4)), *(each.corner_and_size() for each in images)]),
        np.concatenate(scores) if len(scores) > 1 else np.zeros(counts.sum()),
        crowd,
        crowd | _marks([each.difficult for each in images], counts),
    )


def _marks(marks: Sequence[np.ndarray | None], counts: np.ndarray) -> np.ndarray:
    """Return the marks of the objects of all images; False where an image has none."""
    if any(each is None for each in marks):
        pairs = zip(marks, counts, strict=True)
        marks = [np.zeros(count, bool) if each is None else each for each, count in pairs]
    return np.concatenate([np.zeros(0, bool), *marks])


def overlaps(found: Instances, truth: Instances) -> np.ndarray:
    """Return [D, G] float64 intersection over union; over the detection's area for crowds."""
    first, second = found.corner_and_size(), truth.corner_and_size()
    return box_iou(first[:, None], second[None], crowds(truth)[None])


def box_iou(first: np.ndarray, second: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return intersection over union; over the area of the first box if the second is a crowd.

    Args:
        first: [..., 4] float64 x, y, width, height.
        second: [..., 4], broadcastable with the first.
        crowd: [...] bool, whether the second one is a crowd.

    Returns:
        [...] float64 in [0, 1].
    """
    inter = shared_area(first, second)
    first_area, second_area = (boxes[..., 2] * boxes[..., 3] for boxes in (first, second))
    union = np.where(crowd, first_area, first_area + second_area - inter)
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def shared_area(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the [...] areas of the intersections of [..., 4] x, y, width, height boxes."""
    sides = []
    for low, size in ((0, 2), (1, 3)):
        a, b = first[..., low], second[..., low]
        end = np.minimum(a + first[..., size], b + second[..., size])
        sides.append(np.maximum(end - np.maximum(a, b), 0))
    return sides[0] * sides[1]


def crowds(truth: Instances) -> np.ndarray:
    """Return [G] bool: which objects are crowds, regions of many objects."""
    return np.zeros(len(truth), bool) if truth.crowd is None else truth.crowd


def uncounted(truth: Instances) -> np.ndarray:
    """Return [G] bool: crowds and difficult objects, which count neither as found nor as missed."""
    result = np.zeros(len(truth), bool)
    for mark in (truth.crowd, truth.difficult):
        if mark is not None:
            result |= mark
    return result


def overlapping(
    found: Flat,
    truth: Flat,
    rows: np.ndarray,
    overlap: Overlap,
    least: float,
    *,
    same_class: bool,
) -> Pairs:
    """Return the pairs in the same image whose IoU is at least `least`.

    Args:
        found: the detections.
        truth: the objects.
        rows: increasing numbers of the detections that are compared.
        overlap: gives the IoU of pairs.
        least: smallest IoU.
        same_class: only pairs with equal labels.
    """
    labels = 1 + max(int(each.labels.max(initial=0)) for each in (found, truth))
    groups, own = truth.images, found.images[rows]
    if same_class:
        groups, own = groups * labels + truth.labels, own * labels + found.labels[rows]
    order = np.argsort(groups, kind="stable")
    first, last = (np.searchsorted(groups[order], own, side) for side in ("left", "right"))
    some = np.flatnonzero(last > first)
    counts = (last - first)[some]
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(AT_ONCE, ends[-1] if len(ends) else 0, AT_ONCE))
    parts = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for part in np.split(np.arange(len(some)), cuts):
        detections = np.repeat(rows[some[part]], counts[part])
        objects = order[spans(first[some[part]], counts[part])]
        iou = overlap(detections, objects, least)
        near = np.flatnonzero(iou >= least)
        parts.append(Pairs(detections[near], objects[near], iou[near]))
    columns = ("detections", "objects", "iou")
    return Pairs(*(np.concatenate([getattr(part, each) for part in parts]) for each in columns))


def spans(starts: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the concatenated ranges that begin at `starts` and have `counts` numbers."""
    return np.arange(counts.sum()) + np.repeat(starts - (np.cumsum(counts) - counts), counts)


def turns(groups: np.ndarray, priority: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the positions of the first member of every group, then of the second ones, ...

    What is decided one after the other within a group is so decided for all groups at once.

    Args:
        groups: [N] number of the group of each member.
        priority: [N] the largest comes first; of equal ones the first.
    """
    order = np.lexsort((-priority, groups))  # stable
    rank = np.arange(len(order)) - np.searchsorted(groups[order], groups[order])
    cuts = np.cumsum(np.bincount(rank))[:-1]
    yield from np.split(order[np.argsort(rank, kind="stable")], cuts)


def assign(found: Flat, truth: Flat, pairs: Pairs) -> np.ndarray:
    """Return [D] the object of its class that each detection finds, -1, or -2 if ignored.

    Detections of an image are assigned in order of decreasing score, each to the free object with
    the largest IoU. A detection that matches only an uncounted object is ignored.

    Args:
        found: the detections.
        truth: the objects.
        pairs: those of equal labels that overlap enough.
    """
    result = np.full(len(found), -1)
    free = ~truth.spare
    rows, starts, counts = np.unique(pairs.detections, return_index=True, return_counts=True)
    # A class of an image is a group: its detections take no object of another.
    groups = found.images[rows] * (1 + found.labels.max(initial=0)) + found.labels[rows]
    for turn in turns(groups, found.scores[rows]):
        places = spans(starts[turn], counts[turn])
        objects = pairs.objects[places]
        owner = np.repeat(np.arange(len(turn)), counts[turn])
        iou = np.where(free[objects], pairs.iou[places], -1)
        begins = np.cumsum(counts[turn]) - counts[turn]
        most = np.maximum.reduceat(iou, begins) if len(turn) else iou
        best = np.flatnonzero(iou == most[owner])[::-1]
        chosen = np.zeros(len(turn), np.int64)
        chosen[owner[best]] = objects[best]  # the first one is written last
        finds = most >= 0
        result[rows[turn[finds]]] = chosen[finds]
        free[chosen[finds]] = False
        only = np.zeros(len(turn), bool)
        only[owner[truth.spare[objects]]] = True
        result[rows[turn[only & ~finds]]] = -2
    return result
