"""Contrastive losses: each feature among its negatives, and the queue that holds them.

Source: Representation Learning with Contrastive Predictive Coding, 2018, arXiv:1807.03748.
"""

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return the loss of SimCLR, and which views are nearest to the other view of their image.

    The negatives of a view are both views of all other images; a view is not its own negative.

    Source: A Simple Framework for Contrastive Learning of Visual Representations, 2020,
    arXiv:2002.05709.

    Args:
        first: [N, D] features of one view of each image.
        second: [N, D] of the other view.
        temperature: divides the cosine similarities.

    Returns:
        The mean loss of all views, and [N, 2] bool.
    """
    count = len(first)
    features = _normalized(torch.cat([first, second]))  # [2N, D]
    similarities = features @ features.T / temperature  # [2N, 2N]
    itself = torch.eye(2 * count, dtype=torch.bool, device=features.device)
    similarities = similarities.masked_fill(itself, -torch.inf)
    partner = torch.arange(2 * count, device=features.device).roll(count)
    found = similarities.argmax(1) == partner
    return F.cross_entropy(similarities, partner), found.view(2, count).T


def info_nce(
    queries: Tensor, keys: Tensor, queue: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """Return the loss of MoCo, and which queries are nearer to their key than to the whole queue.

    Source: Momentum Contrast for Unsupervised Visual Representation Learning, 2019,
    arXiv:1911.05722.

    Args:
        queries: [N, D] features of one view of each image.
        keys: [N, D] of the other view, without gradient.
        queue: [K, D] normalised features of other images.
        temperature: divides the cosine similarities.

    Returns:
        The mean loss, and [N] bool.
    """
    queries, keys = _normalized(queries), _normalized(keys)
    positive = (queries * keys).sum(1, keepdim=True)  # [N, 1]
    logits = torch.cat([positive, queries @ queue.T], 1) / temperature  # [N, 1 + K]
    target = torch.zeros(len(logits), dtype=torch.long, device=logits.device)
    return F.cross_entropy(logits, target), logits.argmax(1) == 0


def _normalized(features: Tensor) -> Tensor:
    """Return features of length 1, in fp32 or better."""
    return F.normalize(features.to(torch.promote_types(features.dtype, torch.float32)))


@torch.no_grad()
def enqueue(queue: Tensor, place: Tensor, keys: Tensor) -> None:
    """Replace the oldest features of a queue, in place.

    Args:
        queue: [K, D].
        place: [1] int64, index of the oldest; moved on.
        keys: [N, D], N at most K.
    """
    indices = (place + torch.arange(len(keys), device=queue.device)) % len(queue)
    queue[indices] = keys.to(queue.dtype)
    place.copy_((place + len(keys)) % len(queue))


@torch.no_grad()
def follow(averages: list[Tensor], weights: list[Tensor], momentum: float) -> None:
    """Move averages towards weights in place: momentum * average + (1 - momentum) * weight."""
    torch._foreach_lerp_(averages, weights, 1 - momentum)
