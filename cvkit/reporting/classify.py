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


class Pages:
    """The report of an evaluation."""

    HEADLINES: tuple[str, ...] = ("top1", "top5", "balanced_accuracy", "macro_f1", "ece")
    GALLERY = "Worst are wrong predictions with the highest scores, best are right ones."

    def __init__(self, scored: Scored[Any, Any]) -> None:
        self.scored = scored

    def sections(self) -> Sequence[Section]:
        """Return confusions and calibration."""
        metric: ClassificationMetric = self.scored.metric
        return (
            confusion_section(metric.matrix, list(self.scored.classes.names), metric.counted),
            calibration(metric, self.scored.outcomes),
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
