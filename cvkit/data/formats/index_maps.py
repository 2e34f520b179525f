"""Instance masks as one PNG per image: 0 is background, every other value one object.

Images are in `images/SPLIT`, their PNGs (8 or 16 bits) under the same names in `masks/SPLIT`. By
default all objects belong to one class. `instances.csv` in the dataset's folder gives
classes: a row for each object with `path` (of the image, relative to the folder), `instance`
(its value in the PNG) and `class`.
"""

from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import AnnotatedImage, Annotations, make_truth
from cvkit.data.classes import dataset_classes, object_classes, without_background
from cvkit.data.decode import decode, open_image, upright_size_hw
from cvkit.data.formats import pairs
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.image_tree import folder_parts, shared_labels
from cvkit.data.known import Known
from cvkit.data.labelled import LabelledImage
from cvkit.data.notes import Note
from cvkit.data.tables import read_rows
from cvkit.errors import CvkitError, DataError, of_sample, raise_defects
from cvkit.ops.rle import from_index_map, make_masks, mask_areas, mask_boxes
from cvkit.structures import ClassList, Instances
from cvkit.texts import shown, whole_number

ONLY_CLASS = "object"
"""Class name for datasets without class names."""

Table = dict[tuple[str, int], str]
"""Class of an object, by the path of its image and its value."""


looks_like = pairs.looks_like


def read(query: Query) -> Contents[Annotations]:
    """Return the splits of a dataset; without any, all of it may be divided."""
    known, heap = folder_parts(query.root, query.splits)
    return Contents(known, heap, lambda split: read_index_maps(query.root, split))


def read_index_maps(root: Path, split: str) -> Annotations:
    """Return the images and objects of a split; of the whole dataset if `split` is "".

    Raises:
        DataError: no such split, or a malformed table. Defects of single files are collected.
    """
    table = _read_table(root / "instances.csv")
    classes = _classes(root, table)
    doubts = _doubts(root, table)
    listing = pairs.read_split(root, split)
    shared = shared_labels([(pair.mask, pair.key) for pair in listing.images])
    notes = [*doubts, *listing.notes, *shared]
    found = Annotations(classes, notes=notes, defects=[*listing.defects])
    with Known("index map", [pair.mask for pair in listing.images]) as known:
        for number, pair in enumerate(listing.images, 1):
            try:
                size_hw = upright_size_hw(pair.image)
                truth = _objects(pair, size_hw, classes, table, known)
            except CvkitError as defect:
                found.defects.append(of_sample(defect, pair.key))
                continue
            found.images.append(AnnotatedImage(pair.key, pair.image, number, size_hw[::-1], truth))
    return found


def read_index_map(path: Path) -> np.ndarray:
    """Return the HW values of an instance mask, uint8 or wider.

    Raises:
        DataError: `mask.lossy`, `mask.rgb_not_index`, and those of `cvkit.data.decode`.
    """
    with open_image(path) as image:
        if image.format in ("JPEG", "MPO"):
            raise DataError(
                f"{path} is a JPEG; its compression changes labels",
                code="mask.lossy",
                hint="save masks as PNG",
            )
        values = np.asarray(decode(image, path))
        mode = image.mode
    if values.ndim != 2 or mode == "F" or values.min() < 0:
        raise DataError(
            f"{path} has {mode} pixels, not one whole number per pixel",
            code="mask.rgb_not_index",
            hint="save instances as an 8-bit or 16-bit grey or palette PNG",
        )
    return values


def _map_facts(path: Path) -> list[Any]:
    """Return the size of an instance mask, and the number and code of each object."""
    values = read_index_map(path)
    numbers, masks = from_index_map(values)
    return [list(values.shape), numbers.tolist(), [code.decode("ascii") for code in masks.codes]]


def _objects(
    pair: LabelledImage,
    size_hw: tuple[int, int],
    classes: ClassList,
    table: Table | None,
    known: Known,
) -> Instances:
    shape, numbers, codes = known.find([pair.mask], lambda: _map_facts(pair.mask))
    if tuple(shape) != size_hw:
        raise DataError(
            f"{pair.mask}: {shape[1]}x{shape[0]} pixels, but its image {pair.key} "
            f"has {size_hw[1]}x{size_hw[0]}",
            code="mask.size_mismatch",
            hint="save the mask at the size of the upright image",
        )
    masks = make_masks([code.encode("ascii") for code in codes], size_hw)
    labels = []
    for number in numbers:
        name = classes.names[0] if table is None else table.get((pair.key, number))
        if name is None:
            raise DataError(
                f"{pair.mask}: object {number} has no row in instances.csv",
                code="mask.instance_unknown",
                hint=f"add {pair.key},{number},CLASS",
            )
        labels.append(classes.names.index(name) + 1)
    xywh = mask_boxes(masks)
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    return make_truth(corners, labels, areas=mask_areas(masks), xywh=xywh, masks=masks)


def _read_table(path: Path) -> Table | None:
    """Return the classes of the objects; None without such a file.

    Raises:
        DataError: columns are missing, or a row is malformed.
    """
    if not path.is_file():
        return None
    result: Table = {}
    defects: list[CvkitError] = []
    for row in read_rows(path, ("path", "instance", "class")):
        number, reason = whole_number(row["instance"].strip()), ""
        if number is None or number < 0:
            reason = "is not a whole number"
        elif (row["path"], number) in result:
            reason = "occurs twice"
        else:
            result[row["path"], number] = row["class"]
            continue
        where = f"{path}: instance {shown(row['instance'])} of {shown(row['path'])}"
        defects.append(DataError(f"{where} {reason}", code="instances.row"))
    raise_defects(defects, str(path))
    return result


def _doubts(root: Path, table: Table | None) -> list[str]:
    """Return a note if masks without a table may contain classes instead of objects."""
    listed, _ = dataset_classes(root)
    if table is not None or listed is None:
        return []
    count = len(without_background(listed.names, tuple))
    if count < 2:
        return []
    text = (
        f"{root}: {count} classes are listed, but without instances.csv all objects belong to "
        f"one class, {ONLY_CLASS!r}. If these are class masks, use 'cvkit segment'"
    )
    return [Note(text, "instances.without_classes")]


def _classes(root: Path, table: Table | None) -> ClassList:
    """Return the classes: those that the dataset lists, else the table's in alphabetical order.

    Raises:
        DataError: the table has a class that classes.txt does not list.
    """
    listed, _ = dataset_classes(root)
    used = sorted(set(table.values())) if table is not None else []
    known = None if listed is None else without_background(listed.names, lambda: used)
    if table is None:
        names = known if known is not None and len(known) == 1 else [ONLY_CLASS]
    else:
        names = used if known is None else known
        if unknown := [name for name in used if name not in names]:
            raise DataError(
                f"{root / 'instances.csv'}: class {unknown[0]!r} is not in classes.txt",
                code="classes.unknown",
            )
    return object_classes(names, range(1, len(names) + 1))
