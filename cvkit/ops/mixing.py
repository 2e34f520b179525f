"""Mixup and CutMix: training images blended with their neighbour in the batch."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

MIX_SEED = 4
"""Separates these decisions from other random decisions with the same seed."""


def mix(
    images: Tensor, targets: Tensor, seeds: Sequence[int], mixup: float, cutmix: float
) -> tuple[Tensor, Tensor]:
    """Return images mixed with the next one in the batch, and targets mixed in the same way.

    The mixing of a sample depends on its own seed alone. If both are on, each sample draws one of
    them.

    Args:
        images: NCHW float.
        targets: [N, K] class probabilities.
        seeds: one per image.
        mixup: parameter of the beta distribution of the mixing ratio; 0 switches it off.
            Source: mixup: Beyond Empirical Risk Minimization, 2017, arXiv:1710.09412.
        cutmix: the same for CutMix, which replaces a rectangle of that area.
            Source: CutMix: Regularization Strategy, 2019, arXiv:1905.04899.
    """
    if not mixup and not cutmix:
        return images, targets
    height, width = images.shape[-2:]
    stay = torch.ones(len(images), 1, height, width)  # weight of the image itself at each pixel
    for index, seed in enumerate(seeds):
        rng = np.random.default_rng((MIX_SEED, seed))
        use_cutmix = bool(cutmix) and (not mixup or rng.random() < 0.5)
        share = float(rng.beta(cutmix, cutmix) if use_cutmix else rng.beta(mixup, mixup))
        if use_cutmix:
            stay[index, 0][_rectangle(rng, height, width, 1 - share)] = 0.0
        else:
            stay[index] = share
    stay = stay.to(images)
    kept = stay.mean((1, 2, 3))[:, None].to(targets)  # [N, 1]
    mixed = images * stay + images.roll(-1, 0) * (1 - stay)
    return mixed, targets * kept + targets.roll(-1, 0) * (1 - kept)


def _rectangle(
    rng: np.random.Generator, height: int, width: int, area: float
) -> tuple[slice, slice]:
    """Return a rectangle with a fraction of the area, around a random centre, clipped."""
    slices = []
    for side in (height, width):
        half = side * area**0.5 / 2
        centre = rng.uniform(0, side)
        slices.append(slice(max(0, round(centre - half)), min(side, round(centre + half))))
    rows, columns = slices
    return rows, columns
