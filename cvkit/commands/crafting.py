"""What the commands share that make images by a model's gradients: model, inputs, folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.console import Reporter
from cvkit.errors import UsageError
from cvkit.options.base import RUNS, Predict
from cvkit.options.tree import task_options

if TYPE_CHECKING:
    from cvkit.tasks.trained import Trained


def gradient_model(options: Any, inputs: Sequence[str]) -> tuple[Trained, Predict]:
    """Return the model that `--weights` names, and the options of predict that it was loaded with.

    Args:
        options: with `weights`, `task`, `device`, `offline` and `quiet`.
        inputs: of the command.

    Raises:
        UsageError: no model is given, or an exported file.
        ModelFileError: the file is missing or damaged.
    """
    from cvkit.tasks.naming import task_of
    from cvkit.tasks.trained import load_trained

    if options.weights is None:
        raise UsageError("--weights is missing", code="weights.missing", hint="--weights RUN")
    name = task_of(str(options.weights), options.task)
    shared: dict[str, Any] = {"weights": options.weights, "device": options.device}
    shared |= {"offline": options.offline, "quiet": options.quiet, "precision": "fp32"}
    predict = task_options(name, "predict")(inputs=list(inputs), workers=0, **shared)
    trained = load_trained(options.weights, predict, name)
    if trained.runtime:
        raise UsageError(
            f"--weights {options.weights}: an exported file has no gradients",
            code="weights.exported",
            hint="give the model that it was made from",
        )
    return trained, predict


def check_out(options: Any, inputs: Sequence[str]) -> None:
    """Check the flags about the folder of the results.

    Raises:
        UsageError: no effect, or the results would lie over the inputs.
    """
    if options.overwrite and options.out is None:
        raise UsageError(
            "--overwrite has no effect without --out", code="overwrite.idle", hint="omit it"
        )
    for folder in map(Path, inputs):
        if (
            options.out is not None
            and folder.is_dir()
            and folder.resolve().is_relative_to(options.out.resolve())
        ):
            raise UsageError(
                f"--out {options.out} is the input folder {folder}, or contains it",
                code="out.input",
                hint="choose another --out",
            )


def earlier_results(options: Any, stem: str, inputs: Sequence[str]) -> list[Path]:
    """Return the folders of results, which are never searched for inputs."""
    if options.out is not None:
        return [options.out]
    named = [Path(text).absolute() for text in inputs]
    folders = RUNS.glob(f"{stem}-*")
    return [f for f in folders if not any(p.is_relative_to(f.absolute()) for p in named)]


@contextlib.contextmanager
def results_folder(options: Any, stem: str, report: Reporter) -> Iterator[Path]:
    """Yield the locked folder of the results: `--out`, or a new one named after `stem`.

    Raises:
        UsageError: the folder is not empty, or in use by another process.
    """
    out = options.out or storage.new_numbered_folder(RUNS, stem)
    reuse = options.out is None or options.overwrite
    with storage.output_folder(out, reuse=reuse, say=report.warn):
        yield out
