"""The annotations of a COCO file one by one: every defect is named."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import Annotations, box_defect, make_truth
from cvkit.data.segmentations import around, lies_outside, read_segmentation
from cvkit.errors import DataError, of_sample
from cvkit.ops.rle import make_masks, mask_areas
from cvkit.structures import Instances
from cvkit.texts import is_number, shown, whole_number


@dataclass(frozen=True)
class File:
    """The context for reading annotations.

    Attributes:
        path: of the file.
        labels: by category id.
        sizes_wh: of images, by id, as far as known.
        masks: annotations must have one.
        complete: all categories could be read, so that any other id is unknown.
        keys: of the images, by id.
    """

    path: Path
    labels: dict[int, int]
    sizes_wh: dict[int, tuple[int, int] | None]
    masks: bool
    complete: bool
    keys: dict[int, str]


@dataclass(frozen=True)
class _Entry:
    """A usable annotation; `code` is its mask."""

    xywh: tuple[float, float, float, float]
    label: int
    area: float
    crowd: bool
    code: bytes | None


def collect_singly(
    rows: Iterable[Any], file: File, images: dict[int, str], found: Annotations
) -> dict[int, Instances]:
    """Return the objects of each image, and note the defects of annotations."""
    result: dict[int, list[_Entry]] = {id_: [] for id_ in images}
    seen: set[int] = set()
    for place, row in enumerate(rows):
        where = f"{file.path}: annotations[{place}]"
        try:
            image_id, entry = _annotation(row, images, file, seen, where)
        except DataError as defect:
            if file.complete or defect.code != "ann.category_unknown":
                image = whole_number(row.get("image_id")) if isinstance(row, dict) else None
                key = "" if image is None else file.keys.get(image, "")
                found.defects.append(of_sample(defect, key))
        else:
            result[image_id].append(entry)
    sizes = file.sizes_wh if file.masks else {}
    return {id_: _truth(entries, sizes.get(id_)) for id_, entries in result.items()}


def _annotation(
    row: Any, images: dict[int, str], file: File, seen: set[int], where: str
) -> tuple[int, _Entry]:
    """Return the image and content of an annotation.

    Raises:
        DataError: describes its defect.
    """
    if not isinstance(row, dict):
        raise DataError(f"{where} is not an object", code="ann.malformed")
    if row.get("id") is not None:
        where = f"{where} (id {shown(row['id'])})"
        id_ = whole_number(row["id"])
        if id_ is None:
            raise DataError(f"{where}: its id is not a whole number", code="ann.id_type")
        if id_ in seen:
            raise DataError(f"{where}: its id occurs twice", code="ann.id_duplicate")
        seen.add(id_)
    image_id, category = whole_number(row.get("image_id")), whole_number(row.get("category_id"))
    if image_id not in images:
        reason = f"there is no image {shown(row.get('image_id'))}"
        raise DataError(f"{where}: {reason}", code="ann.image_unknown")
    if category not in file.labels:
        reason = f"there is no category {shown(row.get('category_id'))}"
        raise DataError(f"{where}: {reason}", code="ann.category_unknown")
    crowd = row.get("iscrowd", 0)
    if not isinstance(crowd, int) or crowd not in (0, 1):
        raise DataError(f"{where}: iscrowd {shown(crowd)} is not 0 or 1", code="iscrowd.value")
    size_wh, code = file.sizes_wh.get(image_id), None
    if file.masks and size_wh:
        code = _usable(read_segmentation(row.get("segmentation"), size_wh[::-1], where))
        if lies_outside(row.get("segmentation"), size_wh[::-1]):
            raise DataError(
                f"{where}: its polygons are outside the image of {size_wh[0]}x{size_wh[1]}",
                code="segm.outside",
            )
    xywh = _box(row, size_wh, where)
    area = _area(row, where)
    if area is None:
        if code and size_wh:
            area = float(mask_areas(make_masks([code], size_wh[::-1]))[0])
        else:
            area = xywh[2] * xywh[3]
    return image_id, _Entry(xywh, file.labels[category], float(area), bool(crowd), code)


def _usable(value: Any) -> Any:
    """Return a value, or raise it if it is a defect."""
    if isinstance(value, DataError):
        raise value
    return value


def _box(
    row: dict, size_wh: tuple[int, int] | None, where: str
) -> tuple[float, float, float, float]:
    """Return x, y, width and height of an annotation, from its segmentation if it has no box.

    Raises:
        DataError: they are not usable.
    """
    box = row.get("bbox")
    if "bbox" not in row and isinstance(row.get("segmentation"), list | dict):
        box = _usable(around(row["segmentation"], where))
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(v) for v in box):
        raise DataError(f"{where}: bbox {shown(box)} is not four numbers", code="bbox.length")
    x, y, w, h = (float(value) for value in box)
    if defect := box_defect((x, y, x + w, y + h), size_wh, where, "bbox"):
        raise defect
    return x, y, w, h


def _area(row: dict, where: str) -> float | None:
    """Return the annotated area; None if there is none.

    Raises:
        DataError: it is not an area.
    """
    area = row.get("area")
    if area is not None and (not is_number(area) or area < 0):
        raise DataError(
            f"{where}: area {shown(area)} is not a number of at least 0", code="area.value"
        )
    return area


def _truth(entries: list[_Entry], size_wh: tuple[int, int] | None) -> Instances:
    """Return the objects of an image; with masks if its size is given."""
    codes = [entry.code for entry in entries if entry.code is not None]
    masks = make_masks(codes, size_wh[::-1]) if size_wh else None
    boxes = np.array([entry.xywh for entry in entries], np.float64).reshape(-1, 4)
    return make_truth(
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        [entry.label for entry in entries],
        areas=[entry.area for entry in entries],
        crowd=[entry.crowd for entry in entries],
        xywh=boxes,
        masks=masks,
    )
