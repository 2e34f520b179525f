"""Readers of boxes: what they give, what they refuse, and that all layouts say the same."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvkit.data.annotated import AnnotatedImage, make_truth, no_objects, trainable
from cvkit.data.boxes import read_boxes
from cvkit.data.classes import make_classes
from cvkit.data.datasets import BoxDataset
from cvkit.data.decode import read_image
from cvkit.data.formats.coco import read_coco
from cvkit.data.formats.recognise import detect_format
from cvkit.data.formats.voc import VOC_CLASSES
from cvkit.data.scan import scan_boxes
from cvkit.data.synthetic.samples import write_detection
from cvkit.data.transforms.boxes import POLICIES, BoxTransform, mosaic
from cvkit.errors import DataError
from cvkit.tasks.detect.setup import class_table

OBJECTS = {"a": [("cat", (10, 20, 40, 60), 0), ("dog", (0, 0, 100, 80), 1)], "b": []}


@pytest.fixture
def images(tmp_path):
    """Two images of 100x80 in a folder."""
    folder = tmp_path / "data" / "JPEGImages"
    folder.mkdir(parents=True)
    for name in OBJECTS:
        Image.new("RGB", (100, 80), (90, 120, 150)).save(folder / f"{name}.jpg")
    return folder


def write_voc(root, objects=OBJECTS, classes=("cat", "dog")):
    (root / "Annotations").mkdir()
    (root / "ImageSets" / "Main").mkdir(parents=True)
    (root / "ImageSets" / "Main" / "train.txt").write_text("".join(f"{n}\n" for n in objects))
    (root / "classes.txt").write_text("\n".join(classes))
    for name, rows in objects.items():
        body = "".join(
            f"<object><name>{label}</name><difficult>{hard}</difficult><bndbox>"
            f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
            "</bndbox></object>"
            for label, (x1, y1, x2, y2), hard in rows
        )
        size = "<size><width>100</width><height>80</height><depth>3</depth></size>"
        text = f"<annotation><filename>{name}.jpg</filename>{size}{body}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(text)


def coco_content(**changes):
    content = {
        "images": [
            {"id": 7, "file_name": "b.jpg", "width": 100, "height": 80},
            {"id": 3, "file_name": "a.jpg", "width": 100, "height": 80},
        ],
        "categories": [{"id": 90, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 0, "image_id": 3, "category_id": 2, "bbox": [10, 20, 30, 40], "area": 900},
            {"id": 5, "image_id": 3, "category_id": 90, "bbox": [0, 0, 100, 80], "iscrowd": 1},
        ],
    }
    return content | changes


def write_coco(root, content):
    (root / "annotations").mkdir(exist_ok=True)
    path = root / "annotations" / "instances_train.json"
    path.write_text(json.dumps(content))
    return path


def write_yolo(root):
    lines = {"a": "0 0.25 0.5 0.3 0.5\n1 0.5 0.5 1 1\n"}
    (root / "images" / "train").mkdir(parents=True)
    (root / "labels" / "train").mkdir(parents=True)
    for name in OBJECTS:
        Image.new("RGB", (100, 80)).save(root / "images" / "train" / f"{name}.jpg")
    (root / "labels" / "train" / "a.txt").write_text(lines["a"])
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nnames: {0: cat, 1: dog}\n")


def boxes_of(found):
    return {
        image.path.stem: [
            (found.classes.names[label - 1], *map(float, box))
            for label, box in zip(image.truth.labels, image.truth.boxes, strict=True)
        ]
        for image in found.splits["train"]
    }


WANTED = {"a": [("cat", 10, 20, 40, 60), ("dog", 0, 0, 100, 80)], "b": []}


def test_all_layouts_are_recognised_and_give_the_same_boxes(images, tmp_path):
    root = images.parent
    write_coco(root, coco_content())
    coco = read_boxes(root, "auto", ["train"])
    write_voc(root)
    voc = read_boxes(root, "auto", ["train"])
    write_yolo(tmp_path / "yolo")
    yolo = read_boxes(tmp_path / "yolo", "auto", ["train"])
    assert [data.layout for data in (coco, voc, yolo)] == ["coco", "voc", "yolo"]
    for data in (coco, voc, yolo):
        assert not data.defects
        assert boxes_of(data) == WANTED
    assert (coco.classes.ids, voc.classes.ids, yolo.classes.ids) == ((2, 90), (1, 2), (0, 1))
    assert all(data.splits["train"][1].truth.boxes.shape == (0, 4) for data in (coco, voc, yolo))
    assert coco.splits["train"][0].truth.crowd.tolist() == [False, True]
    assert coco.splits["train"][0].truth.areas.tolist() == [900, 8000]
    assert voc.splits["train"][0].truth.difficult.tolist() == [False, True]


def test_coco_keeps_ids_and_their_order(images):
    found = read_coco(write_coco(images.parent, coco_content()), images, images.parent)
    assert [image.image_id for image in found.images] == [3, 7]
    assert found.images[0].key == "JPEGImages/a.jpg"
    assert found.images[0].truth.xywh.tolist() == [[10, 20, 30, 40], [0, 0, 100, 80]]


def altered(place, **changes):
    content = coco_content()
    name, number = place
    content[name][number] = content[name][number] | changes
    return content


NAN = float("nan")


@pytest.mark.parametrize(
    "content, code",
    [
        (altered(("images", 0), id=3), "image.id_duplicate"),
        (altered(("images", 0), id="x"), "image.id_type"),
        (altered(("images", 0), file_name="a.jpg"), "image.file_duplicate"),
        (altered(("images", 0), file_name=5), "image.file_name_type"),
        (altered(("images", 0), file_name="../../b.jpg"), "path.escape"),
        (altered(("annotations", 1), id=0), "ann.id_duplicate"),
        (altered(("annotations", 1), image_id=4), "ann.image_unknown"),
        (altered(("annotations", 1), category_id=1), "ann.category_unknown"),
        (altered(("annotations", 1), iscrowd=2), "iscrowd.value"),
        (altered(("annotations", 1), bbox=[1, 2, 3]), "bbox.length"),
        (altered(("annotations", 1), bbox=[1, 2, "3", 4]), "bbox.length"),
        (altered(("annotations", 1), bbox=[1, 2, -3, 4]), "bbox.nonpositive"),
        (altered(("annotations", 1), bbox=[1, 2, 1e999, 4]), "json.nan_literal"),
        (altered(("annotations", 1), bbox=[200, 2, 3, 4]), "bbox.outside"),
        (coco_content(images=[]), "images.empty"),
        (coco_content(categories=[]), "category.missing"),
        (coco_content(categories=[{"id": 2, "name": "a"}] * 2), "category.id_duplicate"),
        (
            coco_content(categories=[{"id": 2, "name": "a"}, {"id": 90, "name": "a"}]),
            "category.name_duplicate",
        ),
        (coco_content(categories=[{"name": "a"}]), "category.malformed"),
        (coco_content(categories=[{"id": 2, "name": ""}]), "category.malformed"),
        (coco_content(categories=[{"id": 2, "name": " \t"}]), "category.malformed"),
        ({"images": []}, "categories.missing"),
        ([], "json.not_object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_defects_of_coco_files_have_codes(images, content, code):
    path = write_coco(images.parent, content)
    try:
        defects = read_coco(path, images, images.parent).defects
    except DataError as error:
        defects = [error]
    assert code in [defect.code for defect in defects]
    assert str(path) in str(defects[0]) or code == "path.escape"


ODD = (
    *(None, True, "", "x", "1", 0, -1, 1.5, 1e308, 10**400),
    *([], [1], [[1]], [1, 2, 3, 10**400], {}, {"a": 1}),
)
"""One value of every kind that JSON has, and numbers that no float holds."""


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("part", ["images", "categories", "annotations"])
def test_any_value_in_any_field_of_a_coco_file_is_read_or_is_a_defect(images, part, masks):
    fields = {"iscrowd": 0, "area": 9, "segmentation": [[1, 1, 9, 1, 9, 9]]}
    content = altered(("annotations", 0), **fields)
    assert not read_coco(write_coco(images.parent, content), images, images.parent).defects
    for field in content[part][0]:
        refused = 0
        for value in ODD:
            changed = json.loads(json.dumps(content))
            changed[part][0][field] = value
            path = write_coco(images.parent, changed)
            try:
                refused += bool(read_coco(path, images, images.parent, masks=masks).defects)
            except DataError:
                refused += 1
        assert refused or field in ("name", "width", "height", "area", "segmentation"), field


@pytest.mark.parametrize("field", ["id", "image_id", "category_id"])
def test_an_id_that_is_a_list_is_named_with_its_place(images, field):
    path = write_coco(images.parent, altered(("annotations", 1), **{field: [3]}))
    (defect,) = read_coco(path, images, images.parent).defects
    assert f"{path}: annotations[1]" in str(defect)
    assert "[3]" in str(defect)


@pytest.mark.parametrize(
    "text, code",
    [
        ("{", "json.syntax"),
        ('{"images": [], "images": []}', "json.duplicate_key"),
        ('{"a": NaN}', "json.nan_literal"),
        ("[" * 100_000, "json.syntax"),
    ],
)
def test_broken_json_is_told(tmp_path, text, code):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_coco(path, tmp_path, tmp_path)
    assert caught.value.code == code


def test_all_defects_are_listed_at_once(images):
    content = coco_content()
    content["annotations"] += [
        {"id": 9, "image_id": 99, "category_id": 2, "bbox": [0, 0, 1, 1]},
        {"id": 9, "image_id": 3, "category_id": 2, "bbox": [0, 0, 1, -1]},
    ]
    found = read_coco(write_coco(images.parent, content), images, images.parent)
    assert len(found.defects) == 2
    assert "annotations[2] (id 9)" in str(found.defects[0])


def test_boxes_without_area_count_but_do_not_train(images):
    content = altered(("annotations", 1), bbox=[5, 5, 0, 7], iscrowd=0)
    found = read_coco(write_coco(images.parent, content), images, images.parent)
    assert not found.defects and "1 box without area" in found.notes[0]
    truth = found.images[0].truth
    assert len(truth) == 2 and len(trainable(truth, (80, 100))) == 1


def test_a_missing_box_follows_from_the_segmentation(images):
    content = coco_content()
    rectangle = [10, 20, 40, 20, 40, 60, 10, 60]
    runs = [20 * 80, *([40, 40] * 30), 50 * 80]  # columns 20 to 49, each with rows 0 to 39
    runs[0], runs[-1] = 20 * 80, 100 * 80 - 20 * 80 - 80 * 30
    rows = [{"segmentation": [rectangle]}, {"segmentation": {"size": [80, 100], "counts": runs}}]
    content["annotations"] = [
        {"id": n, "image_id": 3, "category_id": 2, "iscrowd": n} | row for n, row in enumerate(rows)
    ]
    found = read_coco(write_coco(images.parent, content), images, images.parent)
    assert not found.defects
    assert found.images[0].truth.xywh.tolist()[0] == [10, 20, 30, 40]
    assert found.images[0].truth.xywh.tolist()[1][0] == 20
    content["annotations"][0]["segmentation"] = "x"
    (defect,) = read_coco(write_coco(images.parent, content), images, images.parent).defects
    assert defect.code == "bbox.length"


def test_crowds_and_difficult_objects_do_not_train_and_boxes_are_cut():
    truth = make_truth(
        np.array([[-5, -5, 20, 20], [0, 0, 9, 9], [1, 1, 9, 9]], float),
        [1, 1, 1],
        crowd=[False, True, False],
        difficult=[False, False, True],
    )
    assert trainable(truth, (15, 30)).boxes.tolist() == [[0, 0, 20, 15]]


@pytest.mark.parametrize(
    "body, code",
    [
        ("<annotation><object><name>cat</name></object></annotation>", "bndbox.missing"),
        ("<annotation><object></object></annotation>", "object.name_missing"),
        ("<annotations></annotations>", "root.name"),
        ("<annotation>", "xml.syntax"),
        ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>', "xml.dtd"),
        (
            "<annotation><object><name>cat</name><bndbox><xmin>9</xmin><ymin>1</ymin>"
            "<xmax>3</xmax><ymax>5</ymax></bndbox></object></annotation>",
            "bndbox.order",
        ),
        (
            "<annotation><size><width>inf</width><height>9</height></size></annotation>",
            "size.value",
        ),
        (
            "<annotation><object><name>cow</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
            "<xmax>3</xmax><ymax>5</ymax></bndbox></object></annotation>",
            "object.name_unknown",
        ),
    ],
)
def test_defects_of_voc_files_have_codes(images, body, code):
    root = images.parent
    write_voc(root)
    (root / "Annotations" / "a.xml").write_text(body)
    assert [defect.code for defect in read_boxes(root, "voc", ["train"]).defects] == [code]


def test_a_box_of_one_voc_pixel_is_kept(images):
    root = images.parent
    write_voc(root, {"a": [("cat", (4, 5, 5, 6), 0)], "b": []})
    assert boxes_of(read_boxes(root, "voc", ["train"]))["a"] == [("cat", 4, 5, 5, 6)]


def voc_splits(root, splits, classes=None, labelmap=None):
    """Write a VOC folder whose splits have one image for each class name."""
    write_voc(root, {})
    (root / "classes.txt").unlink()
    if classes or labelmap:
        name = "classes.txt" if classes else "labelmap.txt"
        (root / name).write_text("\n".join(classes or labelmap))
    for split, names in splits.items():
        listed = []
        for number, name in enumerate(names):
            stem = f"{split}{number}"
            listed.append(stem)
            (root / "JPEGImages").mkdir(exist_ok=True)
            Image.new("RGB", (100, 80)).save(root / "JPEGImages" / f"{stem}.jpg")
            (root / "Annotations" / f"{stem}.xml").write_text(
                f"<annotation><object><name>{name}</name><bndbox><xmin>1</xmin><ymin>1</ymin>"
                "<xmax>9</xmax><ymax>9</ymax></bndbox></object></annotation>"
            )
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(listed))
    return root


@pytest.mark.parametrize(
    "splits, names",
    [
        # Each split alone, or one of them, has only names of VOC.
        ({"train": ["cat", "dog"], "val": ["dog"]}, ("cat", "dog")),
        ({"train": ["cat", "wheel"], "val": ["cat"]}, ("cat", "wheel")),
        ({"train": ["cat"], "val": ["wheel", "cat"]}, ("cat", "wheel")),
        ({"train": VOC_CLASSES[:15], "val": VOC_CLASSES[10:]}, VOC_CLASSES),
    ],
)
def test_all_splits_of_a_voc_folder_have_the_classes_that_occur(tmp_path, splits, names):
    """A split whose names are all among VOC's twenty had all twenty, its neighbour others."""
    root = voc_splits(tmp_path, splits)
    both = read_boxes(root, "voc", ["train", "val"])
    assert both.classes.names == names and not both.defects
    model = both.classes
    for split, own in splits.items():
        alone = read_boxes(root, "voc", [split])
        assert alone.classes == model
        table = class_table(alone.classes, model)
        labels = [table[label] for i in alone.splits[split] for label in i.truth.labels.tolist()]
        assert [names[label - 1] for label in labels] == list(own)


def test_labels_of_data_become_those_of_the_model_by_name():
    """In cyclic order, where there and back are different ways."""
    model = make_classes(["person", "cat", "dog", "eel"])
    assert class_table(make_classes(["dog", "eel", "cat"]), model) == {1: 3, 2: 4, 3: 2}


def test_a_voc_folder_without_any_object_has_vocs_classes(tmp_path):
    root = voc_splits(tmp_path, {"val": ["cat"]})
    (root / "Annotations" / "val0.xml").write_text("<annotation></annotation>")
    assert read_boxes(root, "voc", ["val"]).classes.names == VOC_CLASSES


CVAT = ["# label:color_rgb:parts:actions", "background:0,0,0::", "cat:128,0,0::", "dog:0,128,0::"]


@pytest.mark.parametrize("kind", ["labelmap", "classes"])
@pytest.mark.parametrize("name", ["background", "Background", "__background__"])
def test_a_background_that_is_listed_is_no_class(tmp_path, kind, name):
    listed = [line.replace("background", name) for line in CVAT]
    splits = {"train": ["cat"], "val": ["dog"]}
    found = read_boxes(voc_splits(tmp_path, splits, **{kind: listed}), "voc", ["train", "val"])
    assert not found.defects
    assert found.classes.names == ("cat", "dog") and found.classes.ids == (1, 2)
    assert found.splits["val"][0].truth.labels.tolist() == [2]


def test_a_background_that_objects_are_of_stays_a_class(tmp_path):
    splits = {"train": ["background"], "val": ["dog"]}
    root = voc_splits(tmp_path, splits, labelmap=CVAT)
    found = read_boxes(root, "voc", ["train", "val"])
    assert found.classes.names == ("background", "cat", "dog") and not found.defects


@pytest.mark.parametrize("table", [None, "path,instance,class\nimages/train/a.png,1,cell\n"])
def test_a_background_is_no_class_of_index_maps(tmp_path, table):
    for name, value in (("images", 9), ("masks", 1)):
        (tmp_path / name / "train").mkdir(parents=True)
        Image.new("L", (9, 9), value).save(tmp_path / name / "train" / "a.png")
    (tmp_path / "labelmap.txt").write_text("background:0,0,0::\ncell:1,1,1::\n")
    if table:
        (tmp_path / "instances.csv").write_text(table)
    found = read_boxes(tmp_path, "index", ["train"], masks=True)
    assert not found.defects and found.classes.names == ("cell",)


def test_names_of_images_may_end_like_vocs_marks(images):
    root = images.parent
    write_voc(root)
    for old, new in (("a", "my cat 1"), ("b", "my cat")):
        (images / f"{old}.jpg").rename(images / f"{new}.jpg")
        (root / "Annotations" / f"{old}.xml").rename(root / "Annotations" / f"{new}.xml")
    file = root / "ImageSets" / "Main" / "train.txt"
    file.write_text("my cat 1\nmy cat  -1\n")
    found = read_boxes(root, "voc", ["train"])
    assert not found.defects
    assert [image.path.stem for image in found.splits["train"]] == ["my cat 1", "my cat"]


@pytest.mark.parametrize(
    "line, code",
    [
        ("0 0.5 0.5", "yolo.syntax"),
        ("x 0.5 0.5 0.1 0.1", "yolo.syntax"),
        ("2 0.5 0.5 0.1 0.1", "yolo.class"),
        ("0.5 0.5 0.5 0.1 0.1", "yolo.class"),
        ("0 0.5 0.5 1.5 0.1", "yolo.range"),
        ("0 50 50 10 10", "yolo.range"),
    ],
)
def test_defects_of_yolo_files_have_codes(tmp_path, line, code):
    write_yolo(tmp_path / "yolo")
    (tmp_path / "yolo" / "labels" / "train" / "b.txt").write_text(line)
    (defect,) = read_boxes(tmp_path / "yolo", "yolo", ["train"]).defects
    assert defect.code == code and "b.txt:1" in str(defect)


def test_yolo_polygons_become_their_boxes(tmp_path):
    write_yolo(tmp_path / "yolo")
    label = tmp_path / "yolo" / "labels" / "train" / "b.txt"
    label.write_text("1 0.1 0.2 0.5 0.25 0.3 0.75\n")
    found = boxes_of(read_boxes(tmp_path / "yolo", "yolo", ["train"]))["b"]
    assert found == [("dog", 10, 16, 50, 60)]


def test_unknown_folders_and_splits_are_told(images):
    with pytest.raises(DataError, match="no known layout"):
        detect_format("boxes", images)
    write_coco(images.parent, coco_content())
    with pytest.raises(DataError, match="no split 'val'"):
        read_boxes(images.parent, "auto", ["train", "val"])
    (images.parent / "annotations" / "instances_val.json").write_text(
        json.dumps(coco_content(categories=[{"id": 2, "name": "cat"}, {"id": 90, "name": "cow"}]))
    )
    with pytest.raises(DataError, match="different classes"):
        read_boxes(images.parent, "auto", ["train", "val"])


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("claims_stored_size", [True, False])
def test_boxes_follow_an_image_that_exif_turns(tmp_path, orientation, claims_stored_size):
    stored = np.zeros((40, 60, 3), np.uint8)
    stored[5:15, 30:50] = 255  # the object, in stored pixels
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    pixels = read_image(tmp_path / "a.png")
    y, x = np.nonzero(pixels[..., 0] > 128)
    upright = [x.min(), y.min(), x.max() + 1, y.max() + 1]
    turned = orientation in (5, 6, 7, 8)
    if not turned and claims_stored_size:
        return  # equal sizes do not tell the two apart; boxes are taken as upright
    given, size = (
        ([30, 5, 20, 10], (60, 40))
        if turned and claims_stored_size
        else (
            [upright[0], upright[1], upright[2] - upright[0], upright[3] - upright[1]],
            pixels.shape[1::-1],
        )
    )
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": size[0], "height": size[1]}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [int(v) for v in given]}
        ],
    }
    path = tmp_path / "a.json"
    path.write_text(json.dumps(content))
    scan = scan_boxes(read_coco(path, tmp_path, tmp_path).images)
    assert not scan.defects
    assert scan.images[0].truth.boxes.tolist() == [[int(v) for v in upright]]
    assert scan.images[0].size_wh == pixels.shape[1::-1]


def test_a_wrong_size_is_a_defect(images):
    path = write_coco(images.parent, altered(("images", 0), width=99))
    scan = scan_boxes(read_coco(path, images, images.parent).images)
    assert [defect.code for defect in scan.defects] == ["image.size_mismatch"]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    write_detection(folder, {"train": 6}, seed=4, size_hw=(96, 128))
    return read_boxes(folder, "auto", ["train"]).splits["train"]


def bright_box(image):
    y, x = np.nonzero((image > 250).all(2))
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])


@pytest.mark.parametrize("policy", [p for p in POLICIES if p != "none"])
def test_boxes_move_with_their_pixels(policy):
    """A white rectangle on black must lie where its transformed box says."""
    checked = 0
    transform = BoxTransform(policy)
    for seed in range(40):
        image = np.zeros((120, 160, 3), np.uint8)
        image[40:80, 50:110] = 255
        truth = make_truth(np.array([[50, 40, 110, 80]], float), [1])
        _, plain, _ = transform(image, truth, None, seed)
        moved, own, regions = transform(image, truth, truth.boxes, seed)
        assert np.array_equal(plain.boxes, own.boxes)
        assert np.array_equal(own.boxes, regions)
        if len(own) and (moved > 250).all(2).sum() > 200:
            checked += np.abs(bright_box(moved) - own.boxes[0]).max() < 4
    assert checked > 10


SCALES = {
    "light": (0.75, 1.5),
    "strong": (0.5, 2.0),
    "lsj": (0.1, 2.0),
    "mosaic": (0.75, 1.5),
    "none": (1.0, 1.0),
}


@pytest.mark.parametrize("policy", POLICIES)
def test_objects_change_their_size_within_the_limits_of_their_policy(policy):
    transform, factors, (low, high) = BoxTransform(policy), [], SCALES[policy]
    image = np.zeros((100, 100, 3), np.uint8)
    truth = make_truth(np.array([[40, 40, 60, 60]], float), [1])
    for seed in range(300):
        _, found, _ = transform(image, truth, None, seed)
        for x1, y1, x2, y2 in found.boxes:
            if min(x1, y1) > 0 and max(x2, y2) < 100:  # not cut
                factors.append((x2 - x1) / 20)
                assert y2 - y1 == pytest.approx(x2 - x1, abs=0.01)
    factors = np.array(factors)
    assert len(factors) > 150
    assert low - 0.001 <= factors.min() <= low + 0.1 * (1 - low) + 0.001
    assert high - 0.15 * (high - 1) - 0.001 <= factors.max() <= high + 0.001
    assert policy == "none" or 0.4 < (factors < 1).mean() < 0.6


def test_boxes_thinner_than_a_pixel_do_not_train():
    rows = [[10, 10, 10.5, 40], [10, 10, 40, 10.5], [50, 50, 51, 51], [60, 60, 60.9, 60.9]]
    truth = make_truth(np.array(rows, float), [1, 2, 3, 4])
    image = np.zeros((80, 100, 3), np.uint8)
    _, found, regions = BoxTransform("none")(image, truth, truth.boxes[::-1].copy(), 0)
    assert found.labels.tolist() == [3]
    assert found.boxes.tolist() == regions.tolist() == [[50, 50, 51, 51]]


def test_mosaic_shows_four_images_with_their_boxes():
    parts = []
    for value in range(4):
        image = np.zeros((80, 100, 3), np.uint8)
        image[20:60, 30:70] = 255 if value == 2 else 60
        truth = make_truth(np.array([[30, 20, 70, 60]], float), [value + 1])
        parts.append((image, truth, truth.boxes))
    image, truth, regions = mosaic(parts, 3)
    assert image.shape == (80, 100, 3) and truth.labels.tolist() == [1, 2, 3, 4]
    assert np.array_equal(truth.boxes, regions)
    assert np.abs(bright_box(image) - truth.boxes[2]).max() <= 1


@pytest.mark.parametrize("policy", POLICIES)
def test_training_samples_are_functions_of_their_seed(scenes, policy):
    data = BoxDataset(scenes, BoxTransform(policy), None, mosaic)
    one, again, other = data.read(0, 5), data.read(0, 5), data.read(0, 6)
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.boxes.boxes, again.boxes.boxes)
    assert policy == "none" or not np.array_equal(one.image, other.image)
    height, width = one.image.shape[:2]
    assert (one.boxes.boxes >= 0).all()
    assert (one.boxes.boxes <= [width, height, width, height]).all()


def test_flipping_twice_gives_the_image_back(tmp_path):
    import albumentations as A

    path = tmp_path / "flip.yaml"
    A.save(A.Compose([A.HorizontalFlip(p=1.0)]), path, data_format="yaml")
    flip = BoxTransform(str(path))
    image = np.random.default_rng(0).integers(0, 255, (40, 60, 3), dtype=np.uint8)
    truth = make_truth(np.array([[5, 6, 30, 20]], float), [2])
    once = flip(image, truth, None, 0)
    assert once[1].boxes.tolist() == [[30, 6, 55, 20]]
    twice = flip(*once, 0)
    assert np.array_equal(twice[0], image)
    assert np.allclose(twice[1].boxes, truth.boxes, atol=1e-4)


def test_images_of_similar_shape_share_a_group():
    sizes = [(256, 256), (320, 256), (256, 320), (640, 480), (480, 640), (1920, 1080), (300, 600)]
    images = [AnnotatedImage("a", Path("a"), 1, size, no_objects()) for size in sizes]
    assert BoxDataset(images).groups() == [0, 0, 0, 1, -1, 1, -2]


def test_samples_have_boxes_around_their_shapes(scenes):
    for item in scenes:
        truth = item.truth
        assert len(truth) and (truth.boxes[:, 2:] > truth.boxes[:, :2]).all()
        sizes = (truth.boxes[:, 2:] - truth.boxes[:, :2]).prod(1)
        assert (truth.areas <= sizes).all() and (truth.areas > 0.15 * sizes).any()


def test_real_data_read_alike_in_both_layouts(real_data):
    root = real_data / "detect"
    voc, coco = (read_boxes(root, layout, ["train", "val"]) for layout in ("voc", "coco"))
    assert voc.classes == coco.classes and voc.classes.names == ("RBC", "WBC", "Platelets")
    counts = {
        data.layout: [sum(len(i.truth) for i in images) for images in data.splits.values()]
        for data in (voc, coco)
    }
    # The COCO files leave out two boxes that VOC's rule takes for one pixel.
    assert counts == {"voc": [2805, 1138], "coco": [2804, 1137]}
    assert not voc.defects and not coco.defects
