"""Losses. In dense prediction logits are NKHW float and truth is NHW int64; 255 means no label."""

import re

import torch
from torch import Tensor
from torch.nn import functional as F

from cvkit.structures import IGNORE


def cross_entropy(
    logits: Tensor, truth: Tensor, weight: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean cross-entropy over labelled pixels; 0 without any.

    Args:
        logits: NKHW.
        truth: NHW.
        weight: [K] factor of each class, with a mean of 1 over the pixels of a training set.
        label_smoothing: probability spread over all classes, in [0, 1).
    """
    labelled = (truth != IGNORE).sum()
    if logits.ndim > 2:  # as rows: CUDA sums the losses of maps in no fixed order
        logits, truth = logits.movedim(1, -1).flatten(0, -2), truth.flatten()
    total = F.cross_entropy(
        logits,
        truth,
        weight,
        ignore_index=IGNORE,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return total / labelled.clamp(min=1)


def dice_loss(logits: Tensor, truth: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return 1 - the soft Dice coefficient, averaged over the classes present in the truth.

    Sums run over the whole batch. Source: V-Net, 2016, arXiv:1606.04797.
    """
    labelled = (truth != IGNORE)[:, None]  # [N, 1, H, W]
    scores = logits.softmax(1) * labelled
    classes = logits.shape[1]
    target = F.one_hot(truth.where(truth != IGNORE, 0), classes).movedim(-1, 1) * labelled
    overlap = (scores * target).sum((0, 2, 3))  # [K]
    total = (scores + target).sum((0, 2, 3))
    present = target.sum((0, 2, 3)) > 0
    losses = (1 - (2 * overlap + 1) / (total + 1)) * present
    weights = present.float() if weight is None else present * weight
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


def focal_loss(
    logits: Tensor, truth: Tensor, weight: Tensor | None = None, gamma: float = 2.0
) -> Tensor:
    """Return the mean of (1 - p)^gamma * cross-entropy, p the probability of the true class.

    Source: Focal Loss for Dense Object Detection, 2017, arXiv:1708.02002.
    """
    losses = F.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="none")  # [N, H, W]
    losses = (1 - torch.exp(-losses)) ** gamma * losses
    factors = _pixel_weights(truth, weight)
    return (losses * factors).sum() / (truth != IGNORE).sum().clamp(min=1)


def ohem_cross_entropy(
    logits: Tensor,
    truth: Tensor,
    weight: Tensor | None = None,
    threshold: float = 0.7,
    min_share: float = 0.25,
) -> Tensor:
    """Return the mean cross-entropy over hard pixels (online hard example mining).

    A pixel is hard if its true class has a probability below `threshold`; at least the
    `min_share` hardest labelled pixels count. Source: High-performance Semantic Segmentation
    Using Very Deep Fully Convolutional Networks, 2016, arXiv:1604.04339.
    """
    labelled = truth != IGNORE
    if not labelled.any():
        return logits.sum() * 0.0
    losses = F.cross_entropy(logits, truth, ignore_index=IGNORE, reduction="none")[labelled]
    factors = _pixel_weights(truth, weight)[labelled]
    least = max(1, int(losses.numel() * min_share))
    limit = torch.minimum(
        losses.detach().topk(least).values[-1], -torch.tensor(threshold).log().to(losses)
    )
    hard = losses.detach() >= limit
    return (losses[hard] * factors[hard]).mean()


def _pixel_weights(truth: Tensor, weight: Tensor | None) -> Tensor:
    """Return the NHW weight of each pixel's class; 0 for pixels without a label."""
    labelled = truth != IGNORE
    if weight is None:
        return labelled.float()
    return weight[truth.where(labelled, 0)] * labelled


LOSSES = {
    "ce": cross_entropy,
    "dice": dice_loss,
    "focal": focal_loss,
    "ohem": ohem_cross_entropy,
}


def parse_loss(text: str) -> dict[str, float]:
    """Return the weight of each loss in a sum such as `ce+0.5*dice`.

    Raises:
        ValueError: malformed, or an unknown or repeated name.
    """
    parts = {}
    for term in text.replace(" ", "").split("+"):
        match = re.fullmatch(r"(?:(\d*\.?\d+)\*)?([a-z]+)", term)
        if not match or match[2] not in LOSSES or match[2] in parts:
            raise ValueError(f"{term!r} is not one of {', '.join(LOSSES)}, or occurs twice")
        parts[match[2]] = float(match[1] or 1)
    return parts


def combined_loss(
    parts: dict[str, float],
    logits: Tensor,
    truth: Tensor,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the weighted sum of losses that `parse_loss` describes."""
    total = logits.new_zeros(())
    for name, factor in parts.items():
        arguments = {"label_smoothing": label_smoothing} if name == "ce" else {}
        total = total + factor * LOSSES[name](logits, truth, weight, **arguments)
    return total


def balanced_weights(pixels: Tensor) -> Tensor:
    """Return median frequency weights of the classes.

    Source: Predicting Depth, Surface Normals and Semantic Labels, 2014, arXiv:1411.4734.

    Args:
        pixels: [K] pixels of each class in the training set.

    Returns:
        [K] float32 median frequency / frequency; 1 for classes that do not occur.
    """
    share = pixels.double() / pixels.sum().clamp(min=1)
    present = share > 0
    middle = share[present].quantile(0.5) if present.any() else share.new_ones(())
    return torch.where(present, middle / share.clamp(min=1e-12), 1.0).float()


def multiclass_hinge(logits: Tensor, targets: Tensor, power: int = 1) -> Tensor:
    """Return the [N] sums over other classes of max(0, 1 + their score - the true one's)^power.

    Sources: Support Vector Machines for Multi-Class Pattern Recognition, 1999, ESANN (Weston
    and Watkins); squared: Deep Learning using Linear Support Vector Machines, 2013,
    arXiv:1306.0239.

    Args:
        logits: [N, K] scores.
        targets: [N, K] class probabilities; mixed targets mix the losses.
        power: 1, or 2 for squared margins.
    """
    margins = (1 + logits[:, None] - logits[:, :, None]).clamp(min=0)  # [N, true, other]
    same = torch.eye(logits.shape[1], device=logits.device, dtype=torch.bool)
    return (margins.masked_fill(same, 0.0).pow(power).sum(2) * targets).sum(1)


HINGES = {"hinge": 1, "squared-hinge": 2}
"""Power of the margins in each hinge loss."""


def class_loss(
    kind: str,
    logits: Tensor,
    targets: Tensor,
    weight: Tensor | None = None,
    label_smoothing: float = 0.0,
) -> Tensor:
    """Return the mean over images of the loss times the weight of the image's class.

    Args:
        kind: `ce`, `hinge` or `squared-hinge`.
        logits: [N, K].
        targets: [N, K] class probabilities.
        weight: [K] factor of each class, with a mean of 1 over the images of a training set.
        label_smoothing: probability spread over all classes (`ce` only), in [0, 1).
    """
    factors = targets if weight is None else targets * weight  # [N, K]
    if kind in HINGES:
        return multiclass_hinge(logits, factors, HINGES[kind]).mean()
    smooth = factors * (1 - label_smoothing)
    smooth = smooth + label_smoothing / logits.shape[1] * (1.0 if weight is None else weight)
    return -(smooth * logits.log_softmax(1)).sum() / len(logits)
