"""Several definitions of average precision, computed from the same detections."""

from collections.abc import Mapping, Sequence
from typing import Any

from cvkit.metrics import coco, masks
from cvkit.metrics.boxes import Overlap, Scene
from cvkit.metrics.coco import BoxMetric, BoxReport, CocoMetric
from cvkit.metrics.masks import MaskMetric, MaskVocMetric
from cvkit.metrics.voc import VocMetric
from cvkit.structures import ClassList

DIFFERENCES: Mapping[str, str] = {
    "coco": "AP is the mean over ten IoUs from 0.50 to 0.95 of the precision at 101 recalls; a "
    "detection takes the free object that it overlaps most",
    "voc07": "precision at 11 recalls and one IoU; a detection of an object that is already found "
    "is wrong, even if it also overlaps a free one",
    "voc12": "as voc07, but the area under the whole precision curve",
}
"""How each protocol defines average precision, as a sentence."""


def mask_metric(
    classes: ClassList, protocols: Sequence[str], iou: float, boundary: bool = False
) -> BoxMetric:
    """Return an empty metric of masks and their boxes, of one or several protocols.

    Args:
        classes: of the labels.
        protocols: keys of `DIFFERENCES`; the table of classes follows the first one.
        iou: that a match must exceed with VOC's protocols.
        boundary: with COCO's protocol, also compute Boundary IoU.
    """
    parts: dict[str, BoxMetric] = {
        name: MaskMetric(classes, boundary)
        if name == "coco"
        else MaskVocMetric(classes, name == "voc07", iou)
        for name in protocols
    }
    return _together(classes, parts)


def mask_metric_names(protocols: Sequence[str], boundary: bool = False) -> tuple[str, ...]:
    """Return the names of the metrics of `mask_metric`, such as `mask.AP50`."""
    return tuple(
        name
        for protocol in protocols
        for name in (
            masks.metric_names(masks.kinds(boundary))
            if protocol == "coco"
            else [f"{kind}.{protocol}_map" for kind in masks.VOC_KINDS]
        )
    )


def metric_names(protocols: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the metrics of some protocols, keys of `DIFFERENCES`."""
    return tuple(
        name
        for protocol in protocols
        for name in (coco.METRICS if protocol == "coco" else (f"{protocol}_map",))
    )


def box_metric(classes: ClassList, protocols: Sequence[str], iou: float) -> BoxMetric:
    """Return an empty metric of one or several protocols.

    Args:
        classes: of the labels.
        protocols: keys of `DIFFERENCES`; the table of classes follows the first one.
        iou: that a match must exceed with VOC's protocols.
    """
    parts: dict[str, BoxMetric] = {
        name: CocoMetric(classes) if name == "coco" else VocMetric(classes, name == "voc07", iou)
        for name in protocols
    }
    return _together(classes, parts)


def _together(classes: ClassList, parts: Mapping[str, BoxMetric]) -> BoxMetric:
    return next(iter(parts.values())) if len(parts) == 1 else SeveralProtocols(classes, parts)


class SeveralProtocols(BoxMetric):
    """The metrics of several protocols.

    Args:
        classes: of the labels.
        parts: an empty metric for each protocol; they see the detections of this one.
    """

    def __init__(self, classes: ClassList, parts: Mapping[str, BoxMetric]) -> None:
        super().__init__(classes)
        self.parts = dict(parts)

    def overlap_of(self, images: Scene) -> Overlap:
        """Return the function of the IoU of the first protocol; that of all is the same."""
        return next(iter(self.parts.values())).overlap_of(images)

    def iou_words(self) -> str:
        """Return the IoU of the curves, those of the first protocol, as text."""
        return next(iter(self.parts.values())).iou_words()

    def filled(self) -> dict[str, BoxMetric]:
        """Return the metric of each protocol, with the detections and objects of this one."""
        for part in self.parts.values():
            part.results, part.truths, part.matched = self.results, self.truths, self.matched
        return self.parts

    def compute(self) -> dict[str, float | None]:
        """Return the metrics of all protocols by name."""
        return {
            name: value for part in self.filled().values() for name, value in part.compute().items()
        }

    def report(self, classes: ClassList) -> BoxReport:
        """Return the metrics of all protocols, their rules, and the curves of the first one.

        The table of classes is that of the first protocol, with the AP of the others as `NAME AP`.
        """
        found = {name: part.report(classes) for name, part in self.filled().items()}
        first, *others = found
        rules: dict[str, Any] = {}
        for each in found.values():
            rules |= each.rules
        rules["protocols"] = {name: DIFFERENCES[name] for name in found}
        rows = {}
        for label, row in found[first].per_class.items():
            more = {
                f"{name} {column}": found[name].per_class[label][column]
                for name in others
                for column in ("AP", "box AP")
                if column in row
            }
            *columns, count = row
            rows[label] = {name: row[name] for name in columns} | more | {count: row[count]}
        metrics = {name: value for each in found.values() for name, value in each.metrics.items()}
        return BoxReport(metrics, rules, rows, found[first].curves)
