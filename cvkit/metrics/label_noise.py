"""Labels that a model confidently contradicts: candidates for wrong labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from cvkit.metrics.boxes import overlaps
from cvkit.structures import IGNORE, Classes, ClassList, Instances, MetricReport, SegMap

if TYPE_CHECKING:
    from cvkit.tasks.contract import Metric

SAME_OBJECT = 0.5
"""Smallest IoU of two boxes of the same object."""
LEAST_SHARE = 0.01
"""Smallest share of the labelled pixels of an image that contradicts its mask."""


@dataclass(frozen=True)
class Contradiction:
    """A label that a prediction contradicts.

    Attributes:
        rule: by which it is reported.
        score: the larger, the more likely the label is wrong, in [0, 1].
        about: what is predicted and what is labelled, in words.
        numbers: the same as values.
    """

    rule: str
    score: float
    about: str
    numbers: Mapping[str, Any]


class Doubting:
    """A metric that also returns what the prediction of each sample contradicts.

    Args:
        metric: of the task.
        classes: of the model.
        confidence: smallest probability, or score of an object, at which a prediction contradicts.
    """

    def __init__(self, metric: "Metric", classes: ClassList, confidence: float) -> None:
        self.metric, self.classes, self.confidence = metric, classes, confidence

    def update(self, result: Any, truth: Any) -> list[Contradiction]:
        """Add one sample; return what its prediction contradicts, the most confident first."""
        self.metric.update(result, truth)
        found = JUDGES[type(truth)](result, truth, self.classes.names, self.confidence)
        return sorted(found, key=lambda each: -each.score)

    def state(self) -> Any:
        """Return the counts that another process needs to `merge` this metric."""
        return self.metric.state()

    def merge(self, states: Sequence[Any], places: Sequence[Sequence[int]]) -> None:
        """Replace the counts by the totals over all processes."""
        self.metric.merge(states, places)

    def compute(self) -> dict[str, float | None]:
        """Return the metrics by name."""
        return self.metric.compute()

    def report(self, classes: ClassList) -> MetricReport:
        """Return the metrics, their rules and the numbers of each class."""
        return self.metric.report(classes)


def of_class(
    result: Classes, truth: Classes, names: Sequence[str], least: float
) -> list[Contradiction]:
    """Return the contradiction of the class of an image or video; none if none is confident."""
    scores = result.prediction_scores()
    guess = int(np.argmax(scores))
    confidence = float(scores[guess])
    if guess == truth.label or not confidence >= least:
        return []
    about = f"labelled {names[truth.label]!r}, predicted {names[guess]!r} ({confidence:.3f})"
    numbers = {
        "confidence": confidence,
        "labelled": names[truth.label],
        "predicted": names[guess],
        "confidence_of_label": float(scores[truth.label]),
    }
    return [Contradiction("label-noise.class", confidence, about, numbers)]


def of_pixels(
    result: SegMap, truth: SegMap, names: Sequence[str], least: float
) -> list[Contradiction]:
    """Return the contradiction of a mask; none if too few pixels contradict it."""
    labelled = truth.labels != IGNORE
    sure = result.prediction_confidence() >= np.float16(least)
    other = labelled & sure & (result.labels != truth.labels)
    count = int(other.sum())
    share = count / max(1, int(labelled.sum()))
    if share < LEAST_SHARE:
        return []
    pairs = truth.labels[other].astype(np.int64) * 256 + result.labels[other]
    values, counts = np.unique(pairs, return_counts=True)
    label, guess = divmod(int(values[counts.argmax()]), 256)
    rows, columns = np.nonzero(other)
    box = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
    about = (
        f"{share:.1%} of the labelled pixels, most of them labelled {names[label]!r} and predicted "
        f"{names[guess]!r}, in the box {_corners(box)}"
    )
    numbers = {
        "share": share,
        "pixels": count,
        "labelled": names[label],
        "predicted": names[guess],
        "box": box,
    }
    return [Contradiction("label-noise.pixels", share, about, numbers)]


def of_objects(
    result: Instances, truth: Instances, names: Sequence[str], least: float
) -> list[Contradiction]:
    """Return a contradiction for each confident object that has no label, or another class.

    Objects in crowds, and where a difficult one is labelled, contradict nothing.
    """
    scores = result.prediction_scores()
    sure = np.flatnonzero(scores >= least)
    boxes = result.corner_and_size()[sure]
    rows = overlaps(result.pick(sure), truth)  # [D, G]
    found = []
    for place, row, box in zip(sure.tolist(), rows, boxes, strict=True):
        near = row >= SAME_OBJECT
        label = int(result.labels[place])
        if near[~truth.counted].any() or (truth.labels[near] == label).any():
            continue
        best = int(row.argmax()) if len(row) else -1
        corners = [float(v) for v in (box[0], box[1], box[0] + box[2], box[1] + box[3])]
        confidence, guess = float(scores[place]), names[label - 1]
        numbers = {
            "confidence": confidence,
            "predicted": guess,
            "iou": float(row[best]) if len(row) else 0.0,
            "box": corners,
        }
        about = f"{guess!r} ({confidence:.3f}) in the box {_corners(corners)}"
        if near.any():
            labelled = names[int(truth.labels[best]) - 1]
            about = f"labelled {labelled!r}, predicted {about}"
            numbers["labelled"] = labelled
            found.append(Contradiction("label-noise.object", confidence, about, numbers))
        else:
            about = f"no label, predicted {about}"
            found.append(Contradiction("label-noise.missing", confidence, about, numbers))
    return found


def _corners(box: Sequence[float]) -> str:
    x1, y1, x2, y2 = box
    return f"from ({x1:.0f}, {y1:.0f}) to ({x2:.0f}, {y2:.0f})"


JUDGES: dict[type, Callable[[Any, Any, Sequence[str], float], list[Contradiction]]] = {
    Classes: of_class,
    SegMap: of_pixels,
    Instances: of_objects,
}
"""What finds contradictions, by the type of results and truths."""
