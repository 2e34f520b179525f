"""What predict leaves of each input, for every task: its own files, or its own failure."""

import errno
import json
import os
import shutil

import cv2
import pytest
from PIL import Image

from cvkit.catalog import TASKS, resolve
from cvkit.data.files import list_inputs, walk_videos
from cvkit.data.synthetic.samples import WRITERS
from cvkit.options.saves import MARKED
from cvkit.options.saves import SAVES as ALL_SAVES
from cvkit.scoring.predicted import read_predicted

SAVES = {
    task: ("--save", ",".join(kind for kind in kinds if task == "video" or kind != MARKED), *more)
    for (task, kinds), more in zip(
        ALL_SAVES.items(), (("--embeddings", "{}.npz"), (), (), (), ("--per-clip",)), strict=True
    )
}
"""Flags with which a task writes everything that it can of an input of its usual kind."""
FILES = {
    "classify": ("sorted", "features"),
    "segment": ("mask", "overlay"),
    "detect": ("overlay",),
    "instance": ("mask", "overlay"),
    "video": ("timeline", "video"),
}
"""Members of a line that name a file of the input."""
NAMES = (
    *("a.png", "a.jpg", "a.png.jpg", "A.png", "x.jpg", "x.png/y.jpg", "x.jpg.d/y.jpg"),
    *("predictions.jsonl.jpg", "é" * 123 + ".jpg"),
)
"""Names whose files would be each other's without care."""


def lines(out, name="predictions"):
    return [json.loads(line) for line in (out / f"{name}.jsonl").read_text().splitlines()]


def place(task, path):
    """Put an input of a task somewhere; return where, with the suffix that it needs."""
    if task == "video":
        path = path.with_name(path.name.replace(".jpg", ".mov").replace(".png", ".mp4"))
    path.parent.mkdir(parents=True, exist_ok=True)
    if task != "video":
        Image.new("RGB", (40, 32), (200, len(path.name), 90)).save(path)
        return path
    # OpenCV goes by the suffix and cannot write the longest names.
    made = path.parent / "made.mp4"
    writer = cv2.VideoWriter(str(made), cv2.VideoWriter_fourcc(*"mp4v"), 12, (40, 32))
    assert writer.isOpened()
    for shade in (10, 90, 200, 130):
        writer.write(cv2.merge([cv2.UMat(32, 40, cv2.CV_8U, shade).get()] * 3))
    writer.release()
    return made.rename(path)


@pytest.fixture
def predict(cvkit, run_of, tmp_path):
    """Predict a folder with the small model of a task, writing everything it can."""

    def call(task, inputs, out, *more):
        saves = [text.format(tmp_path / "all") for text in SAVES[task]]
        known = ("--weights", run_of(task), "--out", out, "--workers", 0, "--quiet", "--json")
        return cvkit(task, "predict", inputs, *known, *saves, *more)

    return call


@pytest.mark.parametrize("task", TASKS)
def test_every_input_has_its_own_files(predict, tmp_path, task):
    paths = [place(task, tmp_path / "in" / name) for name in NAMES]
    out = tmp_path / "out"
    done = predict(task, tmp_path / "in", out)
    assert done.code == 0, done.err or (out / "failures.jsonl").read_text()
    found = lines(out)
    assert {line["path"] for line in found} == {
        path.relative_to(tmp_path / "in").as_posix() for path in paths
    }
    for member in FILES[task]:
        files = {line[member].casefold() for line in found}
        assert len(files) == len(NAMES), member
        assert all((out / line[member]).is_file() for line in found)
    assert all(f"/{line['name']}." in f"/{line[FILES[task][-1]]}" for line in found)
    if task == "detect":
        labels = [path for path in (out / "labels").rglob("*") if path.is_file()]
        assert len(labels) == len(NAMES)
    if task == "classify":
        targets = [os.readlink(out / line["sorted"]) for line in found]
        assert sorted(targets) == sorted(map(str, paths))


@pytest.mark.parametrize("task", TASKS)
def test_inputs_that_come_later_take_no_files(predict, tmp_path, task):
    """`a.jpg` alone is `a`; with --resume a later `a.png` was `a` as well."""
    out, first = tmp_path / "out", tmp_path / "first"
    place(task, first / "a.jpg")
    assert predict(task, first, out).code == 0
    (before,) = lines(out)
    kept = {member: (out / before[member]).read_bytes() for member in FILES[task]}
    place(task, first / "a.png")
    assert predict(task, first, out, "--resume").code == 0
    assert lines(out)[0] == before
    for member in FILES[task]:
        assert len({line[member] for line in lines(out)}) == 2
        assert (out / before[member]).read_bytes() == kept[member]
    if task == "detect":
        assert len(list((out / "labels").iterdir())) == 2


@pytest.mark.parametrize("task", TASKS)
def test_a_file_that_cannot_be_written_costs_its_input_only(predict, tmp_path, task):
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        place(task, tmp_path / "in" / name)
    good, out = tmp_path / "good", tmp_path / "out"
    assert predict(task, tmp_path / "in", good).code == 0
    wanted = lines(good)
    for member in FILES[task]:
        blocked = out / wanted[1][member]
        (blocked / "own").mkdir(parents=True)
        done = predict(task, tmp_path / "in", out, "--overwrite")
        assert done.code == 3, done.err
        assert done.json["counts"] == {"predicted": 2, "failed": 1, "skipped": 0}
        assert [line["path"] for line in lines(out)] == [wanted[i]["path"] for i in (0, 2)]
        (failure,) = lines(out, "failures")
        assert failure["path"] == wanted[1]["path"] and failure["code"] == "out.name"
        assert str(blocked) in failure["reason"] and "folder" in failure["reason"]
        shutil.rmtree(blocked)
        assert predict(task, tmp_path / "in", out, "--resume").code == 0
        assert {line["path"] for line in lines(out)} == {line["path"] for line in wanted}
        assert lines(out, "failures") == []
        shutil.rmtree(out)


def test_a_label_file_that_cannot_be_written_is_a_failure(predict, tmp_path):
    for name in ("a.jpg", "b.jpg"):
        place("detect", tmp_path / "in" / name)
    out = tmp_path / "out"
    (out / "labels" / "a.txt" / "own").mkdir(parents=True)
    done = predict("detect", tmp_path / "in", out, "--overwrite", "--overlay", "none")
    assert done.code == 3
    assert (out / "labels" / "b.txt").is_file() and (out / "results.json").is_file()
    (failure,) = lines(out, "failures")
    assert failure["path"] == "a.jpg" and "labels/a.txt" in failure["reason"]
    assert read_predicted(out).paths == ["a.jpg", "b.jpg"]  # twice, its name would mean none


@pytest.mark.parametrize("task", TASKS)
def test_a_path_that_is_too_long_costs_its_input_only(predict, tmp_path, task, monkeypatch):
    place(task, tmp_path / "in" / "a.jpg")
    deep = tmp_path / "in" / "/".join(["d" * 200] * 15)
    place(task, deep / "b.jpg")
    out = tmp_path / "/".join(["o" * 200] * 5)
    done = predict(task, tmp_path / "in", out, "--overwrite")
    assert done.code == 3, done.err
    assert done.json["counts"] == {"predicted": 1, "failed": 1, "skipped": 0}
    (failure,) = lines(out, "failures")
    assert failure["code"] == "out.name" and "too long" in failure["reason"]


@pytest.mark.parametrize("task", TASKS)
def test_what_is_resumed_has_the_batches_of_a_whole_prediction(
    cvkit, run_of, tmp_path, task, monkeypatch
):
    """On some machines the last digits of a result depend on the size of its batch."""
    for name in "abcdefgh":
        path = place(task, tmp_path / "in" / f"{name}.jpg")
    path.write_bytes(b"none")
    flags = ("--weights", run_of(task), "--batch-size", 3, "--engine", "eager", "--quiet", "--json")
    command = (task, "predict", tmp_path / "in", *flags, "--out")
    batches = []
    kind = resolve(TASKS[task])
    real = kind.predict

    def watched(self, model, batch):
        batches.append([sample.path for sample in batch.samples])
        return real(self, model, batch)

    monkeypatch.setattr(kind, "predict", watched)
    whole = tmp_path / "whole"
    assert cvkit(*command, whole).code == 3
    text = (whole / "predictions.jsonl").read_text().splitlines(keepends=True)
    keys = [line["path"] for line in lines(whole)]
    wanted = list(batches)
    assert [len(batch) for batch in wanted] == [3, 3, 1]
    for kept in (0, 1, 4, 6):
        out = tmp_path / f"kept-{kept}"
        shutil.copytree(whole, out)
        (out / "predictions.jsonl").write_text("".join(text[:kept]))
        batches.clear()
        done = cvkit(*command, out, "--resume")
        assert done.json["counts"] == {"predicted": 7 - kept, "failed": 1, "skipped": kept}
        assert batches == [batch for batch in wanted if not set(batch) <= set(keys[:kept])]
        assert (out / "predictions.jsonl").read_text() == "".join(text)


@pytest.mark.parametrize("task", TASKS)
def test_a_full_disk_ends_the_run(predict, tmp_path, task, monkeypatch):
    place(task, tmp_path / "in" / "a.jpg")
    real = os.replace

    def full(source, target):
        if any(f"/{name}s/" in str(target) for name in ("feature", "mask", "overlay", "timeline")):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    done = predict(task, tmp_path / "in", tmp_path / "out")
    assert done.code == 6
    assert "the disk is full" in done.json["error"]["message"]
    assert not lines(tmp_path / "out") and not lines(tmp_path / "out", "failures")


def test_masks_with_names_of_their_own_are_found_by_eval(cvkit, predict, tmp_path):
    """Two images whose names differ in their suffix only had one mask."""
    WRITERS["segment"](tmp_path / "data", {"val": 3}, seed=1, size_hw=(32, 32))
    images = tmp_path / "data" / "images" / "val"
    for old, new in zip(sorted(images.iterdir()), ("a.png", "a.jpg", "a.png.jpg"), strict=True):
        mask = tmp_path / "data" / "masks" / "val" / old.name
        Image.open(old).save(images / new)
        mask.rename(mask.with_name(f"{new.rpartition('.')[0]}.png"))
        old.unlink()
    assert predict("segment", images, tmp_path / "out").code == 0
    flags = ("--predictions", tmp_path / "out", "--truth", tmp_path / "data", "--json")
    done = cvkit("segment", "eval", *flags, "--no-files")
    assert done.json["counts"]["evaluated"] == 3


def test_a_folder_of_frames_is_a_video(cvkit, predict, tmp_path):
    frames = tmp_path / "clip.1"
    frames.mkdir()
    for number in range(5):
        Image.new("RGB", (32, 24), (number * 40, 9, 9)).save(frames / f"{number}.png")
    done = predict("video", frames, tmp_path / "out")
    assert done.code == 0, done.out
    (line,) = lines(tmp_path / "out")
    assert line["path"] == "clip.1" and line["frames"] == 5
    place("video", tmp_path / "more" / "b.mp4")
    shutil.copytree(frames, tmp_path / "more" / "b")
    assert [file.key for file in list_inputs([str(tmp_path / "more")], walk=walk_videos)] == [
        *("b.mp4", "b")
    ]


def test_a_folder_of_frames_is_named_from_inside_too(tmp_path, monkeypatch):
    (tmp_path / "clip").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "clip" / "0.png")
    monkeypatch.chdir(tmp_path / "clip")
    assert [file.key for file in list_inputs(["."], walk=walk_videos)] == ["clip"]


def listed(out):
    return {path.relative_to(out).as_posix() for path in out.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize("task", TASKS)
def test_overwriting_leaves_nothing_of_earlier_results_and_what_others_put_there(
    predict, cvkit, run_of, tmp_path, task
):
    for name in ("old/a/x.jpg", "old/b.jpg", "new/c.jpg"):
        place(task, tmp_path / name)
    out, fresh = tmp_path / "out", tmp_path / "fresh"
    plain = ("--weights", run_of(task), "--workers", 0, "--quiet", "--contact-sheet", 0)
    assert cvkit(task, "predict", tmp_path / "new", *plain, "--out", fresh).code == 0
    media = ("--save", "video") if task == "video" else ()
    assert predict(task, tmp_path / "old", out, *media).code == 0
    assert len(listed(out)) > len(listed(fresh)) + 5
    mine = {"notes.txt", "labels/mine.txt", "masks/mine.png", "voc/comp3.txt"}
    for name in mine:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
    (tmp_path / "precious.png").write_text("mine")
    with (out / "predictions.jsonl").open("a") as stream:
        stream.write('{"path": "z.jpg", "mask": "../precious.png", "name": "../precious"}\n{"pa')
    done = cvkit(task, "predict", tmp_path / "new", *plain, "--out", out, "--overwrite")
    assert done.code == 0, done.err
    assert listed(out) == listed(fresh) | mine
    assert (tmp_path / "precious.png").is_file()
    assert not [path for path in out.rglob("*") if path.is_dir() and not any(path.iterdir())]
