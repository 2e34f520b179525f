"""Average precision of masks: COCO's against pycocotools, boundaries against their definition."""

import json
import os
import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import coco as reference_coco
from pycocotools import cocoeval as reference_eval

from cvkit.cli import run
from cvkit.data.annotated import make_truth
from cvkit.data.classes import make_classes
from cvkit.metrics import box_errors
from cvkit.metrics.boxes import scene
from cvkit.metrics.coco import FITS, METRICS, CocoMetric, evaluate_coco
from cvkit.metrics.masks import MaskMetric, largest_iou
from cvkit.ops.rle import (
    decode,
    encode,
    encode_part,
    make_masks,
    mask_areas,
    mask_boxes,
    mask_iou,
)
from cvkit.structures import Instances, Masks

SIZE = (60, 80)
CLASSES = make_classes(["cell", "dust"])


class Reference:
    COCO, COCOeval = reference_coco.COCO, reference_eval.COCOeval


class BoundaryEval(reference_eval.COCOeval):
    """Pycocotools with the smaller of two overlaps, by the paper's words."""

    def __init__(self, truth, found, kind):
        assert kind == "boundary"
        super().__init__(truth, found, "segm")

    def computeIoU(self, image, category):
        whole = super().computeIoU(image, category)
        if not len(whole):
            return whole
        found = self._dts[image, category]
        order = np.argsort([-row["score"] for row in found], kind="mergesort")
        found = [found[place] for place in order[: self.params.maxDets[-1]]]
        truth = self._gts[image, category]
        edges = [[border(row["segmentation"]) for row in rows] for rows in (found, truth)]
        result = np.array(whole)
        for a, one in enumerate(edges[0]):
            for b, two in enumerate(edges[1]):
                if not truth[b]["iscrowd"]:
                    union = (one | two).sum()
                    result[a, b] = min(result[a, b], (one & two).sum() / union if union else 0)
        return result


class BoundaryReference:
    COCO, COCOeval = reference_coco.COCO, BoundaryEval


def border(rle):
    mask = decode(Masks(tuple(rle["size"]), np.array([rle["counts"]], object)))[0].astype(np.uint8)
    distance = max(1, round(0.02 * np.hypot(*mask.shape)))
    padded = np.pad(mask, 1)
    inner = cv2.erode(padded, np.ones((3, 3), np.uint8), iterations=distance)
    return (padded - inner)[1:-1, 1:-1].astype(bool)


def blob(rng, size_hw=SIZE):
    """A random ellipse, or a rectangle."""
    y, x = np.mgrid[: size_hw[0], : size_hw[1]]
    cy, cx = rng.uniform(0, size_hw[0]), rng.uniform(0, size_hw[1])
    h, w = np.exp(rng.uniform(np.log(2), np.log(40), 2))
    if rng.random() < 0.3:
        return (abs(y - cy) < h) & (abs(x - cx) < w)
    return ((y - cy) / h) ** 2 + ((x - cx) / w) ** 2 < 1


def random_image(rng, most=6):
    """Objects, and detections that are near them or anywhere; scores often tie."""
    truths = [blob(rng) for _ in range(rng.integers(0, most))]
    found = [np.roll(m, rng.integers(-4, 5, 2), (0, 1)) for m in truths if rng.random() < 0.8]
    found += [blob(rng) for _ in range(rng.integers(0, 4))]
    truths, found = (np.array(each, bool).reshape(-1, *SIZE) for each in (truths, found))
    truth, result = encode(truths), encode(found)
    areas = [rng.choice([area, 1024.0, 9216.0]) for area in mask_areas(truth)]
    xywh = mask_boxes(truth)
    truth = make_truth(
        np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1),
        rng.integers(1, 3, len(truth)),
        areas=areas,
        crowd=rng.random(len(truth)) < 0.2,
        xywh=xywh,
        masks=truth,
    )
    return detections(result, rng), truth


def detections(masks, rng):
    xywh = mask_boxes(masks)
    scores = np.sort(rng.choice([0.1, 0.3, 0.5, 0.5, 0.9], len(masks)))[::-1]
    return Instances(
        boxes=np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1).astype(np.float32),
        labels=rng.integers(1, 3, len(masks)),
        scores=scores.astype(np.float32),
        xywh=xywh,
        masks=masks,
    )


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize(
    "kind, engine", [("segm", Reference), ("bbox", Reference), ("boundary", BoundaryReference)]
)
def test_the_fast_engine_equals_the_reference_to_the_last_bit(kind, engine, seed):
    rng = np.random.default_rng(seed)
    results, truths = zip(*(random_image(rng) for _ in range(3)), strict=True)
    if not any(len(truth) for truth in truths):
        return
    metric = MaskMetric(CLASSES, boundary=True)
    metric.extend(results, truths)
    own = metric.accumulate(kind)  # without the masks that can match nothing
    other = evaluate_coco(results, truths, 2, kind, engine)
    assert own.stats.tolist() == other.stats.tolist()
    for name in ("precision", "recall", "scores"):
        assert np.array_equal(getattr(own, name), getattr(other, name)), name


def test_the_largest_iou_is_a_bound():
    rng = np.random.default_rng(0)
    results, truths = zip(*(random_image(rng) for _ in range(60)), strict=True)
    images = scene(results, truths)
    found, truth = images.found, images.truth
    pairs = np.array(
        [
            (d, o)
            for d, image in enumerate(found.images)
            for o in np.flatnonzero(truth.images == image)
        ]
    )
    limits = largest_iou(images)(*pairs.T, 0.0)
    exact = MaskMetric(CLASSES).overlap_of(images)(*pairs.T, 0.0)
    whole = [
        mask_iou(result.masks, each.masks, each.crowd).ravel()
        for result, each in zip(results, truths, strict=True)
    ]
    assert exact.tolist() == np.concatenate(whole).tolist()
    assert (limits >= exact).all() and (limits < FITS).mean() > 0.5 and (limits == exact).any()


def measured(result, truth):
    """Return the numbers of one detection of an object of the first class."""
    metric = MaskMetric(make_classes(["cell"]), boundary=True)
    xywh = mask_boxes(encode(result))
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    score = np.array([0.9], np.float32)
    metric.update(Instances(corners, np.array([1]), score, masks=encode(result)), truth)
    found = metric.compute()
    assert set(found) == {f"{kind}.{name}" for kind in metric.kinds for name in METRICS}
    return found


def test_the_kinds_differ_where_they_should():
    """A mask that fills only half of the right box; and one whose border is off."""
    full = np.zeros((1, *SIZE), bool)
    full[0, 10:50, 10:50] = True
    truth = make_truth([[10, 10, 50, 50]], [1], areas=[1600.0], masks=encode(full))
    half = full & np.tri(*SIZE, dtype=bool)
    half[0, 10, 10:50] = True  # the same box
    found = measured(half, truth)
    assert found["box.AP"] == pytest.approx(1) and found["mask.AP"] < 0.2
    found = measured(np.roll(full, 3, (1, 2)), truth)
    assert found["mask.AP50"] == pytest.approx(1) and found["boundary.AP50"] == 0


def test_truths_as_detections_score_1():
    rng = np.random.default_rng(3)
    metric = MaskMetric(CLASSES, boundary=True)
    for _ in range(4):
        _, truth = random_image(rng)
        truth = truth.pick(~truth.crowd)
        scores = np.full(len(truth), 0.9, np.float32)
        metric.update(Instances(truth.boxes, truth.labels, scores, masks=truth.masks), truth)
    found = metric.compute()
    for kind in metric.kinds:
        assert found[f"{kind}.AP"] == pytest.approx(1) == found[f"{kind}.AR100"]
    errors = box_errors.analyse(metric)
    assert errors.counts["correct"] > 3 and errors.counts["missed"] == 0


def test_nothing_found_scores_0():
    _, truth = random_image(np.random.default_rng(1))
    metric = MaskMetric(CLASSES)
    none = encode(np.zeros((0, *SIZE), bool))
    empty = np.zeros((0, 4), np.float32)
    nothing = Instances(empty, np.zeros(0, int), np.zeros(0, np.float32), masks=none)
    outcome = metric.update(nothing, truth)
    assert outcome.objects > 0 and outcome.found == outcome.detections == 0
    assert metric.compute()["mask.AP"] == 0


def test_an_object_is_found_by_its_mask_not_its_box():
    ring = np.zeros((1, *SIZE), bool)
    cv2.circle(shown := np.zeros(SIZE, np.uint8), (40, 30), 20, 1, 3)
    ring[0] = shown
    disk = np.zeros((1, *SIZE), bool)
    cv2.circle(shown := np.zeros(SIZE, np.uint8), (40, 30), 20, 1, -1)
    disk[0] = shown
    xywh = mask_boxes(encode(ring))
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    truth = make_truth(corners, [1], masks=encode(ring))
    score = np.array([0.9], np.float32)
    result = Instances(truth.boxes, np.array([1]), score, masks=encode(disk))
    outcome = MaskMetric(CLASSES).update(result, truth)
    assert (outcome.objects, outcome.detections, outcome.found) == (1, 1, 0)
    assert CocoMetric(CLASSES).update(result, truth).found == 1


def test_processes_merge_to_the_numbers_of_one():
    rng = np.random.default_rng(5)
    pairs = [random_image(rng) for _ in range(5)]
    whole, parts = MaskMetric(CLASSES), [MaskMetric(CLASSES) for _ in range(2)]
    for number, pair in enumerate(pairs):
        whole.update(*pair)
        parts[number % 2].update(*pair)
    parts[0].merge([part.state() for part in parts], [[0, 2, 4], [1, 3]])
    assert parts[0].compute() == whole.compute()


def test_300_objects_an_image_are_compared_as_codes():
    """Decoded, the objects and detections of one image would take 1.2 GB."""
    rng = np.random.default_rng(0)
    size_hw = (1080, 1920)
    codes, corners = [], []
    for number in range(300):
        y, x = 60 * (number // 20), 90 * (number % 20)
        part = blob(rng, (50, 70))
        codes.append(encode_part(part, (y, x), size_hw))
        corners.append([x, y, x + 70, y + 50])
    masks = make_masks(codes, size_hw)
    truth = make_truth(np.array(corners, float), np.ones(300, int), masks=masks)
    scores = np.linspace(0.9, 0.1, 300).astype(np.float32)
    metric = MaskMetric(CLASSES)
    tracemalloc.start()
    for _ in range(10):
        metric.update(Instances(truth.boxes, truth.labels, scores, masks=masks), truth)
    found = metric.compute()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found["mask.AP"] == pytest.approx(100 / 300, abs=0.01)  # COCO counts 100 an image
    assert peak < 50_000_000


@pytest.fixture
def cases():
    place = os.environ.get("CVKIT_DATA")
    if not place or not Path(place).is_dir():
        pytest.skip("CVKIT_DATA does not name the folder of real data")
    return Path(place) / "evalcases" / "coco_fake100"


def test_coco_fake100_gives_the_published_numbers(cases, capsys):
    expected = json.loads((cases / "expected.json").read_text())["segm"]
    truth = cases / "gt_instances_val2014_100.json"
    flags = ["--predictions", cases / "dt_segm.json", "--truth", truth, "--no-files", "--json"]
    capsys.readouterr()
    assert run(["instance", "eval", *map(str, flags)]) == 0
    content = json.loads(capsys.readouterr().out)
    rows = expected.pop("per_class")
    longer = {"s": "small", "m": "medium", "l": "large"}
    found = {
        name[:-1] + longer[name[-1]] if name[-1] in longer else name: value
        for name, value in content["metrics"]["mask"].items()
    }
    assert found == expected
    assert len(content["per_class"]) == len(rows) == 80
    for row in rows.values():
        own = content["per_class"][row["name"]]
        wanted = [None if row[name] == -1 else row[name] for name in ("AP", "AP50")]
        assert [own["AP"], own["AP50"]] == pytest.approx(wanted, abs=1e-12)
