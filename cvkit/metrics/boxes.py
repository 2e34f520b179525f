"""Overlaps of boxes as arrays, and the assignment of detections to objects."""

import numpy as np

from cvkit.structures import Instances


def overlaps(found: Instances, truth: Instances) -> np.ndarray:
    """Return [D, G] float64 intersection over union; over the detection's area for crowds."""
    first, second = found.corner_and_size(), truth.corner_and_size()
    return box_iou(first[:, None], second[None], crowds(truth)[None])


def box_iou(first: np.ndarray, second: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """Return intersection over union; over the area of the first box if the second is a crowd.

    Args:
        first: [..., 4] float64 x, y, width, height.
        second: [..., 4], broadcastable with the first.
        crowd: [...] bool, whether the second one is a crowd.

    Returns:
        [...] float64 in [0, 1].
    """
    low = np.maximum(first[..., :2], second[..., :2])
    high = np.minimum(first[..., :2] + first[..., 2:], second[..., :2] + second[..., 2:])
    inter = np.clip(high - low, 0, None).prod(-1)
    first_area, second_area = first[..., 2:].prod(-1), second[..., 2:].prod(-1)
    union = np.where(crowd, first_area, first_area + second_area - inter)
    return np.divide(inter, union, out=np.zeros_like(inter), where=union > 0)


def crowds(truth: Instances) -> np.ndarray:
    """Return [G] bool: which objects are crowds, regions of many objects."""
    return np.zeros(len(truth), bool) if truth.crowd is None else truth.crowd


def uncounted(truth: Instances) -> np.ndarray:
    """Return [G] bool: crowds and difficult objects, which count neither as found nor as missed."""
    result = np.zeros(len(truth), bool)
    for mark in (truth.crowd, truth.difficult):
        if mark is not None:
            result |= mark
    return result


def assign(found: Instances, truth: Instances, iou: np.ndarray, least: float) -> np.ndarray:
    """Return for each detection the object of its class that it finds, -1, or -2 if ignored.

    Detections are assigned in order of decreasing score, each to the free object with the largest
    IoU of at least `least`. A detection that matches only an uncounted object is ignored.

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
    scores = found.prediction_scores()
    for row in candidates[np.argsort(-scores[candidates], kind="stable")]:
        possible = fits[row] & free
        if possible.any():
            best = int(np.argmax(np.where(possible, iou[row], -1)))
            result[row], free[best] = best, False
        elif fits[row, spare].any():
            result[row] = -2
    return result
