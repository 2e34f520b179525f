"""Instance masks as one PNG per image: images/SPLIT, masks/SPLIT, `instances.csv`, `classes.txt`.

Where masks overlap, the smaller object is on top.
"""

import io
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from cvkit import storage
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.writing.contract import Content, Feature, Item, Limit, write_class_names
from cvkit.data.writing.painting import painted
from cvkit.texts import write_rows

keeps: frozenset[Feature] = frozenset({"masks"})
limits: frozenset[Limit] = frozenset({"lines", "text"})


def place(item: Item[AnnotatedImage]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath("images", item.split, item.file_name)


def write(root: Path, content: Content[AnnotatedImage]) -> None:
    """Write a PNG per image, and the classes of their objects."""
    write_class_names(root, content.classes)
    rows: list[list[object]] = [["path", "instance", "class"]]
    for items in content.items.values():
        for item in items:
            truth = item.labels.truth
            numbers = np.arange(1, len(truth) + 1)
            values = painted(truth, numbers, item.size_wh[::-1])
            path = root / "masks" / item.split / f"{item.name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            with storage.whole_file(path) as stream:
                deep = len(truth) > 255
                Image.fromarray(values.astype(np.uint16 if deep else np.uint8)).save(stream, "PNG")
            seen = np.unique(values)
            for number in seen[seen > 0].tolist():
                name = content.classes.names[int(truth.labels[number - 1]) - 1]
                rows.append([str(place(item)), number, name])
    table = io.StringIO()
    write_rows(table, rows)
    storage.write_file(root / "instances.csv", table.getvalue())
