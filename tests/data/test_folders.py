"""Which images a dataset of classes contains, and what is wrong with it."""

import shutil

import numpy as np
import pytest
from PIL import Image

from cvkit.data.classified import read_collection
from cvkit.data.division import ALL
from cvkit.data.formats.recognise import detect_format
from cvkit.errors import DataError


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(path)


@pytest.fixture
def folders(tmp_path):
    root = tmp_path / "data"
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            picture(root / split / "dog" / f"{number}.png", number)
            picture(root / split / "Cat" / "deeper" / f"{number}.png", 100 + number)
    return root


@pytest.fixture
def heap(tmp_path):
    root = tmp_path / "heap"
    for number in range(120):
        picture(root / ("even" if number % 2 == 0 else "odd") / f"{number:03d}.png", number)
    return root


def read(place, *splits, wanted="auto", fraction=0.25):
    return read_collection(place, wanted, splits, fraction)


def keys(images):
    return [image.key for image in images]


def test_a_folder_for_each_class_in_each_split(folders):
    found = read(folders, "train", "val")
    assert found.layout == "folders"
    assert found.names == ("Cat", "dog")
    assert not found.ordered
    assert keys(found.splits["val"]) == [
        "val/Cat/deeper/0.png",
        "val/Cat/deeper/1.png",
        "val/dog/0.png",
        "val/dog/1.png",
    ]
    assert [image.label for image in found.splits["val"]] == ["Cat", "Cat", "dog", "dog"]


def test_a_class_list_decides_the_order(folders):
    (folders / "classes.txt").write_text("dog\nCat\n")
    found = read(folders, "train")
    assert found.names == ("dog", "Cat")
    assert found.ordered
    (folders / "classes.txt").write_text("dog\nbird\n")
    with pytest.raises(DataError, match=r"class 'Cat' .* classes.txt"):
        read(folders, "train")


def test_one_heap_is_divided_by_content(heap):
    found = read(heap, "train", "val")
    assert found.layout == "classes"
    train, val = found.splits["train"], found.splits["val"]
    assert len(train) + len(val) == 120
    assert [image.label for image in val].count("even") == len(val) / 2 == 15
    assert read(heap, "val").splits["val"] == val
    assert len(read(heap, ALL).splits[ALL]) == 120
    # A copy of an image, under whatever name, is on the same side as the image.
    for side, images in found.splits.items():
        twin = heap / "odd" / f"copy-{side}.png"
        shutil.copy(images[0].path, twin)
        assert twin in [image.path for image in read(heap, side).splits[side]]
    # Adding copies moves none of the others.
    assert set(keys(val)) <= set(keys(read(heap, "val").splits["val"]))
    assert set(keys(train)) <= set(keys(read(heap, "train").splits["train"]))
    with pytest.raises(DataError, match="no split 'test'"):
        read(heap, "test")
    assert found.heap == ""
    undivided = read(heap, "val", fraction=None)
    assert len(undivided.splits["val"]) == 122


def test_a_table_lists_images_and_splits(folders, tmp_path):
    table = folders / "labels.csv"
    rows = ["path,label,split", "train/dog/0.png,d,train", "val/dog/0.png,d,val"]
    table.write_text("\n".join([*rows, "val/Cat/deeper/0.png,a cat,val"]) + "\n")
    for place in (folders, table):
        found = read(place, "val")
        assert found.layout == "csv"
        assert found.names == ("a cat", "d")
        assert keys(found.splits["val"]) == ["val/dog/0.png", "val/Cat/deeper/0.png"]
    table.write_text("path,label\ntrain/dog/0.png,d\ntrain/dog/1.png,d\n")
    assert len(read(table, ALL).splits[ALL]) == 2


@pytest.mark.parametrize(
    ("content", "words", "code"),
    [
        ("path,name\na.png,x\n", ["label", "path, name"], "list.column"),
        ("path,label\n", ["no rows"], "list.empty"),
        ("path,label\na.png,x,y\n", [":2:", "3 cells instead of 2"], "list.bad_line"),
        ("path,label\ntrain/dog/0.png,x\nval/dog/0.png\n", [":3:"], "list.bad_line"),
        ("path,label\ntrain/dog/0.png, \n", [":2:", "label is empty"], "list.bad_line"),
        ("path,label\nnone.png,x\n", ["none.png", "1 file missing"], "split.id_without_file"),
        ("path,label\n../out.png,x\n", ["../out.png"], "path.escape"),
        (
            "path,label\ntrain/dog/0.png,x\ntrain/dog/0.png,y\n",
            ["train/dog/0.png", "twice"],
            "split.duplicate",
        ),
        ("path,label,split\ntrain/dog/0.png,x,test\n", ["'val'", "test"], "split.missing"),
    ],
)
def test_a_bad_table_is_refused_with_its_line(folders, content, words, code):
    (folders / "labels.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        read(folders, "val")
    assert caught.value.code == code
    for word in words:
        assert word in str(caught.value)


def test_what_is_wrong_with_folders_is_named(folders, tmp_path):
    def code_of(place, *splits):
        with pytest.raises(DataError) as caught:
            read(place, *splits)
        return caught.value.code, str(caught.value)

    (folders / "train" / "empty").mkdir()
    assert code_of(folders, "train")[0] == "class.empty"
    (folders / "train" / "empty").rmdir()
    picture(folders / "train" / "DOG" / "x.png")
    code, text = code_of(folders, "train")
    assert code == "class.case_collision"
    assert "'DOG'" in text
    assert "'dog'" in text
    shutil.rmtree(folders / "train" / "DOG")
    code, text = code_of(folders, "vall")
    assert code == "split.missing"
    assert "did you mean val?" in text
    assert code_of(tmp_path / "nothing", "train")[0] == "data.missing"
    (tmp_path / "hollow").mkdir()
    assert code_of(tmp_path / "hollow", "train")[0] == "data.layout"
    (tmp_path / "hollow" / "train").mkdir()
    assert code_of(tmp_path / "hollow", "train")[0] == "split.empty"


def test_a_split_without_class_folders_is_told_where_its_images_lie(tmp_path):
    picture(tmp_path / "train" / "x.png")
    with pytest.raises(DataError, match=r"1 image is beside the class folders") as caught:
        read(tmp_path, "train")
    assert caught.value.code == "split.empty"


def test_a_heap_has_all_of_its_classes_in_every_split(tmp_path):
    for number, name in enumerate(("a/1", "a/2", "a/3", "b/1", "b/2", "only/1")):
        picture(tmp_path / f"{name}.png", number)
    found = read(tmp_path, "val")
    assert found.names == ("a", "b", "only")
    assert {image.label for image in found.splits["val"]} == {"a", "b"}


def test_training_data_without_val_get_a_hint(tmp_path):
    picture(tmp_path / "train" / "a" / "x.png")
    with pytest.raises(
        DataError,
        match=r"no split 'val' \(use --split train to evaluate on the training data",
    ):
        read(tmp_path, "train", "val", fraction=None)


def test_a_class_needs_a_name_that_can_be_written(tmp_path):
    picture(tmp_path / "train" / "a" / "x.png")
    picture(tmp_path / "train" / "b\nc" / "x.png")
    with pytest.raises(DataError, match=r"b.nc"):
        read(tmp_path, "train")


def test_hidden_folders_are_no_classes(folders):
    picture(folders / "train" / ".cache" / "x.png")
    assert read(folders, "train").names == ("Cat", "dog")


def test_the_development_kit_of_imagenet_does_not_matter_beside_folders(tmp_path):
    """As torchvision arranges it: the validation images are in folders, too."""
    for name in ("train/n01/a.png", "train/n02/b.png", "val/n01/c.png", "val/n02/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(tmp_path / name)
    labels = tmp_path / "devkit" / "data" / "ILSVRC2012_validation_ground_truth.txt"
    labels.parent.mkdir(parents=True)
    labels.write_text("1\n2\n")
    assert detect_format("classes", tmp_path) == "folders"
