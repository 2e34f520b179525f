"""What `eval` calls of a task: the functions that `cvkit/scoring/TASK.py` has in every task."""

import importlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np

from cvkit.console import Reporter
from cvkit.errors import DataError, UsageError
from cvkit.options.base import Eval
from cvkit.structures import ClassList, Failure, MetricReport

MetricT = TypeVar("MetricT")
OutcomeT = TypeVar("OutcomeT")


@dataclass(frozen=True)
class Scored(Generic[MetricT, OutcomeT]):
    """A finished evaluation, of a model or of files of predictions.

    Attributes:
        metric: filled.
        classes: of the metric.
        outcomes: path of each evaluated sample, and what `update` of the metric returned for it.
        failures: samples that could not be evaluated.
    """

    metric: MetricT
    classes: ClassList
    outcomes: list[tuple[str, OutcomeT]]
    failures: list[Failure]


class Scoring(Protocol):
    """What `cvkit/scoring/TASK.py` holds. These modules import no torch."""

    SAMPLE: str
    """What is evaluated, in the singular: `image` or `video`."""

    def metric_names(self, options: Any) -> tuple[str, ...]:
        """Return the names of the metrics that the options may lead to."""

    def score(self, options: Any, report: Reporter) -> Scored[Any, Any]:
        """Compare the files that `--predictions` names with the truth.

        Raises:
            DataError: malformed files, or nothing matches.
            UsageError: `--truth` is missing.
        """

    def write_report(self, scored: Scored[Any, Any], folder: Path | None) -> dict[str, Any]:
        """Return the numbers of `eval --json`, and write the tables and pictures behind them.

        Args:
            scored: of this task.
            folder: exists, and gets the files; None writes nothing.
        """


def scoring_of(task: str) -> Scoring:
    """Return the functions of a task, a key of `catalog.TASKS`."""
    return cast(Scoring, importlib.import_module(f"cvkit.scoring.{task}"))


def content(
    scored: Scored[Any, Any],
    numbers: MetricReport,
    *,
    sample: str = "image",
    counts: Mapping[str, int] | None = None,
    errors: Mapping[str, Any] | None = None,
    baseline: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """Return what `eval --json` says about the numbers, of any task.

    Args:
        scored: the evaluation.
        numbers: of its metric.
        sample: what was evaluated, in the singular.
        counts: further ones.
        errors: which errors occur how often, where the task knows kinds of them.
        baseline: what a model reaches that always answers the commonest class.
    """
    return {
        "metrics": numbers.metrics,
        "rules": numbers.rules,
        "per_class": numbers.per_class,
        **({} if errors is None else {"errors": errors}),
        "counts": {
            f"{sample}s": len(scored.outcomes) + len(scored.failures),
            "evaluated": len(scored.outcomes),
            "failed": len(scored.failures),
            **(counts or {}),
        },
        **({} if baseline is None else {"baseline": baseline}),
        "failures": [asdict(failure) for failure in scored.failures],
    }


def commonest(matrix: np.ndarray) -> float | None:
    """Return the share of the commonest true class of a confusion matrix; None without truths."""
    rows = matrix.sum(1)
    return float(rows.max() / rows.sum()) if rows.sum() else None


@dataclass(frozen=True)
class Places:
    """What `--predictions` and `--truth` name."""

    predictions: Path
    truth: Path


def given_places(options: Eval, example: str) -> Places:
    """Return what `--predictions` and `--truth` name; `example` is a usual truth.

    Raises:
        DataError: one of them is neither a file nor a folder.
        UsageError: one of them is missing.
    """
    if options.predictions is None:
        raise UsageError("--predictions is missing", code="predictions.missing")
    if options.truth is None:
        raise UsageError("--truth is missing", code="truth.missing", hint=f"--truth {example}")
    return Places(regular("--predictions", options.predictions), regular("--truth", options.truth))


def regular(flag: str, place: Path) -> Path:
    """Return a place that is a file, a folder or nothing: reading a pipe could wait for ever.

    Raises:
        DataError: it is something else.
    """
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise DataError(
            f"{flag} {place} is neither a file nor a folder",
            code="data.missing",
            hint="write its content to a file first",
        )
    return place
