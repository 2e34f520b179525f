"""Folders of frames, which are read as videos."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from cvkit.data.decode import needed_bits
from cvkit.data.files import IMAGE_SUFFIXES, is_hidden, refuse


def frame_files(folder: Path) -> list[Path]:
    """Return the frames of a folder in the order of the numbers in their names.

    Raises:
        DataError: the folder cannot be read.
    """
    try:
        names = os.listdir(folder)
    except OSError as error:
        refuse(error)
    paths = (folder / name for name in names if not is_hidden(name))
    files = [path for path in paths if path.suffix.lower() in IMAGE_SUFFIXES]
    parts = re.compile(r"(\d+)")

    def key(path: Path) -> list[tuple[int, int, str]]:
        return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts.split(path.name)]

    return sorted(files, key=key)


def frame_bits(files: Sequence[Path]) -> int | None:
    """Return the bits that all frames of a video need; see `needed_bits`."""
    first = needed_bits(files[0])
    return first and max(needed_bits(file) or 8 for file in files)
