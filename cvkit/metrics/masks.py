"""Average precision of masks, and of their boxes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvkit.metrics import coco, voc
from cvkit.metrics.boxes import Overlap, Scene
from cvkit.metrics.coco import METRICS, Accumulated, BoxMetric, BoxReport, CocoMetric
from cvkit.metrics.voc import ClassCurve, VocMetric
from cvkit.ops.rle import mask_iou
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
    found, truth = images.found, images.truth

    def overlap(detections: np.ndarray, objects: np.ndarray) -> np.ndarray:
        iou = np.zeros(len(detections))
        numbers = found.images[detections]
        cuts = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        for part in np.split(np.arange(len(iou)), cuts) if len(iou) else ():
            image = numbers[part[0]]
            rows, row = np.unique(detections[part], return_inverse=True)
            columns, column = np.unique(objects[part], return_inverse=True)
            first = images.results[image].coded_masks()[rows - found.starts[image]]
            second = images.truths[image].coded_masks()[columns - truth.starts[image]]
            iou[part] = mask_iou(first, second, truth.crowd[columns])[row, column]
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
