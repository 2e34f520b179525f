"""Hugging Face's image folders with labels: `metadata.csv` or `metadata.jsonl` with a `label`.

A number is a class of `classes.txt`, from 0, if there is one.
"""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.classes import dataset_classes
from cvkit.data.classified import ClassifiedImage
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.metadata_files import have_column, read_metadata
from cvkit.errors import CvkitError, DataError, defects_of
from cvkit.texts import is_text, shown, whole_number

LABEL = "label"


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has such files."""
    return have_column(place, (f'"{LABEL}"', f",{LABEL}", f"{LABEL},"))


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the splits; without any, all images may be divided."""
    root = query.root
    defects: list[CvkitError] = []
    rows, known = read_metadata(root, defects)
    listed, _ = dataset_classes(root)
    names = {str(number): name for number, name in enumerate(listed.names if listed else ())}
    images: list[tuple[str, ClassifiedImage]] = []
    for row in rows:
        value = row.values.get(LABEL)
        number = whole_number(value) if not isinstance(value, bool) else None
        text = str(number) if number is not None else value
        if (
            not isinstance(text, str)
            or not is_text(text)
            or not text.strip()
            or not text.isprintable()
        ):
            reason = f"{row.where}: {LABEL} {shown(value)} cannot be a class"
            defects.append(DataError(reason, code="class.name"))
            continue
        key, label = row.path.relative_to(root).as_posix(), text.strip()
        images.append((row.split, ClassifiedImage(key, row.path, names.get(label, label))))
    found = defects_of(defects, str(root))

    def read_split(split: str) -> Listing[ClassifiedImage]:
        return Listing([image for each, image in images if split in ("", each)], (), found)

    heap = None if known else ""
    return Contents(known, heap, read_split, lambda: {image.label for _, image in images})
