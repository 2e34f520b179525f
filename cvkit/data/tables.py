"""CSV tables, read strictly."""

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvkit.data.run_lengths import PIXELS
from cvkit.errors import CvkitError, DataError, raise_defects
from cvkit.texts import counted, read_text, require_regular, shown

LONGEST_CELL = 131_072
"""Maximum number of characters in a cell, except in tables of run-length codes."""
FIRST_BYTES = 4096
"""Bytes of a file in which the first line of a table ends."""


def columns_of(path: Path) -> list[str]:
    """Return the columns that the first line of a file names, whatever separates them.

    There are none if it cannot be read.
    """
    try:
        require_regular(path)
        with path.open("rb") as stream:
            first = stream.read(FIRST_BYTES).partition(b"\n")[0]
    except (OSError, DataError):
        return []
    return [name.strip(' \r"') for name in re.split("[,;\t]", first.decode("utf-8-sig", "replace"))]


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Return the checked rows of a CSV table as dictionaries; see `numbered_rows`."""
    return [row for _, row in numbered_rows(path, needed)]


def numbered_rows(path: Path, needed: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """Return the checked rows of a CSV table as dictionaries, with the number of their line.

    Empty lines are skipped; of a row over several lines, the number is that of the last one.

    Raises:
        DataError: unreadable, empty, or with a missing or repeated column; or lists all unusable
            rows.
    """
    rows: list[tuple[int, dict[str, str]]] = []
    defects: list[CvkitError] = []
    text = read_text(path, area="list")
    if not text.strip():
        raise DataError(f"{path} is empty", code="list.empty")
    codes = PIXELS in text.partition("\n")[0]
    csv.field_size_limit(len(text) if codes else LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    columns = [name.strip() for name in _next(reader, path) or ()]
    _require_commas(columns, path)
    _check_columns(columns, needed, path)
    while (cells := _next(reader, path)) is not None:
        where = f"{path}:{reader.line_num}"
        if not cells:
            continue
        if len(cells) != len(columns):
            reason = f"the row has {counted(len(cells), 'cell')} instead of {len(columns)}"
            defects.append(DataError(f"{where}: {reason}", code="list.bad_line"))
            continue
        row = dict(zip(columns, cells, strict=True))
        if wrong := [name for name in columns if "\0" in row[name]]:
            reason = f"{wrong[0]} has a NUL character"
            defects.append(DataError(f"{where}: {reason}", code="list.bad_line"))
        elif empty := [name for name in needed if not row[name].strip()]:
            defects.append(DataError(f"{where}: {empty[0]} is empty", code="list.bad_line"))
        else:
            rows.append((reader.line_num, row))
    raise_defects(defects, str(path))
    if not rows:
        raise DataError(f"{path} has no rows", code="list.empty")
    return rows


def _next(reader: Any, path: Path) -> list[str] | None:
    """Return the next row; None at the end.

    Raises:
        DataError: the rest is not CSV.
    """
    try:
        return next(reader, None)
    except csv.Error as error:
        raise DataError(
            f"{path}:{reader.line_num} is not CSV: {error}", code="list.unreadable"
        ) from error


def _require_commas(columns: list[str], path: Path) -> None:
    """Check that a first line is not that of a table with another separator, or of JSON.

    Raises:
        DataError: it is.
    """
    if columns and columns[0].startswith(("{", "[")):
        raise DataError(f"{path} is JSON, not a CSV table", code="list.unreadable")
    for name, separator in (("semicolons", ";"), ("tabs", "\t")):
        if len(columns) == 1 and separator in columns[0]:
            raise DataError(
                f"{path} has {name} between its columns",
                code="list.separator",
                hint="columns are separated by commas, and decimals have a point",
            )


def _check_columns(columns: list[str], needed: Sequence[str], path: Path) -> None:
    """Check the names of the columns.

    Raises:
        DataError: a required column is missing, or one occurs twice.
    """
    lacking = [name for name in needed if name not in columns]
    if lacking:
        raise DataError(
            f"{path} has no column {lacking[0]!r}",
            code="list.column",
            hint=f"its first line has {shown(', '.join(columns)) if columns else 'nothing'}",
        )
    twice = [name for name, count in Counter(columns).items() if count > 1]
    if twice:
        raise DataError(f"{path} has two columns {shown(twice[0])}", code="list.column")
