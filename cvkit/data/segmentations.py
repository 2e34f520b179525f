"""Segmentations of annotation and result files: polygons, run lengths, compressed codes.

Everything is checked before it is passed to pycocotools, whose C code trusts sizes and coordinates.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from pycocotools import mask as coco

from cvkit.data.annotated import MOST_PIXELS, claimed_size
from cvkit.errors import DataError
from cvkit.ops.mask_extents import mask_extents
from cvkit.ops.rle import compress, make_masks, mask_boxes, run_lengths
from cvkit.texts import is_number, shown

FAR = 10
"""A polygon corner farther outside than this multiple of the image's side is a mistake."""
FARTHEST = 10**8
"""Largest coordinate in pixels; pycocotools multiplies coordinates by 5 in 32 bits."""
LONGEST = 2_000_000
"""Largest outline of an object's polygons in pixels; pycocotools uses some 60 bytes for each."""


def read_segmentation(value: Any, size_hw: tuple[int, int], where: str) -> bytes | DataError:
    """Return the code of a mask, or its defect.

    Args:
        value: list of polygons (x, y, x, y ...), or an object with size and counts.
        size_hw: of the image, of up to `MOST_PIXELS` pixels.
        where: file and position, for messages.
    """
    if isinstance(value, dict):
        return _read_runs(value, size_hw, where)
    if defect := _polygon_defect(value, size_hw, where):
        return defect
    return coco.merge(coco.frPyObjects(value, *size_hw))["counts"]


def compressed_codes(
    values: Sequence[Any], sizes_hw: Sequence[tuple[int, int]]
) -> tuple[list[bytes], np.ndarray] | None:
    """Return the codes of masks in compressed form, checked all at once, and their extents.

    None if a mask has another form or is not usable. For the extents see `mask_extents`.

    Args:
        values: objects with size and counts.
        sizes_hw: of each one's image.
    """
    try:
        sizes = [value["size"] for value in values]
        if any(size != [*wanted] for size, wanted in zip(sizes, sizes_hw, strict=True)):
            return None
        if any(type(side) is bool for size in sizes for side in size):
            return None
        codes = [value["counts"].encode("ascii") for value in values]
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
        return None
    extents = mask_extents(codes, np.array(sizes_hw))
    return None if extents is None else (codes, extents)


def _polygon_defect(value: Any, size_hw: tuple[int, int] | None, where: str) -> DataError | None:
    """Return why a value is not a list of polygons; None if it is one."""
    if not isinstance(value, list) or not value:
        return DataError(
            f"{where}: segmentation {shown(value)} is missing or not a mask",
            code="segm.missing",
            hint="polygons, or size and counts; for boxes alone use 'cvkit detect'",
        )
    limit = min(FAR * max(size_hw), FARTHEST) if size_hw else FARTHEST
    for number, polygon in enumerate(value):
        short = not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2
        if short or not all(is_number(v) for v in polygon):
            return DataError(
                f"{where}: polygon {number} is not at least three pairs of numbers",
                code="segm.odd_or_short",
                hint="[x1, y1, x2, y2, x3, y3, ...]",
            )
        if any(abs(v) > limit for v in polygon):
            image = f"the image of {size_hw[1]}x{size_hw[0]}" if size_hw else "any image"
            return DataError(
                f"{where}: polygon {number} has a corner far outside {image}",
                code="segm.outside",
            )
    corners = sum(map(len, value)) // 2
    if 2 * limit * corners > LONGEST and sum(map(_outline, value)) > LONGEST:
        return DataError(
            f"{where}: its polygons have outlines of over {LONGEST} pixels", code="segm.too_long"
        )
    return None


def lies_outside(value: Any, size_hw: tuple[int, int]) -> bool:
    """Return whether all polygons of an object are outside an image; run-length codes never are."""
    if not isinstance(value, list):
        return False
    height, width = size_hw
    spans = [(min(p[::2]), max(p[::2]), min(p[1::2]), max(p[1::2])) for p in value]
    return all(x1 >= width or x2 <= 0 or y1 >= height or y2 <= 0 for x1, x2, y1, y2 in spans)


def _outline(polygon: list[float]) -> float:
    """Return the length of a polygon's outline, in pixel steps."""
    corners = list(zip(polygon[::2], polygon[1::2], strict=True))
    closed = [*corners, corners[0]]
    return sum(max(abs(a[0] - b[0]), abs(a[1] - b[1])) for a, b in pairwise(closed))


def _read_runs(value: dict, size_hw: tuple[int, int], where: str) -> bytes | DataError:
    size, counts = value.get("size"), value.get("counts")
    if not isinstance(size, list) or size != list(size_hw) or any(type(s) is bool for s in size):
        return DataError(
            f"{where}: its mask has size {shown(size)}, the image [{size_hw[0]}, {size_hw[1]}] "
            "(height, width)",
            code="rle.size_mismatch",
        )
    try:
        if isinstance(counts, str):
            counts = counts.encode("ascii")
        if not isinstance(counts, list | bytes):
            raise TypeError(f"counts {shown(counts)} are neither a list nor text")
        runs = run_lengths(counts) if isinstance(counts, bytes) else counts
        if not all(type(run) is int and run >= 0 for run in runs):
            reason = "its runs are not whole numbers of at least 0"
        elif sum(runs) != math.prod(size_hw):
            covered = sum(runs)
            pixels = str(covered) if covered <= MOST_PIXELS else f"over {MOST_PIXELS}"
            reason = f"its runs add up to {pixels} pixels, not {math.prod(size_hw)}"
        else:
            return counts if isinstance(counts, bytes) else compress(counts, size_hw)
    except UnicodeEncodeError:
        reason = "it has a character that is not part of the code"
    except (TypeError, ValueError) as error:
        reason = str(error)
    return DataError(f"{where}: run-length code is not valid: {reason}", code="rle.invalid")


def around(segmentation: Any, where: str) -> list[float] | DataError:
    """Return x, y, width, height of polygons or a run-length code, or the defect."""
    if not isinstance(segmentation, dict):
        if defect := _polygon_defect(segmentation, None, where):
            return defect
        x = [v for polygon in segmentation for v in polygon[::2]]
        y = [v for polygon in segmentation for v in polygon[1::2]]
        return [min(x), min(y), max(x) - min(x), max(y) - min(y)]
    size = segmentation.get("size")
    sides = size[::-1] if isinstance(size, list) and len(size) == 2 else [size, None]
    try:
        size_wh = claimed_size(sides, f"{where}: size of its mask", "rle.size")
    except DataError as defect:
        return defect
    if size_wh is None:
        return DataError(f"{where}: its mask has no size", code="rle.size_mismatch")
    code = _read_runs(segmentation, size_wh[::-1], where)
    if isinstance(code, DataError):
        return code
    return mask_boxes(make_masks([code], size_wh[::-1]))[0].tolist()
