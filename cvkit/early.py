"""How mistakes and signals are answered before the command line has been read."""

import contextlib
import itertools
import json
import os
import re
import signal
import types
from collections.abc import Sequence

from cvkit.errors import CvkitError, Interrupted

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
    return os.environ.get("LOCAL_RANK", "0") == "0"


def failure_json(failure: CvkitError) -> str:
    """Return the line that `--json` prints on failure."""
    content = {"ok": False, "schema_version": SCHEMA_VERSION, **failure.content}
    return json.dumps(content | {"error": failure.as_json()}, allow_nan=False)


def answer_signals(arguments: Sequence[str]) -> None:
    """Make SIGINT and SIGTERM end the process at once, with an answer and the right code.

    There is nothing to save before a command handles signals itself. An exception would not do:
    libraries swallow it while they are imported.
    """
    as_json = how_to_talk(arguments)["json"]

    def leave(number: int, frame: types.FrameType | None) -> None:
        failure = Interrupted("interrupted", signal_number=number)
        with contextlib.suppress(OSError):  # nobody listens
            if speaks():
                os.write(2, b"error: interrupted\n")
            if speaks() and as_json:
                os.write(1, f"{failure_json(failure)}\n".encode())
        os._exit(failure.exit_code)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, leave)
