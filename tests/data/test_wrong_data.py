"""Data for another task, or a folder of datasets: the message says what it looks like."""

import json
import shutil

import pytest

from cvkit.catalog import TASKS
from cvkit.data.boxes import read_boxes
from cvkit.data.classified import read_collection
from cvkit.data.files import walk_images, walk_videos
from cvkit.data.formats.coco_places import FIRST_BYTES
from cvkit.data.formats.recognise import detect_format
from cvkit.data.labelled import read_pairs
from cvkit.data.synthetic.samples import WRITERS
from cvkit.errors import DataError

KINDS = ("classify", "segment", "detect", "video")
"""Tasks whose built-in data differ; those of `instance` are those of `detect`."""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    for task in KINDS:
        WRITERS[task](root / task, {"train": 7, "val": 7}, seed=1, size_hw=(32, 32))
    return root


def read(task, root):
    """Return what is odd about a dataset that a task is given."""
    splits = ["train", "val"]
    if task in ("classify", "video"):
        walk = walk_images if task == "classify" else walk_videos
        return list(read_collection(root, "auto", splits, 0.2, walk).notes)
    if task == "segment":
        return list(read_pairs(root, detect_format("masks", root), splits).notes)
    return list(read_boxes(root, "auto", splits, masks=task == "instance").notes)


def told(task, root):
    """Return what a task says of data that it cannot use, or that it doubts."""
    try:
        return " ".join(read(task, root))
    except DataError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("task", TASKS)
def test_data_for_another_task_are_told(data, task, kind):
    message = told(task, data / kind)
    if kind == task or (kind == "detect" and task in ("instance", "segment")):
        assert message == ""
    else:
        assert f"'cvkit {kind}'" in message
        assert "remove" not in message and "samples.json" not in message


@pytest.mark.parametrize("task", TASKS)
def test_a_dataset_in_the_folder_is_named(data, task, tmp_path):
    for kind in ("detect", "segment"):
        shutil.copytree(data / kind, tmp_path / "all" / kind)
    message = told(task, tmp_path / "all")
    if task in ("classify", "video"):
        assert message == ""  # two folders with images are two classes
        (tmp_path / "all" / "notes").mkdir()
        message = told(task, tmp_path / "all")
        assert "its folder detect looks like data for 'cvkit detect' (coco)" in message
    else:
        assert "its folder detect has the layout coco" in message


@pytest.mark.parametrize("task", ["classify", "video"])
def test_folders_of_masks_are_not_classes_in_silence(data, task, tmp_path):
    shutil.copytree(data / "segment", tmp_path / "data")
    (tmp_path / "data" / "classes.txt").unlink()
    message = told(task, tmp_path / "data")
    assert "its folders are read as classes" in message and "'cvkit segment' (pairs)" in message


def test_classes_may_be_called_like_folders_of_other_data(data, tmp_path):
    for number, name in enumerate(("labels", "images")):
        images = sorted((data / "segment" / "images" / "train").iterdir())
        (tmp_path / name).mkdir()
        for image in images[3 * number : 3 * number + 3]:
            shutil.copy(image, tmp_path / name)
    assert "cvkit detect" in told("classify", tmp_path)  # so does a dataset of YOLO's
    (tmp_path / "labels").rename(tmp_path / "annotated")
    assert told("classify", tmp_path) == ""


def test_a_table_is_no_data_for_another_task(data, tmp_path):
    shutil.copytree(data / "classify" / "val", tmp_path / "val")
    image = next(walk_images(tmp_path / "val")).relative_to(tmp_path)
    (tmp_path / "labels.csv").write_text(f"path,label\n{image},labels\n")
    (tmp_path / "classes.txt").write_text("label\nmore\n")
    with pytest.raises(DataError) as caught:
        read_collection(tmp_path / "labels.csv", "auto", ["all"], None)
    assert caught.value.as_json()["hint"] == "did you mean label?"


@pytest.mark.parametrize("task", ["detect", "instance"])
@pytest.mark.parametrize("content", [{}, {"train": 3}, {"counts": {"images of it": 3}}])
def test_json_files_of_other_programs_are_no_annotations(data, tmp_path, task, content):
    shutil.copytree(data / "detect" / "images" / "train", tmp_path / "images")
    (tmp_path / "annotations").mkdir()
    file = data / "detect" / "annotations" / "instances_train.json"
    shutil.copy(file, tmp_path / "annotations" / "result.json")
    (tmp_path / "settings.json").write_text(json.dumps({"version": 1} | content))
    found = read_boxes(tmp_path, "auto", ["all"], masks=task == "instance")
    assert len(found.splits["all"]) == 7


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_annotations_may_come_after_much_else(data, tmp_path, task):
    shutil.copytree(data / "detect", tmp_path / "data")
    place = tmp_path / "data" / "annotations" / "instances_train.json"
    content = json.loads(place.read_text())
    place = place.rename(tmp_path / "data" / "annotations" / "result.json")
    (tmp_path / "data" / "annotations" / "instances_val.json").unlink()
    place.write_text(json.dumps({"videos": ["x" * FIRST_BYTES]} | content))
    found = read_boxes(tmp_path / "data", "auto", ["all"], masks=task == "instance")
    assert len(found.splits["all"]) == 7


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_a_damaged_file_of_annotations_is_still_blamed(data, tmp_path, task):
    shutil.copytree(data / "detect" / "images", tmp_path / "images")
    (tmp_path / "train.json").write_text('{"images": [')
    with pytest.raises(DataError, match=r"train\.json is not valid JSON"):
        read_boxes(tmp_path, "auto", ["train"], masks=task == "instance")
