"""The annotations of a COCO file in columns, if all are in the usual form and usable.

Anything else is left to the reader of single annotations in `coco`, which names every defect.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from cvkit.data.annotated import MOST_PIXELS
from cvkit.data.segmentations import compressed_codes, lies_outside, read_segmentation
from cvkit.ops.mask_extents import mask_extents
from cvkit.structures import Instances, Masks
from cvkit.texts import WHOLE

Size = tuple[int, int] | None


@dataclass(frozen=True)
class _Columns:
    """The annotations of a file, in its order.

    Attributes:
        images: [N] places of their images.
        xywh: [N, 4] boxes.
        classes, area, crowd: [N].
        masks: of all; None if they were not wanted.
    """

    images: np.ndarray
    xywh: np.ndarray
    classes: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    masks: Masks | None


def read_columns(
    rows: list[Any], labels: dict[int, int], sizes_wh: dict[int, Size], *, masks: bool
) -> dict[int, Instances] | None:
    """Return the objects of each image by its id; None if any annotation is unusual.

    Args:
        rows: the annotations. If none is unusual, the list is emptied: as rows they take more
            memory than all that is made of them.
        labels: by category id.
        sizes_wh: of all images by their ids, as far as known.
        masks: annotations must have one.
    """
    found = _columns(rows, labels, sizes_wh, masks=masks)
    if found is None:
        return None
    rows.clear()
    order = np.argsort(found.images, kind="stable")
    cuts = np.searchsorted(found.images[order], np.arange(1, len(sizes_wh)))
    columns = (found.xywh, found.classes, found.area, found.crowd)
    parts = [np.split(each[order], cuts) for each in columns]
    ranges = np.split(order, cuts)
    images_of = zip(sizes_wh.items(), *parts, ranges, strict=True)
    return {
        id_: _objects(boxes, labels, area, crowd, _of_image(found.masks, which, size))
        for (id_, size), boxes, labels, area, crowd, which in images_of
    }


def _columns(
    rows: Sequence[Any], labels: dict[int, int], sizes_wh: dict[int, Size], *, masks: bool
) -> _Columns | None:
    """Return the annotations in columns; None if any is unusual. See `read_columns`."""
    number = {id_: place for place, id_ in enumerate(sizes_wh)}
    try:
        boxes = [row["bbox"] for row in rows]
        areas = [row["area"] for row in rows]
        crowd = [row.get("iscrowd", 0) for row in rows]
        columns = {name: [row[name] for row in rows] for name in ("id", "image_id", "category_id")}
        images = np.array([number[id_] for id_ in columns["image_id"]], np.int64)
        classes = np.array([labels[id_] for id_ in columns["category_id"]], np.int64)
        if not (_types(boxes) <= {list} and set(map(len, boxes)) <= {4}):
            return None
        sides = list(chain.from_iterable(boxes))
        whole = _types(crowd).union(*map(_types, columns.values())) <= {int}
        if not whole or not (_types(sides) | _types(areas)) <= {int, float}:
            return None
        xywh = np.array(sides, np.float64).reshape(-1, 4)
        area, flags = np.array(areas, np.float64), np.array(crowd, np.int64)
        ids = np.array(columns["id"], np.int64)
    except (KeyError, TypeError, AttributeError, OverflowError):
        return None
    if not sizes_wh:
        return None
    known = [(np.inf, np.inf) if size is None else size for size in sizes_wh.values()]
    size = np.array(known, np.float64).reshape(-1, 2)[images]
    usable = _fit(xywh, size) & (area >= 0) & np.isfinite(area) & (flags >= 0) & (flags <= 1)
    if not usable.all() or np.abs(ids).max(initial=0) > WHOLE or len(np.unique(ids)) < len(ids):
        return None
    coded = _codes(rows, columns["image_id"], sizes_wh) if masks else None
    if masks and coded is None:
        return None
    return _Columns(images, xywh, classes, area, flags > 0, coded)


def _of_image(coded: Masks | None, which: np.ndarray, size_wh: Size) -> Masks | None:
    return replace(coded[which], size_hw=size_wh[::-1]) if coded is not None and size_wh else None


def _types(values: Sequence[Any]) -> set[type]:
    return set(map(type, values))


def _fit(xywh: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return [N] bool: boxes that `annotated.box_defect` has nothing against."""
    with np.errstate(invalid="ignore", over="ignore"):
        low, high = xywh[:, :2], xywh[:, :2] + xywh[:, 2:]
        inside = (np.maximum(np.abs(low), np.abs(high)) <= MOST_PIXELS) & (high >= low)
        known = np.isfinite(size)
        return (inside & (~known | ((low < size) & (high > 0)))).all(1)


def _codes(
    rows: Sequence[Any], image_ids: Sequence[int], sizes_wh: dict[int, Size]
) -> Masks | None:
    """Return all masks, which have the sizes of their images; None if one is not usable."""
    codes = np.empty(len(rows), object)
    sizes = [sizes_wh[image_id] for image_id in image_ids]
    known = [size[::-1] for size in sizes if size is not None]
    values = [row.get("segmentation") for row in rows]
    if len(known) == len(rows) and (found := compressed_codes(values, known)) is not None:
        codes[:], extents = found
        return Masks((0, 0), codes, extents)
    for place, (row, image_id) in enumerate(zip(rows, image_ids, strict=True)):
        size_wh, value = sizes_wh[image_id], row.get("segmentation")
        if size_wh is None:
            return None
        code = read_segmentation(value, size_wh[::-1], "")
        if not isinstance(code, bytes) or lies_outside(value, size_wh[::-1]):
            return None
        codes[place] = code
    return Masks((0, 0), codes, mask_extents(codes.tolist(), np.array(known)))


def _objects(
    xywh: np.ndarray,
    labels: np.ndarray,
    areas: np.ndarray,
    crowd: np.ndarray,
    masks: Masks | None,
) -> Instances:
    boxes = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1).astype(np.float32)
    none = np.zeros(len(labels), bool)
    return Instances(
        boxes, labels, areas=areas, crowd=crowd, difficult=none, xywh=xywh, masks=masks
    )
