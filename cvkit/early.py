"""The handling of mistakes and signals before the command line has been parsed."""

import contextlib
import errno
import io
import itertools
import json
import os
import re
import signal
import sys
import types
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

from cvkit.errors import CvkitError, Interrupted

if TYPE_CHECKING:
    from typing_extensions import Buffer

SCHEMA_VERSION = 1
"""Version of the object that `--json` prints."""
YES = frozenset(("1", "true", "t", "yes", "y", "on"))
"""Values of a variable that switch a flag on."""


def how_to_talk(arguments: Sequence[str]) -> dict[str, bool]:
    """Return whether `json` and `debug` are set by a flag, a variable, or `--config`.

    A mistake in the rest of the command line must not change its own reporting.
    """
    arguments = arguments[: arguments.index("--")] if "--" in arguments else arguments
    stored = _configuration(arguments)
    return {
        name: f"--{name}" in arguments or _by_variable(name, arguments, stored)
        for name in ("json", "debug")
    }


def _by_variable(name: str, arguments: Sequence[str], stored: str) -> bool:
    """Return a switch's value from the variables, or else from the text of a configuration file."""
    value = _variable(name, arguments)
    if value:
        return value.lower() in YES
    pattern = rf"(?mi)(?:^|[{{,])\s*[\"']?{name}[\"']?\s*:\s*(true|yes|on)\b"
    return re.search(pattern, stored) is not None


def _variable(name: str, arguments: Sequence[str]) -> str:
    """Return the value of a flag's variable: that of any verb in the arguments, or that for all."""
    names = (f"CVKIT_{each}_{name}".upper() for each in arguments if each.isidentifier())
    found = (os.environ.get(variable) for variable in (*names, f"CVKIT_{name}".upper()))
    return next(filter(None, found), "")


def _configuration(arguments: Sequence[str]) -> str:
    """Return the text of the given configuration file, if it can be read."""
    name = _variable("config", arguments)
    for argument, following in itertools.pairwise([*arguments, ""]):
        if argument == "--config":
            name = following
        elif argument.startswith("--config="):
            name = argument.partition("=")[2]
    with contextlib.suppress(OSError, ValueError):  # reported when it is used
        if os.path.isfile(name):  # a pipe could be read only once
            with open(name, "rb") as stream:
                return stream.read(1_000_000).decode(errors="replace")
    return ""


def global_rank() -> int:
    """Return the number of this process among those that work together, from 0.

    It is read from the variables of torchrun, which cvkit sets for its own processes too, or of
    SLURM.
    """
    names = ["RANK", "LOCAL_RANK"] if "LOCAL_RANK" in os.environ else ["SLURM_PROCID"]
    if names == ["SLURM_PROCID"] and os.environ.get("SLURM_NTASKS", "1") == "1":
        return 0
    ranks = (os.environ.get(name, "") for name in names)
    return next((int(rank) for rank in ranks if rank.isdecimal()), 0)


def local_rank() -> int:
    """Return the number of this process among those of its machine that work together, from 0."""
    name = "LOCAL_RANK" if "LOCAL_RANK" in os.environ else "SLURM_LOCALID"
    if name == "SLURM_LOCALID" and os.environ.get("SLURM_NTASKS", "1") == "1":
        return 0
    text = os.environ.get(name, "")
    return int(text) if text.isdecimal() else 0


def speaks() -> bool:
    """Return whether this process prints; of several that work together only the first does."""
    return global_rank() == 0


command_line: list[str] = []
"""The arguments of the command that runs; processes that work together all get the same."""


def failure_json(failure: CvkitError) -> str:
    """Return the line that `--json` prints on failure."""
    content = {"ok": False, "schema_version": SCHEMA_VERSION, **failure.content}
    return json.dumps(content | {"error": failure.as_json()}, allow_nan=False)


def answer_signals(arguments: Sequence[str]) -> None:
    """Make SIGINT and SIGTERM end the process at once, with a message and the right exit code.

    There is nothing to save before a command handles signals itself. An exception would not work,
    because libraries swallow it during their import.
    """
    _answer.as_json = how_to_talk(arguments)["json"]
    _answer.given = False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


class _Answer:
    """How a failure is reported, and whether it has been."""

    as_json = False
    given = False


_answer = _Answer()


def leave(number: int, frame: types.FrameType | None = None) -> NoReturn:
    """End the process at once with the message about a signal, unless a failure was reported."""
    failure = Interrupted("interrupted", signal_number=number)
    if speaks() and not _answer.given:
        with contextlib.suppress(OSError):  # there is no reader
            os.write(2, b"error: interrupted\n")
        with contextlib.suppress(OSError):
            if _answer.as_json:
                os.write(1, f"{failure_json(failure)}\n".encode())
    os._exit(failure.exit_code)


def print_failure(failure: CvkitError, as_json: bool) -> None:
    """Print a failure: one line on stderr and, if requested, an object on stdout.

    Output that cannot be written, for example to a full disk, is dropped; the exit code remains.
    """
    _answer.given = True
    if as_json:
        with contextlib.suppress(OSError):
            print(failure_json(failure), flush=True)
    with contextlib.suppress(OSError):
        print(f"error: {failure.shown()}", file=sys.stderr)


class _Messages(io.FileIO):
    """Stderr, where a failed write must not end the work."""

    def write(self, data: "Buffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            return memoryview(data).nbytes


def open_streams() -> None:
    """Make sure that the process has stdin, stdout and stderr, which the caller may have closed.

    A file opened later would otherwise get the free number, and the messages.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
    messages = io.BufferedWriter(_Messages(2, "w", closefd=False))
    sys.stderr = io.TextIOWrapper(
        messages, sys.stderr.encoding, errors="backslashreplace", line_buffering=True
    )
