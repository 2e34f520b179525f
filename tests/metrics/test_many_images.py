"""All images at once give what one detection after the other gives."""

import numpy as np
import pytest

from cvkit.data.classes import make_classes
from cvkit.metrics import box_errors
from cvkit.metrics.boxes import AT_ONCE, overlaps, uncounted
from cvkit.metrics.coco import CocoMetric
from cvkit.metrics.masks import MaskMetric
from cvkit.ops.rle import encode, mask_iou
from cvkit.structures import Instances

CLASSES = make_classes(["cat", "dog", "cow"])


def scene(rng, objects, scored, masks=False):
    """Return random boxes on a small grid, so that many are equal, and so are scores."""
    low = rng.integers(0, 3, (objects, 2)) * 4
    boxes = np.concatenate([low, low + rng.integers(2, 5, (objects, 2)) * 4], 1).astype(np.float32)
    labels = rng.integers(1, 4, objects)
    codes = None
    if masks:
        planes = np.zeros((objects, 40, 40), bool)
        for plane, (x1, y1, x2, y2) in zip(planes, boxes.astype(int), strict=True):
            plane[y1:y2, x1:x2] = rng.random((y2 - y1, x2 - x1)) < 0.9
        codes = encode(planes)
    if scored:
        scores = np.sort(rng.integers(1, 8, objects) / 8)[::-1].astype(np.float32)
        return Instances(boxes, labels, scores=scores, masks=codes)
    marks = [rng.random(objects) < 0.2 for _ in range(2)]
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1).astype(float)
    return Instances(boxes, labels, areas=areas, crowd=marks[0], difficult=marks[1], masks=codes)


def one_by_one(found, truth, iou):
    """Return the object of each detection, by the words of the rule."""
    result, taken = np.full(len(found), -1), set()
    spare = uncounted(truth)
    for row in np.argsort(-found.scores, kind="stable").tolist():
        fits = [n for n in range(len(truth)) if iou[row, n] >= 0.5]
        fits = [n for n in fits if truth.labels[n] == found.labels[row]]
        if free := [n for n in fits if not spare[n] and n not in taken]:
            result[row] = max(free, key=lambda n: (iou[row, n], -n))
            taken.add(result[row])
        elif any(spare[n] for n in fits):
            result[row] = -2
    return result


def kinds(found, truth, iou, matched, score, counts):
    for row in np.flatnonzero(found.scores >= score).tolist():
        same = truth.labels == found.labels[row]
        nearest, other = (iou[row][mask].max(initial=0) for mask in (same, ~same))
        kind = "duplicate" if nearest >= 0.5 else "class" if other >= 0.5 else "localisation"
        if kind == "localisation" and nearest < 0.1:
            kind = "background"
        if matched[row] != -2:
            counts["correct" if matched[row] >= 0 else kind] += 1
    counts["missed"] += int((~uncounted(truth)).sum())


def confused(found, truth, iou, score, matrix):
    shown, spare = found.scores >= score, uncounted(truth)
    pairs = [(-iou[d, g], d, g) for d in np.flatnonzero(shown) for g in np.flatnonzero(~spare)]
    used, taken = set(), set()
    for negative, d, g in sorted(pairs):
        if -negative >= 0.5 and d not in used and g not in taken:
            used.add(d), taken.add(g)
            matrix[truth.labels[g], found.labels[d]] += 1
    for g in set(np.flatnonzero(~spare)) - taken:
        matrix[truth.labels[g], 0] += 1
    for d in set(np.flatnonzero(shown)) - used:
        if not (iou[d, spare] >= 0.5).any():
            matrix[0, found.labels[d]] += 1


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
@pytest.mark.parametrize("at_once", [1, 7, AT_ONCE])
def test_all_images_at_once_are_each_detection_after_the_other(monkeypatch, masks, at_once):
    monkeypatch.setattr("cvkit.metrics.boxes.AT_ONCE", at_once)
    rng = np.random.default_rng(at_once)
    sizes = [(0, 0), (3, 0), (0, 3), *rng.integers(0, 30, (20, 2)).tolist(), (0, 0)]
    pairs = [(scene(rng, d, True, masks), scene(rng, g, False, masks)) for d, g in sizes]
    kind = MaskMetric if masks else CocoMetric
    whole, single = kind(CLASSES), kind(CLASSES)
    outcomes = whole.extend(*map(list, zip(*pairs, strict=True)))
    assert outcomes == [single.update(*pair) for pair in pairs]
    analysed = box_errors.analyse(whole)
    counts, matrix = dict.fromkeys(box_errors.KINDS, 0), np.zeros((4, 4), int)
    for number, (found, truth) in enumerate(pairs):
        iou = overlaps(found, truth)
        if masks:
            iou = mask_iou(found.masks, truth.masks, truth.crowd)
        matched = one_by_one(found, truth, iou)
        assert whole.matched[number].tolist() == matched.tolist()
        assert single.matched[number].tolist() == matched.tolist()
        assert outcomes[number].found == (matched >= 0).sum()
        assert outcomes[number].detections == (matched != -2).sum()
        kinds(found, truth, iou, matched, analysed.score, counts)
        confused(found, truth, iou, analysed.score, matrix)
    counts["missed"] -= counts["correct"]
    assert analysed.counts == counts
    assert min(analysed.counts.values()) > 0
    assert analysed.matrix.tolist() == matrix.tolist()
