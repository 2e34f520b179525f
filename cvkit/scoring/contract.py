"""The functions of every `cvkit/scoring/TASK.py`, which `eval` calls."""

import importlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np

from cvkit.console import Reporter
from cvkit.data.fingerprint import fingerprint
from cvkit.errors import DataError, UsageError
from cvkit.options.base import Eval
from cvkit.structures import ClassList, Failure, MetricReport

MetricT = TypeVar("MetricT")
OutcomeT = TypeVar("OutcomeT")


@dataclass(frozen=True)
class Scene:
    """An evaluated sample, to be shown.

    Attributes:
        image: HWC RGB uint8; of a video with further axes before.
        truth: of the sample.
        predict: returns the result; a network may have to run again for it.
    """

    image: np.ndarray
    truth: object = None
    predict: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Scored(Generic[MetricT, OutcomeT]):
    """A finished evaluation, of a model or of files of predictions.

    Attributes:
        metric: updated with all samples.
        classes: of the metric.
        outcomes: path of each evaluated sample, and the result of the metric's `update` for it.
        failures: samples that could not be evaluated.
        scene: returns a sample by its path, or None if it has no image; raises `CvkitError` if its
            files cannot be read.
        least: smallest score of the detections in pictures; None for the score with the largest
            F1.
    """

    metric: MetricT
    classes: ClassList
    outcomes: list[tuple[str, OutcomeT]]
    failures: list[Failure]
    scene: Callable[[str], Scene | None] = lambda _: None
    least: float | None = None


class Scoring(Protocol):
    """The content of `cvkit/scoring/TASK.py`. These modules do not import torch."""

    SAMPLE: str
    """Noun for a sample, in the singular: `image` or `video`."""

    def metric_names(self, options: Any) -> tuple[str, ...]:
        """Return the names of the possible metrics for the options."""

    def score(self, options: Any, report: Reporter) -> Scored[Any, Any]:
        """Score the files of `--predictions`.

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
    truths: Iterable[tuple[str, ...]],
    sample: str = "image",
    counts: Mapping[str, int] | None = None,
    errors: Mapping[str, Any] | None = None,
    baseline: Mapping[str, float | None] | None = None,
) -> dict[str, Any]:
    """Return the common part of `eval --json`.

    Args:
        scored: the evaluation.
        numbers: of its metric.
        truths: the ground truth of each outcome, in any form, for the fingerprint of the data.
        sample: what was evaluated, in the singular.
        counts: additional counts.
        errors: how often each kind of error occurs, if the task has kinds of errors.
        baseline: result of always predicting the most frequent class.
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
        "data_fingerprint": _data_fingerprint(scored, truths),
        "failures": [asdict(failure) for failure in scored.failures],
    }


def _data_fingerprint(scored: Scored[Any, Any], truths: Iterable[tuple[str, ...]]) -> str:
    """Return a SHA-256 over classes, names and ground truth of the samples, in any order.

    Names are without folders and suffixes, so that it is the same wherever the data are.
    """
    keys = [PurePosixPath(path).stem for path, _ in scored.outcomes]
    rows = [(key, *truth) for key, truth in zip(keys, truths, strict=True)]
    lost = [(PurePosixPath(failure.path).stem, "failed") for failure in scored.failures]
    return fingerprint([scored.classes.names, *sorted(rows), *sorted(lost)])


def denominator(content: Mapping[str, Any]) -> str:
    """Return how many samples were evaluated and why others were not, as text.

    Args:
        content: of `eval --json`.
    """
    counts = content["counts"]
    samples = next((name for name in ("images", "videos") if name in counts), "images")
    total = counts["evaluated"] + counts["failed"]
    text = f"evaluated {counts['evaluated']} of {total} {samples}"
    codes = Counter(str(failure.get("code")) for failure in content["failures"])
    kinds = Counter[str]()
    for code, count in codes.items():
        kinds["without prediction" if code == "prediction.missing" else "unreadable"] += count
    return ", ".join([text, *(f"{count} {kind}" for kind, count in kinds.items())])


def sourced(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return each metric with everything that it depends on: see `numbers` in docs/metrics.md.

    Args:
        content: of `eval --json`, complete but for this.
    """
    made = content.get("made_by") or content
    return {
        name: {
            "value": value,
            "rule": content["rules"].get(name),
            "evaluated": content["counts"]["evaluated"],
            "of": content["counts"]["evaluated"] + content["counts"]["failed"],
            "precision": made.get("precision"),
            "engine": made.get("engine"),
        }
        for name, value in content["metrics"].items()
    }


def commonest(matrix: np.ndarray) -> float | None:
    """Return the fraction of the most frequent true class of a confusion matrix; None if empty."""
    rows = matrix.sum(1)
    return float(rows.max() / rows.sum()) if rows.sum() else None


@dataclass(frozen=True)
class Places:
    """The paths of `--predictions` and `--truth`."""

    predictions: Path
    truth: Path


def given_places(options: Eval, example: str) -> Places:
    """Return the paths of `--predictions` and `--truth`; `example` is a truth for messages.

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
    """Return a path that is a file, a folder or missing: reading a pipe could block forever.

    Raises:
        DataError: it is anything else.
    """
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise DataError(
            f"{flag} {place} is neither a file nor a folder",
            code="data.missing",
            hint="write its content to a file first",
        )
    return place
