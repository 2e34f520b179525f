"""The examples of docs/metrics_explained.md have the numbers that the page says."""

import re
from pathlib import Path

import numpy as np
import pytest

from cvkit.data.annotated import make_truth
from cvkit.data.classes import make_classes
from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.coco import CocoMetric
from cvkit.metrics.confusion import ConfusionMatrix, summary
from cvkit.metrics.image_counts import errors_as_json
from cvkit.metrics.masks import MaskMetric
from cvkit.metrics.video import VideoMetric
from cvkit.metrics.voc import VocMetric
from cvkit.ops.rle import encode
from cvkit.structures import Classes, Instances, SegMap

PAGE = (Path(__file__).parents[2] / "docs" / "metrics_explained.md").read_text()
KINDS = {"classification": 2, "video": 1, "segmentation": 1, "matrix": 1, "detection": 2}
KINDS |= {"instance": 1, "errors": 1}


def blocks():
    """Yield the kind, the rows of the example and the numbers of each block of the page."""
    for block in re.findall(r"^```text\n(.+?)^```$", PAGE, re.DOTALL | re.MULTILINE):
        (kind, *rows), numbers = (part.splitlines() for part in block.strip().split("\n\n"))
        yield kind, [row.split() for row in rows], dict(line.split() for line in numbers)


BLOCKS = list(blocks())


def scored(rows):
    """Yield truth and scores of each row of a table of scores."""
    (_, *names), *lines = rows
    for truth, *scores in lines:
        yield names.index(truth), np.array(scores, float)


def classification(rows):
    metric = ClassificationMetric(len(rows[0]) - 1)
    for truth, scores in scored(rows):
        metric.update(Classes(-1, scores), Classes(truth))
    curves = metric.one_vs_rest().as_json()
    return metric.compute() | {name: each["value"] for name, each in curves.items()}


def video(rows):
    """The rows are clips of one video."""
    metric = VideoMetric(len(rows[0]) - 1)
    truths, clips = zip(*scored(rows), strict=True)
    metric.update(Classes(-1, np.mean(clips, 0), clips=np.array(clips)), Classes(truths[0]))
    return metric.compute()


def segmentation(rows):
    truth, found = (np.array([row[1:]], np.uint8) for row in rows)
    metric = ConfusionMatrix(int(truth.max()) + 1)
    metric.update(SegMap(found), SegMap(truth))
    return metric.compute()


def errors(rows):
    """Return the pixels of each kind, in one image."""
    truth, found = (np.array([row[1:]], np.uint8) for row in rows)
    return errors_as_json([ConfusionMatrix(4).update(SegMap(found), SegMap(truth))])


def matrix(rows):
    """Every dialect from the table of rules on the page; cvkit's default is that of mmseg."""
    counts = np.array(rows, int)
    hits = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - hits
    known = hits[union > 0] / union[union > 0]
    spare = int((union == 0).sum())
    true = (counts.sum(1) > 0)[union > 0]
    return {
        "torchvision": np.nan if spare else known.mean(),
        "paddle": np.append(known, np.zeros(spare)).mean(),
        "mmseg": summary(counts)["miou"],
        "smp": np.append(known, np.ones(spare)).mean(),
        "detectron2": known[true].mean(),
    }


def objects(rows):
    """Return truth and detections, all of one class."""
    boxes = [row[1:] for row in rows if row[0] == "object"]
    found = np.array([row[1:] for row in rows if row[0] == "detected"], np.float32)
    truth = make_truth(np.array(boxes, float).tolist(), [1] * len(boxes))
    return truth, Instances(found[:, :4], np.ones(len(found), np.int64), found[:, 4])


def detection(rows):
    classes, values = make_classes(["a"]), {}
    for metric in (CocoMetric(classes), VocMetric(classes, True), VocMetric(classes, False)):
        truth, found = objects(rows)
        metric.update(found, truth)
        values |= metric.compute()
    return values


def instance(rows):
    drawn = {
        kind: np.array([[letter == "#" for letter in row[1]] for row in rows if row[0] == kind])
        for kind in ("object", "detected")
    }
    box, label = np.array([[0, 0, 4, 4]], np.float32), np.ones(1, np.int64)
    truth = make_truth(box.tolist(), [1])
    truth = Instances(**vars(truth) | {"masks": encode(drawn["object"][None])})
    found = Instances(box, label, np.ones(1, np.float32), masks=encode(drawn["detected"][None]))
    metric = MaskMetric(make_classes(["a"]))
    metric.update(found, truth)
    return metric.compute()


@pytest.mark.parametrize(("kind", "rows", "numbers"), BLOCKS, ids=[kind for kind, *_ in BLOCKS])
def test_an_example_has_the_numbers_that_the_page_says(kind, rows, numbers):
    found = globals()[kind](rows)
    assert numbers
    shown = {name: str(value) for name, value in found.items() if isinstance(value, int)}
    assert {name: shown.get(name) or f"{found[name]:.4f}" for name in numbers} == numbers


def test_every_kind_of_example_is_on_the_page():
    kinds = [kind for kind, *_ in BLOCKS]
    assert {kind: kinds.count(kind) for kind in kinds} == KINDS
