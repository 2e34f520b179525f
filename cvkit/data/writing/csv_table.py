"""A table `labels.csv` with path, label and split; for parts of videos also start and end."""

import io
from pathlib import Path, PurePosixPath

from cvkit import storage
from cvkit.data.classified import ClassifiedImage
from cvkit.data.writing.contract import Content, Feature, Item, Limit, write_class_names
from cvkit.texts import write_rows

keeps: frozenset[Feature] = frozenset({"parts"})
limits: frozenset[Limit] = frozenset({"lines", "text"})


def place(item: Item[ClassifiedImage]) -> PurePosixPath:
    """Return where the image or video of a sample lies."""
    return PurePosixPath("files", item.split, item.file_name)


def write(root: Path, content: Content[ClassifiedImage]) -> None:
    """Write the table."""
    write_class_names(root, content.classes)
    whole = list(content.items) == [""]
    timed = any(item.labels.seconds for items in content.items.values() for item in items)
    rows = [["path", "label", *([] if whole else ["split"]), *(["start", "end"] if timed else [])]]
    for split, items in content.items.items():
        for item in items:
            times = [repr(value) for value in item.labels.seconds or ()] or ["", ""]
            rows.append(
                [
                    str(place(item)),
                    item.labels.label,
                    *([] if whole else [split]),
                    *(times if timed else []),
                ]
            )
    table = io.StringIO()
    write_rows(table, rows)
    storage.write_file(root / "labels.csv", table.getvalue())
