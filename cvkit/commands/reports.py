"""The page that `--report` writes, after an evaluation or a training."""

from __future__ import annotations

import dataclasses
import platform
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from typer.models import ArgumentInfo

from cvkit import __version__
from cvkit.console import Reporter
from cvkit.errors import CvkitError
from cvkit.helptext import name_text
from cvkit.options.base import Eval
from cvkit.options.described import description, differs, hints
from cvkit.options.job import Command
from cvkit.scoring.contract import Scored

NAME = "report.html"


@dataclasses.dataclass(frozen=True)
class Measured:
    """A finished evaluation, before it is printed and written.

    Attributes:
        content: of `eval --json`.
        scored: the evaluation itself.
        environment: versions, and device if a network ran.
        run: folder of the training that made the model, if there may be one.
    """

    content: dict[str, Any]
    scored: Scored[Any, Any]
    environment: dict[str, Any]
    run: Path | None = None


def write_report(
    path: Path, measured: Measured, options: Command, names: tuple[str, str], report: Reporter
) -> None:
    """Write the page of an evaluation.

    Args:
        path: of the page.
        measured: the evaluation.
        options: of the command.
        names: task and verb of the command.
        report: its warnings are on the page.
    """
    from cvkit.reporting.page import Evaluation, write_page
    from cvkit.reporting.training import read_history

    history = []
    try:
        history = read_history(measured.run) if measured.run else []
    except CvkitError as error:
        report.warn(f"the report has no training curves: {error}")
    evaluation = Evaluation(
        task=names[0],
        content=measured.content,
        scored=measured.scored,
        command=command_line(options, names),
        environment=measured.environment | {"working folder": str(Path.cwd())},
        warnings=list(report.warned),
        history=history,
        gated=isinstance(options, Eval) and bool(measured.content["gates"]["checked"]),
    )
    write_page(path, evaluation)


def command_line(options: Command, names: Sequence[str]) -> str:
    """Return the command with every flag that is not at its default, quoted for a shell."""
    inputs: list[str] = []
    words: list[str] = []
    kinds = hints(type(options))
    for field in dataclasses.fields(options):
        if not differs(options, field.name):
            continue
        value, option = getattr(options, field.name), description(kinds[field.name])
        values = [str(each) for each in (value if isinstance(value, list) else [value])]
        first, *others = name_text(field, option).split(", ")
        if isinstance(option, ArgumentInfo):
            inputs += values
        elif isinstance(value, bool):
            words.append(first if value else others[0])
        else:
            words += (word for each in values for word in (first, each))
    dashed = ["--"] if any(text.startswith("-") for text in inputs) else []
    return shlex.join(["cvkit", *names, *words, *dashed, *inputs])


def environment() -> dict[str, Any]:
    """Return what the numbers of an evaluation without a network depend on."""
    packages = ("numpy", "pycocotools", "ultrafast-pycocotools", "pillow")
    return {
        "cvkit": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "packages": {name: version(name) for name in packages},
    }
