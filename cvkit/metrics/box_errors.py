"""Detection errors by kind, and confusions of classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from cvkit.metrics.boxes import Flat, Pairs, overlapping, scene, turns
from cvkit.metrics.coco import FITS, BoxMetric

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
    images = scene(metric.results, metric.truths)
    found, truth = images.found, images.truth
    matched = np.concatenate([np.zeros(0, np.int64), *metric.matched])
    score = _best_score(found.scores, matched, int((~truth.spare).sum()))
    shown = found.scores >= score
    pairs = overlapping(
        found,
        truth,
        np.flatnonzero(shown),
        metric.overlap_of(images),
        TOUCHES,
        same_class=False,
    )
    # Detections with lower scores do not change the assignment of those with higher scores.
    counts = _count(found, truth, pairs, np.where(shown, matched, -2))
    return BoxErrors(score, counts, _confuse(found, truth, pairs, shown, len(metric.classes)))


def _best_score(scores: np.ndarray, matched: np.ndarray, objects: int) -> float:
    """Return the score threshold with the largest F1 over all images."""
    counts = matched != -2
    score, hit = scores[counts], matched[counts] >= 0
    if not len(score):
        return 0.0
    order = np.argsort(-score, kind="stable")
    falling, right = score[order], np.cumsum(hit[order])
    f1 = 2 * right / (np.arange(1, len(right) + 1) + max(objects, 1))
    last = np.append(
        falling[1:] < falling[:-1], True
    )  # detections with equal scores count together
    return float(falling[last][int(np.argmax(f1[last]))])


def _count(found: Flat, truth: Flat, pairs: Pairs, matched: np.ndarray) -> dict[str, int]:
    """Return the number of errors of each kind; `matched` is -2 for what does not count."""
    same = truth.labels[pairs.objects] == found.labels[pairs.detections]
    nearest, of_others = np.zeros(len(found)), np.zeros(len(found))
    for most, mask in ((nearest, same), (of_others, ~same)):
        np.maximum.at(most, pairs.detections[mask], pairs.iou[mask])
    correct, wrong = int((matched >= 0).sum()), matched == -1
    duplicate = wrong & (nearest >= FITS)
    of_class = wrong & ~duplicate & (of_others >= FITS)
    rest = wrong & ~duplicate & ~of_class
    near = rest & (nearest >= TOUCHES)
    return {
        "correct": correct,
        "localisation": int(near.sum()),
        "class": int(of_class.sum()),
        "duplicate": int(duplicate.sum()),
        "background": int((rest & ~near).sum()),
        "missed": int((~truth.spare).sum()) - correct,
    }


def _confuse(found: Flat, truth: Flat, pairs: Pairs, shown: np.ndarray, classes: int) -> np.ndarray:
    """Return the matrix: pairs in order of decreasing overlap, regardless of class."""
    pairs = pairs.pick(pairs.iou >= FITS)
    used, taken = np.zeros(len(found), bool), np.zeros(len(truth), bool)
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    counted = pairs.pick(~truth.spare[pairs.objects])
    for turn in turns(found.images[counted.detections], counted.iou):
        rows, columns = counted.detections[turn], counted.objects[turn]
        new = ~used[rows] & ~taken[columns]
        rows, columns = rows[new], columns[new]
        used[rows] = taken[columns] = True
        np.add.at(matrix, (truth.labels[columns], found.labels[rows]), 1)
    covers = np.zeros(len(found), bool)
    covers[pairs.detections[truth.spare[pairs.objects]]] = True
    np.add.at(matrix[:, 0], truth.labels[~taken & ~truth.spare], 1)
    np.add.at(matrix[0], found.labels[shown & ~used & ~covers], 1)
    return matrix
