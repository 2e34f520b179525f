"""Scoring tables that other programs wrote, and what is wrong with them."""

import json
import os
import warnings

import pytest


@pytest.fixture
def tables(tmp_path):
    (tmp_path / "scores.csv").write_text(
        "path,cat,dog,eel\na.jpg,0.7,0.2,0.1\nb.jpg,0.1,0.8,0.1\nc.jpg,0.3,0.3,0.4\n"
    )
    (tmp_path / "truth.csv").write_text("path,label\na.jpg,cat\nb.jpg,eel\nc.jpg,eel\n")
    return tmp_path


def score(cvkit, folder, *more):
    return cvkit(
        *("classify", "eval", "--predictions", folder / "scores.csv"),
        *("--truth", folder / "truth.csv", "--out", folder / "runs", "--json", *more),
    )


def test_names_and_numbers_of_classes_mean_the_same(cvkit, tables):
    named = score(cvkit, tables)
    assert named.code == 0, named.err
    assert named.json["metrics"]["top1"] == pytest.approx(2 / 3)
    assert "top5" not in named.json["metrics"]
    assert list(named.json["per_class"]) == ["cat", "dog", "eel"]
    (tables / "truth.csv").write_text("id,label\na.jpg,0\nb.jpg,2\nc.jpg,2\n")
    assert score(cvkit, tables).json["metrics"] == named.json["metrics"]


def test_a_missing_prediction_is_counted_as_failed(cvkit, tables):
    with (tables / "truth.csv").open("a") as stream:
        stream.write("d.jpg,dog\n")
    done = score(cvkit, tables)
    assert done.code == 3
    assert done.json["counts"] == {"images": 4, "evaluated": 3, "failed": 1}
    assert done.json["failures"][0]["path"] == "d.jpg"


def test_a_prediction_without_truth_is_told(cvkit, tables):
    (tables / "truth.csv").write_text("path,label\na.jpg,cat\n")
    done = score(cvkit, tables)
    assert done.code == 0
    assert "2 predictions have no ground truth, such as b.jpg" in done.err
    assert done.json["counts"]["images"] == 1


def test_a_gate_decides_the_exit_code(cvkit, tables):
    assert score(cvkit, tables, "--fail-under", "top1=0.6").code == 0
    assert score(cvkit, tables, "--fail-under", "top1=0.7").code == 4
    assert score(cvkit, tables, "--fail-under", "recall@eel=0.6").code == 4


@pytest.mark.parametrize(
    ("file", "old", "new", "words", "code"),
    [
        ("scores.csv", "0.8", "high", [":3: dog", "'high'"], "predictions.value"),
        ("scores.csv", "0.8", "nan", [":3: dog", "'nan'"], "predictions.value"),
        ("scores.csv", "b.jpg", "a.jpg", ["a.jpg", "twice"], "list.duplicate"),
        ("scores.csv", "path,cat", "where,cat", ["path, id"], "list.column"),
        ("scores.csv", "0.1,0.8,0.1", "0.1,0.8", [":3:"], "list.bad_line"),
        ("truth.csv", "cat", "cow", ["'cow'", "cat, dog, eel"], "class.unknown"),
        ("truth.csv", "label", "meaning", ["label, class"], "list.column"),
        ("truth.csv", "b.jpg", "a.jpg", ["a.jpg", "twice"], "list.duplicate"),
    ],
)
def test_a_bad_table_is_refused_with_file_and_line(cvkit, tables, file, old, new, words, code):
    path = tables / file
    path.write_text(path.read_text().replace(old, new, 1))
    done = score(cvkit, tables)
    assert done.code == 2
    error = json.loads(done.out)["error"]
    assert error["code"] == code
    assert file in error["message"]
    for word in words:
        assert word in f"{error['message']} {error['hint']}"


def test_nothing_in_common_is_an_error(cvkit, tables):
    (tables / "truth.csv").write_text("path,label\nx.jpg,cat\n")
    done = score(cvkit, tables)
    assert done.code == 2
    assert "x.jpg" in done.err


def test_one_column_of_scores_is_no_classifier(cvkit, tables):
    (tables / "scores.csv").write_text("path,cat\na.jpg,0.5\n")
    assert "1 column of scores" in score(cvkit, tables).err


def fuse(cvkit, folder, first, second):
    """Fuse a table that is right with one that is wrong; return the outcome."""
    (folder / "right.csv").write_text("path,a,b\nx.mp4,0.9,0.1\ny.mp4,0.2,0.8\n")
    (folder / "wrong.csv").write_text("path,a,b\nx.mp4,0.2,0.8\ny.mp4,0.9,0.1\n")
    (folder / "labels.csv").write_text("path,label\nx.mp4,a\ny.mp4,b\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return cvkit(
            *("video", "eval", "--predictions", folder / "right.csv", "--weight", first),
            *("--fuse", f"{folder / 'wrong.csv'}={second}", "--no-files", "--json"),
            *("--truth", folder / "labels.csv"),
        )


@pytest.mark.parametrize("scale", ["{}", "{}e307", "{}e-300"])
def test_only_the_ratio_of_weights_counts_however_large_they_are(cvkit, tmp_path, scale):
    for first, second, wanted in (("15", "5", 1.0), ("5", "15", 0.0)):
        done = fuse(cvkit, tmp_path, scale.format(first), scale.format(second))
        assert done.code == 0, done.err
        assert done.json["metrics"]["video_top1"] == wanted


@pytest.mark.parametrize("weights", [("inf", "1"), ("nan", "1"), ("1", "inf"), ("1", "nan")])
def test_a_weight_that_is_no_number_is_refused(cvkit, tmp_path, weights):
    assert fuse(cvkit, tmp_path, *weights).code == 2


@pytest.mark.parametrize("task", ["classify", "video"])
@pytest.mark.parametrize("value", [1e308, -1e308])
def test_any_finite_score_is_ranked(cvkit, tmp_path, task, value):
    table = tmp_path / "t.csv"
    table.write_text(f"path,label,a,b\nx.jpg,{'a' if value > 0 else 'b'},{value},0.5\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        done = cvkit(task, "eval", "--predictions", table, "--truth", table, "--no-files", "--json")
    assert done.code == 0, done.err
    assert done.json["metrics"]["macro_f1"] == 1


@pytest.mark.parametrize("task", ["classify", "segment", "detect", "instance", "video"])
@pytest.mark.parametrize("flag", ["--predictions", "--truth", "--fuse"])
def test_a_pipe_is_refused_before_it_is_waited_for(cvkit, tables, task, flag):
    if flag == "--fuse" and task != "video":
        return
    os.mkfifo(tables / "pipe.json")
    given = {"--predictions": tables / "scores.csv", "--truth": tables / "truth.csv"}
    given[flag] = tables / "pipe.json"
    done = cvkit(
        task, "eval", *(each for pair in given.items() for each in pair), "--no-files", "--json"
    )
    assert (done.code, done.json["error"]["code"]) == (2, "data.missing")
    assert f"{flag} {tables / 'pipe.json'} is neither" in done.json["error"]["message"]
