"""Detection errors by kind, and confusions of classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cvkit.metrics.boxes import uncounted
from cvkit.metrics.coco import FITS, BoxMetric
from cvkit.structures import Instances

TOUCHES = 0.1
"""Minimum IoU of a detection that counts as near an object."""
KINDS = ("correct", "localisation", "class", "duplicate", "background", "missed")
RULE = (
    "detections with a score of at least {score:.3f} (where F1 is largest); correct: IoU of 0.5 "
    "with a free object of its class; duplicate: with one that is taken; class: with one of "
    "another class; localisation: IoU of 0.1 to 0.5 with one of its class; background: the rest; "
    "missed: objects without a correct detection"
)


@dataclass(frozen=True)
class BoxErrors:
    """The errors of detections above a score.

    Attributes:
        score: smallest counted score.
        counts: of each kind in `KINDS`.
        matrix: [K + 1, K + 1] objects (rows) found as classes (columns) at IoU 0.5; the first row
            is background detected as a class, the first column missed objects.
    """

    score: float
    counts: dict[str, int]
    matrix: np.ndarray

    def as_json(self) -> dict[str, Any]:
        """Return the counts, the score and the rule, without the matrix."""
        return {**self.counts, "score": self.score, "rule": RULE.format(score=self.score)}


def analyse(metric: BoxMetric) -> BoxErrors:
    """Return the errors at the score with the largest F1."""
    images = list(zip(metric.results, metric.truths, metric.matched, strict=True))
    score = _best_score(images)
    counts = dict.fromkeys(KINDS, 0)
    classes = len(metric.classes)
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for result, truth, matched in images:
        keep = result.prediction_scores() >= score
        shown = result.pick(keep)
        iou = metric.overlaps(shown, truth)
        # Detections with lower scores do not change the assignment of those with higher scores.
        _count(shown, truth, iou, matched[keep], counts)
        _confuse(shown, truth, iou, matrix)
    return BoxErrors(score, counts, matrix)


def _best_score(images: list[tuple[Instances, Instances, np.ndarray]]) -> float:
    """Return the score threshold with the largest F1 over all images."""
    scores, hits, objects = [np.zeros(0)], [np.zeros(0, bool)], 0
    for result, truth, matched in images:
        counts = matched != -2
        scores.append(result.prediction_scores()[counts])
        hits.append(matched[counts] >= 0)
        objects += int((~uncounted(truth)).sum())
    score, hit = np.concatenate(scores), np.concatenate(hits)
    if not len(score):
        return 0.0
    order = np.argsort(-score, kind="stable")
    falling, right = score[order], np.cumsum(hit[order])
    f1 = 2 * right / (np.arange(1, len(right) + 1) + max(objects, 1))
    last = np.append(
        falling[1:] < falling[:-1], True
    )  # detections with equal scores count together
    return float(falling[last][int(np.argmax(f1[last]))])


def _count(
    result: Instances,
    truth: Instances,
    iou: np.ndarray,
    matched: np.ndarray,
    counts: dict[str, int],
) -> None:
    counts["correct"] += int((matched >= 0).sum())
    counts["missed"] += int((~uncounted(truth)).sum() - (matched >= 0).sum())
    for row in np.flatnonzero(matched == -1):
        same = truth.labels == result.labels[row]
        nearest, of_others = (iou[row][mask].max(initial=0.0) for mask in (same, ~same))
        if nearest >= FITS:
            kind = "duplicate"
        elif of_others >= FITS:
            kind = "class"
        else:
            kind = "localisation" if nearest >= TOUCHES else "background"
        counts[kind] += 1


def _confuse(result: Instances, truth: Instances, iou: np.ndarray, matrix: np.ndarray) -> None:
    """Add one image: pairs in order of decreasing overlap, regardless of class."""
    spare = uncounted(truth)
    rows, columns = np.nonzero((iou >= FITS) & ~spare[None])
    order = np.argsort(-iou[rows, columns], kind="stable")
    used, found = np.zeros(len(result), bool), np.zeros(len(truth), bool)
    for row, column in zip(rows[order], columns[order], strict=True):
        if not used[row] and not found[column]:
            used[row] = found[column] = True
            matrix[truth.labels[column], result.labels[row]] += 1
    for label in truth.labels[~found & ~spare]:
        matrix[label, 0] += 1
    covers = (iou >= FITS)[:, spare].any(1) if spare.any() else np.zeros(len(result), bool)
    for label in result.labels[~used & ~covers]:
        matrix[0, label] += 1
