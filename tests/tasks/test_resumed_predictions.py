"""Resumed predictions: the same flags, the same names, and files for other programs of all."""

import json
import shutil
from dataclasses import fields, replace

import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.commands.resumed import FREE, Earlier
from cvkit.config import NOT_STORED, as_config
from cvkit.errors import UsageError
from cvkit.options.tree import task_options

RESULTS = {
    *("threshold", "nms", "max_detections", "tiles", "overlap", "top_k", "sliding_window", "tta"),
    *("overlay", "draw_threshold", "fps", "precision", "clips", "per_clip"),
}
"""Flags that results depend on, among others."""


def options_of(task, tmp_path):
    return task_options(task, "predict")(
        inputs=["in"], weights="w", out=tmp_path, resume=True, overwrite=False
    )


@pytest.mark.parametrize("task", TASKS)
def test_every_flag_that_results_depend_on_stays(tmp_path, task):
    options, seen = options_of(task, tmp_path), set()
    names = {field.name for field in fields(options)}
    assert names >= FREE - {"save", "image_ids"}
    stored = as_config(options)
    for name in sorted(names - NOT_STORED):
        about = {"options": stored | {name: "another value"}}
        (tmp_path / "predict.json").write_text(json.dumps(about))
        earlier = Earlier(options)
        if name in FREE:
            earlier.continued(options)
            continue
        with pytest.raises(UsageError, match=f"^--{name.replace('_', '-')} is ") as refused:
            earlier.continued(options)
        assert refused.value.code == "resume.changed"
        assert "another value" in str(refused.value)
        seen.add(name)
    assert seen >= RESULTS & names
    assert len(seen & RESULTS) >= 2
    (tmp_path / "predict.json").write_text(json.dumps({"options": {"of_other_versions": 1}}))
    assert Earlier(options).continued(options) == options


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ("coco", "none", "coco"),
        ("none", "coco", "coco"),
        ("none", "none", "none"),
        ("yolo,coco", "coco,csv", "yolo,coco,csv"),
    ],
)
def test_files_for_other_programs_stay_current(tmp_path, before, now, expected):
    options = replace(options_of("detect", tmp_path), save=now)
    about = {"options": as_config(options) | {"save": before}}
    (tmp_path / "predict.json").write_text(json.dumps(about))
    assert Earlier(options).continued(options).save == expected


@pytest.fixture
def predict(cvkit, run_of):
    def call(task, *words):
        flags = ("--weights", run_of(task), "--workers", 0, "--quiet")
        return cvkit(task, "predict", *words, *flags)

    return call


def photos(folder, *names):
    for name in names:
        folder.mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (40, 32), (len(name) * 20, 9, 90)).save(folder / name)
    return folder


def test_other_flags_change_nothing_of_earlier_results(predict, tmp_path):
    out, given = tmp_path / "out", photos(tmp_path / "in", "a.png")
    assert predict("detect", given, "--out", out).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    refused = predict("detect", given, "--out", out, "--resume", "--threshold", 0.9)
    assert refused.code == 2
    assert "--threshold is 0.9, but the results in --out" in refused.err
    assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_added_inputs_are_named_as_the_first_ones_and_all_are_in_every_file(predict, tmp_path):
    out, given = tmp_path / "out", photos(tmp_path / "in", "a.png", "b.png")
    assert predict("detect", given, "--out", out, "--save", "coco").code == 0
    photos(given / "more", "c.png")
    done = predict("detect", given / "more", "--out", out, "--resume")
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    assert [line["path"] for line in lines] == ["a.png", "b.png", "more/c.png"]
    images = json.loads((out / "coco.json").read_text())["images"]
    assert [image["file_name"] for image in images] == ["a.png", "b.png", "more/c.png"]


def test_inputs_of_another_folder_are_refused_and_a_moved_folder_is_not(predict, tmp_path):
    out, given = tmp_path / "out", photos(tmp_path / "in", "a.png", "b.png")
    assert predict("detect", given, "--out", out).code == 0
    other = photos(tmp_path / "other", "a.png")
    refused = predict("detect", other, "--out", out, "--resume")
    assert refused.code == 2
    assert f"{other / 'a.png'} is not in {given}" in refused.err
    shutil.move(given, tmp_path / "moved")
    photos(tmp_path / "moved", "c.png")
    done = predict("detect", tmp_path / "moved", "--out", out, "--resume", "--json")
    assert done.json["counts"] == {"predicted": 1, "failed": 0, "skipped": 2}
