"""Objects painted into one map."""

import numpy as np

from cvkit.ops.rle import decode_parts, mask_areas
from cvkit.structures import Instances


def painted(truth: Instances, values: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return an [H, W] int32 map in which each pixel has the value of the smallest object there.

    Args:
        truth: N objects with masks.
        values: [N] of each object; 0 is background.
        size_hw: of the image.
    """
    masks = truth.coded_masks()
    result = np.zeros(size_hw, np.int32)
    order = np.argsort(-mask_areas(masks), kind="stable")
    parts = list(decode_parts(masks))
    for index in order.tolist():
        part, (y, x) = parts[index]
        result[y : y + part.shape[0], x : x + part.shape[1]][part.astype(bool)] = values[index]
    return result


def hidden_pixels(truth: Instances, size_hw: tuple[int, int]) -> int:
    """Return how many pixels of masks are hidden by others in one map."""
    shown = np.count_nonzero(painted(truth, np.arange(1, len(truth) + 1), size_hw))
    return int(mask_areas(truth.coded_masks()).sum() - shown)
