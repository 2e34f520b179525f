"""Conversion between masks in pixels and the small grids of a mask head."""

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cvkit.ops.rle import Columns, encode_columns
from cvkit.structures import MaskLayers, Masks

ROUNDING = 3e-7
"""Times the side of a grid: more than twice the difference between the enlarged grids of OpenCV
and of torch, which is slower. Torch computes anew where a probability is as close to the threshold.
"""
FLOAT32 = 2.0**-24
"""Largest relative error of a number that is rounded to float32."""
CELL_BORDER = 1e-4
"""Share of a cell of a grid next to its border, more than float32 moves a place in the grid."""
GROUP = 2**20
"""Pixels that are coded together, in 6 MB: more are not faster."""


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
    boxes = _widened(boxes, (side + 2) / side).to(torch.int64)
    return encode_columns(_pasted(padded, boxes.numpy(), size_hw, threshold), size_hw)


def _widened(boxes: Tensor, scale: float) -> Tensor:
    """Return boxes whose sides are longer by a factor, around the same centres."""
    half_w, half_h = (boxes[:, 2] - boxes[:, 0]) * 0.5, (boxes[:, 3] - boxes[:, 1]) * 0.5
    x, y = (boxes[:, 2] + boxes[:, 0]) * 0.5, (boxes[:, 3] + boxes[:, 1]) * 0.5
    half_w, half_h = half_w * scale, half_h * scale
    return torch.stack((x - half_w, y - half_h, x + half_w, y + half_h), 1)


def _pasted(
    grids: np.ndarray, boxes: np.ndarray, size_hw: tuple[int, int], threshold: float
) -> Iterator[Columns]:
    """Yield the masks of [D, side, side] grids, in groups of `GROUP` pixels or one mask."""
    corners, ends = boxes[:, 1::-1], boxes[:, :1:-1] + 1  # y, x
    sizes = np.maximum(ends - corners, 1)
    low = np.clip(corners, 0, size_hw)
    shapes = np.minimum(ends, size_hw) - low
    shapes[(shapes <= 0).any(1)] = 0
    total = np.cumsum(shapes[:, 1] * (shapes[:, 0] + 1))
    first = 0
    while first < len(grids):
        before = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, before + GROUP, "right")))
        here = slice(first, last)
        parts = (grids[here], sizes[here], (low - corners)[here], shapes[here])
        yield Columns(_shown(*parts, threshold), shapes[here], low[here])
        first = last


def _shown(
    grids: np.ndarray, sizes: np.ndarray, cuts: np.ndarray, shapes: np.ndarray, threshold: float
) -> np.ndarray:
    """Return the pixels of a group that exceed a threshold, as in `Columns`.

    Args:
        grids: [D, side, side].
        sizes: [D, 2] height and width of the enlarged grids.
        cuts: [D, 2] y and x of what lies in the image in each of them.
        shapes: [D, 2] height and width of that.
        threshold: exclusive.
    """
    pixels = shapes[:, 1] * (shapes[:, 0] + 1)
    ends = np.cumsum(pixels)
    places = list(zip((ends - pixels).tolist(), ends.tolist(), shapes.tolist(), strict=True))
    values = np.full(int(ends[-1]) + 1, -1.0, np.float32)
    turned = np.ascontiguousarray(grids.transpose(0, 2, 1))
    each = zip(turned, places, sizes.tolist(), cuts.tolist(), strict=True)
    for grid, (start, end, (rows, columns)), (height, width), (y, x) in each:
        if start == end:
            continue
        target = values[start:end].reshape(columns, rows + 1)[:, 1:]
        if rows == height and columns == width:
            cv2.resize(grid, (height, width), target)
        else:
            target[:] = cv2.resize(grid, (height, width))[x : x + columns, y : y + rows]
    margin = ROUNDING * grids.shape[-1]
    over = values > np.float32(threshold + margin)
    close = (~(over | (values < np.float32(threshold - margin)))).nonzero()[0]
    of = np.searchsorted(ends, close, "right")
    column, row = np.divmod(close - (ends - pixels)[of], shapes[of, 0] + 1)
    points = np.stack((row - 1, column), 1) + cuts[of]
    over[close], sure = _bilinear(grids, sizes, of, points, threshold)
    for number in set(of[~sure].tolist()):
        (start, end, (rows, columns)), (y, x) = places[number], cuts[number]
        exact = torch.from_numpy(grids[number])[None, None]
        size = sizes[number].tolist()
        exact = F.interpolate(exact, size=size, mode="bilinear", align_corners=False)[0, 0]
        shown = (exact[y : y + rows, x : x + columns] > threshold).numpy()
        over[start:end].reshape(columns, rows + 1)[:, 1:] = shown.T
    return over.view(np.uint8)


def _bilinear(
    grids: np.ndarray, sizes: np.ndarray, number: np.ndarray, points: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return whether points of enlarged grids exceed a threshold, and whether torch surely agrees.

    Torch rounds to float32: the scale, the place in the grid twice, and the arithmetic.

    Args:
        grids: [D, side, side].
        sizes: [D, 2] height and width of the enlarged grids.
        number: [P] of the grid of each point.
        points: [P, 2] row and column of each point in its enlarged grid.
        threshold: exclusive.
    """
    last = grids.shape[-1] - 1
    place = np.maximum((points + 0.5) * (last + 1) / sizes[number] - 0.5, 0)  # [P, 2] float64
    low = np.minimum(place.astype(np.int64), last)
    (top, left), (bottom, right) = low.T, np.minimum(low + 1, last).T
    a, b, c, d = (
        grids[number, rows, columns].astype(np.float64)
        for rows, columns in ((top, left), (top, right), (bottom, left), (bottom, right))
    )
    y, x = share = (place - low).T
    upper, lower = a + (b - a) * x, c + (d - c) * x
    values = upper + (lower - upper) * y
    slopes = np.stack((np.abs(lower - upper), np.abs((b - a) + (d - c - b + a) * y)), 1)
    error = FLOAT32 * (3 * ((place + 0.5) * slopes).sum(1) + 6)
    inside = (np.abs(share - 0.5) < 0.5 - CELL_BORDER).all(0)  # beyond it, slopes are others
    return values > threshold, inside & (np.abs(values - threshold) > error)


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
