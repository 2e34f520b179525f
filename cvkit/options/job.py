"""Flags of every command, and of those that run a network."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

import typer

from cvkit.options.described import Choice
from cvkit.options.panels import RUN, flag


@dataclass(frozen=True, kw_only=True)
class Command:
    """Flags that every command has.

    `given` contains the names of the flags that were set by the command line or a configuration
    file.
    """

    given: ClassVar[frozenset[str]] = frozenset()
    json: Annotated[bool, flag(RUN, "Print one JSON object on stdout, also on failure")] = False
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only errors on stderr", rich_help_panel=RUN)
    ] = False
    debug: Annotated[bool, flag(RUN, "Show the traceback of errors")] = False


AnyCommand = TypeVar("AnyCommand", bound=Command)

Device = Annotated[
    str, flag(RUN, "auto, cpu, cuda, cuda:N or mps; auto: an accelerator if available")
]
"""Type of `--device`."""
Offline = Annotated[bool, flag(RUN, "Never access the network; a missing file is an error")]
"""Type of `--offline`."""
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
"""The values of `--precision`."""


@dataclass(frozen=True, kw_only=True)
class Job(Command):
    """Flags of the commands that run a network."""

    config: Annotated[
        Path | None,
        flag(RUN, "YAML file with flag values; flags and environment variables override it"),
    ] = None
    device: Device = "auto"
    precision: Annotated[
        str,
        Choice(PRECISIONS),
        flag(
            RUN,
            "Arithmetic precision; auto: bf16 on CUDA, on CPUs with AMX, and where 'cvkit weights "
            "prove' noted it in the model; else fp32",
        ),
    ] = "auto"
    workers: Annotated[
        int,
        flag(
            RUN,
            "Workers that decode images: processes in training and beside a GPU, else threads; "
            "-1: chosen by device and number of cores; 0: decode in the main process",
            min=-1,
        ),
    ] = -1
    offline: Offline = False


def with_given(options: AnyCommand, names: Iterable[str]) -> AnyCommand:
    """Store the names of the flags that were given in the options, and return them."""
    object.__setattr__(options, "given", frozenset(names))
    return options
