"""Overlaps of boxes as arrays, and which detection finds which object."""

import numpy as np

from cvkit.structures import Instances


def overlaps(found: Instances, truth: Instances) -> np.ndarray:
    """Return [D, G] float64 intersection over union; over the detection's own area for crowds."""
    first, second = found.corner_and_size(), truth.corner_and_size()
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(
        first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:]
    )
    inter = np.clip(high - low, 0, None).prod(2)
    own, other = first[:, 2:].prod(1), second[:, 2:].prod(1)
    union = own[:, None] + other[None] - inter
    if truth.crowd is not None:
        union = np.where(truth.crowd[None], own[:, None], union)
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def uncounted(truth: Instances) -> np.ndarray:
    """Return [G] bool: crowds and difficult objects, which are neither found nor missed."""
    result = np.zeros(len(truth), bool)
    for mark in (truth.crowd, truth.difficult):
        if mark is not None:
            result |= mark
    return result


def assign(found: Instances, truth: Instances, iou: np.ndarray, least: float) -> np.ndarray:
    """Return for each detection the object of its class that it finds, -1, or -2 if ignored.

    Detections take turns by falling score; each takes the free object with the largest IoU of
    at least `least`. What only covers an uncounted object is ignored.

    Args:
        found: the detections.
        truth: the objects.
        iou: `overlaps` of the two.
        least: smallest IoU.
    """
    result = np.full(len(found), -1)
    fits = (iou >= least) & (truth.labels[None] == found.labels[:, None])  # [D, G]
    candidates = np.flatnonzero(fits.any(1)) if len(truth) else np.zeros(0, int)
    spare = uncounted(truth)
    free = ~spare
    for row in candidates[np.argsort(-found.scores[candidates], kind="stable")]:
        own = fits[row] & free
        if own.any():
            best = int(np.argmax(np.where(own, iou[row], -1)))
            result[row], free[best] = best, False
        elif fits[row, spare].any():
            result[row] = -2
    return result
