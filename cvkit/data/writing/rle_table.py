"""Kaggle's run-length tables: `SPLIT.csv` with a row per object, images in a folder per split.

An image without objects has a row with an empty code. If there is only one class, `classes.txt`
alone names it.
"""

import io
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from cvkit import storage
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.classes import BACKGROUND
from cvkit.data.formats.rle_table import CLASS, IMAGE
from cvkit.data.run_lengths import PIXELS, write_runs
from cvkit.data.writing.contract import Content, Feature, Item, Limit, write_class_names
from cvkit.ops.rle import run_lengths
from cvkit.structures import Masks
from cvkit.texts import write_rows

keeps: frozenset[Feature] = frozenset({"masks", "overlaps"})
limits: frozenset[Limit] = frozenset({"lines", "text"})
WHOLE = "masks"
"""Name of the table of data without splits."""
T = TypeVar("T")
Codes = Iterable[tuple[str, bytes]]
"""Class and COCO's run-length code of each object of an image."""


def place(item: Item[Any]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath(item.split or "images", item.file_name)


def write(root: Path, content: Content[AnnotatedImage]) -> None:
    """Write a table per split, and the classes."""
    names = content.classes.names
    write_tables(root, content, names, lambda image: _codes(image, names))


def write_tables(
    root: Path, content: Content[T], objects: tuple[str, ...], codes: Callable[[T], Codes]
) -> None:
    """Write a table per split, and the classes.

    Args:
        root: of the dataset.
        content: of the dataset.
        objects: names of all classes but the background.
        codes: returns the objects in the labels of an image.
    """
    write_class_names(root, content.classes)
    named = len(objects) != 1 or objects[0].lower() in BACKGROUND
    for split, items in content.items.items():
        rows = [[IMAGE, PIXELS, *([CLASS] if named else [])]]
        for item in items:
            found = [(write_runs(run_lengths(code)), name) for name, code in codes(item.labels)]
            for code, name in [each for each in found if each[0]] or [("", "")]:
                rows.append([item.file_name, code, *([name] if named else [])])
        table = io.StringIO()
        write_rows(table, rows)
        storage.write_file(root / f"{split or WHOLE}.csv", table.getvalue())


def _codes(image: AnnotatedImage, names: tuple[str, ...]) -> Codes:
    truth = image.truth
    if not isinstance(truth.masks, Masks):
        return ()
    labels = [names[label - 1] for label in truth.labels.tolist()]
    return zip(labels, truth.masks.codes, strict=True)
