"""Something-Something v2: labels.json, train.json and validation.json, and videos by their ids.

Classes are in the order of `labels.json`. The videos may be anywhere in the dataset's folder.
"""

import functools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cvkit.data.classified import ClassifiedImage
from cvkit.data.files import matches
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.named_files import FilesByName, Named
from cvkit.errors import CvkitError, DataError, defects_of
from cvkit.texts import is_text, read_json, shown, whole_number

NAMES = "labels.json"
SPLITS = {"train.json": "train", "validation.json": "val"}


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder, or one of its folders, has the files."""
    return _folder(place) is not None


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the splits that have a file.

    Raises:
        DataError: `labels.json` is malformed.
    """
    root, folder = query.root, _folder(query.root) or query.root
    classes = _classes(folder / NAMES)
    files = FilesByName(root, query.walk)
    lists = {split: folder / name for name, split in SPLITS.items() if (folder / name).is_file()}

    def read_split(split: str) -> Listing[ClassifiedImage]:
        defects: list[CvkitError] = []
        entries = [*_entries(lists[split], classes, defects)]
        found = files.listing(lists[split], entries)
        return Listing(found.images, (), [*defects_of(defects, str(root)), *found.defects])

    @functools.cache
    def ordered() -> tuple[str, ...]:
        return tuple(classes)

    return Contents([*lists], None, read_split, ordered, ordered=ordered)


def _folder(root: Path) -> Path | None:
    """Return the folder with the files."""
    for names in matches(root, NAMES) + matches(root, f"*/{NAMES}"):
        if any((names.parent / name).is_file() for name in SPLITS):
            return names.parent
    return None


def _classes(file: Path) -> list[str]:
    """Return the classes in the order of their numbers.

    Raises:
        DataError: they are not numbered from 0.
    """
    content = read_json(file)
    pairs = content.items() if isinstance(content, dict) else ()
    numbers = {whole_number(number): name for name, number in pairs}
    if (
        not numbers
        or {*numbers} != {*range(len(pairs))}
        or not all(name.strip() for name, _ in pairs)
    ):
        raise DataError(
            f"{file} does not number classes from 0",
            code="classes.syntax",
            hint="an object of names and numbers",
        )
    return [numbers[number] for number in range(len(numbers))]


def _entries(file: Path, classes: Sequence[str], defects: list[CvkitError]) -> Iterable[Named]:
    """Yield the videos of a file; malformed entries are defects."""
    rows: Any = read_json(file)
    if not isinstance(rows, list):
        defects.append(DataError(f"{file} is not a list of videos", code="list.bad_line"))
        return
    known = {*classes}
    for place, row in enumerate(rows):
        where = f"{file}: [{place}]"
        values = [row.get(name) if isinstance(row, dict) else None for name in ("id", "template")]
        number, template = (str(v) if type(v) is int else v for v in values)
        if (
            not isinstance(number, str)
            or not isinstance(template, str)
            or not (is_text(number) and is_text(template))
        ):
            reason = f"{where}: {shown(row)} does not give a video and its template"
            defects.append(DataError(reason, code="list.bad_line", hint="id and template"))
            continue
        label = template.replace("[", "").replace("]", "")
        if label not in known:
            reason = f"{where}: {shown(label)} is not in {NAMES}"
            defects.append(DataError(reason, code="class.unknown", hint=f"correct {NAMES}"))
            continue
        yield Named(where, (number,), label)
