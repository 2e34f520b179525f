"""What the commands that count and show labelled data share."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit.catalog import TASKS
from cvkit.config import NOT_STORED, from_config, from_text, parse_setting
from cvkit.console import Reporter
from cvkit.errors import UsageError
from cvkit.options.base import Train
from cvkit.options.data_views import DataView
from cvkit.options.job import with_given
from cvkit.options.tree import task_options

if TYPE_CHECKING:
    from cvkit.tasks.labelled import Labelled

TAKEN = frozenset(
    {"data", "format", "seed", "train_split", "val_split", "val_fraction", "splits", "fold"}
    | {"test_fraction", "group_by"}
)
"""Flags of train that flags of these commands replace, or that mean nothing to them."""


def task_of(options: DataView) -> str:
    """Return the task whose labels are read: the given one, or the only one that fits the layout.

    Raises:
        UsageError: there are several, or `samples` without a task.
        DataError: the dataset does not exist.
    """
    from cvkit.data.formats.recognise import clear_task

    if options.task:
        return options.task
    if options.data == "samples":
        raise UsageError(
            "'samples' exists for every task",
            code="task.unclear",
            hint=f"choose with --task {', '.join(TASKS)}",
        )
    return clear_task(Path(options.data), options.format, Reporter(options.quiet).say)


def train_options(options: DataView, task: str, **values: Any) -> Train:
    """Return the options of the task's train with which data are read and transformed.

    Args:
        options: of the command.
        task: key of `catalog.TASKS`.
        values: further flags, which `--set` cannot give.

    Raises:
        UsageError: `--set` or `--format` is malformed, or names an unknown flag.
    """
    kind = task_options(task, "train")
    content: dict[str, Any] = {}
    for text in options.set:
        name, value = parse_setting(text)
        if name in TAKEN | NOT_STORED | values.keys():
            raise UsageError(
                f"--set {name}: this flag cannot be set here",
                code="set.taken",
                hint="flags of train that say how data are read or transformed",
            )
        content[name] = from_text(kind, name, value)
    chosen = from_config(kind, content, "--set")
    chosen |= from_config(kind, {"format": options.format}, f"--task {task}")
    chosen |= {"data": options.data} | values
    return with_given(kind(**chosen, quiet=options.quiet), chosen)


def read_labelled(
    options: DataView, task: str, train: Train, report: Reporter, *, every: bool = False
) -> Labelled[Any, Any]:
    """Return the labelled samples that the flags name; remarks on them are warnings.

    Args:
        options: of the command.
        task: key of `catalog.TASKS`.
        train: see `train_options`.
        report: for warnings.
        every: also read the splits that are not asked for.

    Raises:
        DataError: no such split, or labels that cannot be read.
    """
    from cvkit.tasks.labelled import labelled_class

    kind = labelled_class(task)
    asked = options.split
    data = kind.read(train, () if every else asked)
    if every and (further := [split for split in asked if split not in data.splits]):
        found = kind.read(train, further)
        data = dataclasses.replace(found, splits={**data.splits, **found.splits})
    for note in data.notes:
        report.warn(note)
    if data.defects:
        count = len(data.defects)
        report.warn(
            f"{data.root}: {count} of the annotations cannot be used and are left out, such as: "
            f"{data.defects[0]}"
        )
    return data


def refuse_existing(path: Path | None, suffixes: Sequence[str], overwrite: bool) -> None:
    """Check the file `--out` before any work is done.

    Raises:
        UsageError: another suffix, no such folder, or a file that must not be replaced.
    """
    if path is None:
        if overwrite:
            raise UsageError(
                "--overwrite has no effect without --out", code="overwrite.idle", hint="omit it"
            )
        return
    if path.suffix not in suffixes:
        raise UsageError(
            f"--out {path} does not end in {' or '.join(suffixes)}",
            code="out.suffix",
            hint="add the suffix",
        )
    if not path.parent.is_dir():
        raise UsageError(
            f"--out {path}: {path.parent} is not a folder", code="out.folder", hint="create it"
        )
    if path.exists() and not overwrite:
        raise UsageError(
            f"--out {path} exists", code="out.exists", hint="add --overwrite to replace it"
        )
