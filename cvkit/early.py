"""How mistakes and signals are answered before the command line has been read."""

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
"""Of the object that `--json` prints."""
YES = frozenset(("1", "true", "t", "yes", "y", "on"))
"""What a variable holds that switches a flag on."""


def how_to_talk(arguments: Sequence[str]) -> dict[str, bool]:
    """Return whether `json` and `debug` are asked for: by a flag, a variable, or `--config`.

    A mistake in the rest of the command line must not change how it is reported.
    """
    arguments = arguments[: arguments.index("--")] if "--" in arguments else arguments
    stored = _configuration(arguments)
    return {
        name: f"--{name}" in arguments or _by_variable(name, arguments, stored)
        for name in ("json", "debug")
    }


def _by_variable(name: str, arguments: Sequence[str], stored: str) -> bool:
    """Return what the variables say of a switch, or else the text of a configuration file."""
    value = _variable(name, arguments)
    if value:
        return value.lower() in YES
    pattern = rf"(?mi)(?:^|[{{,])\s*[\"']?{name}[\"']?\s*:\s*(true|yes|on)\b"
    return re.search(pattern, stored) is not None


def _variable(name: str, arguments: Sequence[str]) -> str:
    """Return the variable of a flag: that of the verb, whichever argument it is, or that of all."""
    names = (f"CVKIT_{each}_{name}".upper() for each in arguments if each.isidentifier())
    found = (os.environ.get(variable) for variable in (*names, f"CVKIT_{name}".upper()))
    return next(filter(None, found), "")


def _configuration(arguments: Sequence[str]) -> str:
    """Return the text of the configuration file that is named, if it can be read at all."""
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


def speaks() -> bool:
    """Return whether this process prints; of several that train together the first one does."""
    rank = os.environ.get("LOCAL_RANK", "0")
    return rank == "0" or not rank.isdecimal()


def failure_json(failure: CvkitError) -> str:
    """Return the line that `--json` prints on failure."""
    content = {"ok": False, "schema_version": SCHEMA_VERSION, **failure.content}
    return json.dumps(content | {"error": failure.as_json()}, allow_nan=False)


def answer_signals(arguments: Sequence[str]) -> None:
    """Make SIGINT and SIGTERM end the process at once, with an answer and the right code.

    There is nothing to save before a command handles signals itself. An exception would not do:
    libraries swallow it while they are imported.
    """
    _answer.as_json = how_to_talk(arguments)["json"]
    _answer.given = False
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)


class _Answer:
    """How a failure is answered, and whether it has been."""

    as_json = False
    given = False


_answer = _Answer()


def leave(number: int, frame: types.FrameType | None = None) -> NoReturn:
    """End the process at once with the answer to a signal, unless a failure was answered."""
    failure = Interrupted("interrupted", signal_number=number)
    if speaks() and not _answer.given:
        with contextlib.suppress(OSError):  # nobody listens
            os.write(2, b"error: interrupted\n")
        with contextlib.suppress(OSError):
            if _answer.as_json:
                os.write(1, f"{failure_json(failure)}\n".encode())
    os._exit(failure.exit_code)


def print_failure(failure: CvkitError, as_json: bool) -> None:
    """Print a failure: one line on stderr and, where that is asked for, an object on stdout.

    What cannot be written, to a full disk for example, is left out: the exit code tells it, too.
    """
    _answer.given = True
    if as_json:
        with contextlib.suppress(OSError):
            print(failure_json(failure), flush=True)
    with contextlib.suppress(OSError):
        print(f"error: {failure.shown()}", file=sys.stderr)


class _Messages(io.FileIO):
    """Stderr, on which a line that cannot be written must not end the work."""

    def write(self, data: "Buffer", /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise
            return memoryview(data).nbytes


def open_streams() -> None:
    """Give the process a stdin, stdout and stderr: the caller may have closed each of them.

    A file that is opened later would otherwise take the number, and the messages.
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
