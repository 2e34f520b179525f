"""Metrics against numbers worked out by hand, published goldens and an independent reference."""

import csv
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cvkit.data.classes import numbered_classes
from cvkit.errors import UsageError
from cvkit.metrics import confusion
from cvkit.metrics.confusion import ConfusionMatrix, per_class, rules, summary
from cvkit.metrics.dialects import class_scores
from cvkit.metrics.gates import check_limits, parse_gates, require_known
from cvkit.structures import SegMap

TRUTH = np.array([[0, 0, 1], [1, 255, 2]], np.uint8)
PREDICTION = np.array([[0, 1, 1], [1, 1, 0]], np.uint8)


@pytest.mark.parametrize("exact", [1, 7, 50, 2**24])
@pytest.mark.parametrize("shape", [(1, 1), (9, 11), (40, 3), (0, 4), (4, 0)])
def test_pixels_are_counted_as_one_by_one(monkeypatch, exact, shape):
    """In parts too, as large images are, and of arrays that are views."""
    monkeypatch.setattr(confusion, "EXACT", exact)
    rng = np.random.default_rng(exact)
    truth = rng.choice([0, 1, 4, 255], (shape[1], shape[0], 2)).astype(np.uint8)[..., 1].T
    result = rng.integers(0, 5, (shape[0], 2 * shape[1]), np.uint8)[:, ::2]
    wanted = np.zeros((5, 5), int)
    for true, guess in zip(truth.ravel().tolist(), result.ravel().tolist(), strict=True):
        if true != 255:
            wanted[true, guess] += 1
    found = confusion.image_matrix(result, truth, 5)
    assert found.dtype == np.int64 and found.tolist() == wanted.tolist()


def test_more_pixels_of_a_pair_than_float32_counts_are_counted():
    labels = np.ones((4100, 4100), np.uint8)
    labels[0, 0] = 0
    found = confusion.image_matrix(labels, labels, 2)
    assert found.tolist() == [[1, 0], [0, 4100 * 4100 - 1]]


def failed_gates(gates, content):
    return [verdict.text for verdict in check_limits(gates, content) if not verdict.passed]


def filled(absent_class="exclude"):
    metric = ConfusionMatrix(4, absent_class)
    metric.update(SegMap(PREDICTION), SegMap(TRUTH))
    return metric


def test_golden_values_of_a_small_image():
    metric = filled()
    expected = [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert metric.matrix.tolist() == expected
    assert metric.matrix.dtype == np.int64
    iou = class_scores(metric.matrix)["iou"]
    np.testing.assert_allclose(iou, [1 / 3, 2 / 3, 0, np.nan], rtol=1e-15)
    found = metric.compute()
    assert found["miou"] == pytest.approx(1 / 3, abs=1e-12)
    assert found["pixel_accuracy"] == pytest.approx(0.6, abs=1e-12)
    assert found["mean_accuracy"] == pytest.approx(0.5, abs=1e-12)
    assert found["fwiou"] == pytest.approx(0.4, abs=1e-12)
    assert found["mean_dice"] == pytest.approx(0.4333333333, abs=1e-9)


def test_each_policy_for_absent_classes_gives_its_number_and_says_so():
    assert filled("zero").compute()["miou"] == pytest.approx(0.25, abs=1e-12)
    assert filled("nan").compute()["miou"] is None
    told = rules(filled().matrix, numbered_classes(4), "exclude")
    assert told["classes_counted"] == ["0", "1", "2"]
    assert told["classes_absent"] == ["3"]
    assert "nanmean" in told["miou"]
    table = [[900, 20, 50, 0], [30, 200, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    matrix = np.array(table)  # a class without truth but with false positives counts as 0
    assert round(summary(matrix, "exclude")["miou"], 3) == 0.567
    assert round(summary(matrix, "zero")["miou"], 3) == 0.425


def test_perfect_prediction_is_one_and_nothing_is_null():
    metric = ConfusionMatrix(3)
    assert set(metric.compute().values()) == {None}
    labels = np.array([[0, 1, 2]], np.uint8)
    metric.update(SegMap(labels), SegMap(labels))
    assert set(metric.compute().values()) == {1.0}
    only_ignored = ConfusionMatrix(3)
    only_ignored.update(SegMap(labels), SegMap(np.full((1, 3), 255, np.uint8)))
    assert set(only_ignored.compute().values()) == {None}


def test_wrong_sizes_and_values_are_refused():
    metric = ConfusionMatrix(2)
    with pytest.raises(ValueError, match=r"\(1, 2\)"):
        metric.update(SegMap(np.zeros((1, 2), np.uint8)), SegMap(np.zeros((2, 2), np.uint8)))
    with pytest.raises(ValueError, match="255"):
        metric.update(SegMap(np.full((2, 2), 255, np.uint8)), SegMap(np.zeros((2, 2), np.uint8)))


maps = arrays.arrays(np.uint8, (7, 9), elements=st.integers(0, 4))


@settings(max_examples=100, deadline=None)
@given(truth=maps, prediction=maps, void=arrays.arrays(bool, (7, 9)))
def test_numbers_equal_a_pixel_by_pixel_reference(truth, prediction, void):
    truth = np.where(void, 255, truth).astype(np.uint8)
    metric = ConfusionMatrix(5)
    metric.update(SegMap(prediction), SegMap(truth))
    ious = []
    for label in range(5):
        hit = union = 0
        for true, guess in zip(truth.ravel(), prediction.ravel(), strict=True):
            if true != 255:
                hit += true == label == guess
                union += true == label or guess == label
        if union:
            ious.append(hit / union)
    expected = sum(ious) / len(ious) if ious else None
    assert metric.compute()["miou"] == (None if expected is None else pytest.approx(expected))


def test_merge_is_one_matrix_over_all_processes():
    whole, first, second = filled(), filled(), filled()
    whole.update(SegMap(PREDICTION), SegMap(TRUTH))
    first.merge([first.state(), second.state()], [[0], [1]])
    assert np.array_equal(first.matrix, whole.matrix)


def test_gates_name_metrics_and_classes():
    content = {
        "metrics": filled().compute(),
        "per_class": per_class(filled().matrix, numbered_classes(4)),
    }
    assert not failed_gates(parse_gates(["miou=0.3", "iou@1=0.6"]), content)
    failed = failed_gates(parse_gates(["miou=0.5", "iou@1=0.7", "iou@3=0"]), content)
    assert [line.split()[0] for line in failed] == ["miou", "iou@1", "iou@3"]
    with pytest.raises(UsageError, match="did you mean miou"):
        failed_gates(parse_gates(["mious=0.5"]), content)
    with pytest.raises(UsageError, match="did you mean iou@1"):
        failed_gates(parse_gates(["iuo@1=0.5"]), content)


@pytest.mark.parametrize(
    "text", ["=1", "miou=inf", "miou=-inf", "miou=1" + 400 * "0", "@cat=1", "miou@=1"]
)
def test_a_gate_without_a_name_or_a_number_is_refused(text):
    with pytest.raises(UsageError, match="is not METRIC=NUMBER") as caught:
        parse_gates([text])
    assert caught.value.code == "gate.syntax"


def test_a_limit_that_no_share_can_reach_is_refused_with_the_share():
    with pytest.raises(UsageError, match="metrics are fractions") as caught:
        parse_gates(["AP50=60"])
    assert (caught.value.code, caught.value.hint) == ("gate.share", "AP50=0.6")
    with pytest.raises(UsageError, match="metrics are fractions"):
        parse_gates(["iou@cat=1.5"])
    assert parse_gates(["miou=1", "objects@cat=60", "pixels@cat=1e6"])


def test_a_number_that_just_reaches_its_gate_passes():
    content = {"metrics": {"miou": 0.5}, "per_class": {"road": {"iou": 0.25}}}
    assert failed_gates({"miou": 0.5, "iou@road": 0.25}, content) == []
    assert len(failed_gates({"miou": 0.5000001, "iou@road": 0.26}, content)) == 2


def test_gates_take_any_name_of_a_class():
    assert parse_gates(["AP@a=b=0.5", "AP@c@d=1"]) == {"AP@a=b": 0.5, "AP@c@d": 1.0}
    content = {"metrics": {}, "per_class": {"a=b": {"AP": 0.4}, "c@d": {"AP": 1.0}}}
    gates = parse_gates(["AP@a=b=0.5", "AP@c@d=1"])
    require_known(gates, ["AP"], content["per_class"])
    assert failed_gates(gates, content) == ["AP@a=b is 0.4, below 0.5"]
    for text in ("0.5", "AP", "AP=", "AP=x"):
        with pytest.raises(UsageError, match="is not METRIC=NUMBER"):
            parse_gates([text])


def test_unknown_classes_of_gates_are_refused_before_the_evaluation():
    with pytest.raises(UsageError, match="did you mean AP@cat"):
        require_known({"AP@cot": 0.5}, ["AP"], ["cat", "dog"])


def test_camvid_golden_case_equals_scikit_learn(cvkit, real_data, tmp_path):
    case = real_data / "evalcases" / "seg_camvid8"
    expected = json.loads((case / "expected.json").read_text())
    done = cvkit(
        *("segment", "eval", "--predictions", case / "pred", "--truth", case / "gt"),
        *("--out", tmp_path, "--json"),
    )
    assert done.code == 0, done.err
    matrix = np.loadtxt(
        tmp_path / "segment-eval-001/confusion_matrix.csv", delimiter=",", skiprows=1
    )
    assert matrix[:, 1:].astype(int).tolist() == expected["confusion_rows_gt_cols_pred"]
    metrics = done.json["metrics"]
    names = {
        "miou": "miou_over_11",
        "pixel_accuracy": "pixel_acc",
        "mean_accuracy": "mean_class_acc",
        "fwiou": "fw_iou",
    }
    for ours, theirs in names.items():
        assert metrics[ours] == pytest.approx(expected[theirs], abs=1e-12)
    found = [row["iou"] for row in done.json["per_class"].values()]
    assert found == pytest.approx(expected["iou"], abs=1e-12)
    with (tmp_path / "segment-eval-001/per_image.csv").open() as stream:
        rows = {row["path"]: row for row in csv.DictReader(stream)}
    assert rows.keys() == expected["per_image"].keys()
    for path, image in expected["per_image"].items():
        assert float(rows[path]["pixel_accuracy"]) == pytest.approx(image["pixel_acc"], abs=1e-12)
        for label, iou in enumerate(image["iou"]):
            cell = rows[path][f"iou:{label}"]
            assert (cell == "") if iou is None else float(cell) == pytest.approx(iou, abs=1e-12)


@pytest.mark.parametrize("text", ["miou=nan", "iou@=0.1", "miou", "miou=x"])
def test_a_gate_that_cannot_be_meant_is_refused(text):
    with pytest.raises(UsageError, match="is not METRIC=NUMBER"):
        parse_gates([text])


@pytest.mark.parametrize("texts", [("miou=0.9", "miou=0.1"), ("miou=0.1", "miou=0.9")])
def test_of_two_limits_both_hold(texts):
    assert parse_gates(list(texts)) == {"miou": 0.9}
