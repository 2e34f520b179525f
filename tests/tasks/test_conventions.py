"""Conventions of files that are easily mixed up: which side comes first, which area counts."""

import json

import numpy as np
import pytest
from PIL import Image

from cvkit.data.boxes import read_boxes
from cvkit.data.classes import make_classes
from cvkit.ops.rle import encode
from cvkit.output.boxes import write_results

WIDTH, HEIGHT = 200, 50
BOX = [20.0, 5.0, 120.0, 45.0]
SHARES = "0 0.350000 0.500000 0.500000 0.800000"


@pytest.fixture
def labelled(tmp_path):
    """A wide image with one box, as the YOLO tools keep it."""
    for place in ("images/train", "labels/train"):
        (tmp_path / place).mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "images" / "train" / "a.png")
    (tmp_path / "labels" / "train" / "a.txt").write_text(f"{SHARES}\n")
    (tmp_path / "data.yaml").write_text("train: images/train\nnames: [cat]\n")
    return tmp_path


def test_shares_of_yolo_are_of_width_then_height(labelled):
    (image,) = read_boxes(labelled, "yolo", ["train"]).splits["train"]
    assert image.size_wh == (WIDTH, HEIGHT)
    assert image.truth.boxes.tolist() == [pytest.approx(BOX)]


def test_shares_that_are_written_for_yolo_are_of_width_then_height(tmp_path):
    line = {"path": "a.png", "name": "a", "width": WIDTH, "height": HEIGHT, "labels": ["cat"]}
    line |= {"category_ids": [0], "boxes": [BOX], "scores": [0.5]}
    (tmp_path / "predictions.jsonl").write_text(json.dumps(line) + "\n")
    write_results(tmp_path, make_classes(["cat"]), ["yolo"], {"a.png": 1})
    assert (tmp_path / "labels" / "a.txt").read_text() == f"{SHARES} 0.500000\n"


def test_difficult_objects_of_voc_do_not_count(cvkit, tmp_path):
    for place in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (tmp_path / place).mkdir(parents=True)
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "JPEGImages" / "a.jpg")
    objects = "".join(
        f"<object><name>cat</name><difficult>{difficult}</difficult><bndbox><xmin>{x}</xmin>"
        f"<ymin>1</ymin><xmax>{x + 39}</xmax><ymax>40</ymax></bndbox></object>"
        for x, difficult in ((1, 0), (101, 1))
    )
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation>{objects}</annotation>")
    (tmp_path / "ImageSets" / "Main" / "val.txt").write_text("a\n")
    (tmp_path / "results").mkdir()
    rows = "a 0.9 101 1 140 40\na 0.8 1 1 40 40\n"  # the difficult one is found first
    (tmp_path / "results" / "comp3_det_val_cat.txt").write_text(rows)
    for protocol in ("voc07", "voc12"):
        done = cvkit(
            *("detect", "eval", "--predictions", tmp_path / "results", "--truth", tmp_path),
            *("--protocol", protocol, "--json", "--no-files"),
        )
        assert done.code == 0, done.err
        assert done.json["metrics"] == {f"{protocol}_map": pytest.approx(1)}
        assert done.json["per_class"]["cat"]["objects"] == 1


SMALL, MEDIUM = 32**2 - 1, 32**2 + 1


def score(cvkit, tmp_path, task, truth, results):
    size = {"width": 100, "height": 100}
    content = {
        "images": [{"id": 1, "file_name": "a.png"} | size],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [{"image_id": 1, "category_id": 1, "iscrowd": 0} | row for row in truth],
    }
    rows = [{"image_id": 1, "category_id": 1} | row for row in results]
    (tmp_path / "t.json").write_text(json.dumps(content))
    (tmp_path / "r.json").write_text(json.dumps(rows))
    flags = ("--predictions", tmp_path / "r.json", "--truth", tmp_path / "t.json")
    done = cvkit(task, "eval", *flags, "--json", "--no-files")
    assert done.code == 0, done.err
    return done.json["metrics"]


@pytest.mark.parametrize(("area", "own", "other"), [(SMALL, "APs", "APm"), (MEDIUM, "APm", "APs")])
def test_the_annotated_area_of_an_object_decides_its_size(cvkit, tmp_path, area, own, other):
    """Its box has the other size: 40 x 40 and 20 x 20 pixels."""
    side = 40 if area == SMALL else 20
    box = [0, 0, side, side]
    found = score(
        *(cvkit, tmp_path, "detect", [{"id": 1, "bbox": box, "area": area}]),
        [{"bbox": box, "score": 0.9}],
    )
    assert found[own] == pytest.approx(1) and found[other] is None


def test_without_an_annotated_area_that_of_the_box_decides(cvkit, tmp_path):
    box = [0, 0, 40, 40]
    found = score(cvkit, tmp_path, "detect", [{"id": 1, "bbox": box}], [{"bbox": box, "score": 1}])
    assert found["APm"] == pytest.approx(1) and found["APs"] is None


def test_an_area_that_a_detection_claims_does_not_count(cvkit, tmp_path):
    """A wrong detection of 60 x 60 pixels is none among small objects, whatever it claims."""
    truth = [{"id": 1, "bbox": [0, 0, 20, 20], "area": 400}]
    wrong = {"bbox": [40, 40, 60, 60], "score": 0.9, "area": 400}
    right = {"bbox": [0, 0, 20, 20], "score": 0.8, "area": 9999}
    found = score(cvkit, tmp_path, "detect", truth, [wrong, right])
    assert found["APs"] == pytest.approx(1) and found["AP"] == pytest.approx(0.5)


def test_the_area_of_a_detected_mask_is_that_of_its_pixels(cvkit, tmp_path):
    """A frame of 60 x 60 pixels covers fewer than 32 x 32, so it is wrong among small ones."""
    masks = np.zeros((2, 100, 100), bool)
    masks[0, :20, :20] = True
    masks[1, 40:, 40:] = True
    masks[1, 42:98, 42:98] = False
    codes = [{"size": [100, 100], "counts": code.decode()} for code in encode(masks).codes]
    truth = [{"id": 1, "bbox": [0, 0, 20, 20], "area": 400, "segmentation": codes[0]}]
    results = [
        {"score": 0.9, "segmentation": codes[1]},
        {"score": 0.8, "segmentation": codes[0]},
    ]
    found = score(cvkit, tmp_path, "instance", truth, results)
    assert found["mask"]["APs"] == pytest.approx(0.5)
