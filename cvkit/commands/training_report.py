"""What `train --report` writes when training ends."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from cvkit.commands.evaluate import measure_model, write_content
from cvkit.commands.gates import read_gates
from cvkit.commands.reports import NAME, write_report
from cvkit.console import Reporter
from cvkit.options.base import Eval, Train
from cvkit.options.tree import task_options
from cvkit.scoring.intervals import samples_of
from cvkit.scoring.stored import write_samples

if TYPE_CHECKING:
    from cvkit.engine.runtime import StopSignal

SAME = ("device", "precision", "workers", "offline", "quiet")
"""Flags that the evaluation at the end of a training shares with it, besides those of the data."""
DATA_FLAGS = ("data", "format", "images", "proposals", "splits", "fold", "exclude")
"""Flags for the places and the splits of the data, in the tasks that have them."""


def report_on_training(
    options: Train, task_name: str, run: Path, report: Reporter, stop: StopSignal
) -> Path:
    """Evaluate the kept model of a finished run and write its page; return the page's path.

    The numbers and the counts of each sample are written too, so that `compare` takes the run.
    """
    asked = evaluation_of(options, task_name, run)
    measured = measure_model(asked, task_name, report, read_gates(asked, task_name), stop)
    assert measured is not None, "it is made in this process alone"
    content = {"task": task_name, "command": "eval", "split": asked.split, **measured.content}
    content["folder"] = str(run)
    write_content(content, asked)
    if samples := samples_of(measured.scored):
        write_samples(run, samples)
    path = run / NAME
    measured = dataclasses.replace(measured, content=content, run=run)
    write_report(path, measured, options, (task_name, "train"), report)
    report.say(f"report: {path}")
    return path


def evaluation_of(options: Train, task_name: str, run: Path) -> Eval:
    """Return the options that evaluate the kept model of a run on its validation split."""
    kind = task_options(task_name, "eval")
    known = {field.name for field in dataclasses.fields(kind)}
    given = {field.name for field in dataclasses.fields(options)}
    values = {
        name: getattr(options, name) for name in (*SAME, *DATA_FLAGS) if name in known & given
    }
    coco = getattr(options, "val_json", None) or getattr(options, "train_json", None)
    if coco is not None:
        values |= {"data": None, "json_file": coco}
    return kind(
        **values,
        weights=str(run / f"{options.keep}.safetensors"),
        split=options.val_split,
        files=False,
    )
