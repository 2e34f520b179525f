"""Open Images: tables of the labels of whole images, and of the classes.

The tables are `SPLIT-annotations-...-imagelabels.csv`, with anything before the split, and
`*class-descriptions*.csv`. A label with the confidence 1 was confirmed, and others were refuted.
"""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.classified import ClassifiedImage
from cvkit.data.division import find_split
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.named_files import FilesByName, Named
from cvkit.data.formats.open_images import CLASSES, IMAGE, LABEL, files_of, names_of, tables_of
from cvkit.data.tables import read_rows
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.texts import counted, parse_number, shown

LABELS, CONFIDENCE = "imagelabels", "Confidence"


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has a table of labels and one of classes."""
    return bool(tables_of(place, LABELS) and files_of(place, CLASSES))


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the splits that have a table; every image has one label that was confirmed."""
    root, tables = query.root, tables_of(query.root, LABELS)
    names = names_of(root, boxable=False)
    files = FilesByName(root, query.walk)

    def read_split(split: str) -> Listing[ClassifiedImage]:
        return _labels(tables[split], names, files)

    def class_names() -> set[str]:
        both = filter(None, (find_split(name, tables) for name in ("train", "val")))
        return {image.label for split in both for image in read_split(split).images}

    return Contents([*tables], None, read_split, class_names)


def _labels(table: Path, names: dict[str, str], files: FilesByName) -> Listing[ClassifiedImage]:
    """Return the images of a table with their confirmed labels."""
    labels: dict[str, list[str]] = {}
    for row in read_rows(table, (IMAGE, LABEL, CONFIDENCE)):
        mine = labels.setdefault(row[IMAGE].strip(), [])
        if parse_number(row[CONFIDENCE].strip()) == 1:
            mine.append(row[LABEL].strip())
    defects: list[CvkitError] = []
    entries = []
    for image, found in labels.items():
        where = f"{table}: {shown(image)}"
        if len(found) != 1:
            text = f"{where} has {counted(len(found), 'confirmed label')}"
            error = DataError(text, code="list.bad_line", hint="every image has one class here")
            defects.append(of_sample(error, image))
        elif found[0] not in names:
            text = f"{where}: {shown(found[0])} is not one of the classes"
            defects.append(of_sample(DataError(text, code="class.unknown"), image))
        else:
            entries.append(Named(where, (image,), names[found[0]]))
    listing = files.listing(table, entries)
    return Listing(listing.images, (), [*defects, *listing.defects])
