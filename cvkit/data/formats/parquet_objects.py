"""Hugging Face's datasets of images with boxes in parquet files: `image` and `objects`.

Objects are `{"bbox": [[x, y, width, height], ...], "category": [...]}` in pixels, or a list of one
struct each. A number is a class of the schema's metadata, or else of `classes.txt`, from 0.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvkit.data.annotated import Annotations
from cvkit.data.classes import dataset_classes
from cvkit.data.decode import upright_size_hw
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.image_folder_objects import BOXES, CLASSES, OBJECTS, objects_of
from cvkit.data.formats.metadata_files import Row
from cvkit.data.formats.parquet_tables import (
    Table,
    class_names,
    common_names,
    has_column,
    outside_names,
    read_tables,
)
from cvkit.data.outlines import Outline, OutlinedImage, annotate
from cvkit.data.pages import page_path
from cvkit.data.parquet_files import read_column
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.structures import ClassList
from cvkit.texts import whole_number

Objects = list[tuple[Path, list[Outline]]]


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has parquet files with objects, or without labels."""
    return has_column(place, (OBJECTS,), ("label", "labels"))


def read(query: Query) -> Contents[Annotations]:
    """Return the splits; without any, all images may be divided."""
    root = query.root
    tables = read_tables(query, "boxes")
    names = common_names(tables, lambda table: _names(table))
    listed, _ = dataset_classes(root)
    numbered = dict(enumerate(names or (listed.names if listed else ())))
    found: dict[str, Objects] = {}
    for split, members in tables.tables.items():
        found[split] = []
        for table in members:
            try:
                found[split] += _objects(table, names, numbered, tables.defects[split])
            except DataError as error:
                tables.defects[split].append(error)
    classes = {each.name for rows in found.values() for _, objects in rows for each in objects}

    def read_split(split: str) -> Annotations:
        result = Annotations(ClassList((), (), ()), defects=[*tables.defects.get(split, ())])
        result.notes += tables.notes
        images = []
        for path, objects in found.get(split, ()):
            try:
                images.append(OutlinedImage(path, upright_size_hw(path)[::-1], objects))
            except CvkitError as error:
                result.defects.append(of_sample(error, path.relative_to(root).as_posix()))
        annotate(root, images, classes, result, masks=query.masks, order=names)
        return result

    return Contents(tables.known, None if tables.known else "", read_split)


def _names(table: Table) -> tuple[str, ...]:
    return class_names(table, table.column((OBJECTS,)), CLASSES)


def _objects(
    table: Table, names: Sequence[str], numbered: dict[int, str], defects: list[CvkitError]
) -> Objects:
    """Return the objects of the images of a file; malformed rows are defects."""
    result = []
    texts = {str(number): name for number, name in numbered.items()}
    for number, value in enumerate(read_column(table.file, OBJECTS), 1):
        where, path = f"{table.file}: row {number}", page_path(table.file, number)
        objects = _by_field(value)
        try:
            for label in _labels(objects) if names else ():
                if whole_number(label) not in numbered:
                    raise outside_names(where, label, names)
            outlines = objects_of(Row(where, path, "", {OBJECTS: objects}), texts)
        except DataError as error:
            defects.append(table.of_row(error, number))
            continue
        if number not in table.lost:
            result.append((path, outlines))
    return result


def _by_field(value: Any) -> Any:
    """Return a list of structs as a struct of lists."""
    if not isinstance(value, list):
        return value
    rows = [each if isinstance(each, dict) else {} for each in value]
    fields = dict.fromkeys(name for each in rows for name in each) or (BOXES, CLASSES[0])
    return {name: [each.get(name) for each in rows] for name in fields}


def _labels(objects: Any) -> list[Any]:
    """Return the classes of objects; none if these are malformed, which is reported elsewhere."""
    if not isinstance(objects, dict):
        return []
    found = next((objects[name] for name in CLASSES if name in objects), None)
    return found if isinstance(found, list) else []
