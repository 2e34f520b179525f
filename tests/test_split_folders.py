"""`cvkit data split --copy` and `--link`: the splits as a dataset of the same format."""

import json

import pytest
from PIL import Image

from cvkit.commands import data_written
from cvkit.data.synthetic.samples import WRITERS
from cvkit.format_table import TRUTH_OF

FLAGS = {"copy": "--copy", "link": "--link"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    made = {}

    def get(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp("split") / task
            WRITERS[task](made[task], {"train": 14, "val": 7}, 3, (32, 32))
        return made[task]

    return get


def split(cvkit, source, task, out, *flags):
    base = ("--task", task, "--json", "--quiet", "--val-fraction", 0.3)
    return cvkit("data", "split", source, "--out", out, *base, *flags)


def content(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize("task", TRUTH_OF)
@pytest.mark.parametrize("flag", FLAGS.values(), ids=FLAGS)
def test_the_new_dataset_has_the_splits_of_the_file(cvkit, sources, tmp_path, task, flag):
    source, before = sources(task), content(sources(task))
    done = split(cvkit, source, task, tmp_path / "s.json", flag, tmp_path / "new")
    assert done.code == 0, done.err
    assert done.json["folder"] == str(tmp_path / "new")
    listed = json.loads((tmp_path / "s.json").read_text())["splits"]
    stats = cvkit("data", "stats", tmp_path / "new", "--task", task, "--json", "--quiet").json
    found = stats["splits"]
    assert {name: each["samples"] for name, each in found.items()} == {
        name: len(keys) for name, keys in listed.items()
    }
    count = "videos" if task == "video" else "images"
    for name, counts in done.json["per_class"].items():
        classes = found[name]["per_class"]
        assert {c: n[count] for c, n in classes.items() if n.get(count)} == counts
    assert content(source) == before
    shared = {path.stat().st_ino for path in before}
    inside = [path for path in content(tmp_path / "new") if path.stat().st_ino in shared]
    assert len(inside) == (21 if flag == "--link" else 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "s.json"]


def test_folders_of_classes_become_folders_of_splits(cvkit, tmp_path):
    for number in range(8):
        path = tmp_path / "d" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (number, 0, 0)).save(path)
    done = split(cvkit, tmp_path / "d", "classify", tmp_path / "s.json", "--copy", tmp_path / "n")
    assert done.code == 0, done.err
    folders = {p.parent.relative_to(tmp_path / "n").as_posix() for p in tmp_path.rglob("n/*/*/*")}
    assert folders == {"train/a", "train/b", "val/a", "val/b"}


def test_nothing_is_overwritten_and_nothing_is_half_written(cvkit, sources, tmp_path, monkeypatch):
    source, out, new = sources("segment"), tmp_path / "s.json", tmp_path / "new"
    new.mkdir()
    (new / "mine.txt").write_text("mine")
    for place, code in ((new, "out.not_empty"), (new / "mine.txt", "out.is_a_file")):
        refused = split(cvkit, source, "segment", out, "--copy", place)
        assert (refused.code, refused.json["error"]["code"]) == (2, code)
    inside = split(cvkit, source, "segment", out, "--link", source / "new")
    assert inside.json["error"]["code"] == "out.inside"
    both = split(cvkit, source, "segment", out, "--copy", tmp_path / "a", "--link", tmp_path / "b")
    assert both.json["error"]["code"] == "copy.twice"
    for flag in ("--copy", "--link"):
        folds = split(cvkit, source, "segment", out, flag, tmp_path / "a", "--folds", 2)
        assert (folds.code, folds.json["error"]["code"]) == (2, "copy.folds")
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    (new / "mine.txt").unlink()

    def full(source, target):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(data_written.shutil, "copyfile", full)
        failed = split(cvkit, source, "segment", out, "--copy", new)
    assert failed.code == 6 and f"cannot write {new}: the disk is full" in failed.err
    assert [path.name for path in tmp_path.iterdir()] == ["new"] and not any(new.iterdir())
    rename = data_written.os.rename

    def late(source, target):
        (new / "theirs.txt").write_text("theirs")
        return rename(source, target)

    monkeypatch.setattr(data_written.os, "rename", late)
    lost = split(cvkit, source, "segment", out, "--copy", new)
    assert lost.json["error"]["code"] == "out.not_empty"
    assert [path.name for path in tmp_path.rglob("*")] == ["new", "theirs.txt"]


def test_a_format_that_nothing_writes_is_refused(cvkit, tmp_path):
    root = tmp_path / "d"
    for number in range(4):
        path = root / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (9, 9), (number, 0, 0)).save(path)
        path.with_suffix(".xml").write_text(
            "<annotation><object><name>a</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax>"
            "<ymax>5</ymax></bndbox></object></annotation>"
        )
    refused = split(cvkit, root, "detect", tmp_path / "s.json", "--copy", tmp_path / "new")
    assert refused.json["error"]["code"] == "copy.format"
    assert "cvkit data convert" in refused.json["error"]["hint"]
    assert [path.name for path in tmp_path.iterdir()] == ["d"]


def test_several_datasets_are_not_written_as_one(cvkit, tmp_path):
    for name in ("a", "b"):
        WRITERS["detect"](tmp_path / name, {"train": 2, "val": 1}, 5, (32, 32))
    flags = ("--out", tmp_path / "s.json", "--copy", tmp_path / "new", "--task", "detect", "--json")
    refused = cvkit("data", "split", tmp_path / "a", tmp_path / "b", *flags)
    assert refused.code == 2 and refused.json["error"]["code"] == "copy.several"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]
