"""Hugging Face's image folders with objects: `metadata.jsonl` with `objects` in each line.

They are `{"bbox": [[x, y, width, height], ...], "categories": [...]}` in pixels, as in COCO. A
number is a class of `classes.txt`, from 0, if there is one.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvkit.data.annotated import Annotations
from cvkit.data.classes import dataset_classes
from cvkit.data.decode import upright_size_hw
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.metadata_files import Row, have_column, read_metadata
from cvkit.data.outlines import Outline, OutlinedImage, annotate
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.structures import ClassList
from cvkit.texts import is_number, is_text, shown, whole_number

OBJECTS, BOXES = "objects", "bbox"
CLASSES = ("categories", "category", "labels", "label")
"""Names of the list of classes; the first that a row has is used."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has such files."""
    return have_column(place, (f'"{OBJECTS}"',))


def read(query: Query) -> Contents[Annotations]:
    """Return the splits; without any, all images may be divided."""
    root = query.root
    defects: list[CvkitError] = []
    listed, _ = dataset_classes(root)
    names = {str(number): name for number, name in enumerate(listed.names if listed else ())}
    images: list[tuple[str, OutlinedImage]] = []
    rows, known = read_metadata(root, defects)
    for row in rows:
        try:
            size_wh = upright_size_hw(row.path)[::-1]
            objects = objects_of(row, names)
        except CvkitError as defect:
            defects.append(of_sample(defect, row.path.relative_to(root).as_posix()))
            continue
        images.append((row.split, OutlinedImage(row.path, size_wh, objects)))
    classes = {each.name for _, image in images for each in image.objects}

    def read_split(split: str) -> Annotations:
        found = Annotations(ClassList((), (), ()), defects=[*defects])
        mine = [image for each, image in images if split in ("", each)]
        annotate(root, mine, classes, found, masks=query.masks)
        return found

    return Contents(known, None if known else "", read_split)


def objects_of(row: Row, names: dict[str, str]) -> list[Outline]:
    """Return the objects of an image.

    Args:
        row: of the image, with the column `objects`.
        names: of the classes, by their numbers.

    Raises:
        DataError: describes the first defect.
    """
    content = row.values.get(OBJECTS)
    objects: dict[str, Any] = content if isinstance(content, dict) else {}
    boxes = objects.get(BOXES)
    labels = next((objects[name] for name in CLASSES if name in objects), None)
    if not isinstance(boxes, list) or not isinstance(labels, list) or len(boxes) != len(labels):
        raise DataError(
            f"{row.where}: {OBJECTS} {shown(content)} are not boxes with a class each",
            code="list.bad_line",
            hint='{"bbox": [[x, y, width, height], ...], "categories": [...]}',
        )
    result = []
    for place, (box, label) in enumerate(zip(boxes, labels, strict=True)):
        where = f"{row.where}: {OBJECTS}[{place}]"
        if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
            raise DataError(f"{where}: {shown(box)} is not four numbers", code="bbox.length")
        number = whole_number(label) if not isinstance(label, bool) else None
        text = str(number) if number is not None else label
        if not is_text(text) or not text.strip():
            raise DataError(f"{where}: {shown(label)} is not a class", code="object.name_missing")
        x, y, width, height = map(float, box)
        if width < 0 or height < 0:
            text = f"{where}: box {shown(box)} has a negative width or height"
            raise DataError(text, code="bbox.nonpositive")
        name = names.get(text.strip(), text.strip())
        result.append(Outline(name, where, box=(x, y, x + width, y + height)))
    return result
