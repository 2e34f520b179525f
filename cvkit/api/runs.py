"""Training and evaluation as functions."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from os import PathLike, fspath
from pathlib import Path
from typing import Any

from cvkit import catalog
from cvkit.commands.evaluate import evaluated, require_gates
from cvkit.commands.train import run_training
from cvkit.commands.training_folds import ALL
from cvkit.config import assemble, from_config
from cvkit.console import Reporter
from cvkit.errors import UsageError
from cvkit.options.base import Eval, Train
from cvkit.options.job import AnyCommand
from cvkit.options.tree import task_options
from cvkit.tasks.naming import task_of

PRINTED = frozenset({"json", "json_results", "debug"})
"""Flags about what a command prints."""


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        run: its folder.
        model: file of the kept model, for `cvkit.load`.
        metrics: of the kept epoch on the validation split, by name.
        history: a line per epoch: losses, learning rate and metrics.
        warnings: what the command prints as warnings.
    """

    run: Path
    model: Path
    metrics: dict[str, float | None]
    history: list[dict[str, Any]]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Evaluation:
    """An evaluation of a model or of files.

    Attributes:
        metrics: by name, such as `miou` or `AP50`.
        rules: how each metric is defined.
        report: everything that `eval --json` prints.
        folder: with the report and its pictures; None with `files=False`.
        warnings: what the command prints as warnings.
    """

    metrics: dict[str, float | None]
    rules: dict[str, str]
    report: dict[str, Any]
    folder: Path | None
    warnings: tuple[str, ...]


def train(task: str, *, quiet: bool = True, **flags: object) -> Training:
    """Train a model as `cvkit TASK train` does.

    Args:
        task: such as `"segment"`.
        quiet: print no progress.
        **flags: of the command, with underscores, such as `data="DIR"` and `batch_size=8`;
            `resume="RUN"` continues a run.

    Raises:
        cvkit.errors.CvkitError: what ends the command with a code other than 0, such as
            `DataError` with every defect of the data, or `Interrupted` after Ctrl-C.
    """
    kind = _known(task)
    options = _options(task_options(kind, "train"), flags, quiet, "cvkit.train")
    _require_one_process(options, "cvkit.train")
    if options.find_lr or options.fold == ALL:
        flag = "find_lr" if options.find_lr else f"fold={ALL!r}"
        raise UsageError(
            f"cvkit.train: {flag} is for the command line",
            code="api.flag",
            hint=f"cvkit {kind} train {'--find-lr' if options.find_lr else '--fold all'}",
        )
    with _reporting(quiet) as report:
        done = run_training(options, kind, report)
    line = done.progress.kept(options.keep) | (done.final or {})
    names = [name for name in done.task.metric_names if name in line]
    return Training(
        run=done.run,
        model=done.run / f"{options.keep}.safetensors",
        metrics={name: line[name] for name in names},
        history=list(done.progress.history),
        warnings=tuple(report.warned),
    )


def evaluate(
    weights: str | PathLike[str] | None = None,
    *,
    task: str | None = None,
    quiet: bool = True,
    **flags: object,
) -> Evaluation:
    """Evaluate a model, or score files of predictions, as `cvkit TASK eval` does.

    Args:
        weights: as for `cvkit.load`; None for files, with `predictions` and `truth`.
        task: only needed for files, and for names that are published for several tasks.
        quiet: print no progress.
        **flags: of the command, with underscores, such as `data="DIR"` and `split="test"`.

    Raises:
        cvkit.errors.CvkitError: what ends the command with a code other than 0 or 3, such as
            `GateFailed`. Samples that could not be read are in `report["failures"]`.
    """
    if weights is None and task is None:
        raise UsageError(
            "cvkit.evaluate: neither weights nor task is given",
            code="eval.what",
            hint='cvkit.evaluate("RUN", data="DIR"), or task="detect" with predictions and truth',
        )
    kind = _known(task) if weights is None else task_of(fspath(weights), task)
    given = flags if weights is None else {"weights": fspath(weights), **flags}
    options = _options(task_options(kind, "eval"), given, quiet, "cvkit.evaluate")
    _require_one_process(options, "cvkit.evaluate")
    with _reporting(quiet) as report:
        done = evaluated(options, kind, report)
    assert done is not None, "one process reports"
    content, shown = done
    require_gates(shown)
    return Evaluation(
        metrics=dict(content["metrics"]),
        rules=dict(content["rules"]),
        report=shown,
        folder=Path(content["folder"]) if "folder" in content else None,
        warnings=tuple(report.warned),
    )


def _known(task: object) -> str:
    if task not in catalog.TASKS:
        raise UsageError(
            f"task={task!r} is not a task",
            code="task.unknown",
            hint=catalog.nearest(str(task), catalog.TASKS),
        )
    return str(task)


def _options(
    options_class: type[AnyCommand], flags: Mapping[str, object], quiet: bool, where: str
) -> AnyCommand:
    """Return the options of a command, checked as those of a configuration file are."""
    printed = sorted(PRINTED & flags.keys())
    if printed:
        raise UsageError(
            f"{where}: {printed[0]} is for the command line", code="api.flag", hint="omit it"
        )
    given = {k: fspath(v) if isinstance(v, PathLike) else v for k, v in flags.items()}
    values = from_config(options_class, given, where)
    usual = {f.name: f.default for f in fields(options_class) if f.default is not MISSING}
    names = {name: f"{where}: {name}" for name in values}
    return assemble(options_class, usual | values | {"quiet": quiet}, names)


def _require_one_process(options: Train | Eval, where: str) -> None:
    for flag in ("devices", "nodes"):
        if getattr(options, flag) > 1:
            raise UsageError(
                f"{where}: {flag}={getattr(options, flag)} is for the command line",
                code="api.flag",
                hint="a program works in one process: omit it",
            )


@contextmanager
def _reporting(quiet: bool) -> Iterator[Reporter]:
    """Yield what reports; warnings of Python are shown afterwards as before."""
    with warnings.catch_warnings():
        yield Reporter(quiet)
