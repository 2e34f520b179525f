"""Bootstrap replicates are evaluations of the samples that were drawn, and intervals cover."""

from dataclasses import replace

import numpy as np
import pytest
from test_many_images import scene

from cvkit.data.classes import make_classes
from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.coco import CocoMetric
from cvkit.metrics.confusion import ConfusionMatrix
from cvkit.metrics.masks import MaskMetric
from cvkit.metrics.protocols import box_metric
from cvkit.metrics.resampling import draws, interval, replicated
from cvkit.metrics.video import VideoMetric
from cvkit.metrics.voc import VocMetric
from cvkit.scoring.contract import Scored
from cvkit.scoring.intervals import intervals, samples_of
from cvkit.structures import Classes, SegMap

CLASSES = make_classes(["cat", "dog", "cow"])


def boxes(rng, masks=False):
    """Return images with equal scores in different ones; within one, copies would interleave."""
    pairs = []
    for _ in range(8):
        found = scene(rng, rng.integers(0, 12), True, masks)
        fall = np.arange(len(found), dtype=np.float32) / 256
        truth = scene(rng, rng.integers(0, 9), False, masks)
        pairs.append((replace(found, scores=found.scores - fall), truth))
    return pairs


def pixels(rng):
    maps = rng.integers(0, 2 + rng.random((8, 2, 4, 4)).round().astype(int))
    return [(SegMap(a.astype(np.uint8)), SegMap(b.astype(np.uint8))) for a, b in maps]


def labels(rng):
    return [(Classes(-1, row), Classes(n % 2)) for n, row in enumerate(rng.random((8, 3)))]


CASES = {
    "coco": (lambda: CocoMetric(CLASSES), boxes),
    "voc07": (lambda: VocMetric(CLASSES, True), boxes),
    "voc12": (lambda: VocMetric(CLASSES, False, 0.4), boxes),
    "masks": (lambda: MaskMetric(CLASSES, boundary=True), lambda rng: boxes(rng, True)),
    "pixels": (lambda: ConfusionMatrix(3), pixels),
    "pixels, absent 0": (lambda: ConfusionMatrix(3, "zero"), pixels),
    "pixels, absent undefined": (lambda: ConfusionMatrix(3, "nan"), pixels),
    "pixels, ours first": (lambda: ConfusionMatrix(3, dialects=("cvkit", "paddle")), pixels),
    "pixels, ours last": (lambda: ConfusionMatrix(3, dialects=("torchvision", "cvkit")), pixels),
    "protocols": (lambda: box_metric(CLASSES, ("coco", "voc07", "voc12"), 0.4), boxes),
    "protocols, coco last": (lambda: box_metric(CLASSES, ("voc12", "coco"), 0.4), boxes),
    "classes": (lambda: ClassificationMetric(3), labels),
    "videos": (lambda: VideoMetric(3), labels),
}


def test_only_our_definition_of_miou_has_counts():
    pairs = pixels(np.random.default_rng(1))
    assert samples_of(scored(lambda: ConfusionMatrix(3, dialects=("paddle", "smp")), pairs)) == []


def test_every_protocol_has_a_column_of_its_own():
    make, pairs_of = CASES["protocols"]
    found = intervals(samples_of(scored(make, pairs_of(np.random.default_rng(1)))), 10, 0)
    metrics = {"AP", "AP50", "AP75", "voc07_map", "voc12_map"}
    assert set(found["metrics"]) == metrics
    for name in CLASSES.names:
        assert list(found["per_class"][name]) == ["AP", "voc07 AP", "voc12 AP"]


def scored(make, pairs):
    metric = make()
    outcomes = [(str(n), metric.update(*pair)) for n, pair in enumerate(pairs)]
    return Scored(metric, CLASSES, outcomes, [])


@pytest.mark.parametrize("name", CASES)
def test_a_replicate_is_the_evaluation_of_the_samples_that_were_drawn(name):
    make, pairs_of = CASES[name]
    pairs = pairs_of(np.random.default_rng(1))
    weights = next(draws(len(pairs), 6, seed=0))
    weights[0] = 1
    every = [each.values(weights) for each in samples_of(scored(make, pairs))]
    found = {key: values for each in every for key, values in each.items()}
    for place, row in enumerate(weights.astype(int).tolist()):
        drawn = [pair for pair, count in zip(pairs, row, strict=True) for _ in range(count)]
        metric = scored(make, drawn).metric
        report = metric.report(CLASSES)
        for key in found.keys() - {"classes"}:
            value = report.metrics[key]
            expected = np.nan if value is None else value
            assert found[key][place] == pytest.approx(expected, abs=1e-9, nan_ok=True), key
        column = samples_of(scored(make, pairs))[0].per_class
        alone = [report.per_class[each][column] for each in CLASSES.names]
        expected = np.array([np.nan if value is None else value for value in alone])
        assert every[0]["classes"][place] == pytest.approx(expected, abs=1e-9, nan_ok=True)


def test_nineteen_of_twenty_intervals_contain_the_true_accuracy():
    rng, truth, inside = np.random.default_rng(0), 0.7, 0
    for seed in range(200):
        right = rng.random(100) < truth
        rows = [np.eye(3)[int(not hit)] for hit in right]
        pairs = [(Classes(-1, row), Classes(0)) for row in rows]
        (samples,) = samples_of(scored(lambda: ClassificationMetric(3), pairs))
        (values,) = replicated([samples], 200, seed)
        low, high = interval(values["top1"])
        inside += low <= truth <= high
    assert 0.90 <= inside / 200 <= 0.99


@pytest.mark.parametrize("name", CASES)
def test_intervals_depend_on_the_seed_alone_and_contain_the_number(name):
    make, pairs_of = CASES[name]
    one = samples_of(scored(make, pairs_of(np.random.default_rng(1))))
    first, again, other = (intervals(one, 60, seed) for seed in (0, 0, 1))
    assert first == again != other
    low, high = next(iter(first["metrics"].values())) or (0, 1)
    assert 0 <= low <= high <= 1
    assert first["per_class"].keys() == set(CLASSES.names)
