"""Precision and recall of classifiers, each class against the rest. Needs numpy only.

Source: average precision as in scikit-learn's `average_precision_score`, without interpolation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RULES = {
    "ap": "average precision of the class's scores against all other classes: the mean over its "
    "samples of the precision of all samples that score at least as high; null where scores are "
    "unknown",
    "macro_ap": "mean of ap over classes that occur in the truth",
    "micro_ap": "average precision of all pairs of a sample and a class together, ranked by score",
}
MEANS = ("macro_ap", "micro_ap")


@dataclass(frozen=True)
class Curve:
    """Precision and recall of a class, or of all, at the scores of its positives.

    Attributes:
        scores: [P] of the positives, falling.
        recall: [P] share of the positives that score at least as high.
        precision: [P] share of positives among all that score at least as high.
    """

    scores: np.ndarray
    recall: np.ndarray
    precision: np.ndarray

    @property
    def average_precision(self) -> float:
        """The mean of the precisions; NaN without positives."""
        return float(self.precision.mean()) if len(self.precision) else np.nan


@dataclass(frozen=True)
class OneVsRest:
    """The curves of an evaluation.

    Attributes:
        classes: curve of each class; without points if it is not in the truth.
        micro: curve of all pairs of a sample and a class.
        everything: [N * K] scores of these pairs, rising.
    """

    classes: Sequence[Curve]
    micro: Curve
    everything: np.ndarray

    def average_precisions(self) -> np.ndarray:
        """Return [K] average precision of each class; NaN where undefined."""
        return np.array([curve.average_precision for curve in self.classes])

    def as_json(self) -> dict[str, Any]:
        """Return the averages, each with its rule."""
        known = self.average_precisions()
        known = known[~np.isnan(known)]
        values = {
            "macro_ap": float(known.mean()) if len(known) else None,
            "micro_ap": self.micro.average_precision if len(self.everything) else None,
        }
        return {name: {"value": value, "rule": RULES[name]} for name, value in values.items()}

    def by_threshold(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return [101] smallest scores, and precision, recall and F1 of all pairs that have them.

        Precision is NaN where no pair has such a score.
        """
        limits = np.linspace(0, 1, 101)
        found = len(self.everything) - np.searchsorted(self.everything, limits)
        right = np.searchsorted(-self.micro.scores, -limits, "right")
        positives = len(self.micro.scores)
        with np.errstate(invalid="ignore", divide="ignore"):
            return (
                limits,
                right / found,
                right / np.float64(positives),
                2 * right / (found + positives),
            )


def one_vs_rest(scores: np.ndarray, labels: np.ndarray) -> OneVsRest | None:
    """Return the curves of [N, K] scores and [N] true classes; None if scores are unknown."""
    if np.isnan(scores).any():
        return None
    samples = np.arange(len(labels))
    true = scores[samples, labels]
    rising = np.sort(scores, axis=0)
    classes = [_curve(column, true[labels == kind]) for kind, column in enumerate(rising.T)]
    everything = np.sort(rising, axis=None)
    return OneVsRest(classes, _curve(everything, true), everything)


def _curve(rising: np.ndarray, positives: np.ndarray) -> Curve:
    """Return the curve of positives among all scores, which rise; equal scores count together."""
    falling = np.sort(positives)[::-1]
    found = len(rising) - np.searchsorted(rising, falling)
    right = np.searchsorted(-falling, -falling, "right")
    return Curve(falling, right / max(len(falling), 1), right / found)
