"""Metrics of classifiers: accuracy, F1 and calibration. Needs numpy only."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cvkit.metrics.merging import in_order_of
from cvkit.metrics.one_vs_rest import OneVsRest, one_vs_rest
from cvkit.structures import Classes, ClassList, MetricReport

METRICS = ("top1", "top5", "balanced_accuracy", "macro_f1", "weighted_f1", "ece")
TOP5 = frozenset(("top5", "video_top5"))
"""Metrics of the five largest scores; with five classes or fewer they are always 1."""
BINS = 15
"""Number of equal confidence intervals of the calibration error."""

RULES = {
    "top1": "share of images whose largest score is the true class; of equal scores the class "
    "with the lowest index wins",
    "top5": "share of images whose true class is among the 5 largest scores; only for more than 5 "
    "classes, null where fewer scores are known",
    "balanced_accuracy": "mean recall over classes that occur in the truth",
    "macro_f1": "mean F1 over classes that occur in the truth or the predictions",
    "weighted_f1": "mean F1 weighted by the images of each class in the truth",
    "ece": f"expected calibration error of the largest score, {BINS} equal bins; null where "
    "scores are outside 0..1",
}


class ClassificationMetric:
    """Counts over a whole dataset, every image once.

    Args:
        num_classes: K.

    Attributes:
        matrix: [K, K] counts; rows are truth, columns are prediction.
    """

    rules = RULES
    counted = "images"
    """Noun for the samples, in the plural."""

    def __init__(self, num_classes: int) -> None:
        self.matrix = np.zeros((num_classes, num_classes), np.int64)
        self.in_top5 = 0
        self.top5_known = self.probabilities = True
        self.bins = np.zeros((BINS, 3))  # images, hits, sum of the largest score
        self.scores: list[np.ndarray] = []  # [K] for each image, in order
        self.labels: list[int] = []
        self.binned: list[tuple[int, bool, float]] = []  # for each image, in order; -1: no bin

    def update(self, result: Classes, truth: Classes) -> tuple[int, int, float]:
        """Add one image and return its true class, the predicted one, and that one's score.

        Scores that are NaN are unknown and rank last.

        Raises:
            ValueError: a label is outside the classes, or the number of scores differs.
        """
        classes, scores = len(self.matrix), result.prediction_scores()
        if len(scores) != classes or not 0 <= truth.label < classes:
            raise ValueError(f"{len(scores)} scores, truth {truth.label}: {classes} classes")
        self.scores.append(scores)
        self.labels.append(truth.label)
        order = ranked(scores)
        self.top5_known &= bool(np.isfinite(scores).sum() >= 5)
        self.in_top5 += int(truth.label in order[:5])
        guess, sure = int(order[0]), float(scores[order[0]])
        hit = guess == truth.label
        self.matrix[truth.label, guess] += 1
        if 0 <= sure <= 1 + 1e-6:
            self._bin(
                min(BINS - 1, max(0, int(np.ceil(sure * BINS)) - 1)), hit, sure
            )  # (low, high]
        else:
            self._bin(-1, hit, 0.0)
            self.probabilities = False
        return truth.label, guess, sure

    def _bin(self, place: int, hit: bool, sure: float) -> None:
        self.binned.append((place, hit, sure))
        if place >= 0:
            self.bins[place] += (1, hit, sure)

    def state(self) -> tuple:
        """Return the counts that another process needs to `merge` this metric."""
        ranking = list(zip(self.scores, self.labels, strict=True))
        return self.matrix, self.binned, self.in_top5, self.top5_known, self.probabilities, ranking

    def merge(self, states: Sequence[tuple], places: Sequence[Sequence[int]]) -> None:
        """Replace the counts by the totals over all processes, added up in the dataset's order."""
        matrices, binned, in_top5, known, probabilities, rankings = zip(*states, strict=True)
        ranking = in_order_of(places, rankings)
        self.scores, self.labels = (
            [scores for scores, _ in ranking],
            [label for _, label in ranking],
        )
        self.matrix, self.bins, self.binned = np.sum(matrices, axis=0), np.zeros((BINS, 3)), []
        for each in in_order_of(places, binned):
            self._bin(*each)
        self.in_top5, self.top5_known = sum(in_top5), all(known)
        self.probabilities = all(probabilities)

    def compute(self) -> dict[str, float | None]:
        """Return all metrics, fractions in [0, 1]; None if nothing was counted."""
        total, names = int(self.matrix.sum()), reported(METRICS, len(self.matrix))
        if not total:
            return dict.fromkeys(names)
        scores = class_scores(self.matrix)
        support, occurs = self.matrix.sum(1), self.matrix.sum(1) + self.matrix.sum(0) > 0
        f1 = np.nan_to_num(scores["f1"])
        values = {
            "top1": np.trace(self.matrix) / total,
            "top5": self.in_top5 / total if self.top5_known else None,
            "balanced_accuracy": np.mean(scores["recall"][support > 0]),
            "macro_f1": np.mean(f1[occurs]),
            "weighted_f1": np.sum(f1 * support) / total,
            "ece": np.abs(self.bins[:, 1] - self.bins[:, 2]).sum() / total
            if self.probabilities
            else None,
        }
        return {name: None if values[name] is None else float(values[name]) for name in names}

    def one_vs_rest(self) -> OneVsRest | None:
        """Return precision and recall of each class; None if scores are unknown."""
        scores = np.stack(self.scores) if self.scores else np.zeros((0, len(self.matrix)))
        return one_vs_rest(scores, np.array(self.labels, np.int64))

    def report(self, classes: ClassList) -> MetricReport:
        """Return the metrics, their rules and the numbers of each class."""
        support = zip(classes.names, self.matrix.sum(1), strict=True)
        absent = [name for name, count in support if not count]
        rules: dict[str, Any] = {
            name: self.rules[name] for name in reported(self.rules, len(classes))
        }
        rules["classes_counted"] = [name for name in classes.names if name not in absent]
        rules["classes_absent"] = absent
        return MetricReport(self.compute(), rules, per_class(self.matrix, classes, self.counted))


def reported(names: Iterable[str], num_classes: int) -> tuple[str, ...]:
    """Return the metrics that are meaningful for this number of classes."""
    return tuple(name for name in names if num_classes > 5 or name not in TOP5)


def ranked(scores: np.ndarray) -> np.ndarray:
    """Return the class indices from the largest to the smallest score; ties keep their order."""
    return np.argsort(-np.nan_to_num(scores, nan=-np.inf), kind="stable")


def class_scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return [K] `precision`, `recall` and `f1` of each class; NaN where undefined."""
    hits = np.diag(matrix).astype(float)
    truth, predicted = matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "precision": hits / predicted,
            "recall": hits / truth,
            "f1": 2 * hits / (truth + predicted),
        }


def per_class(
    matrix: np.ndarray, classes: ClassList, counted: str = "images"
) -> dict[str, dict[str, float | None]]:
    """Return precision, recall, F1 and the number of true samples of each class, by name."""
    scores = class_scores(matrix)
    return {
        name: {
            kind: None if np.isnan(values[index]) else float(values[index])
            for kind, values in scores.items()
        }
        | {counted: int(matrix[index].sum())}
        for index, name in enumerate(classes.names)
    }
