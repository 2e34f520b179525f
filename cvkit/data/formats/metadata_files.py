"""Hugging Face's `metadata.csv` and `metadata.jsonl`: a row for each image of a folder."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvkit.data.division import is_split
from cvkit.data.files import inside, matches
from cvkit.data.tables import read_rows
from cvkit.errors import CvkitError, DataError
from cvkit.texts import is_text, json_reason, read_lines, require_regular, shown

FILES = ("metadata.jsonl", "metadata.csv")
NAME = "file_name"
FIRST_BYTES = 65536


@dataclass(frozen=True)
class Row:
    """An image with what its row says.

    Attributes:
        where: file and line, for messages.
        path: of the image.
        split: that it belongs to; "" if none is named.
        values: by column.
    """

    where: str
    path: Path
    split: str
    values: dict[str, Any]


def tables(root: Path) -> list[Path]:
    """Return the files in a folder, or else those in the folders in it."""
    beside = [file for name in FILES for file in matches(root, name)]
    return beside or [file for name in FILES for file in matches(root, f"*/{name}")]


def have_column(root: Path, columns: Sequence[str]) -> bool:
    """Return whether the first line of a file names an image and one of some columns.

    A file that is empty or no text counts, too.
    """
    for file in tables(root):
        try:
            require_regular(file)
            with file.open("rb") as stream:
                first = stream.read(FIRST_BYTES).partition(b"\n")[0].decode(errors="replace")
        except (OSError, DataError):
            continue
        if not first.strip() or "\ufffd" in first or "\0" in first:
            return True  # the reader reports it
        if NAME in first and any(column in first for column in columns):
            return True
    return False


def read_metadata(root: Path, defects: list[CvkitError]) -> tuple[list[Row], list[str]]:
    """Return the rows of all files, and the splits that they name.

    Malformed rows and missing images are defects.
    """
    result: list[Row] = []
    splits: set[str] = set()
    seen: set[Path] = set()
    for file in tables(root):
        for where, values in _rows(file, defects):
            name = values.get(NAME)
            try:
                if not is_text(name) or not name:
                    text = f"{where}: {NAME} {shown(name)} is not a path"
                    raise DataError(text, code="image.file_name_type")
                path = inside(file.parent, name, file)
                first = path.relative_to(root).parts[0]
                split = first if is_split(first) else ""
                splits.add(split)
                if not path.is_file():
                    text = f"{where}: {shown(name)} does not exist"
                    raise DataError(text, code="image.missing", hint="add it, or remove the row")
                if path in seen:
                    text = f"{where}: {shown(name)} is listed twice"
                    raise DataError(text, code="split.duplicate")
            except DataError as defect:
                defects.append(defect)
                continue
            seen.add(path)
            result.append(Row(where, path, split, values))
    return result, sorted(splits - {""})


def _rows(file: Path, defects: list[CvkitError]) -> Iterable[tuple[str, dict[str, Any]]]:
    if file.suffix == ".csv":
        for number, row in enumerate(read_rows(file, (NAME,)), 1):
            yield f"{file}: row {number}", dict(row)
        return
    lines = read_lines(file, area="list")
    if not any(map(str.strip, lines)):
        raise DataError(f"{file} has no rows", code="list.empty")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            text = f"{file}:{number} is not JSON: {json_reason(error)}"
            defects.append(DataError(text, code="list.bad_line", hint="an object in each line"))
            continue
        if isinstance(row, dict):
            yield f"{file}:{number}", row
        else:
            text = f"{file}:{number}: {shown(row)} is not an object"
            defects.append(DataError(text, code="list.bad_line", hint="an object in each line"))
