"""Several protocols of average precision in one evaluation are those of one each."""

import json

import numpy as np
import pytest

from cvkit.data.annotated import make_truth
from cvkit.data.classes import make_classes
from cvkit.metrics.masks import MaskMetric
from cvkit.metrics.protocols import (
    DIFFERENCES,
    SeveralProtocols,
    box_metric,
    mask_metric,
    mask_metric_names,
    metric_names,
)
from cvkit.ops.rle import encode
from cvkit.options.detect import PROTOCOLS
from cvkit.structures import Instances

CLASSES = make_classes(["cat", "dog"])


def filled(*protocols, images=6):
    """Detections near objects, of which some are doubled and some of the other class."""
    metric, draw = box_metric(CLASSES, protocols, 0.5), np.random.default_rng(3)
    for _ in range(images):
        corner = draw.uniform(0, 80, (4, 2))
        boxes = np.concatenate([corner, corner + draw.uniform(10, 40, (4, 2))], 1)
        labels = draw.integers(1, 3, 4)
        found = np.concatenate([boxes, boxes[:2]]) + draw.normal(0, 2, (6, 4))
        guess = np.concatenate([labels, labels[:2]])
        guess[0] = 3 - guess[0]
        scores = draw.random(6).astype(np.float32)
        result = Instances(found.astype(np.float32), guess, scores)
        metric.update(result.pick(np.argsort(-scores)), make_truth(boxes, labels))
    return metric


def test_every_name_of_the_flag_is_defined():
    assert tuple(DIFFERENCES) == PROTOCOLS


def test_several_protocols_have_the_numbers_of_one_each():
    several = filled("voc12", "coco", "voc07")
    assert isinstance(several, SeveralProtocols)
    report = several.report(CLASSES)
    assert tuple(report.metrics) == metric_names(["voc12", "coco", "voc07"])
    assert report.metrics == several.compute()
    assert list(report.rules["protocols"]) == ["voc12", "coco", "voc07"]
    for name in PROTOCOLS:
        alone = filled(name).report(CLASSES)
        for metric, value in alone.metrics.items():
            assert report.metrics[metric] == value
            assert report.rules[metric] == alone.rules[metric]
        for label, row in alone.per_class.items():
            column = "AP" if name == "voc12" else f"{name} AP"
            assert report.per_class[label][column] == row["AP"]
    assert len({report.metrics[name] for name in ("AP", "AP50", "voc07_map", "voc12_map")}) == 4
    assert [list(row)[-1] for row in report.per_class.values()] == ["objects", "objects"]


def test_several_processes_merge_to_the_numbers_of_one():
    whole, first, second = (filled("coco", "voc12", images=n) for n in (6, 3, 3))
    pairs = list(zip(whole.results, whole.truths, strict=True))
    parts = []
    for rank in (0, 1):
        part = box_metric(CLASSES, ("coco", "voc12"), 0.5)
        for result, truth in pairs[rank::2]:
            part.update(result, truth)
        parts.append(part.state())
    first.merge(parts, [range(0, 6, 2), range(1, 6, 2)])
    assert first.compute() == whole.compute() != second.compute()


def masked(make, images=5):
    """Detections whose masks are rectangles, as `filled` has boxes; IoUs of both are equal."""
    metric, draw = make, np.random.default_rng(4)
    for _ in range(images):
        corner = draw.integers(0, 40, (4, 2))
        boxes = np.concatenate([corner, corner + draw.integers(6, 20, (4, 2))], 1)
        found = np.concatenate([boxes, boxes[:2]]) + draw.integers(-2, 3, (6, 4))
        found = np.clip(found, 0, 63)
        labels = draw.integers(1, 3, 4)
        guess = np.concatenate([labels, labels[:2]])
        scores = np.sort(draw.random(6).astype(np.float32))[::-1]
        truth = Instances(**vars(make_truth(boxes, labels)) | {"masks": rectangles(boxes)})
        metric.update(
            Instances(found.astype(np.float32), guess, scores, masks=rectangles(found)), truth
        )
    return metric


def rectangles(boxes):
    drawn = np.zeros((len(boxes), 64, 64), bool)
    for mask, (x1, y1, x2, y2) in zip(drawn, boxes, strict=True):
        mask[y1:y2, x1:x2] = True
    return encode(drawn)


def test_rectangular_masks_have_the_numbers_of_their_boxes():
    both = masked(mask_metric(CLASSES, PROTOCOLS, 0.5))
    boxes = box_metric(CLASSES, PROTOCOLS, 0.5)
    for pair in zip(both.results, both.truths, strict=True):
        boxes.update(*pair)
    report, alone = both.report(CLASSES), boxes.report(CLASSES)
    assert tuple(report.metrics) == mask_metric_names(PROTOCOLS)
    assert report.metrics == both.compute()
    for name in ("voc07_map", "voc12_map", "AP", "AP50"):
        assert 0 < alone.metrics[name] < 1
        assert report.metrics[f"box.{name}"] == pytest.approx(alone.metrics[name], abs=1e-12)
        assert report.metrics[f"mask.{name}"] == pytest.approx(alone.metrics[name], abs=1e-12)
        assert report.rules[f"mask.{name}"] != report.rules[f"box.{name}"]
    for row in report.per_class.values():
        assert row["voc12 AP"] == pytest.approx(row["voc12 box AP"], abs=1e-12)


def test_masks_decide_where_boxes_are_equal():
    """Two halves of the same box along its diagonals: IoU of boxes 1, of masks below a half."""
    upper = np.triu(np.ones((20, 20), bool))[None]
    lower = upper[:, ::-1]
    box, label = np.array([[0, 0, 20, 20]], np.float32), np.array([1])
    truth = Instances(**vars(make_truth(box, label)) | {"masks": encode(upper)})
    result = Instances(box, label, np.array([0.9], np.float32), masks=encode(lower))
    metric = mask_metric(CLASSES, ["voc12"], 0.5)
    metric.update(result, truth)
    assert metric.compute() == {"mask.voc12_map": 0.0, "box.voc12_map": 1.0}
    assert metric.report(CLASSES).per_class["cat"]["AP"] == 0.0
    assert metric.report(CLASSES).per_class["cat"]["box AP"] == 1.0


def test_each_protocol_of_masks_is_that_of_one_run():
    several = masked(mask_metric(CLASSES, ("voc12", "coco"), 0.7, boundary=True))
    report = several.report(CLASSES)
    assert tuple(report.metrics) == mask_metric_names(("voc12", "coco"), boundary=True)
    for name in ("voc12", "coco"):
        alone = masked(mask_metric(CLASSES, (name,), 0.7, boundary=name == "coco")).report(CLASSES)
        for metric, value in alone.metrics.items():
            assert report.metrics[metric] == value
    for got, wanted in zip(several.matched, masked(MaskMetric(CLASSES)).matched, strict=True):
        assert (got == wanted).all()


@pytest.fixture
def files(tmp_path):
    """Two objects of one class: one detection is nearly right, one is wrong."""
    images = [{"id": 1, "file_name": "a.jpg", "width": 100, "height": 100}]
    kind = {"image_id": 1, "category_id": 7}
    objects = [[10, 10, 20, 20], [60, 60, 30, 30]]
    rows = [kind | {"id": n, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
            for n, box in enumerate(objects, 1)]  # fmt: skip
    truth = {"images": images, "annotations": rows, "categories": [{"id": 7, "name": "cat"}]}
    found = [kind | {"bbox": box, "score": score}
             for box, score in (([11, 10, 20, 20], 0.9), ([0, 70, 9, 9], 0.5))]  # fmt: skip
    for name, content in (("truth", truth), ("found", found)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    return ("--predictions", tmp_path / "found.json", "--truth", tmp_path / "truth.json")


def test_protocols_are_shown_side_by_side_with_their_sentences(cvkit, files):
    flags = ("detect", "eval", *files, "--no-files", "--protocol", "coco,voc07,voc12")
    done = cvkit(*flags, "--json", "--fail-under", "voc12_map=0.5", "--fail-under", "AP50=0.5")
    assert done.code == 0, done.err
    metrics = done.json["metrics"]
    # One of two objects found, at once: 6 of 11 recalls, half of the area, 51 of 101 recalls.
    assert metrics["voc07_map"] == pytest.approx(6 / 11)
    assert metrics["voc12_map"] == 0.5
    assert metrics["AP50"] == pytest.approx(51 / 101)
    assert list(done.json["numbers"]) == list(metrics)
    shown = cvkit(*flags).out
    for sentence in done.json["rules"]["protocols"].values():
        assert sentence in shown
    assert "voc07 AP" in shown and "voc12 AP" in shown
    assert cvkit(*flags, "--fail-under", "voc12 AP@cat=0.51").code == 4
