"""Values that look right and are not: refused, or counted and told."""

import json

import numpy as np
import pytest
from PIL import Image

from cvkit.data.boxes import read_boxes
from cvkit.data.classes import make_classes, voc_colors
from cvkit.data.classified import read_collection
from cvkit.data.files import walk_videos
from cvkit.data.labelled import read_pairs
from cvkit.errors import DataError
from cvkit.scoring.class_tables import read_scores
from cvkit.structures import voc_color
from cvkit.texts import parse_number

NO_NUMBERS = ["1_0", "\u0661\u0662", "0x1", "1,5", "one", ""]
"""What Python or people may take for numbers; the second one is of Arabic digits."""


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((20, 30, 3), 90, np.uint8)).save(path)


def voc(root, difficult="0", left="3"):
    picture(root / "JPEGImages" / "a.png")
    (root / "Annotations").mkdir(exist_ok=True)
    corners = f"<xmin>{left}</xmin><ymin>3</ymin><xmax>12</xmax><ymax>9</ymax>"
    flag = "" if difficult is None else f"<difficult>{difficult}</difficult>"
    inner = f"<object><name>cat</name>{flag}<bndbox>{corners}</bndbox></object>"
    text = f"<annotation>{inner}</annotation>"
    (root / "Annotations" / "a.xml").write_text(text, encoding="utf-8")
    return read_boxes(root, "voc", ["all"])


@pytest.mark.parametrize(
    ("text", "hard"), [(None, False), ("", False), ("0", False), (" 1 ", True)]
)
def test_an_object_is_difficult_or_not(tmp_path, text, hard):
    (image,) = voc(tmp_path, text).splits["all"]
    assert image.truth.difficult.tolist() == [hard]


@pytest.mark.parametrize("text", ["yes", "true", "2", "-1", "1.0"])
def test_what_is_neither_difficult_nor_not_is_refused(tmp_path, text):
    (defect,) = voc(tmp_path, text).defects
    assert defect.code == "difficult.value"
    assert f"a.xml: cat: <difficult> '{text}' is not 0 or 1" in str(defect)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_text_that_is_no_decimal_number_is_none(text):
    assert parse_number(text) is None


@pytest.mark.parametrize("text", ["1", "-1.5", "+.5", "1e3", " 2 ", "inf"])
def test_text_that_is_a_number_is_one(text):
    assert parse_number(text) == float(text)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_boxes_of_annotations_are_decimal_numbers(tmp_path, text):
    assert [defect.code for defect in voc(tmp_path, left=text).defects] == ["bndbox.missing"]


@pytest.mark.parametrize("text", NO_NUMBERS[:-1])
@pytest.mark.parametrize("place", [0, 1])
def test_boxes_of_text_files_are_decimal_numbers(tmp_path, text, place):
    picture(tmp_path / "images" / "train" / "a.png")
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "classes.txt").write_text("cat\n")
    line = " ".join([*["0", "0.5"][:place], text, *["0.5", "0.5", "0.5", "0.5"][place:]])
    (tmp_path / "labels" / "train" / "a.txt").write_text(line, encoding="utf-8")
    assert [d.code for d in read_boxes(tmp_path, "yolo", ["train"]).defects] == ["yolo.syntax"]


@pytest.mark.parametrize("text", NO_NUMBERS[:-1])
def test_parts_of_videos_are_decimal_numbers(tmp_path, text):
    picture(tmp_path / "a" / "1.png")
    cell = f'"{text}"'
    (tmp_path / "labels.csv").write_text(f"path,label,start\na,cat,{cell}\n", encoding="utf-8")
    with pytest.raises(DataError, match="start and end are in seconds"):
        read_collection(tmp_path, "csv", ["all"], None, walk_videos)


@pytest.mark.parametrize("text", NO_NUMBERS[:-1])
def test_scores_are_decimal_numbers(tmp_path, text):
    table = tmp_path / "scores.csv"
    table.write_text(f'path,cat,dog\na.png,"{text}",0.5\n', encoding="utf-8")
    with pytest.raises(DataError, match="is not a finite number"):
        read_scores(table, ["cat", "dog"])


def coco(root, polygons, **more):
    picture(root / "images" / "a.png")
    (root / "annotations").mkdir(exist_ok=True)
    row = {"id": 5, "image_id": 1, "category_id": 1, "bbox": [2, 2, 4, 4], "iscrowd": 0}
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 30, "height": 20} | more],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [row | {"segmentation": polygons}],
    }
    (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    return read_boxes(root, "coco", ["train"], masks=True)


def square(x, y, side):
    return [x, y, x + side, y, x + side, y + side, x, y + side]


@pytest.mark.parametrize(
    "polygon", [square(31, 2, 9), square(2, 21, 9), square(-9, 2, 8), square(2, -9, 8)]
)
@pytest.mark.parametrize("claimed", [{}, {"width": None, "height": None}])
def test_a_polygon_outside_its_image_is_refused(tmp_path, polygon, claimed):
    (defect,) = coco(tmp_path, [polygon], **claimed).defects
    assert defect.code == "segm.outside"
    assert "annotations[0] (id 5): its polygons are outside the image of 30x20" in str(defect)


@pytest.mark.parametrize("polygons", [[square(25, 2, 9)], [square(31, 2, 9), square(2, 2, 4)]])
def test_polygons_may_reach_beyond_the_image(tmp_path, polygons):
    found = coco(tmp_path, polygons)
    assert not found.defects and not found.notes


@pytest.mark.parametrize(
    "segmentation", [[square(4, 4, 0)], {"size": [20, 30], "counts": [20 * 30]}]
)
def test_masks_without_pixels_are_counted(tmp_path, segmentation):
    found = coco(tmp_path, segmentation)
    assert found.notes == ["instances_train.json: masks without pixels, not used for training: 1"]


def twins(root, kind):
    for suffix in (".png", ".jpg"):
        picture(root / "JPEGImages" / f"a{suffix}")
    picture(root / "JPEGImages" / "b.png")
    (root / "ImageSets" / kind).mkdir(parents=True)
    (root / "ImageSets" / kind / "train.txt").write_text("a\nb\n")


TWIN = "images ignored because another file has the same name: 1, such as JPEGImages/a.png"


def test_an_image_beside_one_of_the_same_name_is_told_for_boxes(tmp_path):
    twins(tmp_path, "Main")
    (tmp_path / "Annotations").mkdir()
    for name in "ab":
        (tmp_path / "Annotations" / f"{name}.xml").write_text("<annotation></annotation>")
    found = read_boxes(tmp_path, "voc", ["train"])
    assert found.notes == [TWIN]
    assert found.splits["train"][0].path.suffix == ".jpg"


def test_an_image_beside_one_of_the_same_name_is_told_for_masks(tmp_path):
    twins(tmp_path, "Segmentation")
    (tmp_path / "SegmentationClass").mkdir()
    for name in "ab":
        Image.new("L", (30, 20)).save(tmp_path / "SegmentationClass" / f"{name}.png")
    found = read_pairs(tmp_path, "voc", ["train"])
    assert list(found.notes) == [TWIN]


def test_colours_of_many_classes_are_those_of_each():
    assert voc_colors(0) == []
    assert voc_colors(700) == [voc_color(index) for index in range(700)]


def test_given_colours_and_the_others_stay_apart():
    """A class whose colour was given to another one gets a spare one, and only such a class."""
    given = {0: voc_color(2), 1: voc_color(0)}
    made = make_classes(["a", "b", "c", "d"], given)
    assert made.colors == (voc_color(2), voc_color(0), voc_color(254), voc_color(3))
