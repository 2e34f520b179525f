"""How to answer before the command line has been read: to mistakes in it, and to signals."""

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


def how_to_talk(words: Sequence[str]) -> dict[str, bool]:
    """Return whether `json` and `debug` are asked for: by a word, a variable, or `--config`.

    A mistake in the rest of the command line must not change how it is told.
    """
    words = words[: words.index("--")] if "--" in words else words
    stored = _configuration(words)
    return {
        name: f"--{name}" in words or _by_variable(name, words, stored)
        for name in ("json", "debug")
    }


def _by_variable(name: str, words: Sequence[str], stored: str) -> bool:
    """Return what the variables say of a switch, or else the text of a configuration file."""
    value = _variable(name, words)
    if value:
        return value.lower() in YES
    pattern = rf"(?mi)(?:^|[{{,])\s*[\"']?{name}[\"']?\s*:\s*(true|yes|on)\b"
    return re.search(pattern, stored) is not None


def _variable(name: str, words: Sequence[str]) -> str:
    """Return the variable of a flag: that of the verb, whichever word it is, or that of all."""
    own = (f"CVKIT_{word}_{name}".upper() for word in words if word.isidentifier())
    found = (os.environ.get(variable) for variable in (*own, f"CVKIT_{name}".upper()))
    return next(filter(None, found), "")


def _configuration(words: Sequence[str]) -> str:
    """Return the text of the configuration file that is named, if it can be read at all."""
    name = _variable("config", words)
    for word, following in itertools.pairwise([*words, ""]):
        if word == "--config":
            name = following
        elif word.startswith("--config="):
            name = word.partition("=")[2]
    with contextlib.suppress(OSError, ValueError):  # what is wrong is told when it is used
        if os.path.isfile(name):  # a pipe could be read only once
            with open(name, "rb") as stream:
                return stream.read(1_000_000).decode(errors="replace")
    return ""


def speaks() -> bool:
    """Return whether this process speaks; of several that train together the first one does."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def failure_json(failure: CvkitError) -> str:
    """Return the line that `--json` prints on failure."""
    content = {"ok": False, "schema_version": SCHEMA_VERSION, **failure.content}
    return json.dumps(content | {"error": failure.as_json()}, allow_nan=False)


def answer_signals(words: Sequence[str]) -> None:
    """Make SIGINT and SIGTERM end the process at once, with an answer and the right code.

    There is nothing to save before a command handles signals itself. An exception would not do:
    libraries swallow it while they are imported.
    """
    as_json = how_to_talk(words)["json"]

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
