"""The annotations of a COCO file in columns, if all are in the usual form and usable.

Anything else is left to the reader of single annotations in `coco`, which names every defect.
"""

from collections.abc import Mapping, Sequence
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

PART = 4096
"""Annotations that are put into columns at once; as rows they take several times the memory."""


@dataclass(frozen=True)
class _Columns:
    """Annotations in the order of the file.

    Attributes:
        numbers: [N, 3] of their ids, and those of their images and categories.
        xywh: [N, 4] boxes.
        area, crowd: [N].
        codes: [N] of their masks; None if they were not wanted.
        extents: [N, 5] of these masks, or None; see `mask_extents`.
    """

    numbers: np.ndarray
    xywh: np.ndarray
    area: np.ndarray
    crowd: np.ndarray
    codes: np.ndarray | None
    extents: np.ndarray | None


class Columns:
    """Collects the annotations of a file as they are read.

    Args:
        sizes_wh: of the images by their ids, if masks are wanted.

    Attributes:
        zeros: places of annotations whose id is 0.
        usual: whether all annotations are.
    """

    def __init__(self, sizes_wh: Mapping[int, Size] | None) -> None:
        self.sizes_wh, self.zeros, self.usual = sizes_wh, list[int](), True
        self._rows: list[Any] = []
        self._parts: list[_Columns] = []
        self._count = 0

    def add(self, row: Any) -> None:
        """Add the next annotation."""
        self._rows.append(row)
        if len(self._rows) == PART:
            self._put()

    def _put(self) -> None:
        rows, self._rows = self._rows, []
        self.zeros += [
            place
            for place, row in enumerate(rows, self._count)
            if isinstance(row, dict) and row.get("id") == 0
        ]
        self._count += len(rows)
        part = _columns(rows, self.sizes_wh) if self.usual else None
        if part is None:
            self.usual = False
            self._parts.clear()
        else:
            self._parts.append(part)

    def objects(
        self, labels: dict[int, int], sizes_wh: dict[int, Size]
    ) -> dict[int, Instances] | None:
        """Return the objects of each image by its id; None if any annotation is unusual.

        Args:
            labels: by category id.
            sizes_wh: of all images by their ids, as far as known.
        """
        self._put()
        if not (self.usual and sizes_wh and labels):
            return None
        found = _joined(self._parts)
        self._parts.clear()
        ids, images, categories = found.numbers.T
        places, classes = _places(images, [*sizes_wh]), _places(categories, [*labels])
        if places is None or classes is None or len(np.unique(ids)) < len(ids):
            return None
        known = [(np.inf, np.inf) if size is None else size for size in sizes_wh.values()]
        size = np.array(known, np.float64).reshape(-1, 2)[places]
        if not _fit(found.xywh, size).all():
            return None
        if found.codes is not None and any(
            size is None or (self.sizes_wh or {}).get(id_) != size for id_, size in sizes_wh.items()
        ):
            return None
        masks = None if found.codes is None else Masks((0, 0), found.codes, found.extents)
        order = np.argsort(places, kind="stable")
        cuts = np.searchsorted(places[order], np.arange(1, len(sizes_wh)))
        columns = (found.xywh, np.array([*labels.values()])[classes], found.area, found.crowd)
        parts = [np.split(each[order], cuts) for each in columns]
        ranges = np.split(order, cuts)
        images_of = zip(sizes_wh.items(), *parts, ranges, strict=True)
        return {
            id_: _objects(boxes, labels, area, crowd, _of_image(masks, which, size))
            for (id_, size), boxes, labels, area, crowd, which in images_of
        }


def _columns(rows: Sequence[Any], sizes_wh: Mapping[int, Size] | None) -> _Columns | None:
    """Return annotations in columns, with masks if sizes are given; None if any is unusual."""
    try:
        boxes = [row["bbox"] for row in rows]
        areas = [row["area"] for row in rows]
        crowd = [row.get("iscrowd", 0) for row in rows]
        numbers = [[row[name] for row in rows] for name in ("id", "image_id", "category_id")]
        if not (_types(boxes) <= {list} and set(map(len, boxes)) <= {4}):
            return None
        sides = list(chain.from_iterable(boxes))
        whole = _types(crowd).union(*map(_types, numbers)) <= {int}
        if not whole or not (_types(sides) | _types(areas)) <= {int, float}:
            return None
        xywh = np.array(sides, np.float64).reshape(-1, 4)
        area, flags = np.array(areas, np.float64), np.array(crowd, np.int64)
        columns = np.array(numbers, np.int64).T
    except (KeyError, TypeError, AttributeError, OverflowError):
        return None
    usable = (area >= 0) & np.isfinite(area) & (flags >= 0) & (flags <= 1)
    if not usable.all() or np.abs(columns[:, 0]).max(initial=0) > WHOLE:
        return None
    codes = extents = None
    if sizes_wh is not None:
        if any(image not in sizes_wh for image in numbers[1]):
            return None
        coded = _codes(rows, [sizes_wh[image] for image in numbers[1]])
        if coded is None:
            return None
        codes, extents = coded
    return _Columns(columns, xywh, area, flags > 0, codes, extents)


def _joined(parts: Sequence[_Columns]) -> _Columns:
    """Return parts of the annotations, at least one, as one."""

    def joined(arrays: list[Any]) -> Any:
        return None if any(each is None for each in arrays) else np.concatenate(arrays)

    names = ("numbers", "xywh", "area", "crowd", "codes", "extents")
    return _Columns(**{name: joined([getattr(part, name) for part in parts]) for name in names})


def _places(ids: np.ndarray, known: Sequence[int]) -> np.ndarray | None:
    """Return the place of each id among those that are known; None if one is not known."""
    order = np.argsort(known)
    places = np.searchsorted(np.array(known)[order], ids).clip(max=len(known) - 1)
    found = order[places]
    return found if (np.array(known)[found] == ids).all() else None


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


def _codes(rows: Sequence[Any], sizes_wh: Sequence[Size]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the codes of masks of the sizes of their images, and their extents.

    None if a size is not known, or a mask is not usable.
    """
    known = [size[::-1] for size in sizes_wh if size is not None]
    if len(known) < len(rows):
        return None
    values = [row.get("segmentation") for row in rows]
    codes = np.empty(len(rows), object)
    if (found := compressed_codes(values, known)) is not None:
        codes[:] = found[0]
        return codes, found[1]
    for place, (value, size_hw) in enumerate(zip(values, known, strict=True)):
        code = read_segmentation(value, size_hw, "")
        if not isinstance(code, bytes) or lies_outside(value, size_hw):
            return None
        codes[place] = code
    extents = mask_extents(codes.tolist(), np.array(known).reshape(-1, 2))
    return None if extents is None else (codes, extents)


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
