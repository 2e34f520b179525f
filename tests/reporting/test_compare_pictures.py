"""Comparing run folders, and pictures of what changed most, for every task."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from report_parts import predictions_of

from cvkit.catalog import TASKS
from cvkit.commands import compare_pictures

DRAWN = ("segment", "detect", "instance")


@pytest.fixture(scope="module")
def perfect(data_of, tmp_path_factory):
    """Return predictions of a task that are the truths of its dataset."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = predictions_of(task, data_of(task), tmp_path_factory.mktemp(task))
        return made[task]

    return get


@pytest.fixture
def run(run_of, tmp_path):
    """Return a run folder of a task that may be changed."""

    def get(task):
        return shutil.copytree(run_of(task), tmp_path / "runs" / run_of(task).name)

    return get


@pytest.fixture
def sheets(monkeypatch):
    """Return the titles and tiles of the sheets that are drawn."""
    found, draw = [], compare_pictures.draw_sheet

    def drawn(title, tiles):
        found.append((title, tiles))
        return draw(title, tiles)

    monkeypatch.setattr(compare_pictures, "draw_sheet", drawn)
    return found


@pytest.mark.parametrize("task", TASKS)
def test_a_run_is_compared_and_what_changed_is_shown_beside_its_truth(
    cvkit, data_of, run, perfect, sheets, tmp_path, task
):
    folder, out, data = run(task), tmp_path / "runs", data_of(task)
    flags = ("--truth", data, "--out", out, "--json")
    files = cvkit(task, "eval", "--predictions", perfect(task), *flags).json["folder"]
    refused = cvkit("compare", folder, files, "--out", out, "--json").json["error"]
    assert refused["code"] == "compare.run"
    asked = refused["hint"].removeprefix("run: cvkit ").split()
    assert asked[:2] == [task, "eval"]
    evaluated = cvkit(*asked, "--out", out)
    assert evaluated.code == 0, evaluated.err
    flags = ("--bootstrap", 10, "--changed", 3, "--out", out, "--json")
    done = cvkit("compare", folder, files, *flags)
    assert done.code == 0, done.err
    assert done.json["compared"] == [str(folder), str(files)]
    assert "no picture" not in done.err
    changed = [each["path"] for each in done.json["samples"]]
    assert changed
    if task in DRAWN:
        assert [title for title, _ in sheets] == changed
        captions = [[line for tile in tiles for line in tile.captions] for _, tiles in sheets]
        assert {len(tiles) for _, tiles in sheets} == {3}
    else:
        ((_, tiles),) = sheets
        assert [tile.captions[0] for tile in tiles] == changed
        captions = [tile.captions[1:] for tile in tiles]
    for lines in captions:
        assert [line.split()[0] for line in lines] == ["truth:", "A", "B"]
    if task == "segment":
        truth, worse, equal = (tile.picture for tile in sheets[0][1])
        assert (truth == equal).all()
        assert worse.shape != truth.shape or (worse != truth).any()
    with Image.open(done.json["picture"]) as picture:
        assert picture.width > 480
    stored = json.loads((out / "compare-001" / "compare.json").read_text())
    assert {**done.json, **stored} == done.json


def test_a_run_that_has_trained_on_is_not_compared_by_its_old_evaluation(
    cvkit, run, perfect, tmp_path, data_of
):
    folder, out = run("classify"), tmp_path / "runs"
    evaluate = ("classify", "eval", "--data", data_of("classify"), "--out", out)
    assert cvkit(*evaluate, "--weights", folder).code == 0
    report = out / "classify-eval-001"
    content = json.loads((report / "report.json").read_text())
    (report / "report.json").write_text(json.dumps(content | {"model": "0" * 64}))
    refused = cvkit("compare", folder, report, "--json")
    assert refused.json["error"]["code"] == "compare.run"
    done = cvkit("compare", report, report, "--no-files")
    assert done.code == 0


def test_a_training_with_a_report_leaves_what_compare_needs(cvkit, data_of, flags_of, tmp_path):
    flags = flags_of("classify", epochs=1, data=data_of("classify"), out=tmp_path)
    assert cvkit("classify", "train", *flags, "--report").code == 0
    folder = tmp_path / "classify-lenet-001"
    done = cvkit("compare", folder, folder, "--json", "--no-files", "--bootstrap", 10)
    assert done.code == 0, done.err
    assert done.json["counts"]["samples"] == 7


def test_what_is_not_there_any_more_costs_only_its_pictures(cvkit, data_of, perfect, tmp_path):
    data = shutil.copytree(data_of("segment"), tmp_path / "data")
    masks = shutil.copytree(data / "masks" / "val", tmp_path / "masks")
    for path in masks.iterdir():
        with Image.open(path) as mask:
            array = np.array(mask)
        Image.fromarray(np.zeros_like(array)).save(path)
    flags = ("--truth", data, "--out", tmp_path, "--json")
    places = [
        cvkit("segment", "eval", "--predictions", each, *flags).json["folder"]
        for each in (data / "masks" / "val", masks)
    ]
    first = sorted((data / "images" / "val").iterdir())[0]
    first.write_bytes(b"")
    more = ("--bootstrap", 10, "--out", tmp_path, "--json")
    done = cvkit("compare", *places, *more)
    assert done.code == 0
    assert "no picture of 1 sample" in done.err
    assert "picture" in done.json
    (Path(places[0]) / "eval.json").unlink()
    shutil.rmtree(masks)
    done = cvkit("compare", *places, *more)
    assert done.code == 0
    assert f"no pictures of {places[0]}: there is no" in done.err
    assert f"no pictures of {places[1]}" in done.err
