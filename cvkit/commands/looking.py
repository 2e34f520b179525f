"""What the commands that look into a model share: model, inputs, and the folder of the results."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cvkit import storage
from cvkit.commands.predict_inputs import find_inputs
from cvkit.errors import UsageError
from cvkit.options.base import RUNS, Predict
from cvkit.options.tree import task_options

if TYPE_CHECKING:
    from cvkit.console import Reporter
    from cvkit.data.unfolding import Unfolded
    from cvkit.tasks.explainable import Explainable
    from cvkit.tasks.trained import Trained


class Looking(Protocol):
    """The flags of such a command."""

    @property
    def inputs(self) -> list[str]:
        """Files and folders."""

    @property
    def weights(self) -> str | None:
        """The model."""

    @property
    def task(self) -> str | None:
        """Its task, where several have the name."""

    @property
    def out(self) -> Path | None:
        """Folder of the results."""

    @property
    def overwrite(self) -> bool:
        """Whether it may have results."""

    @property
    def quiet(self) -> bool:
        """Whether nothing but errors is said."""


@dataclass(frozen=True)
class Opened:
    """A model and its inputs.

    Attributes:
        trained: the model.
        explained: the same, as explanations see it.
        predict: the flags with which its task would predict them.
        found: the inputs.
    """

    trained: Trained
    explained: Explainable
    predict: Predict
    found: Unfolded

    def more(self, text: str, report: Reporter) -> Unfolded:
        """Return further inputs.

        Raises:
            UsageError: there are none.
        """
        return find_inputs(replace(self.predict, inputs=[text]), self.trained.task, [], report)


def require_inputs(options: Looking) -> None:
    """Check what can be checked before anything is read.

    Raises:
        UsageError: no input, no model, or a folder of results that is read as input.
    """
    if not options.inputs:
        raise UsageError("no input given", code="inputs.missing", hint="give files or folders")
    if options.weights is None:
        raise UsageError("--weights is missing", code="weights.missing", hint="--weights RUN")
    if options.overwrite and options.out is None:
        raise UsageError(
            "--overwrite has no effect without --out", code="overwrite.idle", hint="omit it"
        )
    for text in options.inputs:
        folder = Path(text)
        if options.out is not None and folder.is_dir() and _inside(folder, options.out):
            raise UsageError(
                f"--out {options.out} is the input folder {folder}, or contains it",
                code="out.input",
                hint="choose another --out",
            )


def _inside(place: Path, folder: Path) -> bool:
    return place.resolve().is_relative_to(folder.resolve())


def open_model(options: Looking, verb: str, report: Reporter, **flags: Any) -> Opened:
    """Return the model and the inputs.

    Args:
        options: of the command.
        verb: the command.
        report: for progress and warnings.
        flags: of predict that say how the model runs.

    Raises:
        UsageError: a model whose layers cannot be watched, or no input.
    """
    from cvkit.tasks.explained import explainable_of
    from cvkit.tasks.naming import task_of
    from cvkit.tasks.trained import load_trained

    name = task_of(str(options.weights), options.task)
    shared: dict[str, Any] = {"weights": options.weights, "quiet": options.quiet, **flags}
    predict = task_options(name, "predict")(inputs=options.inputs, **shared)
    trained = load_trained(options.weights, predict, name)
    if trained.runtime:
        raise UsageError(
            f"--weights {options.weights}: the layers of an exported file cannot be watched",
            code="weights.exported",
            hint="give the model that it was made from",
        )
    found = find_inputs(predict, trained.task, _results_folders(options, name, verb), report)
    trained.task.check_inputs(sorted(file.key for file in found.images), report)
    return Opened(trained, explainable_of(trained.task, trained.model), predict, found)


def _results_folders(options: Looking, task_name: str, verb: str) -> list[Path]:
    """Return the folders of results, which are never searched for inputs."""
    if options.out is not None:
        return [options.out]
    folders = RUNS.glob(f"{task_name}-{verb}-*")
    named = [Path(text).absolute() for text in options.inputs]
    return [f for f in folders if not any(p.is_relative_to(f.absolute()) for p in named)]


@contextlib.contextmanager
def held_folder(options: Looking, task_name: str, verb: str, report: Reporter) -> Iterator[Path]:
    """Yield the locked folder of the results.

    Raises:
        UsageError: the folder is not empty, or in use by another process.
    """
    out = options.out or storage.new_numbered_folder(RUNS, f"{task_name}-{verb}")
    reuse = options.out is None or options.overwrite
    with storage.output_folder(out, reuse=reuse, say=report.warn):
        yield out
