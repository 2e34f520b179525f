"""PASCAL VOC's average precision, as its development kit computes it.

Source: The PASCAL Visual Object Classes (VOC) Challenge, 2010, doi:10.1007/s11263-009-0275-4.
Boxes are continuous here, so the kit's "+1" for inclusive pixels is in them already.
"""

from dataclasses import dataclass

import numpy as np

from cvkit.metrics.boxes import overlaps, uncounted
from cvkit.metrics.coco import BoxMetric
from cvkit.structures import ClassList

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

    def compute(self) -> dict[str, float | None]:
        """Return the mean over the classes that have objects; None if none has."""
        values = [row["ap"] for row in self.per_class().values() if row["ap"] is not None]
        return {self.name: float(np.mean(values)) if values else None}

    def per_class(self) -> dict[str, dict[str, float | int | None]]:
        """Return AP, recall and the number of objects of each class."""
        rows = {}
        for label, name in enumerate(self.classes.names, 1):
            curve = self.curve(label)
            ap = average_precision(curve.recall, curve.precision, self.eleven)
            recall = float(curve.recall[-1]) if len(curve.recall) else 0.0
            known = curve.objects > 0
            rows[name] = {"ap": ap if known else None, "recall": recall if known else None}
            rows[name]["objects"] = curve.objects
        return rows

    def curves(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return recall and precision of each class that has objects."""
        found = {name: self.curve(label) for label, name in enumerate(self.classes.names, 1)}
        return {name: (c.recall, c.precision) for name, c in found.items() if c.objects}

    def curve(self, label: int) -> ClassCurve:
        """Return the precision and recall of a class over its detections by falling score."""
        scores, hits, objects = [], [], 0
        for result, truth in zip(self.results, self.truths, strict=True):
            found, own = result.pick(result.labels == label), truth.pick(truth.labels == label)
            spare = uncounted(own)
            objects += int((~spare).sum())
            if not len(found):
                continue
            iou = overlaps(found, own)
            taken = np.zeros(len(own), bool)
            for row in np.argsort(-found.scores, kind="stable"):
                best = int(np.argmax(iou[row])) if len(own) else -1
                fits = best >= 0 and iou[row, best] > self.iou
                if fits and spare[best]:
                    continue
                scores.append(float(found.scores[row]))
                hits.append(fits and not taken[best])
                if fits:
                    taken[best] = True
        order = np.argsort(-np.array(scores), kind="stable")
        right = np.cumsum(np.array(hits, float)[order]) if hits else np.zeros(0)
        wrong = np.cumsum(1 - np.array(hits, float)[order]) if hits else np.zeros(0)
        recall = right / max(objects, 1)
        return ClassCurve(right / np.maximum(right + wrong, 1e-300), recall, objects)
