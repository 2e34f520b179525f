"""CSV tables, read strictly."""

import csv
from collections.abc import Sequence
from pathlib import Path

from cvkit.errors import DataError


def read_rows(path: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    """Return the rows of a CSV table as dicts, checked.

    Raises:
        DataError: unreadable, empty, without a needed column, or with a row that lacks cells.
    """
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream)
            reader.fieldnames = columns = [name.strip() for name in reader.fieldnames or ()]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"cannot read {path}: {error}", code="list.unreadable") from error
    lacking = [name for name in needed if name not in columns]
    if lacking:
        raise DataError(
            f"{path} has no column {lacking[0]!r}",
            code="list.column",
            hint=f"its first line names {', '.join(columns) or 'nothing'}",
        )
    if not rows:
        raise DataError(f"{path} has no rows", code="list.empty")
    for number, row in enumerate(rows, 2):
        if None in row or any(value is None for value in row.values()):
            raise DataError(
                f"{path}:{number}: the row does not have {len(columns)} cells", code="list.bad_line"
            )
        empty = [name for name in needed if not row[name].strip()]
        if empty:
            raise DataError(f"{path}:{number}: {empty[0]} is empty", code="list.bad_line")
    return rows
