"""The search for a sign in annotation files, without reading them completely."""

import re
from collections.abc import Iterable
from pathlib import Path

from cvkit.errors import DataError
from cvkit.texts import require_regular

CHUNK_BYTES = 1_000_000
LONGEST_BYTES = 1000
"""Length of the longest sign that is found where two chunks meet."""


def any_has(files: Iterable[Path], sign: re.Pattern[bytes]) -> bool:
    """Return whether a pattern occurs in one of the files; unreadable files have none."""
    return any(_has(file, sign) for file in files)


def _has(file: Path, sign: re.Pattern[bytes]) -> bool:
    try:
        require_regular(file)
        with file.open("rb") as stream:
            end = b""
            while chunk := stream.read(CHUNK_BYTES):
                if sign.search(end + chunk):
                    return True
                end = chunk[-LONGEST_BYTES:]
    except (OSError, DataError):  # the reader of the format reports it
        return False
    return False
