"""The report of image classification."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from cvkit.metrics.classification import BINS, ClassificationMetric
from cvkit.metrics.one_vs_rest import OneVsRest
from cvkit.reporting.charts import SERIES, Axis, Line, histogram, line_chart
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


def precision_recall(found: OneVsRest, names: Sequence[str]) -> Chart:
    """Return precision over recall of all classes together, and of those ranked worst."""
    averages = found.average_precisions()
    known = np.flatnonzero(~np.isnan(averages))
    worst = known[np.argsort(averages[known], kind="stable")][: SERIES - 1]
    lines = [("all classes", found.micro.average_precision, found.micro)]
    lines += [(names[kind], averages[kind], found.classes[kind]) for kind in worst.tolist()]
    titles = [f"{name} ({value:.3f})" for name, value, _ in lines]
    chart = line_chart(
        "precision over recall, with average precision: " + ", ".join(titles),
        [
            Line(title, np.append(0, curve.recall), np.append(curve.precision[:1], curve.precision))
            for title, (*_, curve) in zip(titles, lines, strict=True)
        ],
        Axis("recall"),
        Axis("precision"),
    )
    legend = tuple((f"s{place + 1}", title) for place, title in enumerate(titles))
    more = f" The {len(worst)} of {counted(len(known), 'class', 'classes')} with the lowest ones."
    about = "Each class against the rest, with its average precision."
    return Chart("Precision and recall", chart, about + more * (len(worst) < len(known)), legend)


def by_score(found: OneVsRest) -> Chart:
    """Return precision, recall and F1 of all classes together over the smallest score."""
    limits, *values = found.by_threshold()
    names = ("precision", "recall", "F1")
    chart = line_chart(
        "precision, recall and F1 of all classes together over the smallest score",
        [Line(name, limits, value) for name, value in zip(names, values, strict=True)],
        Axis("smallest score"),
        Axis("fraction"),
    )
    legend = tuple((f"s{place + 1}", name) for place, name in enumerate(names))
    about = "If every class with at least this score is predicted, however many."
    return Chart("All classes", chart, about, legend)


def threshold_charts(
    metric: ClassificationMetric, outcomes: Sequence[tuple[str, tuple[int, int, float]]]
) -> tuple[Chart, ...]:
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
    return (Chart("Score threshold", chart, about, legend),)


def curves_section(scored: Scored[Any, Any]) -> tuple[Section, ...]:
    """Return the curves over recalls and scores, and the rules of the averages."""
    metric: ClassificationMetric = scored.metric
    charts, about, found = [], "", metric.one_vs_rest()
    if found is not None:
        charts.append(precision_recall(found, scored.classes.names))
        means = found.as_json().items()
        about = " ".join(f"{name} is {_text(each)}." for name, each in means)
        if metric.probabilities:
            charts.append(by_score(found))
    charts += threshold_charts(metric, scored.outcomes)
    return (Section("curves", "Curves", tuple(charts), about),) if charts else ()


def _text(mean: dict[str, Any]) -> str:
    value = "undefined" if mean["value"] is None else f"{mean['value']:.4f}"
    return f"{value}: {mean['rule']}"


class Pages:
    """The report of an evaluation."""

    HEADLINES: tuple[str, ...] = ("top1", "top5", "balanced_accuracy", "macro_f1", "ece")
    GALLERY = "Worst are wrong predictions with the highest scores, best are right ones."

    def __init__(self, scored: Scored[Any, Any]) -> None:
        self.scored = scored

    def sections(self) -> Sequence[Section]:
        """Return confusions, calibration and curves."""
        metric: ClassificationMetric = self.scored.metric
        return (
            confusion_section(metric.matrix, list(self.scored.classes.names), metric.counted),
            calibration(metric, self.scored.outcomes),
            *curves_section(self.scored),
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
