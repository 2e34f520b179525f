"""Metrics from a confusion matrix: mIoU and related ones. Needs numpy only."""

from collections.abc import Sequence

import numpy as np

from cvkit.structures import IGNORE, ClassList, MetricReport, SegMap

RULES = {
    "exclude": "classes in neither truth nor prediction are left out of the mean (nanmean)",
    "zero": "classes in neither truth nor prediction count as IoU 0",
    "nan": "the mean is undefined (null) if a class is in neither truth nor prediction",
}

METRICS = ("miou", "pixel_accuracy", "mean_accuracy", "fwiou", "mean_dice")


class ConfusionMatrix:
    """One global matrix over a whole dataset; rows are truth, columns are prediction.

    Only pixels with a label in the truth count. IoU is computed from the sums over all images,
    never as a mean over images.

    Args:
        num_classes: K.
        absent_class: key of `RULES`: how mIoU counts a class that does not occur.
    """

    def __init__(self, num_classes: int, absent_class: str = "exclude") -> None:
        self.absent_class = absent_class
        self.matrix = np.zeros((num_classes, num_classes), np.int64)

    def update(self, result: SegMap, truth: SegMap) -> np.ndarray:
        """Add one image and return its [K, K] matrix.

        Raises:
            ValueError: the sizes differ, or a predicted value is not a class.
        """
        matrix = image_matrix(result.labels, truth.labels, len(self.matrix))
        self.matrix += matrix
        return matrix

    def state(self) -> np.ndarray:
        """Return the counts that another process needs to `merge` this one."""
        return self.matrix

    def merge(self, states: Sequence[np.ndarray], places: Sequence[Sequence[int]]) -> None:
        """Replace the counts by the totals over all processes."""
        self.matrix = np.sum(states, axis=0)

    def compute(self) -> dict[str, float | None]:
        """Return all metrics, fractions in [0, 1]; None if nothing was counted."""
        return summary(self.matrix, self.absent_class)

    def report(self, classes: ClassList) -> MetricReport:
        """Return the metrics, their rules and the numbers of each class."""
        meaning = rules(self.matrix, classes, self.absent_class)
        return MetricReport(self.compute(), meaning, per_class(self.matrix, classes))


def image_matrix(predicted: np.ndarray, truth: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the [K, K] int64 confusion matrix of one image.

    Raises:
        ValueError: the sizes differ, or a predicted value is not a class.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction is {predicted.shape}, truth {truth.shape} (height, width)")
    labelled = truth != IGNORE
    true, guess = truth[labelled].astype(np.int64), predicted[labelled]
    if guess.size and guess.max() >= num_classes:
        raise ValueError(f"predicted value {guess.max()} is outside 0..{num_classes - 1}")
    counts = np.bincount(true * num_classes + guess, minlength=num_classes**2)
    return counts.reshape(num_classes, num_classes)


def class_scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return [K] `iou`, `accuracy` and `dice` of each class; NaN where undefined."""
    hits = np.diag(matrix).astype(float)
    truth, predicted = matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "iou": hits / (truth + predicted - hits),
            "accuracy": hits / truth,
            "dice": 2 * hits / (truth + predicted),
        }


def summary(matrix: np.ndarray, absent_class: str = "exclude") -> dict[str, float | None]:
    """Return the metrics of a confusion matrix by name."""
    scores = class_scores(matrix)
    total = matrix.sum()
    share = matrix.sum(1) / total if total else np.zeros(len(matrix))
    pixel_accuracy = np.trace(matrix) / total if total else np.nan
    fwiou = np.nansum(share * scores["iou"]) if total else np.nan
    miou, mean_dice = (_mean(scores[kind], absent_class) for kind in ("iou", "dice"))
    mean_accuracy = _mean(scores["accuracy"], "exclude")
    values = (miou, pixel_accuracy, mean_accuracy, fwiou, mean_dice)
    return {name: _number(value) for name, value in zip(METRICS, values, strict=True)}


def _mean(values: np.ndarray, absent_class: str) -> float:
    if absent_class == "exclude":
        present = values[~np.isnan(values)]
        return present.mean() if present.size else np.nan
    return np.nan_to_num(values).mean() if absent_class == "zero" else values.mean()


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def per_class(matrix: np.ndarray, classes: ClassList) -> dict[str, dict[str, float | None]]:
    """Return IoU, accuracy, Dice and the number of true pixels of each class, by name."""
    scores = class_scores(matrix)
    return {
        name: {kind: _number(values[index]) for kind, values in scores.items()}
        | {"pixels": int(matrix[index].sum())}
        for index, name in enumerate(classes.names)
    }


def rules(matrix: np.ndarray, classes: ClassList, absent_class: str) -> dict[str, object]:
    """Return the rules of the metrics as text."""
    counted = ~np.isnan(class_scores(matrix)["iou"])
    return {
        "miou": f"mean over classes of IoU from one confusion matrix of all pixels; "
        f"{RULES[absent_class]}",
        "absent_class": absent_class,
        "classes_counted": [n for n, here in zip(classes.names, counted, strict=True) if here],
        "classes_absent": [n for n, here in zip(classes.names, counted, strict=True) if not here],
        "mean_accuracy": "mean over classes that occur in the truth",
        "ignored": "pixels without a label in the truth; label maps at original resolution",
    }
