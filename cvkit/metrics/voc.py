"""PASCAL VOC's average precision, as its development kit computes it.

Source: The PASCAL Visual Object Classes (VOC) Challenge, 2010, doi:10.1007/s11263-009-0275-4.
Boxes are continuous here, so the kit's "+1" for inclusive pixels is in them already.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from cvkit.metrics.boxes import overlaps, uncounted
from cvkit.metrics.coco import CLASS_COLUMNS, BoxMetric, BoxReport, Curves
from cvkit.structures import ClassList, Instances

TABLE_IOUS = {"AP50": 0.5, "AP75": 0.75}
"""Columns of the table of classes that name their IoU themselves."""

RULES = {
    "voc07_map": "VOC 2007: mean over classes of the precision at 11 recalls, IoU over {iou:g}, "
    "difficult objects not counted, pixels inclusive",
    "voc12_map": "VOC 2010 to 2012: mean over classes of the area under the precision envelope, "
    "IoU over {iou:g}, difficult objects not counted, pixels inclusive",
}


@dataclass(frozen=True)
class ClassCurve:
    """Detections of a class by falling score: precision and recall after each, and objects."""

    precision: np.ndarray
    recall: np.ndarray
    objects: int


def average_precision(recall: np.ndarray, precision: np.ndarray, eleven: bool) -> float:
    """Return the average precision of a curve.

    Args:
        recall: [D] rising.
        precision: [D].
        eleven: mean over recalls 0, 0.1 ... 1 of the best precision from there on (2007);
            otherwise the area under the monotone envelope (since 2010).
    """
    if eleven:
        # The kit's own sum of steps: 0.6 must stay the float that it is there.
        steps = np.arange(0.0, 1.1, 0.1)
        best = [precision[recall >= t].max() if (recall >= t).any() else 0.0 for t in steps]
        return float(sum(value / 11.0 for value in best))
    recall = np.concatenate(([0.0], recall, [1.0]))
    precision = np.concatenate(([0.0], precision, [0.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.flatnonzero(recall[1:] != recall[:-1])
    return float(((recall[steps + 1] - recall[steps]) * envelope[steps + 1]).sum())


def verdicts(found: Instances, truth: Instances, limits: Sequence[float]) -> np.ndarray:
    """Return [L, D] how detections went at each limit: 1 right, 0 wrong, -1 not counted.

    A detection belongs to the object of its class that it overlaps most, taken or not; the best
    detection of an object is right, all further ones are wrong.

    Args:
        found: by falling score.
        truth: the objects of the image.
        limits: a detection fits if its IoU is over this.
    """
    result = np.zeros((len(limits), len(found)), np.int8)
    if not len(found) or not len(truth):
        return result
    same = truth.labels[None] == found.labels[:, None]
    iou = np.where(same, overlaps(found, truth), -1.0)  # [D, G]
    best = iou.argmax(1)
    most, spare = iou[np.arange(len(found)), best], uncounted(truth)[best]
    for row, limit in zip(result, limits, strict=True):
        fits = most > limit
        row[fits & spare] = -1
        counted = np.flatnonzero(fits & ~spare)
        _, first = np.unique(best[counted], return_index=True)
        row[counted[first]] = 1
    return result


class VocMetric(BoxMetric):
    """Mean average precision by VOC's rules.

    Args:
        classes: of the labels.
        eleven: 2007's eleven points, else the area of 2010 to 2012.
        iou: a detection fits if its IoU is over this.
    """

    def __init__(self, classes: ClassList, eleven: bool, iou: float = 0.5) -> None:
        super().__init__(classes)
        self.eleven, self.iou = eleven, iou

    @property
    def name(self) -> str:
        """The metric's name."""
        return "voc07_map" if self.eleven else "voc12_map"

    def iou_words(self) -> str:
        """Return the IoU of the curves, for people."""
        return f"over {self.iou:g}"

    def accumulate(self) -> dict[float, list[ClassCurve]]:
        """Return the curve of each class, at the metric's IoU and at those of the table."""
        limits = sorted({self.iou, *TABLE_IOUS.values()})
        ranked = [result.pick(_best_first(result)) for result in self.results]
        pairs = zip(ranked, self.truths, strict=True)
        none = np.zeros((len(limits), 0), np.int8)
        went = np.concatenate([none, *(verdicts(*pair, limits) for pair in pairs)], 1)
        labels = np.concatenate([np.zeros(0, np.int64), *(result.labels for result in ranked)])
        scores = np.concatenate([np.zeros(0), *(result.scores for result in ranked)])
        order = np.lexsort((-scores, labels))  # stable: of equal scores the first image's counts
        cuts = np.searchsorted(labels[order], np.arange(1, len(self.classes) + 2))
        objects = self.objects()
        places = [order[first:last] for first, last in pairwise(cuts)]
        return {
            limit: [_curve(row[place], count) for place, count in zip(places, objects, strict=True)]
            for limit, row in zip(limits, went, strict=True)
        }

    def compute(self) -> dict[str, float | None]:
        """Return the mean over the classes that have objects; None if none has."""
        return self.summary(self.accumulate())

    def report(self, classes: ClassList) -> BoxReport:
        """Return the metrics, their rules, the numbers of each class, and the curves."""
        found = self.accumulate()
        rules = {self.name: RULES[self.name].format(iou=self.iou)}
        return BoxReport(self.summary(found), rules, self.per_class(found), self.curves(found))

    def summary(self, found: dict[float, list[ClassCurve]]) -> dict[str, float | None]:
        """Return the mean over the classes that have objects; None if none has."""
        values = [self._precision(curve) for curve in found[self.iou] if curve.objects]
        return {self.name: float(np.mean(values)) if values else None}

    def per_class(
        self, found: dict[float, list[ClassCurve]]
    ) -> dict[str, dict[str, float | int | None]]:
        """Return the columns of `coco.CLASS_COLUMNS` for each class, by VOC's rule.

        AP and recall are at the metric's IoU; VOC's rule has no AR100.
        """
        rows = {}
        for place, name in enumerate(self.classes.names):
            own = found[self.iou][place]
            values = {"AP": self._precision(own)}
            values |= {n: self._precision(found[iou][place]) for n, iou in TABLE_IOUS.items()}
            values["recall"] = float(own.recall[-1]) if len(own.recall) else 0.0
            known = values if own.objects else {}
            rows[name] = {column: known.get(column) for column in CLASS_COLUMNS}
            rows[name]["objects"] = own.objects
        return rows

    def curves(self, found: dict[float, list[ClassCurve]]) -> Curves:
        """Return recall and precision at the metric's IoU of each class that has objects."""
        pairs = zip(self.classes.names, found[self.iou], strict=True)
        return {name: (curve.recall, curve.precision) for name, curve in pairs if curve.objects}

    def _precision(self, curve: ClassCurve) -> float:
        return average_precision(curve.recall, curve.precision, self.eleven)


def _best_first(result: Instances) -> np.ndarray:
    return np.argsort(-result.scores, kind="stable")


def _curve(went: np.ndarray, objects: int) -> ClassCurve:
    """Return the curve of a class from how its detections went, best first."""
    right = went[went >= 0]
    hits = np.cumsum(right)
    return ClassCurve(hits / np.arange(1, len(right) + 1), hits / max(objects, 1), objects)
