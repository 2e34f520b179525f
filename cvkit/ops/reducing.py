"""Results at a fraction of the size of their image, to be drawn on a small picture of it."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from cvkit.ops.rle import decode_parts, encode_parts
from cvkit.structures import Instances, Masks


def reduced_map(values: np.ndarray, factor: int) -> np.ndarray:
    """Return an HW map with the value of the middle of each square of `factor` pixels."""
    if factor == 1:
        return values
    middle, (height, width) = factor // 2, _reduced_hw(values.shape, factor)
    return values[middle::factor, middle::factor][:height, :width].copy()


def reduced_objects(objects: Instances, factor: int) -> Instances:
    """Return objects on an image that is reduced by a factor; masks as `reduced_map` does."""
    if factor == 1:
        return objects
    boxes = (objects.boxes / factor).astype(np.float32)
    masks = objects.masks
    if isinstance(masks, Masks):
        size_hw = _reduced_hw(masks.size_hw, factor)
        masks = encode_parts(_reduced_parts(masks, factor, size_hw), size_hw)
    return replace(objects, boxes=boxes, masks=masks)


def _reduced_hw(size_hw: tuple[int, ...], factor: int) -> tuple[int, int]:
    height, width = (max(1, side // factor) for side in size_hw)
    return height, width


def _reduced_parts(
    masks: Masks, factor: int, size_hw: tuple[int, int]
) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    middle = factor // 2
    for part, (y, x) in decode_parts(masks):
        top, left = (max(0, -(-(start - middle) // factor)) for start in (y, x))
        rows, columns = top * factor + middle - y, left * factor + middle - x
        small = part[rows::factor, columns::factor]
        small = small[: max(0, size_hw[0] - top), : max(0, size_hw[1] - left)]
        yield small, (top, left)
