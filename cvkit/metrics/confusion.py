"""Metrics from a confusion matrix: mIoU and related ones. Does not import torch."""

from collections.abc import Sequence

import cv2
import numpy as np

from cvkit.metrics.dialects import (
    DIALECTS,
    MEANS,
    METRICS,
    WHOLE,
    class_scores,
    number,
    whole,
)
from cvkit.metrics.image_counts import ImageCounts, count_image, near_outlines
from cvkit.structures import IGNORE, ClassList, MetricReport, SegMap

RULES = {
    "exclude": "classes in neither truth nor prediction are left out of the mean (nanmean)",
    "zero": "classes in neither truth nor prediction count as IoU 0",
    "nan": "the mean is undefined (null) if a class is in neither truth nor prediction",
}
EXACT = 2**24
"""Number of pixels that OpenCV, which counts in float32, counts exactly."""
OURS = "cvkit"
"""Name of the dialect that this module defines; `--absent-class` belongs to it."""


class ConfusionMatrix:
    """One global matrix over a whole dataset; rows are truth, columns are prediction.

    Only pixels with a label in the truth count. IoU is computed from the sums over all images,
    never as a mean over images.

    Args:
        num_classes: K.
        absent_class: key of `RULES`: how mIoU counts a class that does not occur.
        dialects: names of definitions, `OURS` or keys of `DIALECTS`. The metrics of the first one
            have their usual names, those of others are called `NAME.miou` and so on.
    """

    def __init__(
        self,
        num_classes: int,
        absent_class: str = "exclude",
        dialects: Sequence[str] = (OURS,),
    ) -> None:
        self.absent_class, self.dialects = absent_class, tuple(dialects)
        self.matrix = np.zeros((num_classes, num_classes), np.int64)

    def update(self, result: SegMap, truth: SegMap) -> ImageCounts:
        """Add one image and return its counts.

        Raises:
            ValueError: the sizes differ, or a predicted value is not a class.
        """
        found = image_counts(result.labels, truth.labels, len(self.matrix))
        self.add(found)
        return found

    def add(self, image: ImageCounts) -> None:
        """Add an image by its counts."""
        self.matrix.flat[image.cells] += image.pixels

    def state(self) -> np.ndarray:
        """Return the counts that another process needs to `merge` this one."""
        return self.matrix

    def merge(self, states: Sequence[np.ndarray], places: Sequence[Sequence[int]]) -> None:
        """Replace the counts by the totals over all processes."""
        self.matrix = np.sum(states, axis=0)

    def compute(self) -> dict[str, float | None]:
        """Return all metrics, fractions in [0, 1]; None if nothing was counted."""
        first, *others = self.dialects
        found = summary(self.matrix, self.absent_class, first)
        for name in others:
            values = summary(self.matrix, self.absent_class, name)
            found |= {f"{name}.{metric}": value for metric, value in values.items()}
        return found

    def report(self, classes: ClassList) -> MetricReport:
        """Return the metrics, their rules and the numbers of each class."""
        first, *others = self.dialects
        meaning = rules(self.matrix, classes, self.absent_class, first)
        for name in others:
            meaning |= {
                f"{name}.{metric}": text
                for metric, text in metric_rules(name, self.absent_class).items()
            }
        if others:
            ours = {OURS: RULES[self.absent_class]}
            others_say = {name: each.difference for name, each in DIALECTS.items()}
            meaning["dialects"] = {name: (ours | others_say)[name] for name in self.dialects}
        return MetricReport(self.compute(), meaning, per_class(self.matrix, classes, first))


def metric_names(dialects: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the metrics of some dialects; see `ConfusionMatrix`."""
    first, *others = dialects
    return (
        *metrics_of(first),
        *(f"{name}.{metric}" for name in others for metric in metrics_of(name)),
    )


def metrics_of(dialect: str) -> tuple[str, ...]:
    """Return the metrics that a dialect defines."""
    return METRICS if dialect == OURS else DIALECTS[dialect].metrics


def image_matrix(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the [K, K] int64 confusion matrix of one image.

    Raises:
        ValueError: the sizes differ, or a predicted value is not a class.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction is {predicted.shape}, truth {truth.shape} (height, width)")
    counts = _pair_counts(truth, predicted, num_classes)
    counts[IGNORE:] = 0
    labelled = truth != IGNORE
    if counts.sum() != np.count_nonzero(labelled):
        for what, values in (("predicted", predicted[labelled]), ("true", truth[labelled])):
            if values.max() >= num_classes:
                raise ValueError(f"{what} value {values.max()} is outside 0..{num_classes - 1}")
    return counts


def image_counts(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> ImageCounts:
    """Return the counts of one image, those near outlines of the truth too.

    Raises:
        ValueError: the sizes differ, or a predicted value is not a class.
    """
    matrix = image_matrix(predicted, truth, num_classes)
    if np.trace(matrix) == matrix.sum():
        return count_image(matrix, np.zeros_like(matrix))
    outlines = np.where(near_outlines(truth), truth, np.uint8(IGNORE))
    near = _pair_counts(outlines, predicted, num_classes)
    near[IGNORE:] = 0
    return count_image(matrix, near)


def _pair_counts(first: np.ndarray, second: np.ndarray, num_classes: int) -> np.ndarray:
    """Return [K, K] int64: how often each pair of classes occurs in two HW uint8 arrays."""
    counts = np.zeros((num_classes, num_classes), np.int64)
    step = max(EXACT // max(first.shape[1], 1), 1)
    for start in range(0, len(first) if first.size else 0, step):
        part = [np.ascontiguousarray(each[start : start + step]) for each in (first, second)]
        found = cv2.calcHist(part, [0, 1], None, [num_classes] * 2, [0, num_classes] * 2)
        counts += found.astype(np.int64)
    return counts


def summary(
    matrix: np.ndarray, absent_class: str = "exclude", dialect: str = OURS
) -> dict[str, float | None]:
    """Return the metrics of a confusion matrix by name; `absent_class` is of cvkit's dialect."""
    if dialect != OURS:
        return DIALECTS[dialect].summary(matrix)
    scores, values = class_scores(matrix), whole(matrix)
    for name, kind in MEANS.items():
        policy = "exclude" if kind == "accuracy" else absent_class
        values[name] = _mean(scores[kind], policy)
    return {name: number(values[name]) for name in METRICS}


def _mean(values: np.ndarray, absent_class: str) -> float:
    if absent_class == "exclude":
        present = values[~np.isnan(values)]
        return float(present.mean()) if present.size else np.nan
    return float(np.nan_to_num(values).mean() if absent_class == "zero" else values.mean())


def scores_in(matrix: np.ndarray, dialect: str) -> dict[str, np.ndarray]:
    """Return [K] `iou`, `accuracy` and `dice` of each class in a dialect; NaN where undefined."""
    return class_scores(matrix) if dialect == OURS else DIALECTS[dialect].of_classes(matrix)


def per_class(
    matrix: np.ndarray, classes: ClassList, dialect: str = OURS
) -> dict[str, dict[str, float | None]]:
    """Return IoU, accuracy, Dice and the number of true pixels of each class, by name."""
    scores = scores_in(matrix, dialect)
    return {
        name: {kind: number(values[index]) for kind, values in scores.items()}
        | {"pixels": int(matrix[index].sum())}
        for index, name in enumerate(classes.names)
    }


def metric_rules(dialect: str, absent_class: str) -> dict[str, str]:
    """Return the rule of each metric of a dialect as text."""
    if dialect != OURS:
        return DIALECTS[dialect].rules()
    text = "mean over classes of {} from one confusion matrix of all pixels; " + RULES[absent_class]
    return WHOLE | {
        "miou": text.format("IoU"),
        "mean_accuracy": "mean over classes that occur in the truth",
        "mean_dice": text.format("Dice").replace("as IoU", "as Dice"),
    }


def rules(
    matrix: np.ndarray, classes: ClassList, absent_class: str, dialect: str = OURS
) -> dict[str, object]:
    """Return the rules of the metrics as text, and which classes the mean IoU contains."""
    ious = scores_in(matrix, dialect)["iou"]
    counted = ~np.isnan(ious) if dialect == OURS else DIALECTS[dialect].counted(ious)
    texts = metric_rules(dialect, absent_class)
    return {
        **{name: texts[name] for name in metrics_of(dialect)},
        "dialect": dialect,
        **({"absent_class": absent_class} if dialect == OURS else {}),
        "classes_counted": [n for n, here in zip(classes.names, counted, strict=True) if here],
        "classes_absent": [n for n, here in zip(classes.names, counted, strict=True) if not here],
        "ignored": "pixels without a label in the truth; label maps at original resolution",
    }
