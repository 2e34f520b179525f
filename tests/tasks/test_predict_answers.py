"""What predict shows of its results: a table, a line, or JSON."""

import json
import os

import pytest

from cvkit.catalog import TASKS
from cvkit.commands import predict as command
from cvkit.data.synthetic.samples import WRITERS
from cvkit.output.answers import AreaAnswers, ClassAnswers, ObjectAnswers, per_cent

SUMMARY = {
    "classify": "best classes: ",
    "segment": "shares of the area: ",
    "detect": "objects with a score of at least 0.1: ",
    "instance": "objects with a score of at least 0.1: ",
    "video": "best classes: ",
}


@pytest.fixture(scope="module")
def inputs_of(tmp_path_factory):
    """Two inputs of a task and one that cannot be read."""

    def make(task):
        root = tmp_path_factory.mktemp(f"inputs-{task}")
        WRITERS[task](root / "data", {"val": 3}, seed=1, size_hw=(32, 32))
        kinds = {".mp4"} if task == "video" else {".png"}
        found = [path for path in sorted(root.rglob("*.*")) if path.suffix in kinds]
        (root / "in").mkdir()
        suffix = found[0].suffix
        names = ("[red]a", "b", "bad")
        for path, name in zip(found, names, strict=False):
            path.rename(root / "in" / (name + suffix))
        (root / "in" / f"bad{suffix}").write_bytes(b"none")
        return root / "in"

    return make


def lines(out, name):
    return [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_results_are_shown_and_numbered(cvkit, run_of, inputs_of, task, tmp_path, monkeypatch):
    inputs, run = inputs_of(task), run_of(task)
    monkeypatch.chdir(tmp_path)
    flags = ["--weights", run, "--workers", 0]
    flags += ["--draw-threshold", 0.1] if task in ("detect", "instance") else []
    names = [path.name for path in sorted(inputs.iterdir())]

    first = cvkit(task, "predict", inputs, *flags)
    assert first.code == 3
    assert first.out == f"runs/{task}-predict-001\n"
    good = lines(tmp_path / first.out.strip(), "predictions")
    (bad,) = lines(tmp_path / first.out.strip(), "failures")
    rows = [row for row in first.err.splitlines() if "│" in row]
    for name in names:
        assert any(row.startswith(name) for row in rows), first.err
    shown = " ".join(first.err.split())
    for line in good:
        if task in ("classify", "video"):
            (row,) = (row for row in rows if row.startswith(line["path"]))
            cells = [cell.strip() for cell in row.split("│")]
            assert cells[1:3] == [line["labels"][0], f"{line['scores'][0]:.2f}"]
            assert cells[3].count(",") == 1
        if task == "segment":
            share = 100 * line["pixels"][0] / (32 * 32)
            assert f"{line['labels'][0]} {share:.1f} %" in shown
    assert "failed:" in shown and bad["path"].startswith("bad")

    monkeypatch.setattr(command, "LISTED", 2)
    second = cvkit(task, "predict", inputs, *flags)
    assert second.out == f"runs/{task}-predict-002\n"
    assert "│" not in second.err and SUMMARY[task] in second.err
    assert cvkit(task, "predict", inputs, *flags, "-q").err == ""

    given = cvkit(task, "predict", ".", inputs, *flags, "--json", "--json-results")
    assert given.json["out"] == f"runs/{task}-predict-004"
    assert given.json["counts"]["predicted"] == 2, "earlier results are no inputs"
    assert given.json["results"] == lines(tmp_path / given.json["out"], "predictions")
    assert given.json["failures"] == lines(tmp_path / given.json["out"], "failures")
    plain = cvkit(task, "predict", inputs, *flags, "--json").json
    assert plain == {
        key: value for key, value in given.json.items() if key not in ("results", "failures")
    } | {"out": f"runs/{task}-predict-005", "contact_sheet": plain["contact_sheet"]}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--resume",), "--resume needs --out"),
        (("--json-results",), "--json-results has no effect without --json"),
        (("--resume", "--overwrite", "--out", "x"), "--resume and --overwrite cannot be combined"),
    ],
)
def test_flags_that_need_others(cvkit, task, flags, words):
    done = cvkit(task, "predict", "x.png", "--weights", "x", *flags)
    assert done.code == 2 and words in done.err


def test_results_that_are_named_are_inputs(cvkit, run_of, inputs_of, tmp_path, monkeypatch):
    inputs, run = inputs_of("segment"), run_of("segment")
    (inputs / "bad.png").unlink()
    monkeypatch.chdir(tmp_path)
    flags = ("--weights", run, "--workers", 0, "--json")
    assert cvkit("segment", "predict", inputs, *flags).json["counts"]["predicted"] == 2
    overlays = os.path.join("runs", "segment-predict-001", "overlays")
    assert cvkit("segment", "predict", overlays, *flags).json["counts"]["predicted"] == 2


def test_only_the_inputs_of_this_command_are_shown(cvkit, run_of, inputs_of, tmp_path):
    inputs, out = inputs_of("segment"), tmp_path / "out"
    flags = ("--weights", run_of("segment"), "--workers", 0, "--out", out, "--json")
    assert cvkit("segment", "predict", inputs, *flags).code == 3
    done = cvkit("segment", "predict", inputs / "b.png", *flags, "--resume", "--json-results")
    assert done.json["counts"] == {"predicted": 0, "failed": 0, "skipped": 1}
    assert [line["path"] for line in done.json["results"]] == ["b.png"]


def test_classes_in_words():
    answers = ClassAnswers()
    line = {"labels": ["cat", "dog", "fox", "owl"], "scores": [0.914, 0.05, 0.03, 0.006]}
    assert answers.row(line) == ["cat", "0.91", "dog 0.05, fox 0.03"]
    assert answers.row({"labels": ["cat"], "scores": [1.0]}) == ["cat", "1.00", "-"]
    total = answers.tally(line) + answers.tally(line) + answers.tally({"labels": ["dog"]})
    assert answers.summary(total) == "best classes: cat 2, dog 1"


def test_areas_in_words():
    answers = AreaAnswers()
    line = {"labels": ["road", "car"], "pixels": [900, 100]}
    assert answers.row(line) == ["road 90.0 %, car 10.0 %"]
    total = answers.tally(line) + answers.tally({"labels": ["car"], "pixels": [1000]})
    assert answers.summary(total) == "shares of the area: car 55.0 %, road 45.0 %"


def test_an_area_that_is_hardly_there_is_not_said_to_be_zero():
    line = {"labels": ["road", "car", "sky"], "pixels": [99999, 1, 0]}
    assert AreaAnswers().row(line) == ["road 100.0 %, car <0.1 %"]
    assert [per_cent(share) for share in (0.0004, 0.0006, 1)] == ["<0.1 %", "0.1 %", "100.0 %"]


def test_objects_in_words():
    answers = ObjectAnswers(0.5)
    line = {"labels": ["car", "cat", "car", "dog"], "scores": [0.9, 0.8, 0.5, 0.49]}
    assert answers.columns == ("objects with a score of at least 0.5",)
    assert answers.row(line) == ["2 car, 1 cat"]
    assert answers.row({"labels": [], "scores": []}) == ["none"]
    many = {"labels": [f"c{n:02d}" for n in range(13)], "scores": [0.6] * 13}
    assert answers.row(many)[0].endswith("1 c09, 3 more")
