"""Images or videos listed in a CSV table with the columns path, label and perhaps split.

There may be a table for each split instead, such as train.csv and val.csv. Paths are relative to
the table. Columns `start` and `end` give parts of videos, in seconds. Other
names of the two columns are known too; instead of a label there may be a column for each class, one
of which is 1 in every row.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cvkit.data.classified import ClassifiedImage
from cvkit.data.division import ALL, is_split
from cvkit.data.files import inside, matches
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.labelled import missing_files
from cvkit.data.tables import columns_of, read_rows
from cvkit.errors import CvkitError, DataError, defects_of
from cvkit.texts import counted, parse_number, shown

TABLE = "labels.csv"
"""Name of the table of a folder, unless there is one for each split."""
PATHS = ("path", "image", "filename", "file_name", "file", "image_path", "image_id", "video")
LABELS = ("label", "class", "class_name", "category")
"""Names of the columns; the first that a table has is used."""
BESIDE = ("split", "start", "end")
BOXES = ("xmin", "x_min", "x1")
"""Columns of tables that list objects."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a dataset is a table, or a folder with one or with one for each split."""
    return place.is_file() or (place / TABLE).is_file() or bool(_of_splits(place))


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the rows of a table by split; without splits all of them may be divided.

    Raises:
        DataError: the table cannot be read, or has malformed rows.
    """
    root = query.root
    apart = {} if root.is_file() or (root / TABLE).is_file() else _of_splits(root)
    if apart:
        table = _joined([_read_table(file, split) for split, file in apart.items()])
    else:
        table = _read_table(root if root.is_file() else root / TABLE)
    known = sorted(table.splits)

    def read_split(wanted: str) -> Listing[ClassifiedImage]:
        whole = not known or wanted == ALL
        images = [image for split, image in table.images if whole or split == wanted]
        return Listing(images, table.notes, table.defects)

    def class_names() -> set[str]:
        return {image.label for _, image in table.images}

    heap = None if known else ""
    return Contents([*known, ALL] if known else [], heap, read_split, class_names)


@dataclass(frozen=True)
class _Table:
    """The images of a table, each with its split; the splits of all rows; remarks and defects."""

    images: list[tuple[str | None, ClassifiedImage]]
    splits: set[str]
    notes: list[str]
    defects: list[CvkitError]


def _of_splits(root: Path) -> dict[str, Path]:
    """Return the tables that are named after splits, if one of them has the usual columns."""
    files = [file for file in matches(root, "*.csv") if is_split(file.stem)]
    return {file.stem: file for file in files} if any(map(_lists_samples, files)) else {}


def _lists_samples(file: Path) -> bool:
    columns = {*columns_of(file)}
    return bool(columns & {*PATHS} and columns & {*LABELS}) and not columns & {*BOXES}


def _joined(tables: Sequence[_Table]) -> _Table:
    """Return the tables of a dataset's splits as one."""
    return _Table(
        [image for table in tables for image in table.images],
        {split for table in tables for split in table.splits},
        [note for table in tables for note in table.notes],
        [defect for table in tables for defect in table.defects],
    )


def _read_table(path: Path, name: str | None = None) -> _Table:
    """Return the content of a table.

    Args:
        path: of the table.
        name: of the split of rows that do not give one.

    Raises:
        DataError: see `read_rows`.
    """
    rows, notes = _usual(read_rows(path, ()), path)
    root, images = path.parent, []
    splits = {split for row in rows if (split := row.get("split", name)) is not None}
    missing: dict[str, str] = {}
    defects: list[CvkitError] = []
    for row in rows:
        try:
            file, seconds = inside(root, row["path"], path), _seconds(row, path)
        except DataError as defect:
            defects.append(defect)
            continue
        key = row["path"] if seconds is None else f"{row['path']}#{seconds[0]:g}-{seconds[1]:g}"
        image = ClassifiedImage(key, file, row["label"].strip(), seconds)
        images.append((row.get("split", name), image))
        missing |= {} if file.exists() else {row["path"]: key}
    found = defects_of(defects, str(path))
    found += missing_files(path, missing, "paths are relative to the table")
    counts = Counter(image.key for _, image in images)
    for key, times in counts.most_common():
        if times > 1:
            found.append(DataError(f"{path} lists {key!r} twice", code="split.duplicate"))
    return _Table(images, splits, notes, found)


def _usual(rows: list[dict[str, str]], path: Path) -> tuple[list[dict[str, str]], list[str]]:
    """Return rows with the columns path and label, and a note if they have other names.

    Raises:
        DataError: no such columns, or empty cells.
    """
    columns = list(rows[0])
    place = next((name for name in PATHS if name in columns), "path")
    label = next((name for name in LABELS if name in columns), "label")
    classes = [name for name in columns if name != place and name not in BESIDE]
    if place in columns and label not in columns and len(classes) > 1 and _are_marks(rows, classes):
        result = [row | {"path": row[place], "label": _marked(row, classes, path)} for row in rows]
        note = f"{path}: {place} is read as the path, and each other column as a class"
        return result, [f"{note}: {shown(', '.join(classes))}"]
    rows = read_rows(path, (place, label))
    if (place, label) == ("path", "label"):
        return rows, []
    note = f"{path}: {place} is read as the path, and {label} as the class"
    return [row | {"path": row[place], "label": row[label]} for row in rows], [note]


def _are_marks(rows: list[dict[str, str]], classes: Sequence[str]) -> bool:
    return all(parse_number(row[name].strip()) in (0, 1) for row in rows for name in classes)


def _marked(row: dict[str, str], classes: Sequence[str], path: Path) -> str:
    """Return the class whose column is 1.

    Raises:
        DataError: none, or several.
    """
    marked = [name for name in classes if parse_number(row[name].strip()) == 1]
    if len(marked) != 1:
        count = counted(len(marked), "class", "classes")
        raise DataError(
            f"{path}: {shown(next(iter(row.values())))} has {count}",
            code="list.bad_line",
            hint="every image has exactly one class here",
        )
    return marked[0]


def _seconds(row: dict[str, str], path: Path) -> tuple[float, float] | None:
    """Return the part of a video given by the cells `start` and `end` of a row.

    Raises:
        DataError: they are not increasing times.
    """
    cells = [(row.get(name) or "").strip() for name in ("start", "end")]
    if not any(cells):
        return None
    start, end = parse_number(cells[0] or "0"), parse_number(cells[1] or "inf")
    if start is None or end is None or not 0 <= start < end:
        raise DataError(
            f"{path}: {row['path']}: from {shown(cells[0])} to {shown(cells[1])} is not a part "
            "of a video",
            code="list.bad_line",
            hint="start and end are in seconds, end after start",
        )
    return start, end
