"""The table of formats: every row is recognised, offered and read, and a new row is enough."""

import importlib
import json
import re
import sys
import types
import typing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.data import formats
from cvkit.data.annotated import AnnotatedImage, Annotations, make_truth
from cvkit.data.boxes import read_boxes
from cvkit.data.classes import make_classes
from cvkit.data.classified import ClassifiedImage, read_collection
from cvkit.data.formats.contract import Contents, Listing
from cvkit.data.formats.recognise import detect_format, reader_of
from cvkit.data.labelled import LabelledImage, read_pairs
from cvkit.errors import CvkitError, DataError, UsageError
from cvkit.format_table import FORMATS, Format, format_choices
from cvkit.options.described import Choice
from cvkit.options.tree import OPTIONS
from cvkit.structures import VOC_PALETTE

DOCS = Path(__file__).parents[2] / "docs"
ROWS = [(truth, name) for truth, rows in FORMATS.items() for name in rows]
TRUTHS = {
    "classify": "classes",
    "segment": "masks",
    "detect": "boxes",
    "instance": "instances",
    "video": "classes",
}
SIGNS = {
    ("classes", "folders"): ["train/cat/a.png", "val/cat/b.png"],
    ("classes", "classes"): ["cat/a.png", "dog/b.png"],
    ("classes", "csv"): ["labels.csv", "train/cat/a.png", "val/cat/b.png"],
    ("classes", "lists"): ["train.txt", "train/cat/a.png", "val/cat/b.png"],
    ("classes", "hmdb51"): ["lists/wave_test_split1.txt", "train/cat/a.png", "val/cat/b.png"],
    ("classes", "kinetics"): ["k.csv", "train/cat/a.png", "val/cat/b.png"],
    ("classes", "something"): ["labels/labels.json", "labels/train.json", "train/1.webm"],
    ("classes", "open-images"): [
        *("train-annotations-human-imagelabels.csv", "class-descriptions.csv", "train/cat/a.png")
    ],
    ("classes", "imagefolder"): ["train/metadata.csv", "train/cat/a.png"],
    ("classes", "imagenet"): ["LOC_val_solution.csv", "train/cat/a.png", "val/b.png"],
    ("classes", "parquet"): ["data/train-00000-of-00001.parquet", "train/cat/a.png", "val/b.png"],
    ("masks", "voc"): ["JPEGImages/a.jpg", "SegmentationClass/a.png", "images/x", "masks/x"],
    ("masks", "stacks"): ["train-volume.tif", "train-labels.tif", "images/a", "masks/a"],
    ("masks", "supervisely"): ["meta.json", "a/ann/x.json", "a/img/x", "annotations/x"],
    ("masks", "pairs"): ["images/a.png", "masks/a.png"],
    ("masks", "cityscapes"): ["leftImg8bit/train/x/a.png", "gtFine/train/x/a.png"],
    ("masks", "camvid"): ["train/a.png", "trainannot/a.png"],
    ("masks", "ade20k"): ["objectInfo150.txt", "images/training/a.png", "annotations/x.png"],
    ("masks", "panoptic"): ["annotations/panoptic_val2017.json", "annotations/instances_val.json"],
    ("masks", "coco"): ["annotations/instances_val.json", "images/a.png"],
    ("masks", "rle"): ["train.csv", "train/a.png", "labels/a.txt"],
    ("instances", "rle"): ["train.csv", "train/a.png", "labels/a.txt"],
    ("masks", "labelme"): ["a.png", "a.json", "labels/a.txt"],
    ("masks", "cvat"): ["annotations.xml", "images/a.png", "labels/a.txt"],
    ("masks", "label-studio"): ["studio.json", "images/a.png", "labels/a.txt"],
    ("masks", "yolo"): ["images/a.png", "labels/a.txt"],
    ("boxes", "coco"): ["annotations/instances_val.json"],
    ("boxes", "voc"): ["JPEGImages/a.jpg", "Annotations/a.xml", "labels/x", "annotations/x.json"],
    ("boxes", "xml"): ["a.png", "a.xml", "labels/a.txt", "annotations/x.json"],
    ("boxes", "labelme"): ["a.png", "a.json", "labels/a.txt", "annotations/x.json"],
    ("instances", "labelme"): ["a.png", "a.json", "masks/a.png", "images/x", "labels/a.txt"],
    ("boxes", "cvat"): ["annotations.xml", "images/a.png", "labels/a.txt", "annotations/x.json"],
    ("instances", "cvat"): ["annotations.xml", "images/a.png", "masks/x.png"],
    ("boxes", "label-studio"): ["studio.json", "images/a.png", "labels/a.txt"],
    ("instances", "label-studio"): ["studio.json", "images/a.png", "masks/a.png"],
    ("boxes", "supervisely"): ["meta.json", "a/ann/x.json", "a/img/x", "annotations/x"],
    ("boxes", "imagefolder"): ["metadata.jsonl", "annotations/x", "labels/x", "images/x"],
    ("boxes", "parquet"): ["train.parquet", "annotations/instances_val.json"],
    ("boxes", "darknet"): ["obj.data", "labels/x", "images/x"],
    ("boxes", "open-images"): [
        *("train-annotations-bbox.csv", "class-descriptions-boxable.csv", "annotations/x")
    ],
    ("instances", "supervisely"): ["meta.json", "a/ann/x.json", "a/img/x", "annotations/x"],
    ("boxes", "yolo"): ["images/a.png", "labels/a.txt", "annotations/x.json"],
    ("instances", "yolo"): ["images/a.png", "labels/a.txt"],
    ("instances", "coco"): ["annotations/instances_val.json", "images/a.png", "masks/a.png"],
    ("instances", "index"): ["images/a.png", "masks/a.png"],
}
"""Files of a dataset in each format, with those that formats which are tried later go by."""

FIRST = {
    "train.csv": "ImageId,EncodedPixels",
    "obj.data": "names = obj.names",
    "train/metadata.csv": "file_name,label",
    "metadata.jsonl": '{"file_name": "a.png", "objects": {}}',
    "k.csv": "label,youtube_id,time_start,time_end",
    "train.txt": "cat/a.png 0",
    "studio.json": '[{"annotations": []}]',
    "a.xml": "<annotation>",
    "a.json": '{"shapes": []}',
}
"""How files begin by which a format is recognised."""


@pytest.mark.parametrize(("truth", "name"), ROWS)
def test_every_format_is_recognised_also_where_others_could_be_meant(tmp_path, truth, name):
    for file in SIGNS[truth, name]:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(FIRST.get(file, ""))
    assert detect_format(truth, tmp_path) == name
    for wanted in FORMATS[truth]:
        assert detect_format(truth, tmp_path, wanted) == wanted


@pytest.mark.parametrize("truth", FORMATS)
def test_what_has_no_format_is_told_all_of_them(tmp_path, truth):
    with pytest.raises(DataError) as caught:
        detect_format(truth, tmp_path, flag="--truth")
    told = caught.value.as_json()
    assert told["message"] == f"--truth {tmp_path} has no known layout; it contains nothing"
    assert told["hint"] == f"known: {', '.join(FORMATS[truth])}; docs/formats.md describes them"


@pytest.mark.parametrize(
    ("truth", "name"), [pair for pair in ROWS if FORMATS[pair[0]][pair[1]].kinds]
)
def test_files_of_the_same_kind_suggest_a_format(tmp_path, truth, name):
    """What is beside the data for another reason, such as a table with another name."""
    row = FORMATS[truth][name]
    (tmp_path / f"other{row.kinds[0]}").write_text("{}")
    with pytest.raises(DataError) as caught:
        detect_format(truth, tmp_path)
    hint = caught.value.as_json()["hint"]
    alike = [each for each in FORMATS[truth].values() if row.kinds[0] in each.kinds]
    assert [each.about in hint for each in alike] == [n < 3 for n in range(len(alike))]
    assert name in hint or row in alike[3:]


TAKEN = {("boxes", "xml"), ("masks", "ade20k")}
"""Formats whose folder of annotations alone looks like COCO's."""


@pytest.mark.parametrize(
    ("truth", "name"),
    [pair for pair in ROWS if FORMATS[pair[0]][pair[1]].needs and pair not in TAKEN],
)
def test_what_is_missing_for_the_nearest_format_is_said(tmp_path, truth, name):
    first, *others = FORMATS[truth][name].needs
    for part in others:
        (tmp_path / part).mkdir()
    (tmp_path / "a.txt").touch()
    with pytest.raises(DataError) as caught:
        detect_format(truth, tmp_path)
    told = caught.value.as_json()
    contained = ", ".join([*(f"{part}/" for part in sorted(others)), "1 .txt file"])
    assert told["message"].endswith(f"it contains {contained}")
    about = FORMATS[truth][name].about
    assert f"for {name} ({about}), {first} is missing" in told["hint"]


@pytest.mark.parametrize(("truth", "name"), ROWS)
def test_a_file_stands_for_a_dataset_in_its_own_format_only(tmp_path, truth, name):
    suffixes = FORMATS[truth][name].files
    for suffix in (*suffixes, *map(str.upper, suffixes)):
        file = tmp_path / f"data{suffix}"
        file.touch()
        assert detect_format(truth, file) == detect_format(truth, file, name) == name
        for other in FORMATS[truth].keys() - {name}:
            with pytest.raises(UsageError, match=f"--format {other}: .* in the format {name}"):
                detect_format(truth, file, other)
    for place in (tmp_path / "absent", tmp_path / "data.bin"):
        if place.suffix:
            place.touch()
        with pytest.raises(DataError, match="is not a folder") as caught:
            detect_format(truth, place, name)
        assert all(suffix in str(caught.value) for suffix in suffixes)


@pytest.mark.parametrize(("task", "verb"), [(t, v) for t in TASKS for v in OPTIONS[t]])
def test_the_flag_offers_the_formats_of_the_table(task, verb):
    hints = typing.get_type_hints(OPTIONS[task][verb], include_extras=True)
    if "format" in hints:
        offered = [part for part in typing.get_args(hints["format"]) if isinstance(part, Choice)]
        assert [each.names for each in offered] == [format_choices(TRUTHS[task])]
    assert "format" in hints or verb == "predict"


def test_every_module_of_a_format_is_in_the_table():
    modules = {row.module for rows in FORMATS.values() for row in rows.values()}
    (folder,) = formats.__path__
    for file in Path(folder).glob("*.py"):
        module = importlib.import_module(f"{formats.__name__}.{file.stem}")
        offers = [hasattr(module, name) for name in ("looks_like", "read")]
        assert offers == [module.__name__ in modules] * 2, file


def test_the_pages_on_data_list_every_format():
    pages = {name: (DOCS / f"{name}.md").read_text() for name in ("data", "formats")}
    for truth, rows in FORMATS.items():
        for name in rows:
            assert f"`{name}`" in pages["formats"], (truth, name)
    for task, truth in TRUTHS.items():
        row = next(r for r in pages["data"].split("\n") if r.startswith(f"| [`{task}`]"))
        assert re.findall(r"`([a-z0-9-]+)`", row)[1:] == list(FORMATS[truth])


def picture(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)
    return path


def label(path):
    """A mask: class 1 in its left half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    made = Image.fromarray(np.repeat([[1] * 4 + [0] * 4], 8, 0).astype(np.uint8))
    made.putpalette(VOC_PALETTE)
    made.save(path)
    return path


def toy_images(truth, root, split):
    """The one image of a split of a toy dataset, with what it says of it."""
    path = root / f"{split}.png"
    if truth == "classes":
        return Listing([ClassifiedImage(path.name, path, "cat")], ["a note"])
    if truth == "masks":
        return Listing([LabelledImage(path.name, path, root / f"{split}.gif", split)], ["a note"])
    objects = make_truth(np.array([[0, 0, 4, 8]]), [1])
    image = AnnotatedImage(path.name, path, 1, (8, 8), objects)
    return Annotations(make_classes(["cat"]), [image], notes=["a note"])


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Add a format to the table; returns a function of what it says, which makes a dataset."""
    root = tmp_path / "data"

    def add(truth):
        module = types.ModuleType("toy_format")
        module.looks_like = lambda place, splits: (place / "TOY").is_file()
        module.read = lambda query: Contents(
            ["train", "val"],
            None,
            lambda split: toy_images(truth, query.root, split),
            lambda: {"cat"},
        )
        monkeypatch.setitem(sys.modules, "toy_format", module)
        row = Format(module="toy_format", about="a file TOY")
        monkeypatch.setitem(FORMATS[truth], "toy", row)
        for number, split in enumerate(("train", "val")):
            picture(root / f"{split}.png", 60 + 90 * number)
            label(root / f"{split}.gif")
        (root / "TOY").touch()
        return root

    return add


def read_toy(truth, root, split):
    if truth == "classes":
        found = read_collection(root, "auto", [split], None)
        assert found.names == ("cat",)
    elif truth == "masks":
        found = read_pairs(root, detect_format(truth, root), [split])
    else:
        found = read_boxes(root, "auto", [split], masks=truth == "instances")
        assert found.classes.names == ("cat",) and not found.defects
    assert list(found.notes) == ["a note"]
    return [image.key for image in found.splits[split]]


@pytest.mark.parametrize("truth", FORMATS)
def test_a_row_and_a_module_are_all_that_a_format_needs(toy, truth):
    root = toy(truth)
    assert reader_of(truth, "toy").looks_like(root, ())
    assert [read_toy(truth, root, split) for split in ("train", "val")] == [
        ["train.png"],
        ["val.png"],
    ]
    assert "toy" in format_choices(truth)
    (root / "TOY").unlink()
    with pytest.raises(CvkitError) as caught:
        read_toy(truth, root, "val")
    assert "toy" in caught.value.as_json()["hint"]


@pytest.mark.parametrize("task", ["segment", "detect"])
def test_files_are_scored_against_data_in_a_new_format(cvkit, toy, tmp_path, task):
    root, found = toy(TRUTHS[task]), tmp_path / "found"
    label(found / "val.png")
    name = {"segment": "miou", "detect": "AP50"}[task]
    if task == "detect":
        row = {"image_id": 1, "category_id": 0, "bbox": [0, 0, 4, 8], "score": 0.5}
        found = tmp_path / "results.json"
        found.write_text(json.dumps([row]))
    flags = ["--predictions", found, "--truth", root, "--no-files", "--json"]
    done = cvkit(task, "eval", *flags)
    assert done.code == 0, done.err
    assert done.json["metrics"][name] == pytest.approx(1)
