"""Hugging Face's datasets of images with classes in parquet files: `image` and `label`.

A number is a class of the schema's metadata, or else of `classes.txt`, from 0.
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvkit.data.classes import dataset_classes
from cvkit.data.classified import ClassifiedImage
from cvkit.data.division import find_split
from cvkit.data.files import walk_videos
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.parquet_tables import (
    Table,
    class_names,
    common_names,
    has_column,
    outside_names,
    read_tables,
)
from cvkit.data.pages import page_path
from cvkit.data.parquet_files import read_column
from cvkit.errors import CvkitError, DataError, UsageError
from cvkit.texts import is_text, shown, whole_number

LABELS = ("label", "labels")


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has parquet files with labels, or without objects."""
    return has_column(place, LABELS, ("objects",))


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the splits; without any, all images may be divided.

    Raises:
        UsageError: videos are wanted.
    """
    if query.walk is walk_videos:
        raise UsageError(
            f"{query.flags.place} {query.root} has parquet files with images",
            code="data.parquet",
            hint="use 'cvkit classify'",
        )
    tables = read_tables(query, "classes")
    names = common_names(tables, lambda table: class_names(table, table.column(LABELS)))
    listed, _ = dataset_classes(query.root)
    numbered = {str(number): name for number, name in enumerate(listed.names if listed else ())}

    @functools.cache
    def read_split(split: str) -> Listing[ClassifiedImage]:
        defects = [*tables.defects.get(split, ())]
        images: list[ClassifiedImage] = []
        for table in tables.tables.get(split, ()):
            try:
                images += _images(table, names, numbered, defects)
            except DataError as error:
                defects.append(error)
        return Listing(images, tables.notes, defects)

    def labels() -> Sequence[str]:
        if names:
            return names
        both = filter(None, (find_split(split, tables.known) for split in ("train", "val")))
        return [image.label for split in both for image in read_split(split).images]

    heap = None if tables.known else ""
    return Contents(tables.known, heap, read_split, labels, ordered=lambda: names or None)


def _images(
    table: Table, names: Sequence[str], numbered: dict[str, str], defects: list[CvkitError]
) -> list[ClassifiedImage]:
    """Return the images of a file; labels that are not classes are defects."""
    result = []
    for row, value in enumerate(read_column(table.file, table.column(LABELS)), 1):
        try:
            label = _label(value, names, numbered, f"{table.file}: row {row}")
        except DataError as error:
            defects.append(table.of_row(error, row))
            continue
        if row not in table.lost:
            path = page_path(table.file, row)
            result.append(ClassifiedImage(f"{table.key}#{row}", path, label))
    return result


def _label(value: Any, names: Sequence[str], numbered: dict[str, str], where: str) -> str:
    """Return the class of an image.

    Raises:
        DataError: `parquet.label` or `class.name`.
    """
    number = None if isinstance(value, bool) else whole_number(value)
    if names:
        if number is None or not 0 <= number < len(names):
            raise outside_names(where, value, names)
        return names[number]
    text = str(number) if number is not None else value
    if not isinstance(text, str) or not is_text(text) or not text.strip() or not text.isprintable():
        raise DataError(f"{where}: label {shown(value)} cannot be a class", code="class.name")
    return numbered.get(text.strip(), text.strip())
