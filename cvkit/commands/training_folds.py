"""Train on every fold of a dataset, one after the other."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cvkit import storage
from cvkit.commands.printing import print_json
from cvkit.console import Reporter, number, print_line, print_table
from cvkit.errors import UsageError
from cvkit.options.base import Train
from cvkit.options.job import with_given

if TYPE_CHECKING:
    from cvkit.engine.progress import Progress
    from cvkit.engine.runtime import StopSignal
    from cvkit.tasks.contract import Task


class Trained(Protocol):
    """The outcome of a training; see `cvkit.commands.train.Outcome`."""

    @property
    def run(self) -> Path:
        """The run folder."""

    @property
    def task(self) -> Task[Any, Any, Any]:
        """The trained task."""

    @property
    def progress(self) -> Progress:
        """The epochs."""

    @property
    def final(self) -> dict[str, Any] | None:
        """Metrics after the post-fits."""


Training = Callable[[Train, str, Reporter, "StopSignal"], Trained]
ALL = "all"
"""Value of `--fold` for all of them."""


def train_folds(options: Train, task_name: str, report: Reporter, training: Training) -> int:
    """Train a model for each fold, and report mean and deviation of its metrics.

    Args:
        options: with `--fold all`.
        task_name: key of `catalog.TASKS`.
        report: for progress.
        training: trains one of them.
    """
    from cvkit.data.split_lists import folds_of, read_lists
    from cvkit.engine import runtime

    _require_alone(options)
    assert options.splits is not None
    count = folds_of(read_lists(options.splits))
    if not count:
        raise UsageError(
            f"--fold all: {options.splits} has splits, not folds",
            code="fold.count",
            hint="'cvkit data split --folds 5' writes folds",
        )
    storage.require_writable(options.out)
    folder = storage.new_numbered_folder(options.out, f"{task_name}-folds")
    rows: list[dict[str, Any]] = []
    names: tuple[str, ...] = ()
    with runtime.stop_signals() as stop:
        for fold in range(1, count + 1):
            report.say(f"fold {fold} of {count}")
            chosen = dataclasses.replace(options, fold=f"{fold}/{count}", out=folder)
            done = training(with_given(chosen, options.given), task_name, report, stop)
            best = done.progress.kept(options.keep) | (done.final or {})
            names = done.task.metric_names
            rows.append({"fold": fold, "run": str(done.run), "best": best})
            content = _content(rows, names)
            storage.write_json(folder / "folds.json", content)
    if options.json:
        print_json({"task": task_name, "command": "train", "folder": str(folder), **content})
    else:
        _print(content, names)
        print_line(folder)
    return 0


def _require_alone(options: Train) -> None:
    """Check the flags that do not go together with several trainings.

    Raises:
        UsageError: names the first one.
    """
    if options.splits is None:
        raise UsageError(
            "--fold needs --splits", code="fold.alone", hint="'cvkit data split' writes the file"
        )
    wrong = {
        "--resume": (options.resume is not None, "continue the run of a fold without --fold"),
        "--find-lr": (options.find_lr, "give a single fold, such as --fold 1/5"),
        "several processes": (
            options.devices * options.nodes > 1,
            "train each fold with a command of its own",
        ),
    }
    for name, (holds, hint) in wrong.items():
        if holds:
            raise UsageError(
                f"--fold all and {name} cannot be combined", code="fold.combined", hint=hint
            )


def _content(rows: list[dict[str, Any]], names: tuple[str, ...]) -> dict[str, Any]:
    """Return the folds with the mean and the sample standard deviation of each metric."""
    mean: dict[str, float | None] = {}
    deviation: dict[str, float | None] = {}
    for name in names:
        values = [row["best"].get(name) for row in rows]
        known = [value for value in values if value is not None]
        whole = len(known) == len(rows)
        mean[name] = statistics.fmean(known) if whole else None
        deviation[name] = statistics.stdev(known) if whole and len(known) > 1 else None
    return {"folds": rows, "mean": mean, "deviation": deviation}


def _print(content: dict[str, Any], names: tuple[str, ...]) -> None:
    """Print the metrics of each fold, and their mean and deviation."""
    rows = [
        [
            name,
            *(number(row["best"].get(name)) for row in content["folds"]),
            number(content["mean"][name]),
            number(content["deviation"][name]),
        ]
        for name in names
    ]
    folds = [f"fold {row['fold']}" for row in content["folds"]]
    print_table("validation metrics", ["metric", *folds, "mean", "deviation"], rows)
