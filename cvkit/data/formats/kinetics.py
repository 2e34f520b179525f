"""Kinetics: tables with the columns label, youtube_id, time_start, time_end and split.

There is a table for each split, or one for all. A video is called `ID_000001_000011`, with its
times in seconds, or `ID`, and may be anywhere in the dataset's folder.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cvkit.data.classified import ClassifiedImage
from cvkit.data.division import is_split
from cvkit.data.files import matches
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.named_files import FilesByName, Named
from cvkit.data.tables import columns_of, read_rows
from cvkit.errors import CvkitError, DataError, defects_of
from cvkit.texts import parse_number, shown

COLUMNS = ("label", "youtube_id", "time_start", "time_end")


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder, or one of its folders, has such a table."""
    return bool(_tables(place))


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the splits; without a column for them, they have the names of the tables."""
    root = query.root
    files = FilesByName(root, query.walk)
    rows = [(file, row) for file in _tables(root) for row in read_rows(file, COLUMNS)]
    names = {_split_of(file, row) for file, row in rows} - {""}

    def read_split(split: str) -> Listing[ClassifiedImage]:
        mine = [(file, row) for file, row in rows if _split_of(file, row) == split or not names]
        defects: list[CvkitError] = []
        found = files.listing(mine[0][0], [*_entries(mine, defects)])
        return Listing(found.images, (), [*defects_of(defects, str(root)), *found.defects])

    def class_names() -> set[str]:
        return {row["label"].strip() for _, row in rows}

    return Contents(sorted(names), None if names else "", read_split, class_names)


def _tables(root: Path) -> list[Path]:
    files = [*matches(root, "*.csv"), *matches(root, "*/*.csv")]
    return [file for file in files if {"youtube_id", "label"} <= {*columns_of(file)}]


def _split_of(file: Path, row: dict[str, str]) -> str:
    return (row.get("split") or (file.stem if is_split(file.stem) else "")).strip()


def _entries(
    rows: Sequence[tuple[Path, dict[str, str]]], defects: list[CvkitError]
) -> Iterable[Named]:
    """Yield the videos of rows; malformed times are defects."""
    for file, row in rows:
        name, where = row["youtube_id"].strip(), f"{file}: {row['youtube_id']}"
        start, end = (parse_number(row[side].strip()) for side in COLUMNS[2:])
        if start is None or end is None or not 0 <= start < end < 10**6:
            times = f"{shown(row['time_start'])} to {shown(row['time_end'])}"
            reason = f"{where}: {times} is not a part of a video"
            defects.append(DataError(reason, code="list.bad_line", hint="times are in seconds"))
            continue
        yield Named(where, (f"{name}_{start:06.0f}_{end:06.0f}", name), row["label"].strip())
