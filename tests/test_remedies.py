"""What is said about data that cannot be used names flags of the command that was called."""

import json
import re

import pytest

from cvkit.options.described import hints
from cvkit.options.tree import OPTIONS

MODELS = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 8, "height": 8}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "area": 9, "bbox": [1, 1, 3, 3]}
        | {"segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]]}
    ],
    "categories": [{"id": 1, "name": "cat"}],
}
CALLS = [(task, how) for task in MODELS for how in ("train", "model", "files")]


@pytest.fixture
def place(tmp_path):
    """Return a dataset of a kind that cannot be used."""

    def make(kind):
        root = tmp_path / kind
        if kind == "absent":
            return root
        (root / "annotations").mkdir(parents=True)
        if kind == "only train":
            (root / "annotations").rmdir()
            (root / "train" / "cat").mkdir(parents=True)
            (root / "train" / "cat" / "a.png").touch()
        for end in {"ambiguous": ("_a", "_b"), "without images": ("",)}.get(kind, ()):
            for split in ("train", "val"):
                path = root / "annotations" / f"instances_{split}{end}.json"
                path.write_text(json.dumps(COCO))
        return root

    return make


@pytest.fixture
def told(cvkit, tmp_path):
    """Return what is said about a dataset that cannot be used, without the name of its folder."""

    def call(task, how, root):
        (tmp_path / "r.json").write_text("[]")
        (tmp_path / "r.csv").write_text("path,cat,dog\na,1,0\n")
        (tmp_path / "masks").mkdir(exist_ok=True)
        (tmp_path / "masks" / "a.png").touch()
        result = {"segment": "masks", "classify": "r.csv", "video": "r.csv"}.get(task, "r.json")
        verb = {"model": "eval", "files": "eval"}.get(how, how)
        given = {
            "train": ("--data", root, "--quiet"),
            "model": ("--weights", MODELS[task], "--data", root, "--device", "cpu"),
            "files": ("--predictions", tmp_path / result, "--truth", root),
            "proposals": (root, "--out", tmp_path / "p.npz"),
        }[how]
        done = cvkit(task, verb, *given)
        assert done.code == 2
        message = done.err.splitlines()[-1].removeprefix("error: ").replace(str(root), "ROOT")
        known = {f"--{name.replace('_', '-')}" for name in hints(OPTIONS[task][verb])}
        assert set(re.findall(r"--[a-z-]+", message)) <= known
        return message

    return call


FLAG = {"train": "--data", "model": "--data", "files": "--truth", "proposals": "DATA"}


@pytest.mark.parametrize(("task", "how"), [*CALLS, ("detect", "proposals")])
def test_a_dataset_that_is_not_there_is_named_by_its_flag(told, place, task, how):
    assert told(task, how, place("absent")).startswith(f"{FLAG[how]} ROOT is not a folder")


@pytest.mark.parametrize(("task", "how"), [*CALLS, ("detect", "proposals")])
def test_a_folder_without_a_layout_is_named_by_its_flag(told, place, task, how):
    root = place("nothing")
    (root / "annotations").rmdir()
    message = told(task, how, root)
    if (task, how) == ("segment", "files"):
        assert message.startswith("--truth ROOT contains neither a dataset nor masks")
    else:
        assert message.startswith(f"{FLAG[how]} ROOT has no known layout")


@pytest.mark.parametrize(
    ("task", "how", "remedy"),
    [
        (task, how, remedy)
        for task in ("detect", "instance")
        for how, remedy in (
            ("train", "choose with --train-json and --val-json"),
            ("model", "choose with --json-file"),
            ("files", "give the file itself with --truth"),
        )
    ]
    + [("detect", "proposals", "keep one of them in the folder")],
)
def test_several_files_of_a_split_are_chosen_with_the_commands_flag(told, place, task, how, remedy):
    split = "train" if how in ("train", "proposals") else "val"
    assert told(task, how, place("ambiguous")) == (
        f"ROOT/annotations has 2 files for split '{split}': instances_{split}_a.json, "
        f"instances_{split}_b.json ({remedy})"
    )


@pytest.mark.parametrize("task", ["classify", "video"])
@pytest.mark.parametrize("how", ["train", "model", "files"])
def test_data_that_are_not_divided_are_named_by_the_commands_flag(told, place, task, how):
    message = "ROOT has no split 'val' (use --split train to evaluate on the training data)"
    if how == "train":  # divides what there is, which here is one file
        message = (
            "split 'val' of ROOT is empty (no class has two different files; add some, or give "
            "data with a validation split)"
        )
    assert told(task, how, place("only train")) == message


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_the_folder_of_images_that_is_asked_for_is_used(told, place, cvkit, task, tmp_path):
    root = place("without images")
    assert told(task, "files", root).endswith("(give the folder with --images)")
    truth = ("--truth", root, "--images", tmp_path)
    done = cvkit(task, "eval", "--predictions", tmp_path / "r.json", *truth, "--no-files", "--json")
    assert done.code == 0, done.err
    assert done.json["counts"]["objects"] == 1
