"""Tables of scores meet by the names of their classes, and are fused by their weights."""

import csv
from types import SimpleNamespace

import numpy as np
import pytest

from cvkit.console import Reporter
from cvkit.data.classes import make_classes
from cvkit.scoring.class_tables import fused
from cvkit.scoring.mask_pairs import renumbered

# Columns in cyclic orders: there and back are different ways.
FIRST = "path,cat,dog,eel\na.jpg,0.5,0.25,0.25\nb.jpg,0.0,0.125,0.875\n"
SECOND = "path,dog,eel,cat\nb.jpg,0.25,0.5,0.25\nc.jpg,1,0,0\na.jpg,0.125,0.125,0.75\n"
THIRD = "path,eel,cat,dog\na.jpg,0.5,0.5,0.0\nb.jpg,0.25,0.0,0.75\n"


@pytest.fixture
def files(tmp_path):
    for name, text in (("one", FIRST), ("two", SECOND), ("three", THIRD)):
        (tmp_path / f"{name}.csv").write_text(text)
    return [tmp_path / f"{name}.csv" for name in ("one", "two", "three")]


@pytest.mark.parametrize(
    ("weights", "a", "b"),
    [
        ((1, 1), (0.625, 0.1875, 0.1875), (0.125, 0.1875, 0.6875)),
        ((1, 3), (0.6875, 0.15625, 0.15625), (0.1875, 0.21875, 0.59375)),
        ((0, 2), (0.75, 0.125, 0.125), (0.25, 0.25, 0.5)),
        ((0.5, 0.5, 1), (0.5625, 0.09375, 0.34375), (0.0625, 0.46875, 0.46875)),
    ],
)
def test_scores_are_the_weighted_mean_of_each_class(files, weights, a, b):
    made = fused(list(zip(files[: len(weights)], weights, strict=True)), [])
    assert made.names == ("cat", "dog", "eel")
    assert made.scores.keys() == {"a.jpg", "b.jpg"}  # what all of them score
    np.testing.assert_allclose(made.scores["a.jpg"], a, atol=1e-12)
    np.testing.assert_allclose(made.scores["b.jpg"], b, atol=1e-12)


def test_the_best_classes_of_images_are_fused_by_name_too(files, tmp_path):
    """A table that predict wrote has its classes by the alphabet, whatever the model's order."""
    ranked = "path,label,score,label_2,score_2,label_3,score_3\n"
    ranked += "a.jpg,eel,0.5,cat,0.375,dog,0.125\n"
    (tmp_path / "ranked.csv").write_text(ranked)
    for order in ((0, 1), (1, 0)):
        pair = [files[1], tmp_path / "ranked.csv"]
        made = fused([(pair[index], 1.0) for index in order], ["cat", "dog", "eel"])
        scores = dict(zip(made.names, made.scores["a.jpg"].tolist(), strict=True))
        assert scores == pytest.approx({"cat": 0.5625, "dog": 0.125, "eel": 0.3125})


@pytest.mark.parametrize("task", ["classify", "video"])
def test_a_table_in_another_order_than_the_truths_classes_is_read_by_name(
    cvkit, files, tmp_path, task
):
    (tmp_path / "classes.txt").write_text("eel\ncat\ndog\n")
    (tmp_path / "truth.csv").write_text("path,label\na.jpg,cat\nb.jpg,dog\nc.jpg,eel\n")
    done = cvkit(
        *(task, "eval", "--predictions", files[1], "--truth", tmp_path / "truth.csv"),
        *("--out", tmp_path / "runs", "--json"),
    )
    assert done.code == 0, done.err
    assert list(done.json["per_class"]) == ["eel", "cat", "dog"]
    what = "video" if task == "video" else "image"
    with open(done.json["files"][f"per_{what}"], newline="") as stream:
        rows = [[row["path"], row["truth"], row["predicted"]] for row in csv.DictReader(stream)]
    assert rows == [["a.jpg", "cat", "cat"], ["b.jpg", "dog", "eel"], ["c.jpg", "eel", "dog"]]


def test_numbers_of_predicted_masks_become_those_of_the_truth_by_name():
    values = {0: "cat", 1: "dog", 2: "eel", 3: "gnu"}
    predicted = SimpleNamespace(names=tuple(values.values()), names_by_value=lambda: values)
    truth = make_classes(["eel", "cat", "dog"])
    assert renumbered(predicted, truth, [], Reporter(quiet=True)).values == {0: 1, 1: 2, 2: 0}
