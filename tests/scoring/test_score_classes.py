"""Scoring tables that other programs wrote, and what is wrong with them."""

import json

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
    assert "2 predictions have no truth, such as b.jpg" in done.err
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
    assert "1 columns" in score(cvkit, tables).err
