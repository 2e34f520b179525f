"""How far two results of the same image or video agree."""

from typing import Any

import numpy as np
from pycocotools import mask as coco

from cvkit.ops.rle import mask_iou
from cvkit.structures import Classes, Instances, Masks, SegMap

SURE, NEARLY_SURE = 0.5, 0.4
"""Scores of the objects that are looked for, and of those among which they are looked for."""
SAME = 0.9
"""IoU from which two objects of a class count as the same."""


def agreement(result: Any, reference: Any) -> float | None:
    """Return how far a result agrees with another one, in [0, 1]; None for an unknown type.

    Of classes it is whether the best ones are equal, of label maps the fraction of equal pixels,
    of objects the fraction (of those of either result with a score of at least `SURE`) that the
    other result has too: the same class, a score of at least `NEARLY_SURE` and an IoU of at least
    `SAME`, of masks where there are masks.
    """
    if isinstance(result, Classes) and isinstance(reference, Classes):
        return float(result.label == reference.label)
    if isinstance(result, SegMap) and isinstance(reference, SegMap):
        return float((result.labels == reference.labels).mean())
    if isinstance(result, Instances) and isinstance(reference, Instances):
        ious = _ious(result, reference)
        there, wanted = _found(ious, result, reference)
        back, others = _found(ious.T, reference, result)
        return (there + back) / (wanted + others) if wanted + others else 1.0
    return None


def _found(ious: np.ndarray, result: Instances, other: Instances) -> tuple[int, int]:
    """Return how many of the sure objects of a result the other one has, and their number."""
    scores, known = result.prediction_scores(), other.prediction_scores()
    same = (ious >= SAME) & (result.labels[:, None] == other.labels) & (known >= NEARLY_SURE)
    sure = scores >= SURE
    return int(same[sure].any(1).sum()), int(sure.sum())


def _ious(one: Instances, other: Instances) -> np.ndarray:
    """Return the [N, M] IoUs of the objects of two results."""
    if not len(one) or not len(other):
        return np.zeros((len(one), len(other)))
    whole = np.zeros(len(other), bool)
    if isinstance(one.masks, Masks) and isinstance(other.masks, Masks):
        return mask_iou(one.masks, other.masks, whole)
    ious: np.ndarray = coco.iou(_xywh(one), _xywh(other), whole.tolist())
    return ious


def _xywh(found: Instances) -> np.ndarray:
    x1, y1, x2, y2 = found.boxes.astype(np.float64).T
    return np.stack((x1, y1, x2 - x1, y2 - y1), 1)
