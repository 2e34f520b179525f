"""Regions of interest: a grid of features for each box, cut out of maps."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import roi_align as kernel_align
from torchvision.ops import roi_pool as kernel_pool

from cvkit.ops.window_max import pool_by_lookup


def roi_align(
    maps: Tensor, boxes: Tensor, image: Tensor, *, side: int, scale: float, samples: int
) -> Tensor:
    """Return the RoI Align of boxes, with coordinates that are not shifted by half a pixel.

    Source: Mask R-CNN, 2017, arXiv:1703.06870 (there called RoIAlign).

    Args:
        maps: [N, C, H, W].
        boxes: [R, 4] in image pixels.
        image: [R] index of each box's map.
        side: of the result, in cells.
        scale: map pixels per image pixel.
        samples: points per cell and axis.

    Returns:
        [R, C, side, side]. On CPUs this gives torchvision's numbers (up to the rounding of
        float32), forward and backward, and is an order of magnitude faster than its kernel.
    """
    if len(boxes) == 0:
        return maps.new_zeros((0, maps.shape[1], side, side))
    if maps.device.type in ("cpu", "cuda"):
        return _align_by_lookup(maps, boxes, image, side, scale, samples)
    # The boxes stay float32: bf16 coordinates are wrong by several pixels.
    rois = torch.cat((image[:, None].to(boxes), boxes), 1).float()
    found = kernel_align(maps.float(), rois, (side, side), scale, samples, False)
    return found.to(maps.dtype)


def roi_align_adaptive(
    maps: Tensor, boxes: Tensor, image: Tensor, *, side: int, scale: float
) -> Tensor:
    """Return the RoI Align of boxes shifted by half a pixel, as in detectron2 and mmdetection.

    A cell has as many samples per axis as it has map pixels, rounded up. Arguments and result are
    those of `roi_align`.
    """
    if len(boxes) == 0:
        return maps.new_zeros((0, maps.shape[1], side, side))
    rois = torch.cat((image[:, None].to(boxes), boxes), 1).float()
    found = kernel_align(maps.float(), rois, (side, side), scale, -1, True)
    return found.to(maps.dtype)


def _align_by_lookup(
    maps: Tensor, boxes: Tensor, image: Tensor, side: int, scale: float, samples: int
) -> Tensor:
    """RoI Align as a weighted sum of rows of the flattened map, 4 * samples^2 per cell."""
    _, channels, height, width = maps.shape
    table = maps.permute(0, 2, 3, 1).reshape(-1, channels)  # [N * H * W, C], free if NHWC
    boxes = boxes.float() * scale
    rows, row_weights = _axis(boxes[:, 1], boxes[:, 3], height, side, samples)
    columns, column_weights = _axis(boxes[:, 0], boxes[:, 2], width, side, samples)
    base = image.long()[:, None, None, None, None] * (height * width)
    index = base + rows[:, :, None, :, None] * width + columns[:, None, :, None, :]
    weight = row_weights[:, :, None, :, None] * column_weights[:, None, :, None, :]
    taps = 4 * samples * samples  # index, weight: [R, side, side, 2s, 2s]
    cells = _WeightedRows.apply(table, index.reshape(-1, taps), weight.reshape(-1, taps))
    return cells.view(len(boxes), side, side, channels).permute(0, 3, 1, 2)


class _WeightedRows(torch.autograd.Function):
    """Weighted sums of a table's rows: a product with a sparse matrix, like its gradient."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, index: Tensor, weight: Tensor) -> Tensor:
        """Return [B, C] for an [H, C] table, [B, T] rows and their [B, T] weights."""
        ctx.save_for_backward(index, weight)
        ctx.rows = len(table)
        weight = weight.to(table.dtype)
        return F.embedding_bag(index, table, per_sample_weights=weight, mode="sum")

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        """Return the [H, C] gradient of the table: each row sums the gradients of its uses."""
        index, weight = ctx.saved_tensors
        flat = index.reshape(-1)
        order = flat.argsort(stable=True)  # the transposed matrix, row by row
        ends = torch.bincount(flat, minlength=ctx.rows).cumsum(0)
        starts = torch.cat((ends.new_zeros(1), ends[:-1]))
        users = torch.div(order, index.shape[1], rounding_mode="floor")
        weight = weight.reshape(-1)[order].to(gradient.dtype)
        table = F.embedding_bag(
            users, gradient.contiguous(), starts, mode="sum", per_sample_weights=weight
        )
        return table, None, None


def _axis(low: Tensor, high: Tensor, size: int, side: int, samples: int) -> tuple[Tensor, Tensor]:
    """Return [R, side, 2 * samples] positions on one axis and their weights."""
    extent = (high - low).clamp(min=1.0)
    steps = torch.arange(side * samples, device=low.device, dtype=torch.float32)
    bins = torch.div(steps, samples, rounding_mode="floor")
    inner = (steps % samples + 0.5) / samples
    cell = extent / side
    points = low[:, None] + bins * cell[:, None] + inner * cell[:, None]  # [R, side * samples]
    inside = (points >= -1.0) & (points <= size)
    points = points.clamp(min=0.0)
    first = points.floor().clamp(max=size - 1)
    second = (first + 1).clamp(max=size - 1)
    share = torch.where(first >= size - 1, torch.zeros_like(points), points - first)
    weights = torch.stack((1 - share, share), -1) * (inside[..., None] / samples)
    positions = torch.stack((first, second), -1).long()
    shape = (len(low), side, 2 * samples)
    return positions.view(shape), weights.view(shape)


def roi_pool(maps: Tensor, boxes: Tensor, image: Tensor, *, side: int, scale: float) -> Tensor:
    """Return the RoI max pooling of boxes, [R, C, side, side].

    Source: Fast R-CNN, 2015, arXiv:1504.08083.
    """
    if len(boxes) == 0:
        return maps.new_zeros((0, maps.shape[1], side, side))
    if maps.device.type == "cpu" and not (torch.is_grad_enabled() and maps.requires_grad):
        return pool_by_lookup(maps.float(), boxes, image, side, scale).to(maps.dtype)
    rois = torch.cat((image[:, None].to(boxes), boxes), 1).float()
    if maps.device.type == "cuda":
        return _ExactPool.apply(maps.float(), rois, side, scale).to(maps.dtype)
    return kernel_pool(maps.float(), rois, (side, side), scale).to(maps.dtype)


class _ExactPool(torch.autograd.Function):
    """RoI Pool whose gradient is summed in a fixed order if torch is set to be deterministic."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, rois: Tensor, side: int, scale: float) -> Tensor:
        """Return [R, C, side, side] for [N, C, H, W] maps and [R, 5] (image, box) rows."""
        found, place = torch.ops.torchvision.roi_pool(maps, rois, scale, side, side)
        ctx.save_for_backward(rois, place)
        ctx.shape = maps.shape
        return found

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """Return the gradient of the maps: each cell's goes to the position of its maximum."""
        rois, place = ctx.saved_tensors
        count, channels, height, width = ctx.shape
        plane = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)
        index = plane[:, :, None, None] * (height * width) + place.long()
        filled = place >= 0  # an empty cell has no maximum
        maps = gradient.new_zeros(count * channels * height * width)
        maps.index_put_((index[filled],), gradient[filled], accumulate=True)
        return maps.view(ctx.shape), None, None, None


def pyramid_level(boxes: Tensor, lowest: int, highest: int) -> Tensor:
    """Return the index (from `lowest`) of the pyramid level that suits each box's size.

    Source: Feature Pyramid Networks for Object Detection, 2016, arXiv:1612.03144: a box of
    224 x 224 pixels belongs to level 4.

    Args:
        boxes: [R, 4] in image pixels.
        lowest: level of the finest map; its stride is 2^level.
        highest: level of the coarsest.
    """
    side = torch.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    level = torch.floor(4 + torch.log2(side / 224) + torch.tensor(1e-6, dtype=side.dtype))
    return level.clamp(min=lowest, max=highest).to(torch.int64) - lowest
