"""Styles as correlations of maps, and the losses of style transfer.

Source: A Neural Algorithm of Artistic Style, 2015, arXiv:1508.06576.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

Maps = Mapping[str, Tensor]
"""The [1, C, h, w] maps of an image by layer."""


def gram(maps: Tensor) -> Tensor:
    """Return the [C, C] mean products of pairs of channels of [1, C, h, w] maps."""
    flat = maps[0].flatten(1)
    return flat @ flat.T / flat.shape[1]


def mixed_grams(styles: Sequence[Maps], weights: Sequence[float]) -> dict[str, Tensor]:
    """Return the weighted means of the Gram matrices of several styles, by layer."""
    total = sum(weights)
    return {
        name: torch.stack(
            [w / total * gram(maps[name]) for maps, w in zip(styles, weights, strict=True)]
        ).sum(0)
        for name in styles[0]
    }


def relative_loss(found: Tensor, wanted: Tensor) -> Tensor:
    """Return the mean squared difference as a fraction of the mean square of what is wanted.

    So that weights mean the same whatever a network's values are.
    """
    return (found - wanted).square().mean() / wanted.square().mean().clamp(min=1e-12)


def style_loss(maps: Maps, wanted: Mapping[str, Tensor]) -> Tensor:
    """Return the mean over layers of the relative losses of the Gram matrices."""
    return torch.stack([relative_loss(gram(maps[n]), wanted[n]) for n in wanted]).mean()
