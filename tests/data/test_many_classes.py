"""Where no mask of 8 bits limits them, datasets may list any number of classes."""

import json

import numpy as np
import pytest
from corpus import CASES
from parquet_writing import INSTALLED, renamed
from PIL import Image

from cvkit.data.boxes import read_boxes
from cvkit.data.classified import read_collection
from cvkit.format_table import FORMATS

NAMES = [f"class {number}" for number in range(300)]
RARE = 280
"""Class of the only object."""


def write_image(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (90, 120, 150)).save(path)


def write_boxes(root, layout):
    """A dataset with one image, which shows one object."""
    (root / "classes.txt").write_text("\n".join(NAMES))
    if layout == "voc":
        write_image(root / "JPEGImages" / "a.jpg")
        (root / "Annotations").mkdir()
        (root / "ImageSets" / "Main").mkdir(parents=True)
        (root / "ImageSets" / "Main" / "train.txt").write_text("a\n")
        box = "<xmin>3</xmin><ymin>3</ymin><xmax>20</xmax><ymax>20</ymax>"
        (root / "Annotations" / "a.xml").write_text(
            "<annotation><filename>a.jpg</filename>"
            "<size><width>32</width><height>32</height><depth>3</depth></size>"
            f"<object><name>{NAMES[RARE]}</name><bndbox>{box}</bndbox></object></annotation>"
        )
        return
    write_image(root / "images" / "train" / "a.png")
    if layout == "yolo":
        (root / "labels" / "train").mkdir(parents=True)
        (root / "labels" / "train" / "a.txt").write_text(f"{RARE} 0.5 0.5 0.5 0.5\n")
    elif layout == "coco":
        box = {"id": 1, "image_id": 1, "category_id": RARE, "bbox": [3, 3, 9, 9], "area": 81}
        content = {
            "images": [{"id": 1, "file_name": "train/a.png", "width": 32, "height": 32}],
            "categories": [{"id": number, "name": name} for number, name in enumerate(NAMES)],
            "annotations": [box | {"segmentation": [[3, 3, 12, 3, 12, 12]]}],
        }
        (root / "annotations").mkdir()
        (root / "annotations" / "instances_train.json").write_text(json.dumps(content))
    else:
        values = np.zeros((32, 32), np.uint16)
        values[3:12, 3:12] = 300
        (root / "masks" / "train").mkdir(parents=True)
        Image.fromarray(values).save(root / "masks" / "train" / "a.png")
        table = f"path,instance,class\nimages/train/a.png,300,{NAMES[RARE]}\n"
        (root / "instances.csv").write_text(table)


@pytest.mark.parametrize("layout", ["coco", "voc", "yolo", "index"])
def test_boxes_and_instances_of_many_classes(tmp_path, layout):
    write_boxes(tmp_path, layout)
    found = read_boxes(tmp_path, layout, ["train"], masks=layout == "index")
    assert not found.defects
    assert list(found.classes.names) == NAMES
    (image,) = found.splits["train"]
    assert found.classes.names[image.truth.labels[0] - 1] == NAMES[RARE]


@pytest.mark.parametrize("layout", ["folders", "classes", "csv"])
def test_images_of_many_classes(tmp_path, layout):
    (tmp_path / "classes.txt").write_text("\n".join(NAMES))
    place = {"folders": "train/", "classes": "", "csv": "photos/"}[layout]
    write_image(tmp_path / place / NAMES[RARE] / "a.png")
    if layout == "csv":
        table = f"path,label,split\n{place}{NAMES[RARE]}/a.png,{NAMES[RARE]},train\n"
        (tmp_path / "labels.csv").write_text(table)
    found = read_collection(tmp_path, layout, ["train"], None)
    assert list(found.names) == NAMES
    assert [image.label for image in found.splits["train"]] == [NAMES[RARE]]


@pytest.mark.parametrize("truth", ["classes", "boxes", "instances"])
def test_every_format_may_have_many_classes(tmp_path, truth):
    for layout in FORMATS[truth]:
        if layout == "parquet" and not INSTALLED:
            continue
        case = next(c for c in CASES.values() if (c.truth, c.format) == (truth, layout))
        root = tmp_path / layout
        case.write(root)
        names = [*case.classes, *NAMES]
        if "data.yaml" in case.files:
            (root / "data.yaml").write_text(json.dumps({"path": ".", "names": names}))
        elif layout == "coco":
            for file in root.glob("annotations/*.json"):
                content = json.loads(file.read_text())
                content["categories"] = [{"id": k, "name": n} for k, n in enumerate(names, 1)]
                file.write_text(json.dumps(content))
        elif "obj.names" in case.files:
            (root / "obj.names").write_text("\n".join(names))
        elif "class-descriptions-boxable.csv" in case.files:
            rows = [f'/m/{number:02},"{name}"\n' for number, name in enumerate(names, 1)]
            (root / "class-descriptions-boxable.csv").write_text("".join(rows))
        elif layout == "parquet":
            for name, content in case.files.items():
                (root / name).write_bytes(renamed(content, case.classes, names))
        elif "labels/labels.json" in case.files:
            numbers = {name: str(number) for number, name in enumerate(names)}
            (root / "labels/labels.json").write_text(json.dumps(numbers))
        else:
            (root / "classes.txt").write_text("\n".join(names))
        if truth == "classes":
            found = read_collection(root, layout, [*case.splits], None).names
        else:
            data = read_boxes(root, layout, [*case.splits], masks=truth == "instances")
            assert not data.defects
            found = data.classes.names
        assert list(found) == names, layout


def test_a_classifier_of_many_classes_is_trained_and_measured(cvkit, tmp_path):
    for index, name in enumerate(NAMES):
        for split in ("train", "val"):
            path = tmp_path / "data" / split / name / "a.png"
            path.parent.mkdir(parents=True)
            Image.new("RGB", (16, 16), (index % 256, index // 256 * 90, 7)).save(path)
    (tmp_path / "data" / "classes.txt").write_text("\n".join(NAMES))
    flags = ["--data", tmp_path / "data", "--workers", 0, "--quiet", "--json"]
    own = ["--arch", "knn", "--neighbors", 1, "--out", tmp_path / "runs"]
    trained = cvkit("classify", "train", *flags, *own)
    assert trained.code == 0, trained.err
    done = cvkit(
        "classify", "eval", "--weights", tmp_path / "runs/classify-knn-001", *flags, "--no-files"
    )
    assert done.code == 0, done.err
    assert done.json["metrics"]["top1"] > 0.99


def test_a_segmenter_still_has_at_most_255(cvkit, scenes, tmp_path):
    (tmp_path / "data").mkdir()
    for name in ("images", "masks"):
        (tmp_path / "data" / name).symlink_to(scenes / name)
    (tmp_path / "data" / "classes.txt").write_text("\n".join(NAMES))
    flags = ["--quiet", "--out", tmp_path / "runs"]
    train = cvkit("segment", "train", "--data", tmp_path / "data", *flags)
    score = cvkit(
        *(
            "segment",
            "eval",
            "--predictions",
            scenes / "masks",
            "--truth",
            tmp_path / "data",
            *flags,
        )
    )
    for done in (train, score):
        assert done.code == 2
        assert "lists 300 classes" in done.err
        assert "at most 255" in done.err
    assert not (tmp_path / "runs").exists()
