"""Segmentations of annotation and result files: polygons, run lengths, compressed codes."""

import math
import sys
from typing import Any

import numpy as np
from pycocotools import mask as coco

from cvkit.errors import DataError
from cvkit.ops.masks import compress, run_lengths

FAR = 10
"""Sides of the image beyond which a corner of a polygon is taken for a mistake."""


def read_segmentation(value: Any, size_hw: tuple[int, int], where: str) -> bytes | DataError:
    """Return the code of a mask, or what is wrong with it.

    Args:
        value: list of polygons (x, y, x, y ...), or an object with size and counts.
        size_hw: of the image.
        where: file and place, for messages.
    """
    if isinstance(value, dict):
        return _read_runs(value, size_hw, where)
    if not isinstance(value, list) or not value:
        return DataError(
            f"{where}: segmentation {value!r} is missing or no mask",
            code="segm.missing",
            hint="polygons, or size and counts; boxes alone serve 'cvkit detect'",
        )
    limit = FAR * max(size_hw)
    for number, polygon in enumerate(value):
        short = not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2
        if short or not all(is_number(v) for v in polygon):
            return DataError(
                f"{where}: polygon {number} is not three or more pairs of numbers",
                code="segm.odd_or_short",
                hint="[x1, y1, x2, y2, x3, y3, ...]",
            )
        if any(abs(v) > limit for v in polygon):
            return DataError(
                f"{where}: polygon {number} has a corner far outside the image of "
                f"{size_hw[1]}x{size_hw[0]}",
                code="segm.outside",
            )
    return coco.merge(coco.frPyObjects(value, *size_hw))["counts"]


def _read_runs(value: dict, size_hw: tuple[int, int], where: str) -> bytes | DataError:
    size, counts = value.get("size"), value.get("counts")
    if size != list(size_hw):
        return DataError(
            f"{where}: its mask has size {size!r}, the image [{size_hw[0]}, {size_hw[1]}] "
            "(height, width)",
            code="rle.size_mismatch",
        )
    try:
        if isinstance(counts, str):
            counts = counts.encode("ascii")
        runs = run_lengths(counts) if isinstance(counts, bytes) else counts
        if not all(type(run) is int and run >= 0 for run in runs):
            reason = "its runs are not whole numbers from 0"
        elif sum(runs) != math.prod(size_hw):
            reason = f"its runs add up to {sum(runs)} pixels, not {math.prod(size_hw)}"
        else:
            return counts if isinstance(counts, bytes) else compress(counts, size_hw)
    except (TypeError, ValueError) as error:
        reason = str(error)
    return DataError(f"{where}: run-length code is not valid: {reason}", code="rle.invalid")


def around(segmentation: Any) -> list[float] | None:
    """Return x, y, width, height of polygons or a run-length code; None if they are neither."""
    try:
        if isinstance(segmentation, dict):
            height, width = segmentation["size"]
            coded = isinstance(segmentation["counts"], list)
            code = coco.frPyObjects(segmentation, height, width) if coded else segmentation
            return coco.toBbox(code).tolist()
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in segmentation])
        low, high = points.min(0), points.max(0)
        return [*low.tolist(), *(high - low).tolist()]
    except (TypeError, ValueError, KeyError):
        return None


def is_number(value: Any) -> bool:
    """Return whether a value of a JSON file is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) <= sys.float_info.max
