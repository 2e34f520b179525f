"""Folders of pictures that are videos."""

import re
from collections.abc import Sequence
from pathlib import Path

from cvkit.data.decode import needed_bits
from cvkit.data.files import IMAGE_SUFFIXES, is_hidden


def frame_files(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of the numbers in their names."""
    files = [
        path
        for path in folder.iterdir()
        if path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path.name)
    ]
    parts = re.compile(r"(\d+)")

    def key(path: Path) -> list[tuple[int, int, str]]:
        return [(1, int(p), "") if p.isdecimal() else (0, 0, p) for p in parts.split(path.name)]

    return sorted(files, key=key)


def frame_bits(files: Sequence[Path]) -> int | None:
    """Return the bits that all pictures of a video need; see `needed_bits` of the first one."""
    first = needed_bits(files[0])
    return first and max(needed_bits(file) or 8 for file in files)
