"""Classification numbers against scikit-learn and by hand."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from cvkit.data.classes import make_classes
from cvkit.metrics.classification import METRICS, ClassificationMetric, per_class, ranked
from cvkit.metrics.video import VideoMetric
from cvkit.structures import Classes


def filled(scores, labels):
    metric = ClassificationMetric(scores.shape[1])
    for row, label in zip(scores, labels, strict=True):
        metric.update(Classes(-1, row), Classes(int(label)))
    return metric


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(2, 9), st.booleans())
def test_equals_scikit_learn(seed, count, classes, lopsided):
    rng = np.random.default_rng(seed)
    scores = rng.dirichlet(np.ones(classes), count)
    labels = rng.integers(0, max(1, classes // 2) if lopsided else classes, count)
    found = filled(scores, labels).compute()
    guesses = scores.argmax(1)
    assert found["top1"] == pytest.approx(
        sklearn_metrics.accuracy_score(labels, guesses), abs=1e-12
    )
    if classes > 5:
        top5 = sklearn_metrics.top_k_accuracy_score(labels, scores, k=5, labels=range(classes))
        assert found["top5"] == pytest.approx(top5, abs=1e-12)
    recalls = sklearn_metrics.recall_score(
        labels, guesses, labels=np.unique(labels), average="macro", zero_division=0
    )
    assert found["balanced_accuracy"] == pytest.approx(recalls, abs=1e-12)
    for kind in ("macro", "weighted"):
        expected = sklearn_metrics.f1_score(labels, guesses, average=kind, zero_division=0)
        assert found[f"{kind}_f1"] == pytest.approx(expected, abs=1e-12)


def test_calibration_error_by_hand():
    # Bin (0.6, 0.667]: two images at 0.65, one right: |1 - 1.3| = 0.3. Bin of 0.9: one image,
    # right: 0.1. Exactly 0.6 is in (0.533, 0.6], right: 0.4. The sum, over 4 images.
    scores = np.array([[0.65, 0.35], [0.65, 0.35], [0.9, 0.1], [0.6, 0.4]])
    metric = filled(scores, [0, 1, 0, 0])
    assert metric.compute()["ece"] == pytest.approx((0.3 + 0.1 + 0.4) / 4)


def test_nothing_counted_and_perfect_predictions():
    assert ClassificationMetric(7).compute() == dict.fromkeys(METRICS)
    perfect = filled(np.eye(6), range(6)).compute()
    assert perfect == {**dict.fromkeys(METRICS, 1.0), "ece": 0.0}


def test_ties_go_to_the_lowest_index_and_unknown_scores_to_the_end():
    assert ranked(np.array([0.2, 0.4, 0.4, np.nan])).tolist() == [1, 2, 0, 3]
    metric = filled(np.array([[0.5, 0.5]]), [1])
    assert metric.compute()["top1"] == 0.0


def test_top5_needs_five_known_scores():
    scores = np.full((1, 8), np.nan)
    scores[0, :3] = 0.5, 0.3, 0.1
    assert filled(scores, [2]).compute()["top5"] is None
    scores[0, :5] = 0.5, 0.3, 0.1, 0.05, 0.01
    assert filled(scores, [2]).compute()["top5"] == 1.0


def test_scores_that_are_no_probabilities_have_no_calibration():
    found = filled(np.array([[3.0, -1.0], [2.0, 5.0]]), [0, 1]).compute()
    assert found["ece"] is None
    assert found["top1"] == 1.0


def test_processes_together_equal_one():
    rng = np.random.default_rng(0)
    scores, labels = rng.dirichlet(np.ones(6), 400), rng.integers(0, 6, 400)
    whole = filled(scores, labels)
    parts = [filled(scores[rank::2], labels[rank::2]) for rank in range(2)]
    parts[0].merge([part.state() for part in parts], [range(0, 400, 2), range(1, 400, 2)])
    assert parts[0].compute() == whole.compute()
    assert parts[0].bins.tolist() == whole.bins.tolist(), "to the last bit"


def test_an_absent_class_is_undefined_not_zero():
    metric = filled(np.array([[0.9, 0.1, 0.0]]), [0])
    rows = per_class(metric.matrix, make_classes(["a", "b", "c"]))
    assert rows["a"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "images": 1}
    assert rows["b"] == {"precision": None, "recall": None, "f1": None, "images": 0}


def test_a_wrong_number_of_scores_is_refused():
    with pytest.raises(ValueError, match="3 classes"):
        ClassificationMetric(3).update(Classes(-1, np.ones(2)), Classes(0))
    with pytest.raises(ValueError, match="truth 3"):
        ClassificationMetric(3).update(Classes(-1, np.ones(3)), Classes(3))


def test_golden_numbers(cvkit, real_data, tmp_path):
    folder = real_data / "evalcases" / "classification"
    expected = json.loads((folder / "expected.json").read_text())
    table = folder / "scores.csv"
    arguments = ("--predictions", table, "--truth", table, "--out", tmp_path, "--json")
    found = cvkit("classify", "eval", *arguments)
    assert found.code == 0, found.err
    for name in ("top1", "top5", "balanced_accuracy", "macro_f1", "weighted_f1"):
        assert found.json["metrics"][name] == pytest.approx(expected[name], abs=1e-12)
    rows = list(found.json["per_class"].values())
    for name in ("precision", "recall", "f1"):
        assert [row[name] for row in rows] == pytest.approx(expected[name], abs=1e-12)
    assert [row["images"] for row in rows] == expected["support"]
    lines = (tmp_path / "classify-eval-001" / "confusion_matrix.csv").read_text().splitlines()
    matrix = [[int(cell) for cell in line.split(",")[1:]] for line in lines[1:]]
    assert matrix == expected["confusion"]


def test_clips_are_counted_by_their_own_scores():
    metric = VideoMetric(3)
    clips = np.array([[0.9, 0.1, 0.0], [0.4, 0.6, 0.0], [0.0, 0.1, 0.9]])
    metric.update(Classes(0, clips.mean(0), clips=clips), Classes(0))
    metric.update(Classes(1, clips[1], clips=clips[1:2]), Classes(1))
    found = metric.compute()
    assert found["clip_top1"] == 2 / 4 and found["video_top1"] == 1
    other = VideoMetric(3)
    other.merge([metric.state(), metric.state()], [[0, 1], [2, 3]])
    assert other.compute() == found and other.clips.tolist() == [8, 4]
