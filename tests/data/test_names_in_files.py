"""No name in a file leads out of the dataset, whichever reader follows it."""

import json

import pytest
from PIL import Image

from cvkit.data.boxes import read_boxes
from cvkit.data.classified import read_collection
from cvkit.data.files import inside
from cvkit.data.labelled import read_pairs
from cvkit.errors import CvkitError, DataError
from cvkit.scoring.predicted import read_predicted


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def coco(root, name):
    row = {"file_name": name, "width": 8, "height": 6}
    rows = [{"id": 1, "file_name": "in.png", "width": 8, "height": 6}, {"id": 2} | row]
    content = {"images": rows, "annotations": [], "categories": [{"id": 1, "name": "cat"}]}
    write(root / "train.json", json.dumps(content))
    return read_boxes(root, "coco", ["train"]).defects


def voc(root, name):
    write(root / "ImageSets" / "Main" / "train.txt", f"in\n{name.removesuffix('.png')}\n")
    for place in (root / "Annotations" / "in.xml", root.parent / "out.xml"):
        write(place, "<annotation></annotation>")
    return read_boxes(root, "voc", ["train"]).defects


def voc_masks(root, name):
    write(root / "ImageSets" / "Segmentation" / "train.txt", f"in\n{name.removesuffix('.png')}\n")
    read_pairs(root, "voc", ["train"]).splits["train"]


def yolo_folder(root, name):
    folder = name.rpartition("/")[0]
    write(root / "data.yaml", f"train: {json.dumps(folder)}\nnames: [cat]\n")
    return read_boxes(root, "yolo", ["train"]).defects


def yolo_list(root, name):
    write(root / "data.yaml", "train: train.txt\nnames: [cat]\n")
    write(root / "train.txt", f"in.png\n{name}\n")
    return read_boxes(root, "yolo", ["train"]).defects


def yolo_path(root, name):
    folder = name.rpartition("/")[0]
    write(root / "data.yaml", f"path: {json.dumps(folder)}\ntrain: images\nnames: [cat]\n")
    return read_boxes(root, "yolo", ["train"]).defects


def table(root, name):
    write(root / "labels.csv", f"path,label\nin.png,cat\n{name},dog\n")
    read_collection(root, "csv", ["train"], None)


FOLLOW = {
    each.__name__: each for each in (coco, voc, voc_masks, yolo_folder, yolo_list, yolo_path, table)
}


@pytest.fixture
def root(tmp_path):
    """A dataset, with images in it and beside it."""
    for place in ("", "JPEGImages", "SegmentationClass"):
        (tmp_path / "set" / place).mkdir(exist_ok=True)
        Image.new("L", (8, 6)).save(tmp_path / "set" / place / "in.png")
    (tmp_path / "images").mkdir()
    for place in (tmp_path, tmp_path / "images"):
        Image.new("L", (8, 6)).save(place / "out.png")
    return tmp_path / "set"


@pytest.mark.parametrize("how", ["absolute", "absolute inside", "upwards", "around", "Windows"])
@pytest.mark.parametrize("reader", FOLLOW)
def test_a_name_that_leads_out_is_refused_by_every_reader(root, reader, how):
    name = {
        "absolute": f"{root.parent}/out.png",
        "absolute inside": f"{root}/in.png",  # would lead out on the next machine
        "upwards": "../../" + root.parent.name + "/out.png",
        "around": "x/../../out.png",
        "Windows": "C:\\x/out.png",
    }[how]
    if reader == "yolo_path" and how == "absolute inside":
        return  # the folder that is named is the dataset's own
    try:
        defects = FOLLOW[reader](root, name)
    except DataError as error:
        defects = [error]
    assert [defect.code for defect in defects] == ["path.escape"]
    assert "dataset folder" in str(defects[0])


@pytest.mark.parametrize("name", ["a.png", "a/b.png", "a..b/..c.png", "C:x.png", "caf\u00e9.png"])
def test_names_inside_are_followed(root, name):
    assert inside(root, name) == root / name


@pytest.mark.parametrize("name", ["a\0b", "\ud800.png", "x" * 256, "/".join(["x" * 200] * 30)])
def test_names_that_no_file_has_are_refused(root, name):
    with pytest.raises(CvkitError) as caught:
        inside(root, name)
    assert caught.value.code == "path.escape"


def test_a_mask_of_predict_does_not_lead_out(root):
    write(root / "predict.json", "{}")
    write(root / "predictions.jsonl", json.dumps({"path": ""}) + "\n")
    with pytest.raises(DataError, match="is not a path"):
        read_predicted(root)


def test_yolo_says_that_a_path_that_leads_out_is_not_followed(root):
    (root / "images").mkdir()
    Image.new("L", (8, 6)).save(root / "images" / "in.png")
    for path in ("../other", "/data/other"):
        write(root / "data.yaml", f"path: {path}\ntrain: images\nnames: [cat]\n")
        found = read_boxes(root, "yolo", ["train"])
        assert [image.key for image in found.splits["train"]] == ["images/in.png"]
        assert not found.defects
        (note,) = found.notes
        assert f"'{path}' leads out of the dataset folder and is not followed" in note


@pytest.mark.parametrize("path", [".", "", "./", "{root}", "../{name}", "sub"])
def test_yolo_follows_a_path_that_stays(root, path):
    base = root / "sub" if path == "sub" else root
    (base / "images").mkdir(parents=True)
    Image.new("L", (8, 6)).save(base / "images" / "in.png")
    text = path.format(root=root, name=root.name)
    write(root / "data.yaml", f"path: {json.dumps(text)}\ntrain: images\nnames: [cat]\n")
    found = read_boxes(root, "yolo", ["train"])
    assert not found.defects and not found.notes
    assert found.splits["train"][0].path.resolve() == (base / "images" / "in.png").resolve()


def test_yolos_broken_file_does_not_stand_in_the_way_of_others(root):
    coco(root, "in2.png")
    write(root / "compose.yml", "a: &a 1\nb: *a\n")
    assert read_boxes(root, "auto", ["train"]).layout == "coco"
    write(root / "data.yaml", "names: [cat]\nb: *a\n")
    with pytest.raises(DataError, match=r"data.yaml:2"):
        read_boxes(root, "auto", ["train"])
