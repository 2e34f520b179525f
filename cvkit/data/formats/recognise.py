"""Which format a dataset has."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvkit.data.formats.contract import Reader
from cvkit.errors import DataError, UsageError
from cvkit.format_table import FORMATS, Truth


def reader_of(truth: Truth, name: str) -> Reader:
    """Return the module of a format.

    Args:
        truth: what the dataset says of its images.
        name: of the format.
    """
    module: Any = importlib.import_module(FORMATS[truth][name].module)
    return module


def detect_format(
    truth: Truth,
    place: Path,
    wanted: str = "auto",
    splits: Sequence[str] = (),
    flag: str = "--data",
) -> str:
    """Return the name of a dataset's format: what it looks like, or what `wanted` says.

    Args:
        truth: what the dataset says of its images.
        place: its folder, or a file that stands for it.
        wanted: a name, or `auto`.
        splits: that are asked for.
        flag: what names the dataset, for messages.

    Raises:
        DataError: there is nothing, or it has none of the formats.
        UsageError: a file of another format than the wanted one.
    """
    rows = FORMATS[truth]
    if place.is_file():
        suffix = place.suffix.lower()
        if name := next((name for name, row in rows.items() if suffix in row.files), None):
            return _agreed(name, wanted, place)
    if not place.is_dir():
        suffixes = " or ".join(suffix for row in rows.values() for suffix in row.files)
        raise DataError(
            f"{flag} {place} is not a folder" + (f" or a {suffixes} file" if suffixes else ""),
            code="data.missing",
            hint="check it",
        )
    if wanted != "auto":
        return wanted
    for name in sorted(rows, key=lambda name: rows[name].last):
        if reader_of(truth, name).looks_like(place, splits):
            return name
    raise DataError(
        f"{flag} {place} has no known layout",
        code="data.layout",
        hint="; ".join(f"{name}: {row.about}" for name, row in rows.items()),
    )


def _agreed(name: str, wanted: str, file: Path) -> str:
    """Return the format of a file.

    Raises:
        UsageError: another one is wanted.
    """
    if wanted in ("auto", name):
        return name
    raise UsageError(
        f"--format {wanted}: {file} is a file of the format {name}",
        code="format.file",
        hint=f"--format {name}, or leave it out",
    )
