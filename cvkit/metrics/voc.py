"""PASCAL VOC's average precision, as its development kit computes it.

Source: The PASCAL Visual Object Classes (VOC) Challenge, 2010, doi:10.1007/s11263-009-0275-4.
Boxes are continuous here, so they already include the kit's "+1" for inclusive pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cvkit.metrics.boxes import Overlap, Scene, scene, uncounted
from cvkit.metrics.coco import CLASS_COLUMNS, BoxMetric, BoxReport, Curves
from cvkit.structures import ClassList, Instances

TABLE_IOUS = {"AP50": 0.5, "AP75": 0.75}
"""Columns of the table of classes that have a fixed IoU."""

INCLUSIVE = ", pixels inclusive"
"""What only the rules of boxes say."""
RULES = {
    "voc07_map": "VOC 2007: mean over classes of the precision at 11 recalls, IoU over {iou:g}, "
    f"difficult objects not counted{INCLUSIVE}",
    "voc12_map": "VOC 2010 to 2012: mean over classes of the area under the precision envelope, "
    f"IoU over {{iou:g}}, difficult objects not counted{INCLUSIVE}",
}


PAIRS = 2**21
"""Number of box pairs that are compared at a time; each takes some hundred bytes."""


@dataclass(frozen=True)
class ClassCurve:
    """The curve of a class, by decreasing score.

    Attributes:
        precision: [D] after each detection.
        recall: [D].
        objects: number of counted objects.
        average: average precision.
    """

    precision: np.ndarray
    recall: np.ndarray
    objects: int
    average: float


def average_precision(recall: np.ndarray, precision: np.ndarray, eleven: bool) -> float:
    """Return the average precision of a curve.

    Args:
        recall: [D], increasing.
        precision: [D].
        eleven: mean over recalls 0, 0.1 ... 1 of the best precision from there on (2007);
            otherwise the area under the monotone envelope (since 2010).
    """
    recall = np.concatenate(([0.0], recall, [1.0]))
    precision = np.concatenate(([0.0], precision, [0.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    if eleven:
        # The kit's own sum of steps, so that 0.6 is the same float as there.
        best = envelope[np.searchsorted(recall, np.arange(0.0, 1.1, 0.1))]
        return float(sum(value / 11.0 for value in best))
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * envelope[steps + 1]).sum())


@dataclass(frozen=True)
class Boxes:
    """The boxes of all images: detections, or objects.

    Attributes:
        images: [N] number of the image.
        labels: [N] from 1.
        xywh: [N, 4] float64.
    """

    images: np.ndarray
    labels: np.ndarray
    xywh: np.ndarray

    def groups(self, labels: int) -> np.ndarray:
        """Return [N] numbers, equal for boxes with the same image and label (of `labels`)."""
        return self.images * labels + self.labels


def all_boxes(images: Sequence[Instances]) -> Boxes:
    """Return the boxes of all images, image by image."""
    none = np.zeros((0, 4))
    return Boxes(
        np.repeat(np.arange(len(images)), [len(each) for each in images]),
        np.concatenate([none[:, 0].astype(np.int64), *(each.labels for each in images)]),
        np.concatenate([none, *(each.corner_and_size() for each in images)]),
    )


def nearest_objects(found: Boxes, truth: Boxes, overlap: Overlap) -> tuple[np.ndarray, np.ndarray]:
    """Return the object of the same image and class that each detection overlaps most, and the IoU.

    Args:
        found: D detections, image by image.
        truth: G objects.
        overlap: returns the IoU of pairs from the numbers of their detections and objects.

    Returns:
        [D] index of the object, the first of equal ones, and [D] IoU; -1 if there is none.
    """
    place, most = np.full(len(found.labels), -1), np.full(len(found.labels), -1.0)
    labels = 1 + max(int(boxes.labels.max(initial=0)) for boxes in (found, truth))
    groups = truth.groups(labels)
    order = np.argsort(groups, kind="stable")
    first, last = (
        np.searchsorted(groups[order], found.groups(labels), side) for side in ("left", "right")
    )
    counts = last - first
    some = np.flatnonzero(counts)
    ends = np.cumsum(counts[some])
    cuts = np.searchsorted(ends, np.arange(PAIRS, ends[-1] if len(ends) else 0, PAIRS))
    for rows in np.split(some, cuts):  # the pairs of one detection are never divided
        each, starts = counts[rows], np.cumsum(counts[rows]) - counts[rows]
        detection = np.repeat(rows, each)
        objects = order[np.arange(len(detection)) + np.repeat(first[rows] - starts, each)]
        iou = overlap(detection, objects, 0.0)
        if len(rows):
            most[rows] = np.maximum.reduceat(iou, starts)
        best = np.flatnonzero(iou == most[detection])[::-1]
        place[detection[best]] = objects[best]  # the first one is written last
    return place, most


def verdicts(place: np.ndarray, most: np.ndarray, spare: np.ndarray, limit: float) -> np.ndarray:
    """Return [D] verdicts on detections at an IoU limit: 1 correct, 0 wrong, -1 not counted.

    A detection belongs to the object of its class that it overlaps most, even if that is already
    taken; the best detection of an object is correct, all others are wrong.

    Args:
        place: [D] from `nearest_objects`; detections of an image are in order of decreasing score.
        most: [D] IoU from `nearest_objects`.
        spare: [G] bool, objects that do not count.
        limit: a detection matches if its IoU exceeds this.
    """
    result = np.zeros(len(place), np.int8)
    fits = np.flatnonzero(most > limit)
    ignored = spare[place[fits]]
    result[fits[ignored]] = -1
    counted = fits[~ignored]
    _, first = np.unique(place[counted], return_index=True)
    result[counted[first]] = 1
    return result


@dataclass(frozen=True)
class Nearest:
    """All detections, image by image and best first, with the objects that they overlap most.

    Attributes:
        images: [D] number of the image.
        labels: [D] from 1.
        order: [D] positions of the detections by class and by decreasing score.
        place: [D] from `nearest_objects`.
        most: [D] IoU from `nearest_objects`.
        spare: [G] bool, objects that do not count.
    """

    images: np.ndarray
    labels: np.ndarray
    order: np.ndarray
    place: np.ndarray
    most: np.ndarray
    spare: np.ndarray

    def verdicts(self, limit: float) -> np.ndarray:
        """Return [D] verdicts at an IoU limit; see `verdicts`."""
        return verdicts(self.place, self.most, self.spare, limit)


class VocMetric(BoxMetric):
    """Mean average precision by VOC's rules.

    Args:
        classes: of the labels.
        eleven: 2007's eleven points, else the area of 2010 to 2012.
        iou: a detection matches if its IoU exceeds this.
    """

    def __init__(self, classes: ClassList, eleven: bool, iou: float = 0.5) -> None:
        super().__init__(classes)
        self.eleven, self.iou = eleven, iou

    @property
    def name(self) -> str:
        """The metric's name."""
        return "voc07_map" if self.eleven else "voc12_map"

    def named(self) -> dict[str, str]:
        """Return the metric's full name by kind of overlap."""
        return {"": self.name}

    def iou_words(self) -> str:
        """Return the IoU of the curves as text."""
        return f"over {self.iou:g}"

    def nearest(self, kind: str = "") -> Nearest:
        """Return all detections with the objects that they overlap most.

        Args:
            kind: of overlap; the only one here is that of `overlap_of`.
        """
        scores = np.concatenate([np.zeros(0), *(r.prediction_scores() for r in self.results)])
        found, truth = all_boxes(self.results), all_boxes(self.truths)
        ranked = np.lexsort((-scores, found.images))  # stable
        found = Boxes(found.images[ranked], found.labels[ranked], found.xywh[ranked])
        iou = self.overlap_by(kind, scene(self.results, self.truths))
        place, most = nearest_objects(found, truth, lambda d, o, least: iou(ranked[d], o, least))
        # Stable: of equal scores, that of the first image counts.
        order = np.lexsort((-scores[ranked], found.labels))
        spare = np.concatenate([np.zeros(0, bool), *map(uncounted, self.truths)])
        return Nearest(found.images, found.labels, order, place, most, spare)

    def overlap_by(self, kind: str, images: Scene) -> Overlap:
        """Return the function of the IoU of a kind of overlap."""
        return self.overlap_of(images)

    def accumulate(self, kind: str = "") -> dict[float, list[ClassCurve]]:
        """Return the curve of each class, at the metric's IoU and at those of the table."""
        near = self.nearest(kind)
        cuts = np.searchsorted(near.labels[near.order], np.arange(1, len(self.classes) + 2))
        classes = [near.order[first:last] for first, last in pairwise(cuts)]
        objects, curves = self.objects(), {}
        for limit in sorted({self.iou, *TABLE_IOUS.values()}):
            went = near.verdicts(limit)
            rows = zip(classes, objects, strict=True)
            curves[limit] = [_curve(went[of_class], count, self.eleven) for of_class, count in rows]
        return curves

    def compute(self) -> dict[str, float | None]:
        """Return the mean over the classes with objects; None if there are none."""
        return self.summary(self.accumulate())

    def report(self, classes: ClassList) -> BoxReport:
        """Return the metrics, their rules, the numbers of each class, and the curves."""
        found = self.accumulate()
        rules = {self.name: RULES[self.name].format(iou=self.iou)}
        return BoxReport(self.summary(found), rules, self.per_class(found), self.curves(found))

    def summary(self, found: dict[float, list[ClassCurve]]) -> dict[str, float | None]:
        """Return the mean over the classes with objects; None if there are none."""
        values = [curve.average for curve in found[self.iou] if curve.objects]
        return {self.name: float(np.mean(values)) if values else None}

    def per_class(
        self, found: dict[float, list[ClassCurve]]
    ) -> dict[str, dict[str, float | int | None]]:
        """Return the columns of `coco.CLASS_COLUMNS` for each class, by VOC's rule.

        AP and recall are at the metric's IoU; VOC's rule has no AR100.
        """
        rows = {}
        for place, name in enumerate(self.classes.names):
            curve = found[self.iou][place]
            values = {"AP": curve.average}
            values |= {column: found[iou][place].average for column, iou in TABLE_IOUS.items()}
            values["recall"] = float(curve.recall[-1]) if len(curve.recall) else 0.0
            known = values if curve.objects else {}
            rows[name] = {column: known.get(column) for column in CLASS_COLUMNS}
            rows[name]["objects"] = curve.objects
        return rows

    def curves(self, found: dict[float, list[ClassCurve]]) -> Curves:
        """Return recall and precision at the metric's IoU of each class that has objects."""
        pairs = zip(self.classes.names, found[self.iou], strict=True)
        return {name: (curve.recall, curve.precision) for name, curve in pairs if curve.objects}


def _curve(went: np.ndarray, objects: int, eleven: bool) -> ClassCurve:
    """Return the curve of a class from the verdicts on its detections, best first."""
    right = went[went >= 0]
    hits = np.cumsum(right)
    precision, recall = hits / np.arange(1, len(right) + 1), hits / max(objects, 1)
    return ClassCurve(precision, recall, objects, average_precision(recall, precision, eleven))
