"""From a network's outputs to results, and averaging of results."""

from collections.abc import Callable
from itertools import product
from typing import Protocol

import torch
from torch import Tensor

from cvkit.ops.resize import height_width, resize_bilinear

MAX_CHUNK = 2**25
"""Maximum number of resized logits of an image at a time (128 MiB of float32)."""

TTA_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)


def enlarged_argmax(logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return the class of each original pixel: resize first, then take the largest logit.

    Classes are processed in chunks, which limits the memory for large images.

    Args:
        logits: KHW.
        size_hw: of the result.

    Returns:
        HW uint8; the lowest class index wins a tie.
    """
    chunk = max(1, MAX_CHUNK // (size_hw[0] * size_hw[1]))
    best, label = resize_bilinear(logits[None, :chunk], size_hw)[0].max(0)
    for first in range(chunk, logits.shape[0], chunk):
        part = resize_bilinear(logits[None, first : first + chunk], size_hw)[0]
        value, index = part.max(0)
        larger = value > best
        best, label = best.where(~larger, value), label.where(~larger, index + first)
    return label.to(torch.uint8)


def confidence(logits: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return the HW largest class probability of KHW logits, interpolated to a size."""
    return resize_bilinear(logits.softmax(0).amax(0)[None, None], size_hw)[0, 0]


def augmented(
    predict: Callable[[Tensor], Tensor], images: Tensor, *, flip: bool, scales: tuple[float, ...]
) -> Tensor:
    """Return the log of the mean class probability over scales and mirrored images.

    Args:
        predict: NCHW images to NKHW logits of the same size.
        images: NCHW normalised.
        flip: also predict the mirrored image, and mirror the result back.
        scales: factors on the image size.
    """
    total, count = images.new_zeros(()), 0
    for scale, mirrored in product(scales, (False, True) if flip else (False,)):
        height, width = (max(1, round(side * scale)) for side in height_width(images))
        scaled = resize_bilinear(images, (height, width))
        logits = predict(scaled.flip(-1)).flip(-1) if mirrored else predict(scaled)
        total = total + resize_bilinear(logits.float().softmax(1), height_width(images))
        count += 1
    return (total / count).clamp(min=1e-12).log()


def sliding_window(
    predict: Callable[[Tensor], Tensor], images: Tensor, window_hw: tuple[int, int]
) -> Tensor:
    """Return the log of the mean class probability over overlapping windows.

    The step is two thirds of the window size; the last windows end at the border, and an image
    smaller than the window is one window of its own size.
    """
    height, width = images.shape[-2:]
    rows, columns = (
        _starts(have, want) for have, want in zip((height, width), window_hw, strict=True)
    )
    total: Tensor | None = None
    count = torch.zeros(height, width, device=images.device)
    for top, left in product(rows, columns):
        window = (..., slice(top, top + window_hw[0]), slice(left, left + window_hw[1]))
        scores = predict(images[window]).float().softmax(1)
        if total is None:
            total = scores.new_zeros(images.shape[0], scores.shape[1], height, width)
        total[window] += scores
        count[window[1:]] += 1
    assert total is not None  # there is at least one window
    return (total / count).clamp(min=1e-12).log()


def _starts(have: int, want: int) -> list[int]:
    """Return the starts of windows of `want` pixels on an axis of `have` pixels."""
    step = -(-want * 2 // 3)
    last = max(have - want, 0)
    return [*range(0, last, step), last]


class Scorer(Protocol):
    """A classifier."""

    def scored(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the [N, K] class probabilities and [N, D] features of NCHW normalised images."""


def class_probabilities(
    model: Scorer, images: Tensor, side: int, *, flip: bool, ten_crop: bool
) -> tuple[Tensor, Tensor]:
    """Return [N, K] mean class probabilities over views of images, and [N, D] mean features.

    Args:
        model: the classifier.
        images: NCHW normalised; larger than `side` for ten crops.
        side: of the crops, in pixels.
        flip: add the mirrored image.
        ten_crop: take the corners and the centre, and their mirrored images.
    """
    views = ten_crops(images, side) if ten_crop else [images]
    if flip and not ten_crop:
        views = [images, images.flip(-1)]
    scores, features = zip(*(model.scored(view) for view in views), strict=True)
    return torch.stack(scores).mean(0), torch.stack(features).mean(0)


def ten_crops(images: Tensor, side: int) -> list[Tensor]:
    """Return the four corners and the centre of NCHW images, and their mirrored images."""
    height, width = images.shape[-2:]
    bottom, right = height - side, width - side
    places = [(0, 0), (0, right), (bottom, 0), (bottom, right)]
    places.append((round(bottom / 2), round(right / 2)))
    crops = [images[..., y : y + side, x : x + side] for y, x in places]
    return crops + [crop.flip(-1) for crop in crops]
