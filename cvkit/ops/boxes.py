"""Boxes as tensors: x1, y1, x2, y2 in pixels, continuous (a box of width w has x2 = x1 + w)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LOG_CLAMP = math.log(1000 / 16)
"""Largest predicted log size: a 16-pixel box may grow to 1000 pixels."""


def encode_boxes(truths: Tensor, references: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Return the deltas that move and scale references to the truths.

    Source: Rich Feature Hierarchies for Accurate Object Detection, 2013, arXiv:1311.2524.

    Args:
        truths: [N, 4] boxes.
        references: [N, 4] boxes of positive size.
        weights: factors of dx, dy, dw, dh.

    Returns:
        [N, 4] weighted dx, dy (in reference sizes), dw, dh (logarithms).
    """
    wx, wy, ww, wh = weights
    x1, y1, x2, y2 = references.unbind(1)
    u1, v1, u2, v2 = truths.unbind(1)
    width, height = x2 - x1, y2 - y1
    wide, high = u2 - u1, v2 - v1
    dx = wx * (u1 + 0.5 * wide - (x1 + 0.5 * width)) / width
    dy = wy * (v1 + 0.5 * high - (y1 + 0.5 * height)) / height
    return torch.stack((dx, dy, ww * torch.log(wide / width), wh * torch.log(high / height)), 1)


def decode_boxes(deltas: Tensor, references: Tensor, weights: tuple[float, ...]) -> Tensor:
    """Return the boxes for these deltas; inverse of `encode_boxes`.

    Args:
        deltas: [N, K * 4]; each row holds K boxes.
        references: [N, 4].
        weights: as in `encode_boxes`.

    Returns:
        [N, K, 4] boxes; log sizes are clamped to `LOG_CLAMP` from above.
    """
    wx, wy, ww, wh = weights
    references = references.to(deltas.dtype)
    width = references[:, 2] - references[:, 0]
    height = references[:, 3] - references[:, 1]
    centre_x = references[:, 0] + 0.5 * width
    centre_y = references[:, 1] + 0.5 * height
    dx, dy = deltas[:, 0::4] / wx, deltas[:, 1::4] / wy  # [N, K]
    dw = torch.clamp(deltas[:, 2::4] / ww, max=LOG_CLAMP)
    dh = torch.clamp(deltas[:, 3::4] / wh, max=LOG_CLAMP)
    x = dx * width[:, None] + centre_x[:, None]
    y = dy * height[:, None] + centre_y[:, None]
    half_w = 0.5 * (torch.exp(dw) * width[:, None])
    half_h = 0.5 * (torch.exp(dh) * height[:, None])
    return torch.stack((x - half_w, y - half_h, x + half_w, y + half_h), dim=2)


def clip_boxes(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return [..., 4] boxes clipped to an image."""
    x, y = boxes[..., 0::2].clamp(0, size_hw[1]), boxes[..., 1::2].clamp(0, size_hw[0])
    return torch.stack((x, y), dim=-1).flatten(-2)


def box_iou(first: Tensor, second: Tensor) -> Tensor:
    """Return the [N, M] intersection over union of two sets of boxes."""
    areas = [(b[:, 2] - b[:, 0]) * (b[:, 3] - b[:, 1]) for b in (first, second)]
    low = torch.max(first[:, None, :2], second[None, :, :2])
    high = torch.min(first[:, None, 2:], second[None, :, 2:])
    inter = (high - low).clamp(min=0).prod(2)  # [N, M]
    return inter / (areas[0][:, None] + areas[1][None] - inter)


def clip_to_images(boxes: Tensor, image: Tensor, sizes_hw: Sequence[tuple[int, int]]) -> Tensor:
    """Return [R, 4] boxes clipped each to its own image.

    Args:
        boxes: [R, 4].
        image: [R] index of each box's image.
        sizes_hw: of the images.
    """
    limits = torch.tensor([(w, h, w, h) for h, w in sizes_hw], dtype=boxes.dtype)
    return torch.minimum(boxes.clamp(min=0), limits.to(boxes.device)[image])


def image_index(boxes: Sequence[Tensor]) -> Tensor:
    """Return [R] the number of the image of each box in the [R_i, 4] boxes of all images."""
    counts = torch.tensor([len(each) for each in boxes], device=boxes[0].device)
    numbers = torch.arange(len(boxes), device=boxes[0].device)
    # A given size of the output is not asked of the device.
    return torch.repeat_interleave(numbers, counts, output_size=sum(map(len, boxes)))


def large_enough(boxes: Tensor, side: float) -> Tensor:
    """Return [N] whether both sides of [N, 4] boxes are at least `side`."""
    sides = boxes[:, 2:] - boxes[:, :2]
    return (sides >= side).all(1)


def scale_boxes(boxes: Tensor, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> Tensor:
    """Return [N, 4] boxes scaled with a resized image; each axis has its own factor."""
    y, x = (
        torch.tensor(to, dtype=torch.float32, device=boxes.device)
        / torch.tensor(old, dtype=torch.float32, device=boxes.device)
        for to, old in zip(to_hw, from_hw, strict=True)
    )
    return boxes * torch.stack((x, y, x, y))
