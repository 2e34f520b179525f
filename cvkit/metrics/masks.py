"""Average precision of masks, and of their boxes."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from cvkit.metrics import coco, voc
from cvkit.metrics.boxes import Overlap, Scene, overlapping, scene, shared_area
from cvkit.metrics.coco import FITS, METRICS, Accumulated, BoxMetric, BoxReport, CocoMetric
from cvkit.metrics.voc import ClassCurve, VocMetric
from cvkit.ops.rle import extents, mask_iou
from cvkit.structures import ClassList

KINDS = {"mask": "segm", "box": "bbox", "boundary": "boundary"}
"""Kinds of overlap, and their names in COCO's evaluation."""
MEANINGS = {
    "mask": "IoU of masks, areas of masks",
    "box": "IoU of boxes",
    "boundary": "the smaller of the IoU of masks and that of their borders, which are 2 % of the "
    "image's diagonal wide (Boundary IoU, 2021)",
}
VOC_KINDS = ("mask", "box")
"""Kinds of overlap of VOC's protocols."""
WHAT = {"mask": "masks", "box": "boxes"}


def kinds(boundary: bool) -> tuple[str, ...]:
    """Return the kinds of overlap, with or without boundaries."""
    return ("mask", "box", "boundary") if boundary else ("mask", "box")


def metric_names(kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the metrics, such as `mask.AP50`."""
    return tuple(f"{kind}.{name}" for kind in kinds for name in METRICS)


def mask_overlap(images: Scene) -> Overlap:
    """Return the function of the IoU of the masks of detections and objects."""
    limit = largest_iou(images)

    def overlap(detections: np.ndarray, objects: np.ndarray, least: float) -> np.ndarray:
        iou = limit(detections, objects, least)
        near = np.flatnonzero(iou >= least)
        iou[near] = _iou(images, detections[near], objects[near])
        return iou

    return overlap


class MaskMetric(CocoMetric):
    """COCO's twelve numbers of masks, and of boxes.

    Args:
        classes: of the labels.
        boundary: also compute Boundary IoU.
    """

    def __init__(self, classes: ClassList, boundary: bool = False) -> None:
        super().__init__(classes)
        self.kinds = kinds(boundary)

    def overlap_of(self, images: Scene) -> Overlap:
        """Return the function of the IoU of masks of these images."""
        return mask_overlap(images)

    def near_objects(self) -> np.ndarray:
        """Return [D] bool: detections whose masks may match an object of their class."""
        images = scene(self.results, self.truths)
        found, limit = images.found, largest_iou(images)
        rows = np.arange(len(found))
        pairs = overlapping(found, images.truth, rows, limit, FITS, same_class=True)
        return np.isin(rows, pairs.detections)

    def accumulate_all(self) -> dict[str, Accumulated]:
        """Return the whole evaluation of each kind."""
        return {kind: self.accumulate(KINDS[kind]) for kind in self.kinds}

    def compute(self) -> dict[str, float | None]:
        """Return the numbers by name, such as `mask.AP50`; None if no object counts."""
        return summary(self.accumulate_all())

    def report(self, classes: ClassList) -> BoxReport:
        """Return the metrics, their rules, the numbers of each class, and the masks' curves."""
        found = self.accumulate_all()
        curves = coco.curves(found["mask"], classes)
        return BoxReport(summary(found), rules(self.kinds), per_class(found, self), curves)


class MaskVocMetric(VocMetric):
    """VOC's mean average precision of masks (AP^r), and of their boxes.

    Source: Simultaneous Detection and Segmentation, 2014, arXiv:1407.1808.

    Args:
        classes: of the labels.
        eleven: 2007's eleven points, else the area of 2010 to 2012.
        iou: a detection matches if its IoU exceeds this.
    """

    def named(self) -> dict[str, str]:
        """Return the metric's full name by kind of overlap."""
        return {kind: f"{kind}.{self.name}" for kind in VOC_KINDS}

    def overlap_of(self, images: Scene) -> Overlap:
        """Return the function of the IoU of masks of these images."""
        return mask_overlap(images)

    def overlap_by(self, kind: str, images: Scene) -> Overlap:
        """Return the function of the IoU of a kind of overlap, of `VOC_KINDS`."""
        return mask_overlap(images) if kind == "mask" else BoxMetric.overlap_of(self, images)

    def compute(self) -> dict[str, float | None]:
        """Return the mean over the classes with objects by kind; None if there are none."""
        return self._named({kind: self.accumulate(kind) for kind in VOC_KINDS})

    def report(self, classes: ClassList) -> BoxReport:
        """Return the metrics, their rules, the numbers of each class, and the masks' curves."""
        found = {kind: self.accumulate(kind) for kind in VOC_KINDS}
        rule = voc.RULES[self.name].format(iou=self.iou)
        texts = {"mask": rule.removesuffix(voc.INCLUSIVE), "box": rule}
        rules = {name: f"{texts[kind]}; IoU of {WHAT[kind]}" for kind, name in self.named().items()}
        boxes, rows = self.per_class(found["box"]), {}
        for label, row in self.per_class(found["mask"]).items():
            objects = row.pop("objects")
            rows[label] = row | {"box AP": boxes[label]["AP"], "objects": objects}
        return BoxReport(self._named(found), rules, rows, self.curves(found["mask"]))

    def _named(self, found: dict[str, dict[float, list[ClassCurve]]]) -> dict[str, float | None]:
        names = self.named()
        return {names[kind]: self.summary(each)[self.name] for kind, each in found.items()}


def largest_iou(images: Scene) -> Overlap:
    """Return a function of the largest IoU that masks of these images can have.

    They share at most the pixels that their bounding boxes share, and those of the smaller mask.
    """
    first, second = (
        np.concatenate([np.zeros((0, 5)), *(extents(each.coded_masks()) for each in side)])
        for side in (images.results, images.truths)
    )
    truth = images.truth

    def limit(detections: np.ndarray, objects: np.ndarray, _: float) -> np.ndarray:
        a, b = first[detections], second[objects]
        shared = np.minimum(np.minimum(a[:, 4], b[:, 4]), shared_area(a, b))
        union = np.where(truth.crowd[objects], a[:, 4], np.maximum(a[:, 4], b[:, 4]))
        return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)

    return limit


def _iou(images: Scene, detections: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Return the [P] IoU of pairs of masks, in ascending order of the detections."""
    iou, (found, truth) = np.zeros(len(detections)), (images.found, images.truth)
    numbers = found.images[detections]
    ends = np.flatnonzero(np.append(numbers[1:] != numbers[:-1], len(numbers) > 0)) + 1
    for start, end in pairwise([0, *ends.tolist()]):
        image, part = numbers[start], slice(start, end)
        again = detections[part][1:] == detections[part][:-1]
        row = np.concatenate([[0], np.cumsum(~again)])
        rows = detections[part][np.append(True, ~again)] - found.starts[image]
        crowd = truth.crowd[truth.starts[image] : truth.starts[image + 1]]
        first, second = (side[image].coded_masks() for side in (images.results, images.truths))
        column = objects[part] - truth.starts[image]
        iou[part] = mask_iou(first[rows], second, crowd)[row, column]
    return iou


def summary(found: dict[str, Accumulated]) -> dict[str, float | None]:
    """Return the numbers of several evaluations by name, such as `mask.AP50`."""
    return {
        f"{kind}.{name}": value
        for kind, each in found.items()
        for name, value in coco.summary(each).items()
    }


def rules(kinds: Sequence[str]) -> dict[str, str]:
    """Return the rule of each metric."""
    return {
        f"{kind}.{name}": f"{text}; {MEANINGS[kind]}"
        for kind in kinds
        for name, text in coco.RULES.items()
    }


def per_class(found: dict[str, Accumulated], metric: MaskMetric) -> dict[str, dict[str, Any]]:
    """Return `coco.CLASS_COLUMNS` of each class's masks, and the AP of its boxes."""
    boxes = coco.per_class(found["box"], metric)
    result = {}
    for name, row in coco.per_class(found["mask"], metric).items():
        objects = row.pop("objects")
        result[name] = row | {"box AP": boxes[name]["AP"], "objects": objects}
    return result
