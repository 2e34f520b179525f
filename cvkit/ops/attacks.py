"""Changes of pixels, too small to be seen, that raise the loss of a network.

Pixels are float32 in [0, 255], before the normalisation.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from cvkit.structures import IGNORE

Loss = Callable[[Tensor], Tensor]
"""[N, ...] pixels to [N] losses, one of each sample."""
HIGHEST = 255.0


def gradient(loss: Loss, pixels: Tensor) -> Tensor:
    """Return the gradient of each sample's loss by its pixels; of the shape of the pixels."""
    with torch.enable_grad():
        inputs = pixels.detach().requires_grad_()
        return torch.autograd.grad(loss(inputs).sum(), inputs)[0]


def signed_steps(
    loss: Loss,
    pixels: Tensor,
    *,
    eps: float,
    steps: int,
    step: float,
    start: Tensor | None = None,
) -> Tensor:
    """Return pixels that were moved along the sign of the gradient, again and again.

    They stay within [0, 255] and within `eps` of where they were, in the maximum norm. One step as
    long as eps is the fast gradient sign method, several are projected gradient descent.

    Source: Explaining and Harnessing Adversarial Examples, 2014, arXiv:1412.6572; Towards Deep
    Learning Models Resistant to Adversarial Attacks, 2017, arXiv:1706.06083.

    Args:
        loss: that is raised.
        pixels: [N, ...].
        eps: largest change of a value.
        steps: number of gradients.
        step: length of a step.
        start: what is added to the pixels before the first step.
    """
    low, high = (pixels - eps).clamp(min=0.0), (pixels + eps).clamp(max=HIGHEST)
    moved = pixels if start is None else (pixels + start).clamp(low, high)
    for _ in range(steps):
        moved = (moved + step * gradient(loss, moved).sign()).clamp(low, high)
    return moved


def losses_each(logits: Tensor, target: Tensor) -> Tensor:
    """Return the [N] cross-entropy of each sample, a mean over its labelled pixels.

    Args:
        logits: [N, K], or [N, K, H, W].
        target: [N], or [N, H, W], class indices; `IGNORE` marks pixels without a label.
    """
    if target.ndim == 1:  # 255 may be a class
        return F.cross_entropy(logits, target, reduction="none")
    each = F.cross_entropy(logits, target, reduction="none", ignore_index=IGNORE)
    counted = (target != IGNORE).flatten(1).sum(1).clamp(min=1)
    return each.flatten(1).sum(1) / counted


def within(shape: tuple[int, ...], eps: float, seed: int) -> Tensor:
    """Return uniform noise in [-eps, eps] that depends on the seed alone."""
    generator = torch.Generator().manual_seed(seed)
    return (2 * torch.rand(shape, generator=generator) - 1) * eps
