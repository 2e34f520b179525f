"""Every task is scored by functions of the same names, and every metric says the same things."""

import inspect

import numpy as np
import pytest

from cvkit.catalog import TASKS
from cvkit.data.annotated import make_truth
from cvkit.data.classes import make_classes
from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.coco import CocoMetric
from cvkit.metrics.confusion import ConfusionMatrix
from cvkit.metrics.masks import MaskMetric
from cvkit.metrics.video import VideoMetric
from cvkit.metrics.voc import VocMetric
from cvkit.ops.rle import encode
from cvkit.scoring.contract import Scored, Scoring, scoring_of
from cvkit.structures import Classes, Failure, Instances, SegMap

NAMES = make_classes(["cat", "dog", "cow"])
"""No sample has the last class."""


def label_maps():
    labels = np.array([[0, 0, 1, 1]], np.uint8)
    return SegMap(labels), SegMap(labels[:, ::-1].copy())


def one_class():
    return Classes(-1, np.array([0.7, 0.2, 0.1])), Classes(1)


def clips():
    views = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    return Classes(-1, views.mean(0), clips=views), Classes(0)


def objects():
    boxes = np.array([[0, 0, 4, 4], [4, 4, 8, 8]], float)
    masks = np.zeros((2, 8, 8), bool)
    masks[0, :4, :4] = masks[1, 4:, 4:] = True
    codes = encode(masks)
    truth = make_truth(boxes, [1, 2], masks=codes)
    scores = np.array([0.9, 0.8], np.float32)
    return Instances(boxes.astype(np.float32), np.array([1, 1]), scores, masks=codes), truth


METRICS = {
    "classify": [(lambda: ClassificationMetric(3), one_class)],
    "segment": [(lambda: ConfusionMatrix(3), label_maps)],
    "detect": [
        (lambda: CocoMetric(NAMES), objects),
        (lambda: VocMetric(NAMES, True), objects),
        (lambda: VocMetric(NAMES, False, 0.6), objects),
    ],
    "instance": [
        (lambda: MaskMetric(NAMES), objects),
        (lambda: MaskMetric(NAMES, boundary=True), objects),
    ],
    "video": [(lambda: VideoMetric(3), clips)],
}
CASES = [(task, *case) for task in TASKS for case in METRICS[task]]


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_the_functions_that_eval_calls(task):
    module = scoring_of(task)
    assert module.SAMPLE in ("image", "video")
    for name in ("metric_names", "score", "write_report"):
        wanted = inspect.signature(getattr(Scoring, name)).parameters
        assert ["self", *inspect.signature(getattr(module, name)).parameters] == list(wanted), name


@pytest.mark.parametrize(("task", "make", "pair"), CASES)
def test_a_metric_reports_what_it_computes_with_rules_and_classes(task, make, pair):
    metric = make()
    metric.update(*pair())
    found = metric.report(NAMES)
    assert found.metrics == metric.compute()
    main = next(iter(found.metrics))
    assert isinstance(found.rules[main], str)
    assert set(found.per_class) == set(NAMES.names)
    columns = {tuple(row) for row in found.per_class.values()}
    assert len(columns) == 1
    counted = [list(row.values())[-1] for row in found.per_class.values()]
    assert sum(counted) > 0 and counted[-1] == 0
    assert all(isinstance(count, int) for count in counted)


@pytest.mark.parametrize(("task", "make", "pair"), CASES)
def test_a_report_counts_samples_and_failures_by_the_same_names(task, make, pair, tmp_path):
    module, metric = scoring_of(task), make()
    outcome = metric.update(*pair())
    failure = Failure("b.png", "image.broken", "no picture")
    scored = Scored(metric, NAMES, [("a.png", outcome)], [failure])
    report = module.write_report(scored, None)
    assert "files" not in report
    counts = report["counts"]
    wanted = {f"{module.SAMPLE}s": 2, "evaluated": 1, "failed": 1}
    assert {name: counts[name] for name in wanted} == wanted
    assert report["failures"] == [{"path": "b.png", "code": "image.broken", "reason": "no picture"}]
    assert report["metrics"] == metric.compute()
    written = module.write_report(scored, tmp_path)
    files = written.pop("files")
    assert written == report
    assert sorted(map(str, tmp_path.iterdir())) == sorted(files.values())
