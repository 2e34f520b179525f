"""Conversion between masks in pixels and the small grids of a mask head."""

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cvkit.ops.rle import encode_parts
from cvkit.structures import MaskLayers, Masks

ROUNDING = 3e-7
"""Times the side of a grid: more than twice the difference between the enlarged grids of OpenCV
and of torch, which is slower. Torch computes anew where a probability is as close to the threshold.
"""


def paste_masks(
    grids: Tensor, boxes: Tensor, size_hw: tuple[int, int], threshold: float = 0.5
) -> Masks:
    """Return the pixels of an image in which grids of probabilities exceed a threshold.

    The arithmetic is that of torchvision's `paste_masks_in_image` (a border of zeros, the box
    truncated to whole pixels, its last pixel included), but the cost depends on the boxes, not on
    the image.

    Args:
        grids: [D, side, side] in [0, 1].
        boxes: [D, 4] in pixels of the image.
        size_hw: of the image.
        threshold: exclusive.
    """
    grids, boxes = grids.float().cpu(), boxes.float().cpu()
    side = grids.shape[-1]
    padded = F.pad(grids, (1, 1, 1, 1)).numpy()
    places = _widened(boxes, (side + 2) / side).to(torch.int64).tolist()
    pasted = zip(padded, places, strict=True)
    return encode_parts((_paste(grid, box, size_hw, threshold) for grid, box in pasted), size_hw)


def _widened(boxes: Tensor, scale: float) -> Tensor:
    """Return boxes whose sides are longer by a factor, around the same centres."""
    half_w, half_h = (boxes[:, 2] - boxes[:, 0]) * 0.5, (boxes[:, 3] - boxes[:, 1]) * 0.5
    x, y = (boxes[:, 2] + boxes[:, 0]) * 0.5, (boxes[:, 3] + boxes[:, 1]) * 0.5
    half_w, half_h = half_w * scale, half_h * scale
    return torch.stack((x - half_w, y - half_h, x + half_w, y + half_h), 1)


def _paste(
    grid: np.ndarray, box: list[int], size_hw: tuple[int, int], threshold: float
) -> tuple[np.ndarray, tuple[int, int]]:
    """Return the [h, w] pixels of a [side, side] grid inside an image, and their corner (y, x)."""
    left, top, right, bottom = box
    low, high = max(top, 0), min(bottom + 1, size_hw[0])
    first, last = max(left, 0), min(right + 1, size_hw[1])
    if low >= high or first >= last:
        return np.zeros((0, 0), bool), (0, 0)
    size = (max(bottom - top + 1, 1), max(right - left + 1, 1))
    inside = (slice(low - top, high - top), slice(first - left, last - left))
    values = cv2.resize(grid, size[::-1], interpolation=cv2.INTER_LINEAR)[inside]
    margin = ROUNDING * len(grid)
    shown = values > np.float32(threshold + margin)
    if not (shown | (values < np.float32(threshold - margin))).all():
        exact = torch.from_numpy(grid)[None, None]
        exact = F.interpolate(exact, size=size, mode="bilinear", align_corners=False)[0, 0]
        shown = (exact[inside] > threshold).numpy()
    return shown, (low, first)


def mask_targets(
    layers: MaskLayers,
    objects: np.ndarray,
    regions: np.ndarray,
    size_hw: tuple[int, int],
    side: int,
) -> np.ndarray:
    """Return the covered fraction of each cell of a region's grid by its object.

    This is RoI Align (Mask R-CNN, 2017, arXiv:1703.06870) with as many points per cell as it has
    pixels, on the mask resized to the network's input by nearest neighbour. Since that mean of
    bilinear samples is a product of sums over rows and columns, each region costs two small matrix
    products; no mask is resized, and only the part under the region is decoded.

    Args:
        layers: the masks of the image, in its own pixels.
        objects: [P] index of each region's object.
        regions: [P, 4] in pixels of the network's input.
        size_hw: of the network's input, without padding.
        side: of the grid, in cells.

    Returns:
        [P, side, side] float32 in [0, 1].
    """
    result = np.zeros((len(regions), side, side), np.float32)
    sources = [_nearest(old, new) for old, new in zip(layers.maps.shape[1:], size_hw, strict=True)]
    for number, (x1, y1, x2, y2) in enumerate(regions.astype(np.float32)):
        place = objects[number]
        rows, row_weights = _axis(y1, y2, sources[0], side)
        columns, column_weights = _axis(x1, x2, sources[1], side)
        layer = layers.maps[layers.layers[place]]
        part = layer[rows.start : rows.stop, columns.start : columns.stop]
        covered = (part == layers.values[place]).astype(np.float32)
        result[number] = row_weights @ covered @ column_weights.T
    return result


def _nearest(old: int, new: int) -> np.ndarray:
    """Return [new] the index of the old pixel for each new one, as in torch's resizing."""
    places = torch.arange(old, dtype=torch.float32)[None, None]
    return F.interpolate(places, size=new, mode="nearest")[0, 0].numpy().astype(np.int64)


def _axis(
    low: np.float32, high: np.float32, source: np.ndarray, side: int
) -> tuple[range, np.ndarray]:
    """Return the old pixels under a region on one axis, and [side, pixels] their weights."""
    one, size = np.float32(1), len(source)
    extent = max(high - low, one)
    cell = extent / np.float32(side)
    count = int(np.ceil(cell))
    steps = (np.arange(count, dtype=np.float32) + np.float32(0.5)) * cell / np.float32(count)
    points = low + np.arange(side, dtype=np.float32)[:, None] * cell + steps  # [side, count]
    inside = (points >= -1) & (points <= size)
    points = np.clip(points, 0, None)
    first = np.minimum(points.astype(np.int64), size - 1)
    second = np.minimum(first + 1, size - 1)
    share = np.where(first >= size - 1, np.float32(0), points - first)
    start, stop = int(source[first.min()]), int(source[second.max()]) + 1
    weights = np.zeros((side, stop - start), np.float32)
    cells = np.broadcast_to(np.arange(side)[:, None], points.shape)
    scale = inside / np.float32(count)
    np.add.at(weights, (cells, source[first] - start), (one - share) * scale)
    np.add.at(weights, (cells, source[second] - start), share * scale)
    return range(start, stop), weights
