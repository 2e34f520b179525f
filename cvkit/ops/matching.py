"""Matching of boxes and truths, and sampling of boxes for a loss."""

import torch
from torch import Tensor

BELOW, BETWEEN = -1, -2
"""Marks for a box that matches no truth, and for one between match and no match."""


def match(iou: Tensor, high: float, low: float, keep_best: bool = False) -> Tensor:
    """Return for each of N boxes the index of its truth, `BELOW` or `BETWEEN`.

    Args:
        iou: [M, N] of M > 0 truths and N boxes.
        high: smallest IoU of a match.
        low: IoU below which a box matches nothing.
        keep_best: every truth also gets the boxes with its largest IoU, unless that is 0.
    """
    best, truth = iou.max(0)  # [N]
    result = truth.clone()
    result[best < low] = BELOW
    result[(best >= low) & (best < high)] = BETWEEN
    if keep_best:
        most = iou.max(1).values  # [M]
        # A truth outside all boxes would otherwise claim every box.
        hits = (iou == most[:, None]) & (most > 0)[:, None]
        kept = hits.any(0)
        result[kept] = truth[kept]
    return result


def sample_balanced(labels: Tensor, count: int, positive_share: float) -> Tensor:
    """Return the ascending indices of a random choice of boxes for a loss.

    Args:
        labels: [N]; >= 1 is positive, 0 negative, anything else is never chosen.
        count: maximum number of boxes.
        positive_share: maximum fraction of positives; the rest are negatives.
    """
    positive, negative = torch.where(labels >= 1)[0], torch.where(labels == 0)[0]
    wanted = min(len(positive), int(count * positive_share))
    others = min(len(negative), count - wanted)
    first = torch.randperm(len(positive), device=labels.device)[:wanted]
    second = torch.randperm(len(negative), device=labels.device)[:others]
    return torch.cat((positive[first], negative[second])).sort().values
