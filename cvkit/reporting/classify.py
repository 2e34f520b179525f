"""The report of image classification."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvkit.metrics.classification import BINS, ClassificationMetric
from cvkit.reporting.charts import Axis, Line, histogram, line_chart
from cvkit.reporting.contract import Chart, Section, Shown
from cvkit.reporting.matrix import confusion_section
from cvkit.scoring.contract import Scene, Scored
from cvkit.texts import counted

OUTSIDE = "Scores outside 0 to 1 are not probabilities, so there is no calibration."


def calibration(
    metric: ClassificationMetric, outcomes: Sequence[tuple[str, tuple[int, int, float]]]
) -> Section:
    """Return the reliability diagram, and the scores of right and wrong predictions."""
    if not metric.probabilities:
        return Section("calibration", "Calibration", (), OUTSIDE)
    count, hits, sure = metric.bins.T
    with np.errstate(invalid="ignore", divide="ignore"):
        accuracy, score = hits / count, sure / count
    known = count > 0
    reliability = line_chart(
        "reliability diagram: accuracy over score, "
        + "; ".join(
            f"{s:.2f}: {a:.2f}" for s, a in zip(score[known], accuracy[known], strict=True)
        ),
        [Line("accuracy", score[known], accuracy[known])],
        Axis("mean score of the bin"),
        Axis("accuracy of the bin"),
        diagonal=True,
    )
    scores = np.array([score for _, (_, _, score) in outcomes])
    right = np.array([true == guess for _, (true, guess, _) in outcomes], bool)
    stacks = [
        (name, np.histogram(scores[which], 10, (0, 1))[0].tolist())
        for name, which in (("right", right), ("wrong", ~right))
    ]
    edges = [f"{tenth / 10:g}" for tenth in range(10)]
    spread = histogram(
        f"scores of {right.sum()} right and {counted((~right).sum(), 'wrong prediction')}",
        edges,
        stacks,
        "score from",
        metric.counted,
    )
    return Section(
        "calibration",
        "Calibration",
        (
            Chart(
                "Reliability",
                reliability,
                f"A calibrated model follows the diagonal; below it, it is too sure. {BINS} bins.",
            ),
            Chart(
                "Scores",
                spread,
                "Scores of the predicted classes.",
                (("s1", "right"), ("s2", "wrong")),
            ),
        ),
    )


def by_threshold(
    outcomes: Sequence[tuple[str, tuple[int, int, float]]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return [101] smallest scores, and the accuracy and share of the predictions that have them.

    The accuracy is NaN where no prediction has such a score.
    """
    scores = np.array([score for _, (_, _, score) in outcomes], float)
    right = np.array([true == guess for _, (true, guess, _) in outcomes], bool)
    order = np.argsort(scores, kind="stable")
    limits = np.linspace(0, 1, 101)
    first = np.searchsorted(scores[order], limits)
    kept = len(scores) - first
    correct = np.append(np.cumsum(right[order][::-1])[::-1], 0)[first]
    with np.errstate(invalid="ignore", divide="ignore"):
        return limits, correct / kept, kept / np.float64(len(scores))


def threshold_section(
    metric: ClassificationMetric, outcomes: Sequence[tuple[str, tuple[int, int, float]]]
) -> tuple[Section, ...]:
    """Return what a smallest score would cost and gain; nothing without probabilities."""
    if not metric.probabilities:
        return ()
    limits, accuracy, share = by_threshold(outcomes)
    chart = line_chart(
        f"accuracy and share of {metric.counted} over the smallest score",
        [Line("accuracy", limits, accuracy), Line(f"share of {metric.counted}", limits, share)],
        Axis("smallest score"),
        Axis("fraction"),
    )
    legend = (("s1", "accuracy"), ("s2", f"share of {metric.counted}"))
    about = f"The accuracy over the {metric.counted} whose predicted class has at least this score."
    return (Section("curves", "Curves", (Chart("Score threshold", chart, about, legend),)),)


class Pages:
    """The report of an evaluation."""

    HEADLINES: tuple[str, ...] = ("top1", "top5", "balanced_accuracy", "macro_f1", "ece")
    GALLERY = "Worst are wrong predictions with the highest scores, best are right ones."

    def __init__(self, scored: Scored[Any, Any]) -> None:
        self.scored = scored

    def sections(self) -> Sequence[Section]:
        """Return confusions, calibration and the curve over the smallest score."""
        metric: ClassificationMetric = self.scored.metric
        return (
            confusion_section(metric.matrix, list(self.scored.classes.names), metric.counted),
            calibration(metric, self.scored.outcomes),
            *threshold_section(metric, self.scored.outcomes),
        )

    def qualities(self) -> list[float | None]:
        """Return the score of right predictions, and the negative score of wrong ones."""
        return [
            score if true == guess else -score for _, (true, guess, score) in self.scored.outcomes
        ]

    def show(self, place: int, scene: Scene | None) -> Shown:
        """Return the image, and its classes in words."""
        _, (true, guess, score) = self.scored.outcomes[place]
        names = self.scored.classes.names
        pictures = () if scene is None else (("", scene.image),)
        return Shown(pictures, names[true], f"{names[guess]} ({score:.3f})")
