"""Tiny datasets in every format and variant, each with what a reader must find in it."""

import base64
import io
import json
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.io
from parquet_writing import INSTALLED, boxed, labelled, one
from PIL import Image

WIDTH, HEIGHT = 8, 6
"""Size of all images."""


def png(pixels):
    """Return the bytes of a PNG with these pixels."""
    stream = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def photo(value):
    """Return an image of one colour."""
    return png(np.full((HEIGHT, WIDTH, 3), value))


def half(right=1, left=0):
    """Return a mask whose left and right halves have a value each."""
    return png([[left] * 4 + [right] * 4] * HEIGHT)


HALF = ["00001111"] * HEIGHT
"""The content of `half()`, as `test_corpus` writes masks."""


@dataclass(frozen=True)
class Case:
    """A dataset.

    Attributes:
        truth: the kind of labels.
        format: that must be detected.
        files: content by path.
        classes: their names, in order.
        splits: the expected content of each split by image key: a class; rows of a mask; or
            objects (class, x1, y1, x2, y2), of instances also with the mask's number of pixels.
        spoil: further edits (path, old, new) that must be refused, by what they do.
        harmless: paths of files whose loss or emptiness means something else.
        sign: path of the file by whose first line the format is recognised.
    """

    truth: str
    format: str
    files: Mapping[str, str | bytes]
    classes: tuple[str, ...]
    splits: Mapping[str, Mapping[str, Any]]
    spoil: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    harmless: tuple[str, ...] = ()
    sign: str = ""

    def write(self, root):
        """Write the files under a folder."""
        for name, content in self.files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)


CASES: dict[str, Case] = {}
Maker = Callable[[], Case]


def case(make: Maker) -> Maker:
    """Add the dataset that a function returns, under the function's name."""
    CASES[make.__name__] = make()
    return make


def parquet_case(make: Maker) -> Maker:
    """Add a dataset that is written and read with pyarrow, if it is installed."""
    return case(make) if INSTALLED else make


ROBOFLOW = ("train/a.png", "valid/b.png", "test/c.png")
BOX = ("cat", 1, 2, 5, 4)
TRIANGLE = [1, 2, 5, 2, 5, 4]
SQUARE = [1, 2, 5, 2, 5, 4, 1, 4]
"""Polygons whose boxes are `BOX`."""


def coco(names, *, masks=True, start=1):
    """Return a COCO file whose first image has one cat and whose others are empty."""
    images = [
        {"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT}
        for number, name in enumerate(names, start)
    ]
    row = {"id": 1, "image_id": start, "category_id": 1, "iscrowd": 0}
    row |= {"bbox": [1, 2, 4, 2], "area": 8} | ({"segmentation": [SQUARE]} if masks else {})
    categories = [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]
    return json.dumps({"images": images, "annotations": [row], "categories": categories})


OUTSIDE = {"outside": ("annotations/instances_train.json", "a.png", "../a.png")}
TWICE = {"duplicate": ("annotations/instances_train.json", '"id": 2, "name": "dog"', '"id": 1')}


@case
def coco_boxes():
    return Case(
        "boxes",
        "coco",
        {
            "annotations/instances_train.json": coco(["a.png"]),
            "annotations/instances_val.json": coco(["b.png"]),
            "images/train/a.png": photo(10),
            "images/val/b.png": photo(20),
        },
        ("cat", "dog"),
        {"train": {"images/train/a.png": [BOX]}, "val": {"images/val/b.png": [BOX]}},
        OUTSIDE | TWICE,
    )


@case
def coco_instances():
    made = CASES["coco_boxes"]
    splits = {
        "train": {"images/train/a.png": [(*BOX, 8)]},
        "val": {"images/val/b.png": [(*BOX, 8)]},
    }
    return Case("instances", "coco", made.files, made.classes, splits, OUTSIDE | TWICE)


@case
def coco_roboflow():
    """Roboflow: one file beside the images of each split."""
    name = "_annotations.coco.json"
    return Case(
        "boxes",
        "coco",
        {f"train/{name}": coco(["a.png"]), "train/a.png": photo(10)}
        | {f"valid/{name}": coco(["b.png"]), "valid/b.png": photo(20)}
        | {f"test/{name}": coco(["c.png"]), "test/c.png": photo(30)},
        ("cat", "dog"),
        {s: {k: [BOX]} for s, k in zip(("train", "val", "test"), ROBOFLOW, strict=True)},
        {"outside": (f"train/{name}", "a.png", "../a.png")},
    )


@case
def coco_of_cvat():
    """CVAT: a file named after its default subset, which is no split."""
    return Case(
        "boxes",
        "coco",
        {
            "annotations/instances_default.json": coco(["a.png", "b.png"]),
            "images/a.png": photo(10),
            "images/b.png": photo(20),
        },
        ("cat", "dog"),
        {"all": {"images/a.png": [BOX], "images/b.png": []}},
    )


def xml(name, *, box=(2, 3, 5, 4), label="cat"):
    """Return an annotation of VOC; its numbers count from 1."""
    sides = "".join(
        f"<{side}>{value}</{side}>"
        for side, value in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return (
        f"<annotation><filename>{name}</filename><size><width>{WIDTH}</width>"
        f"<height>{HEIGHT}</height></size><object><name>{label}</name>"
        f"<bndbox>{sides}</bndbox></object></annotation>"
    )


@case
def voc_boxes():
    return Case(
        "boxes",
        "voc",
        {
            "JPEGImages/a.png": photo(10),
            "JPEGImages/b.png": photo(20),
            "Annotations/a.xml": xml("a.png"),
            "Annotations/b.xml": xml("b.png", label="dog"),
            "ImageSets/Main/train.txt": "a\n",
            "ImageSets/Main/val.txt": "b\n",
        },
        ("cat", "dog"),
        {
            "train": {"JPEGImages/a.png": [BOX]},
            "val": {"JPEGImages/b.png": [("dog", *BOX[1:])]},
        },
        {
            "outside": ("ImageSets/Main/train.txt", "a", "../a"),
            "duplicate": ("ImageSets/Main/train.txt", "a\n", "a\na\n"),
        },
    )


@case
def voc_boxes_without_lists():
    made = CASES["voc_boxes"]
    files = {name: each for name, each in made.files.items() if "ImageSets" not in name}
    everything = made.splits["train"] | made.splits["val"]
    return Case("boxes", "voc", files, made.classes, {"all": everything})


@case
def voc_of_roboflow():
    """Roboflow: a folder for each split, in it images and annotations."""
    files = {}
    for number, key in enumerate(ROBOFLOW, 1):
        files |= {key: photo(10 * number), key.replace(".png", ".xml"): xml("a.jpg")}
    splits = {s: {k: [BOX]} for s, k in zip(("train", "val", "test"), ROBOFLOW, strict=True)}
    spoil = {
        "beyond": ("train/a.xml", "<xmin>2<", "<xmin>9<"),
        "reversed": ("train/a.xml", "<xmin>2<", "<xmin>7<"),
    }
    return Case("boxes", "xml", files, ("cat",), splits, spoil)


@case
def voc_beside_images():
    files = {"a.png": photo(10), "a.xml": xml("a.png"), "b.png": photo(20), "b.xml": xml("b.png")}
    return Case("boxes", "xml", files, ("cat",), {"all": {"a.png": [BOX], "b.png": [BOX]}})


@case
def voc_in_two_folders():
    files = {"images/a.png": photo(10), "annotations/a.xml": xml("a.png")}
    return Case("boxes", "xml", files, ("cat",), {"all": {"images/a.png": [BOX]}})


NAMES = "names: [cat, dog]\n"
TILTED = "0 0.5 0 0.875 0.5 0.5 1 0.125 0.5\n"
CORNERS = [[1, 2], [5, 2], [5, 4], [1, 4]]
LINE = "0 0.375 0.5 0.5 0.3333333333\n"


@case
def yolo_boxes():
    return Case(
        "boxes",
        "yolo",
        {
            "data.yaml": f"path: .\ntrain: images/train\nval: images/val\n{NAMES}",
            "images/train/a.png": photo(10),
            "images/val/b.png": photo(20),
            "labels/train/a.txt": LINE,
            "labels/val/b.txt": "",
        },
        ("cat", "dog"),
        {"train": {"images/train/a.png": [BOX]}, "val": {"images/val/b.png": []}},
        {
            "outside": ("data.yaml", "images/train", "../../images/elsewhere"),
            "type": ("data.yaml", NAMES, "names: 3"),
            "class": ("labels/train/a.txt", "0 ", "2 "),
            "oriented": ("labels/train/a.txt", LINE, TILTED),
            "dota": ("labels/train/a.txt", LINE, "1 1 4 1 4 4 1 4 cat 0"),
        },
        ("labels/val/b.txt", "labels/train/a.txt"),
    )


def folders_of(splits, label="labels", image="images"):
    """Return the files of YOLO's other tree: a folder for each split, in it images and labels."""
    files: dict[str, str | bytes] = {}
    for number, (split, stem) in enumerate(splits, 1):
        files[f"{split}/{image}/{stem}.png"] = photo(10 * number)
        files[f"{split}/{label}/{stem}.txt"] = LINE
    return files


SPLITS = (("train", "a"), ("valid", "b"), ("test", "c"))
SPLIT_TREE = {
    "train": {"train/images/a.png": [BOX]},
    "val": {"valid/images/b.png": [BOX]},
    "test": {"test/images/c.png": [BOX]},
}
LABELS = tuple(f"{split}/labels/{stem}.txt" for split, stem in SPLITS)


@case
def yolo_of_roboflow():
    """Roboflow: paths that begin with `..`, although they are beside the file."""
    paths = "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n"
    files = {"data.yaml": f"{paths}nc: 2\n{NAMES}"} | folders_of(SPLITS)
    return Case("boxes", "yolo", files, ("cat", "dog"), SPLIT_TREE, {}, LABELS)


@case
def yolo_with_absolute_path():
    """A file that names the folder where the data once were."""
    paths = "path: /content/pets\ntrain: train/images\nval: valid/images\ntest: test/images\n"
    files = {"data.yaml": paths + NAMES} | folders_of(SPLITS)
    return Case("boxes", "yolo", files, ("cat", "dog"), SPLIT_TREE, {}, LABELS)


@case
def yolo_with_absolute_splits():
    """As before, in the path of each split."""
    paths = "".join(
        f"{key}: /content/pets/{split}/images\n"
        for key, (split, _) in zip(("train", "val", "test"), SPLITS, strict=True)
    )
    files = {"data.yaml": paths + NAMES} | folders_of(SPLITS)
    return Case("boxes", "yolo", files, ("cat", "dog"), SPLIT_TREE, {}, LABELS)


@case
def yolo_without_yaml():
    """A folder for each split, and the classes in a text file."""
    files = {"classes.txt": "cat\ndog\n"} | folders_of(SPLITS)
    spoil = {"repeated": ("classes.txt", "dog", "cat")}
    return Case("boxes", "yolo", files, ("cat", "dog"), SPLIT_TREE, spoil, (*LABELS, "classes.txt"))


@case
def yolo_polygons_as_boxes():
    line = "0 0.125 0.3333333333 0.625 0.3333333333 0.625 0.6666666667\n"
    files = dict(CASES["yolo_boxes"].files) | {"labels/train/a.txt": line}
    made = CASES["yolo_boxes"]
    return Case("boxes", "yolo", files, made.classes, made.splits, {}, made.harmless)


@case
def yolo_polygons():
    made = CASES["yolo_boxes"]
    corners = "0.125 0.3333333333 0.625 0.3333333333 0.625 0.6666666667 0.125 0.6666666667\n"
    return Case(
        "instances",
        "yolo",
        dict(made.files) | {"labels/train/a.txt": f"0 {corners}"},
        made.classes,
        {"train": {"images/train/a.png": [(*BOX, 8)]}, "val": {"images/val/b.png": []}},
        {"box": ("labels/train/a.txt", corners, LINE[2:])},
        made.harmless,
    )


@case
def darknet():
    """As CVAT exports YOLO 1.1: paths begin where Darknet is meant to run."""
    return Case(
        "boxes",
        "darknet",
        {
            "obj.data": "classes = 2\ntrain = data/train.txt\nvalid = data/valid.txt\n"
            "names = data/obj.names\nbackup = backup/\n",
            "obj.names": "cat\ndog\n",
            "train.txt": "data/obj_train_data/a.png\n",
            "valid.txt": "data/obj_valid_data/b.png\n",
            "obj_train_data/a.png": photo(10),
            "obj_train_data/a.txt": LINE,
            "obj_valid_data/b.png": photo(20),
            "obj_valid_data/b.txt": LINE.replace("0", "1", 1),
        },
        ("cat", "dog"),
        {
            "train": {"obj_train_data/a.png": [BOX]},
            "val": {"obj_valid_data/b.png": [("dog", *BOX[1:])]},
        },
        {
            "class": ("obj_train_data/a.txt", "0 ", "2 "),
            "missing": ("train.txt", "a.png", "c.png"),
            "duplicate": ("train.txt", "a.png\n", "a.png\ndata/obj_train_data/a.png\n"),
            "lists": ("obj.data", "data/train.txt", "data/training.txt"),
            "entry": ("obj.data", "classes = 2", "classes"),
        },
        ("obj_train_data/a.txt", "obj_valid_data/b.txt", "obj.names"),
        "obj.data",
    )


OPEN_IMAGES = "ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax,IsOccluded,IsGroupOf\n"
OPEN_BOX = "0.125,0.625,0.3333333333,0.6666666667"


@case
def open_images():
    """Open Images v6: sides in the order XMin, XMax, YMin, YMax."""
    return Case(
        "boxes",
        "open-images",
        {
            "oidv6-train-annotations-bbox.csv": f"{OPEN_IMAGES}00a,x,/m/01,1,{OPEN_BOX},0,0\n"
            f"00a,x,/m/02,1,{OPEN_BOX},0,1\n",
            "validation-annotations-bbox.csv": f"{OPEN_IMAGES}00b,x,/m/02,1,{OPEN_BOX},0,0\n",
            "class-descriptions-boxable.csv": '/m/01,cat\n/m/02,dog\n/m/03,"Tool, other"\n',
            "train/00a.png": photo(10),
            "validation/data/00b.png": photo(20),
        },
        ("cat", "dog", "Tool, other"),
        {
            "train": {"train/00a.png": [BOX, ("dog", *BOX[1:])]},
            "val": {"validation/data/00b.png": [("dog", *BOX[1:])]},
        },
        {
            "class": ("oidv6-train-annotations-bbox.csv", "/m/02", "/m/04"),
            "range": ("oidv6-train-annotations-bbox.csv", "0.625", "1.625"),
            "order": ("oidv6-train-annotations-bbox.csv", "0.625", "0.025"),
            "missing": ("validation-annotations-bbox.csv", "00b", "00c"),
            "line": ("class-descriptions-boxable.csv", "/m/02,", "/m/02;"),
        },
        ("class-descriptions-boxable.csv",),
    )


@case
def open_images_labels():
    head = "ImageID,Source,LabelName,Confidence\n"
    table = "oidv6-train-annotations-human-imagelabels.csv"
    return Case(
        "classes",
        "open-images",
        {
            table: f"{head}00a,verification,/m/01,1\n00a,verification,/m/02,0\n",
            "validation-annotations-human-imagelabels.csv": f"{head}00b,v,/m/02,1\n",
            "oidv6-class-descriptions.csv": "LabelName,DisplayName\n/m/01,cat\n/m/02,dog\n",
            "train/00a.png": photo(10),
            "validation/00b.png": photo(20),
        },
        ("cat", "dog"),
        {"train": {"train/00a.png": "cat"}, "val": {"validation/00b.png": "dog"}},
        {
            "several": (table, "/m/02,0", "/m/02,1"),
            "none": (table, "/m/01,1", "/m/01,0"),
            "class": (table, "/m/01,1", "/m/07,1"),
            "missing": (table, "00a", "00c"),
        },
        ("oidv6-class-descriptions.csv",),
    )


def bitmap(rows):
    """Return a mask as Supervisely stores it."""
    alpha = np.zeros((*np.shape(rows), 4))
    alpha[..., 3] = np.array(rows) * 255
    return base64.b64encode(zlib.compress(png(alpha))).decode()


def supervisely(*objects):
    rows = [
        {"classTitle": name, "geometryType": kind, "tags": []} | more
        for name, kind, more in objects
    ]
    size = {"height": HEIGHT, "width": WIDTH}
    return json.dumps({"description": "", "tags": [], "size": size, "objects": rows})


def corners(*exterior, holes=()):
    return {"points": {"exterior": [*exterior], "interior": [*holes]}}


SUPERVISELY_META = json.dumps(
    {
        "classes": [
            {"title": "dog", "shape": "any", "color": "#FF0000"},
            {"title": "cat", "shape": "polygon"},
            {"title": "nose", "shape": "point"},
        ],
        "tags": [],
    }
)
SUPERVISELY_SPOIL = {
    "meta": ("meta.json", '"title": "cat"', '"name": "cat"'),
    "class": ("train/ann/a.png.json", '"cat"', '"cow"'),
    "points": ("train/ann/a.png.json", "[1, 2]", "[1]"),
    "title": ("train/ann/a.png.json", '"classTitle"', '"title"'),
    "size": ("train/ann/a.png.json", '"width": 8', '"width": -8'),
}


@case
def supervisely_boxes():
    """Supervisely: the last pixel of a rectangle belongs to it; corners are in any order."""
    return Case(
        "boxes",
        "supervisely",
        {
            "meta.json": SUPERVISELY_META,
            "train/ann/a.png.json": supervisely(
                ("cat", "rectangle", corners([4, 3], [1, 2])),
                ("nose", "point", corners([1, 1])),
            ),
            "train/img/a.png": photo(10),
            "val/ann/b.png.json": supervisely(),
            "val/img/b.png": photo(20),
        },
        ("cat", "dog"),
        {"train": {"train/img/a.png": [BOX]}, "val": {"val/img/b.png": []}},
        SUPERVISELY_SPOIL,
    )


@case
def supervisely_instances():
    """Polygons, one of them with a hole, and a bitmap."""
    hole = [[2, 1], [4, 1], [4, 3], [2, 3]]
    outer = ([1, 0], [5, 0], [5, 4], [1, 4])
    objects = (
        ("cat", "polygon", corners(*CORNERS)),
        ("dog", "bitmap", {"bitmap": {"data": bitmap([[1, 0, 1], [1, 1, 1]]), "origin": [2, 1]}}),
        ("cat", "polygon", corners(*outer, holes=[hole])),
    )
    return Case(
        "instances",
        "supervisely",
        {
            "meta.json": SUPERVISELY_META,
            "ds0/ann/a.png.json": supervisely(*objects),
            "ds0/img/a.png": photo(10),
            "ds1/ann/b.png.json": supervisely(),
            "ds1/img/b.png": photo(20),
        },
        ("cat", "dog"),
        {
            "all": {
                "ds0/img/a.png": [(*BOX, 8), ("dog", 2, 1, 5, 3, 5), ("cat", 1, 0, 6, 5, 16)],
                "ds1/img/b.png": [],
            }
        },
        {
            "box": (
                "ds0/ann/a.png.json",
                '"geometryType": "polygon"',
                '"geometryType": "rectangle"',
            ),
            "bitmap": ("ds0/ann/a.png.json", '"data": "', '"data": "!'),
            "origin": ("ds0/ann/a.png.json", '"origin": [2, 1]', '"origin": [2]'),
            "beyond": ("ds0/ann/a.png.json", '"origin": [2, 1]', '"origin": [7, 1]'),
            "short": ("ds0/ann/a.png.json", "[[2, 1], [4, 1], [4, 3], [2, 3]]", "[[2, 1]]"),
        },
    )


def labelme(name, *shapes):
    """Return a file of LabelMe 5."""
    rows = [
        {"label": label, "points": points, "group_id": group, "shape_type": kind, "flags": {}}
        | more
        for label, kind, points, group, more in shapes
    ]
    about = {"imagePath": name, "imageData": None, "imageHeight": HEIGHT, "imageWidth": WIDTH}
    return json.dumps({"version": "5.4.1", "flags": {}, "shapes": rows} | about)


PART = base64.b64encode(png(np.ones((2, 4)) * 255)).decode()


def labelme_files(first):
    mask = ("dog", "mask", [[1, 2], [4, 3]], None, {"mask": PART})
    parts = [("cat", "polygon", [[x, 0], [x + 1, 0], [x + 1, 2]], 3, {}) for x in (0, 6)]
    return {
        "a.png": photo(10),
        "a.json": labelme("a.png", first),
        "b.png": photo(20),
        "b.json": labelme("b.png", mask, *parts, ("cat", "point", [[1, 1]], None, {})),
        "more/c.png": photo(30),
        "annotated/c.json": labelme("..\\more\\c.png"),
    }


LABELME_SPOIL = {
    "outside": ("annotated/c.json", "more", ".."),
    "duplicate": ("annotated/c.json", "more\\\\c", "b"),
    "label": ("a.json", '"cat"', "7"),
    "points": ("a.json", "[5, 2]", "[5]"),
    "shape": ("a.json", '"rectangle"', '"cuboid"'),
    "oriented": ("b.json", '"mask", ', '"oriented_rectangle", '),
    "size": ("a.json", '"imageWidth": 8', '"imageWidth": -8'),
}


@case
def labelme_boxes():
    """LabelMe 5: corners of rectangles in any order."""
    files = labelme_files(("cat", "rectangle", [[5, 2], [1, 4]], None, {}))
    content = {"a.png": [BOX], "b.png": [("dog", *BOX[1:]), ("cat", 0, 0, 7, 2)], "more/c.png": []}
    return Case("boxes", "labelme", files, ("cat", "dog"), {"all": content}, LABELME_SPOIL)


@case
def labelme_instances():
    """LabelMe 5: polygons, two of them of one object, and a mask."""
    files = labelme_files(("cat", "polygon", CORNERS, None, {}))
    content = {
        "a.png": [(*BOX, 8)],
        "b.png": [("dog", *BOX[1:], 8), ("cat", 0, 0, 7, 2, 2)],
        "more/c.png": [],
    }
    spoil = LABELME_SPOIL | {
        "shape": ("a.json", '"polygon"', '"rectangle"'),
        "box": (
            "a.json",
            '[[1, 2], [5, 2], [5, 4], [1, 4]], "group_id": null, "shape_type": "polygon"',
            '[[1, 2], [5, 4]], "group_id": null, "shape_type": "rectangle"',
        ),
        "mask": ("b.json", '"mask": "', '"mask": "!'),
    }
    return Case("instances", "labelme", files, ("cat", "dog"), {"all": content}, spoil)


@case
def labelme_with_splits():
    shape = ("cat", "polygon", CORNERS, None, {})
    files = {
        "train/a.png": photo(10),
        "train/a.json": labelme("a.png", shape),
        "val/b.png": photo(20),
        "val/b.json": labelme("b.png", ("dog", *shape[1:])),
    }
    splits = {"train": {"train/a.png": [BOX]}, "val": {"val/b.png": [("dog", *BOX[1:])]}}
    return Case("boxes", "labelme", files, ("cat", "dog"), splits)


def cvat(*images, labels=("cat", "dog")):
    """Return a file of CVAT 2, of images (name, subset, elements)."""
    listed = "".join(f"<label><name>{name}</name></label>" for name in labels)
    rows = "".join(
        f'<image id="{number}" name="{name}" subset="{subset}" width="{WIDTH}" height="{HEIGHT}">'
        f"{elements}</image>"
        for number, (name, subset, elements) in enumerate(images)
    )
    meta = f"<meta><job><labels>{listed}</labels></job></meta>"
    return f"<annotations><version>1.1</version>{meta}{rows}</annotations>"


CVAT_BOX = '<box label="cat" occluded="0" xtl="1" ytl="2" xbr="5" ybr="4" z_order="0"></box>'
CVAT_POLYGON = '<polygon label="cat" points="1,2;5,2;5,4;1,4"></polygon>'
CVAT_MASK = '<mask label="dog" rle="1, 2, 3" left="2" top="1" width="3" height="2"></mask>'
CVAT_SPOIL = {
    "outside": ("annotations.xml", 'name="a.png"', 'name="../a.png"'),
    "duplicate": ("annotations.xml", 'name="b.png"', 'name="a.png"'),
    "label": ("annotations.xml", 'label="cat"', 'label="cow"'),
    "missing": ("annotations.xml", 'name="a.png"', 'name="z.png"'),
    "video": ("annotations.xml", "</meta>", '</meta><track id="0"></track>'),
}


@case
def cvat_boxes():
    """CVAT 2, with images, one subset."""
    files = {
        "annotations.xml": cvat(
            ("a.png", "default", CVAT_BOX + '<points label="cat" points="1,1"></points>'),
            ("b.png", "default", ""),
        ),
        "images/default/a.png": photo(10),
        "images/b.png": photo(20),
    }
    content = {"images/default/a.png": [BOX], "images/b.png": []}
    spoil = CVAT_SPOIL | {
        "rotated": ("annotations.xml", "ybr", 'rotation="30" ybr'),
        "numbers": ("annotations.xml", 'xbr="5"', 'xbr="nan5"'),
    }
    return Case("boxes", "cvat", files, ("cat", "dog"), {"all": content}, spoil)


@case
def cvat_of_datumaro():
    """A file for each split, which says nothing of subsets."""
    empty = 'subset=""'
    files = {
        "train.xml": cvat(("a.png", "", CVAT_BOX)).replace(empty, ""),
        "val.xml": cvat(("b.png", "", "")).replace(empty, ""),
        "images/a.png": photo(10),
        "images/val/b.png": photo(20),
    }
    splits = {"train": {"images/a.png": [BOX]}, "val": {"images/val/b.png": []}}
    return Case("boxes", "cvat", files, ("cat", "dog"), splits)


@case
def cvat_instances():
    """CVAT 2, with two subsets."""
    files = {
        "annotations.xml": cvat(
            ("a.png", "Train", CVAT_POLYGON), ("b.png", "Validation", CVAT_MASK)
        ),
        "images/Train/a.png": photo(10),
        "images/Validation/b.png": photo(20),
    }
    splits = {
        "train": {"images/Train/a.png": [(*BOX, 8)]},
        "val": {"images/Validation/b.png": [("dog", 3, 1, 5, 2, 2)]},
    }
    spoil = {
        "box": ("annotations.xml", CVAT_POLYGON, CVAT_BOX),
        "points": ("annotations.xml", "5,2;", "5;"),
        "runs": ("annotations.xml", "1, 2, 3", "1, 2, 9"),
        "mask-outside": ("annotations.xml", 'left="2"', 'left="7"'),
    }
    return Case("instances", "cvat", files, ("cat", "dog"), splits, spoil)


def studio(*tasks):
    """Return an export of Label Studio, of tasks (image, results)."""
    size = {"original_width": WIDTH, "original_height": HEIGHT, "image_rotation": 0}
    return json.dumps(
        [
            {
                "id": number,
                "annotations": [{"id": number, "result": [r | size for r in results]}],
                "data": {"image": image},
            }
            for number, (image, results) in enumerate(tasks, 1)
        ]
    )


RECTANGLE = {
    "type": "rectanglelabels",
    "value": {"x": 12.5, "y": 100 / 3, "width": 50, "height": 100 / 3, "rotation": 0}
    | {"rectanglelabels": ["cat"]},
}
POLYGON = {
    "type": "polygonlabels",
    "value": {"points": [[x * 100 / WIDTH, y * 100 / HEIGHT] for x, y in CORNERS]}
    | {"polygonlabels": ["dog"]},
}
CHOICE = {"type": "choices", "value": {"choices": ["good"]}}
UPLOADED = "/data/upload/3/0a1b2c3d-a.png"
LOCAL = "/data/local-files/?d=images/b.png"
STUDIO_SPOIL = {
    "outside": ("project-3.json", "images/b.png", "../images/b.png"),
    "missing": ("project-3.json", "0a1b2c3d-a", "0a1b2c3d-z"),
    "duplicate": ("project-3.json", "0a1b2c3d-a", "0a1b2c3d-b"),
    "size": ("project-3.json", '"original_width": 8', '"original_width": 0.5'),
    "class": ("project-3.json", 'labels": ["', 'labels": ["cow", "'),
}


@case
def label_studio_boxes():
    """Label Studio 1: an upload, and an image from a local folder."""
    files = {
        "project-3.json": studio((UPLOADED, [RECTANGLE, CHOICE]), (LOCAL, [POLYGON])),
        "images/a.png": photo(10),
        "images/b.png": photo(20),
    }
    content = {"images/a.png": [BOX], "images/b.png": [("dog", *BOX[1:])]}
    spoil = STUDIO_SPOIL | {"rotated": ("project-3.json", '"rotation": 0}', '"rotation": 9}')}
    spoil["rotated"] = ("project-3.json", '"rotation": 0,', '"rotation": 9,')
    return Case("boxes", "label-studio", files, ("cat", "dog"), {"all": content}, spoil)


@case
def label_studio_instances():
    files = {
        "project-3.json": studio((UPLOADED, [POLYGON]), (LOCAL, [])),
        "images/a.png": photo(10),
        "images/b.png": photo(20),
    }
    content = {"images/a.png": [("dog", *BOX[1:], 8)], "images/b.png": []}
    spoil = STUDIO_SPOIL | {
        "points": ("project-3.json", '"points": [[', '"points": [[1], ['),
        "brush": ("project-3.json", '"polygonlabels", "value"', '"brushlabels", "value"'),
    }
    return Case("instances", "label-studio", files, ("dog",), {"all": content}, spoil)


@case
def rle_table():
    """Kaggle: pixels from 1, down the columns; 9 is the third of the second column."""
    return Case(
        "instances",
        "rle",
        {
            "train.csv": "ImageId,EncodedPixels,ClassId\na.png,9 2 15 2 21 2 27 2,cat\nb,,\n"
            "a.png,1 1,dog\n",
            "train/a.png": photo(10),
            "train/b.png": photo(20),
        },
        ("cat", "dog"),
        {"all": {"train/a.png": [(*BOX, 8), ("dog", 0, 0, 1, 1, 1)], "train/b.png": []}},
        {
            "outside": ("train.csv", "a.png,1", "../a.png,1"),
            "beyond": ("train.csv", "27 2,", "27 99,"),
            "overlap": ("train.csv", "9 2 15", "9 7 15"),
            "text": ("train.csv", "9 2 15", "9 x 15"),
        },
        sign="train.csv",
    )


@case
def rle_tables_of_splits():
    """A table for each split, and one class, which `classes.txt` names."""
    old = CASES["rle_table"]
    table = "ImageId,EncodedPixels\n"
    files = dict(old.files) | {
        "train.csv": table + "a.png,9 2 15 2 21 2 27 2\n",
        "val.csv": table + "b.png,\n",
        "classes.txt": "cat\n",
    }
    return Case(
        "instances",
        "rle",
        files,
        ("cat",),
        {"train": {"train/a.png": [(*BOX, 8)]}, "val": {"train/b.png": []}},
        {"beyond": ("train.csv", "27 2", "27 99"), "outside": ("val.csv", "b.png", "../b.png")},
        ("val.csv", "classes.txt"),
    )


def drawn(name, made, classes, splits):
    """Add a case: the same files for masks."""
    old = CASES[made]
    spoil = {kind: edit for kind, edit in old.spoil.items() if kind in ("outside", "box", "points")}
    CASES[name] = Case(
        "masks",
        old.format,
        old.files,
        ("background", *classes),
        splits,
        spoil,
        old.harmless,
        old.sign,
    )


def painted(x1, y1, x2, y2, value=1):
    """Return the rows of a mask with a rectangle."""
    rows = np.zeros((HEIGHT, WIDTH), int)
    rows[y1:y2, x1:x2] = value
    return ["".join(map(str, row)) for row in rows.tolist()]


EMPTY = painted(0, 0, 0, 0)
RECT = painted(*BOX[1:])
TWO = painted(*BOX[1:], 2)
drawn(
    "coco_drawn",
    "coco_instances",
    ("cat", "dog"),
    {"train": {"images/train/a.png": RECT}, "val": {"images/val/b.png": RECT}},
)
drawn(
    "labelme_drawn",
    "labelme_instances",
    ("cat", "dog"),
    {"all": {"a.png": RECT, "b.png": ["10000010", "00000000", *TWO[2:]], "more/c.png": EMPTY}},
)
drawn(
    "cvat_drawn",
    "cvat_instances",
    ("cat", "dog"),
    {
        "train": {"images/Train/a.png": RECT},
        "val": {"images/Validation/b.png": ["00000000", "00022000", *["00000000"] * 4]},
    },
)
drawn(
    "label_studio_drawn",
    "label_studio_instances",
    ("dog",),
    {"all": {"images/a.png": RECT, "images/b.png": EMPTY}},
)
drawn(
    "rle_drawn",
    "rle_table",
    ("cat", "dog"),
    {"all": {"train/a.png": ["20000000", *RECT[1:]], "train/b.png": EMPTY}},
)
drawn(
    "yolo_drawn",
    "yolo_polygons",
    ("cat", "dog"),
    {"train": {"images/train/a.png": RECT}, "val": {"images/val/b.png": EMPTY}},
)


@case
def coco_drawn_in_order():
    """Small objects over large ones, whatever their order; crowds have no label."""
    made = json.loads(coco(["a.png"]))
    rows = made["annotations"]
    whole = [0, 0, 8, 0, 8, 6, 0, 6]
    right = {"size": [HEIGHT, WIDTH], "counts": [36, 12]}
    more = {"image_id": 1, "area": 1}
    rows.append({"id": 2, "category_id": 2, "bbox": [0, 0, 8, 6], "segmentation": [whole]} | more)
    crowd = {"id": 3, "category_id": 1, "bbox": [6, 0, 2, 6], "iscrowd": 1, "segmentation": right}
    rows.append(crowd | more)
    rows[1]["segmentation"] = [[0, 0, 7, 0, 7, 6, 0, 6]]
    files = {"annotations/instances_train.json": json.dumps(made), "images/train/a.png": photo(9)}
    rows_of = ["2222222."] * 2 + ["2111122."] * 2 + ["2222222."] * 2
    classes = ("background", "cat", "dog")
    return Case("masks", "coco", files, classes, {"train": {"images/train/a.png": rows_of}})


CITY = (
    *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign"),
    *("vegetation", "terrain", "sky", "person", "rider", "car", "truck", "bus", "train"),
    *("motorcycle", "bicycle"),
)


@case
def supervisely_masks():
    made = CASES["supervisely_instances"]
    files = dict(made.files) | {
        "ds0/ann/a.png.json": supervisely(
            ("dog", "bitmap", {"bitmap": {"data": bitmap([[1, 1]]), "origin": [0, 0]}})
        )
    }
    rows = ["22000000"] + ["0" * 8] * (HEIGHT - 1)
    splits = {"all": {"ds0/img/a.png": rows, "ds1/img/b.png": ["0" * 8] * HEIGHT}}
    return Case("masks", "supervisely", files, ("background", "cat", "dog"), splits)


def city(ending, first, second):
    files, splits = {}, {}
    for split, place, mask in (("train", "ulm", first), ("val", "bonn", second)):
        stem = f"{split}/{place}/{place}_000000_000019"
        files |= {f"leftImg8bit/{stem}_leftImg8bit.png": photo(len(place))}
        files |= {f"gtFine/{stem}_gtFine_{ending}.png": mask}
        splits[split] = {f"leftImg8bit/{stem}_leftImg8bit.png": ["1111...."] * HEIGHT}
    return Case("masks", "cityscapes", files, CITY, splits)


@case
def cityscapes_ids():
    """Values of labelIds: 8 is the sidewalk, 0 and 30 are not evaluated, 255 is a licence plate."""
    return city("labelIds", half(30, 8), half(255, 8))


@case
def cityscapes_train_ids():
    return city("labelTrainIds", half(255, 1), half(255, 1))


@case
def camvid():
    files = {"train/a.png": photo(10), "trainannot/a.png": half(11, 4)}
    files |= {"val/b.png": photo(20), "valannot/b.png": half(9, 0)}
    classes = (
        *("sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car"),
        *("pedestrian", "bicyclist"),
    )
    splits = {
        "train": {"train/a.png": ["4444...."] * HEIGHT},
        "val": {"val/b.png": ["00009999"] * HEIGHT},
    }
    return Case("masks", "camvid", files, classes, splits)


@case
def camvid_in_colours():
    """As Datumaro exports it: colour masks, and the colours of the classes."""
    red = np.zeros((HEIGHT, WIDTH, 3))
    red[:, 4:] = (128, 0, 0)
    files = {"label_colors.txt": "0 0 0 ground\n128 0 0 cat\n"}
    files |= {"train/a.png": photo(10), "trainannot/a.png": png(red)}
    splits = {"train": {"train/a.png": HALF}}
    return Case("masks", "camvid", files, ("ground", "cat"), splits, {}, ("label_colors.txt",))


@case
def ade20k():
    table = "Idx\tRatio\tTrain\tVal\tName\n1\t0.1\t9\t9\twall  \n2\t0.1\t9\t9\tdoor, gate\n"
    files = {"objectInfo150.txt": table}
    files |= {"images/training/a.png": photo(10), "annotations/training/a.png": half(2, 0)}
    files |= {"images/validation/b.png": photo(20), "annotations/validation/b.png": half(1, 2)}
    splits = {
        "train": {"images/training/a.png": ["....1111"] * HEIGHT},
        "val": {"images/validation/b.png": ["11110000"] * HEIGHT},
    }
    spoil = {"order": ("objectInfo150.txt", "\n2\t", "\n3\t")}
    return Case("masks", "ade20k", files, ("wall", "door"), splits, spoil)


@case
def panoptic():
    """COCO: segment 258 is (2, 1, 0); a crowd has no label."""
    segments = np.zeros((HEIGHT, WIDTH, 3))
    segments[:, :4], segments[:, 6:] = (2, 1, 0), (7, 0, 0)
    rows = [
        {"id": 258, "category_id": 200, "iscrowd": 0},
        {"id": 7, "category_id": 1, "iscrowd": 1},
    ]
    content = {
        "images": [{"id": 5, "file_name": "a.png", "width": WIDTH, "height": HEIGHT}],
        "annotations": [{"image_id": 5, "file_name": "a_ids.png", "segments_info": rows}],
        "categories": [{"id": 200, "name": "sky", "isthing": 0}, {"id": 1, "name": "person"}],
    }
    name = "annotations/panoptic_val2017"
    files = {
        f"{name}.json": json.dumps(content),
        f"{name}/a_ids.png": png(segments),
        "val2017/a.png": photo(10),
    }
    splits = {"val": {"val2017/a.png": ["1111...."] * HEIGHT}}
    spoil = {
        "outside": (f"{name}.json", '"a_ids.png"', '"../../val2017/a.png"'),
        "image-outside": (f"{name}.json", '"a.png"', '"../a.png"'),
        "category": (f"{name}.json", '"category_id": 1,', '"category_id": 3,'),
        "repeated": (f"{name}.json", '"id": 200, "name"', '"id": 1, "name"'),
    }
    return Case("masks", "panoptic", files, ("person", "sky"), splits, spoil)


@case
def class_folders_with_splits():
    return Case(
        "classes",
        "folders",
        {
            f"{split}/{name}/{split}.png": photo(len(split + name))
            for split in ("train", "val")
            for name in ("cat", "doggy")
        },
        ("cat", "doggy"),
        {s: {f"{s}/{n}/{s}.png": n for n in ("cat", "doggy")} for s in ("train", "val")},
    )


@case
def class_folders():
    return Case(
        "classes",
        "classes",
        {"cat/a.png": photo(10), "dog/b.png": photo(20)},
        ("cat", "dog"),
        {"all": {"cat/a.png": "cat", "dog/b.png": "dog"}},
    )


@case
def class_table():
    return Case(
        "classes",
        "csv",
        {
            "labels.csv": "path,label,split\na.png,cat,train\nb.png,dog,val\n",
            "a.png": photo(10),
            "b.png": photo(20),
        },
        ("cat", "dog"),
        {"train": {"a.png": "cat"}, "val": {"b.png": "dog"}},
        {
            "outside": ("labels.csv", "a.png", "../a.png"),
            "duplicate": ("labels.csv", "b.png,dog,val", "a.png,dog,val"),
        },
    )


@case
def class_tables_of_splits():
    return Case(
        "classes",
        "csv",
        {
            "train.csv": "path,label\na.png,cat\n",
            "val.csv": "path,label\nb.png,dog\n",
            "a.png": photo(10),
            "b.png": photo(20),
        },
        ("cat", "dog"),
        {"train": {"a.png": "cat"}, "val": {"b.png": "dog"}},
        {
            "outside": ("train.csv", "a.png", "../a.png"),
            "empty": ("val.csv", "path,label\nb.png,dog\n", ""),
            "rowless": ("val.csv", "b.png,dog\n", ""),
            "columns": ("val.csv", "path,label", "path,name"),
        },
    )


@case
def class_table_of_marks():
    """A column for each class, as in several of Kaggle's tables."""
    return Case(
        "classes",
        "csv",
        {
            "labels.csv": "image,cat,dog\na.png,1,0\nb.png,0.0,1.0\n",
            "a.png": photo(10),
            "b.png": photo(20),
        },
        ("cat", "dog"),
        {"all": {"a.png": "cat", "b.png": "dog"}},
        {
            "several": ("labels.csv", "a.png,1,0", "a.png,1,1"),
            "none": ("labels.csv", "a.png,1,0", "a.png,0,0"),
            "neither": ("labels.csv", "a.png,1,0", "a.png,1,7"),
        },
    )


@case
def class_table_with_other_names():
    files = {"labels.csv": "filename,class\na.png,cat\n", "a.png": photo(10)}
    return Case("classes", "csv", files, ("cat",), {"all": {"a.png": "cat"}})


@case
def image_folder():
    """Hugging Face: a table in the folder of each split."""
    rows = [{"file_name": "a.png", "label": "cat"}, {"file_name": "more/b.png", "label": "dog"}]
    table = "".join(json.dumps(row) + "\n" for row in rows)
    return Case(
        "classes",
        "imagefolder",
        {
            "train/metadata.jsonl": table,
            "train/a.png": photo(10),
            "train/more/b.png": photo(20),
            "validation/metadata.csv": "file_name,label\nc.png,dog\n",
            "validation/c.png": photo(30),
        },
        ("cat", "dog"),
        {
            "train": {"train/a.png": "cat", "train/more/b.png": "dog"},
            "val": {"validation/c.png": "dog"},
        },
        {
            "outside": ("train/metadata.jsonl", "a.png", "../a.png"),
            "missing": ("train/metadata.jsonl", "a.png", "z.png"),
            "duplicate": ("train/metadata.jsonl", "more/b.png", "a.png"),
            "label": ("train/metadata.jsonl", '"cat"', "[1]"),
        },
    )


@case
def image_folder_with_numbers():
    """One table for all splits, whose labels are numbers."""
    return Case(
        "classes",
        "imagefolder",
        {
            "classes.txt": "dog\ncat\n",
            "metadata.csv": "file_name,label\ntrain/a.png,1\ntest/b.png,0\n",
            "train/a.png": photo(10),
            "test/b.png": photo(20),
        },
        ("dog", "cat"),
        {"train": {"train/a.png": "cat"}, "test": {"test/b.png": "dog"}},
        {"label": ("metadata.csv", "a.png,1", "a.png, ")},
        ("classes.txt",),
    )


@case
def image_folder_objects():
    """Hugging Face: boxes are x, y, width, height in pixels."""
    objects = {"bbox": [[1, 2, 4, 2]], "categories": ["cat"]}
    rows = [
        {"file_name": "a.png", "objects": objects},
        {"file_name": "b.png", "objects": {"bbox": [[0, 0, 1, 1]], "categories": ["dog"]}},
    ]
    return Case(
        "boxes",
        "imagefolder",
        {
            "metadata.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
            "a.png": photo(10),
            "b.png": photo(20),
        },
        ("cat", "dog"),
        {"all": {"a.png": [BOX], "b.png": [("dog", 0, 0, 1, 1)]}},
        {
            "length": ("metadata.jsonl", "[1, 2, 4, 2]", "[1, 2, 4]"),
            "negative": ("metadata.jsonl", "[1, 2, 4, 2]", "[1, 2, -4, 2]"),
            "beyond": ("metadata.jsonl", "[1, 2, 4, 2]", "[9, 2, 4, 2]"),
            "counts": ("metadata.jsonl", '["cat"]', "[]"),
            "class": ("metadata.jsonl", '["cat"]', "[null]"),
        },
    )


def spoilt_parquet(file, good, **bad):
    """Return the edits that replace the whole content of a file."""
    return {what: (file, good, content) for what, content in bad.items()}


@parquet_case
def parquet_classes():
    """Hugging Face: names in the order of the schema, a file for each shard of a split."""
    photos = [photo(value) for value in (10, 20, 30)]
    file, names = "data/train-00000-of-00002.parquet", ("dog", "cat")
    good = labelled(photos, [1, 0, 1], names)
    return Case(
        "classes",
        "parquet",
        {
            file: good,
            "data/train-00001-of-00002.parquet": labelled([photo(40)], [0], names),
            "data/validation-00000-of-00001.parquet": labelled([photo(50)], [1], names),
        },
        names,
        {
            "train": {
                f"{file}#1": "cat",
                f"{file}#2": "dog",
                f"{file}#3": "cat",
                "data/train-00001-of-00002.parquet#1": "dog",
            },
            "val": {"data/validation-00000-of-00001.parquet#1": "cat"},
        },
        spoilt_parquet(
            file,
            good,
            null=labelled([photos[0], None, photos[2]], [1, 0, 1], names),
            path=labelled([photos[0], "b.png", photos[2]], [1, 0, 1], names),
            number=labelled(photos, [1, 0, 2], names),
            negative=labelled(photos, [1, 0, -1], names),
            unlabelled=labelled(photos, [1, 0, None], names),
            names=labelled(photos, [1, 0, 1], ("cat", "dog")),
            twice=labelled(photos, [1, 0, 1], ("cat", "cat")),
            unprintable=labelled(photos, [1, 0, 1], ("cat", "d\nog")),
            column=boxed(photos, [one(1, 2, 4, 2)] * 3),
        ),
    )


@parquet_case
def parquet_of_texts():
    """Classes as text, without splits, in a file with another name of the images."""
    photos = [photo(value) for value in (10, 20)]
    good = labelled(photos, ["dog", "cat"], None, image="img")
    return Case(
        "classes",
        "parquet",
        {"animals.parquet": good},
        ("cat", "dog"),
        {"all": {"animals.parquet#1": "dog", "animals.parquet#2": "cat"}},
        spoilt_parquet("animals.parquet", good, empty_name=labelled(photos, ["dog", " "], None)),
    )


@parquet_case
def parquet_objects():
    """Hugging Face: boxes are x, y, width, height in pixels; a folder for each split."""
    photos = [photo(value) for value in (10, 20)]
    objects, names = [one(1, 2, 4, 2, category=1), one()], ("dog", "cat")
    good = boxed(photos, objects, names)
    return Case(
        "boxes",
        "parquet",
        {
            "train/0000.parquet": good,
            "test/0000.parquet": boxed(
                [photo(30)], [[{"bbox": [0.0, 0, 1, 1], "category": 0}]], names
            ),
        },
        names,
        {
            "train": {"train/0000.parquet#1": [BOX], "train/0000.parquet#2": []},
            "test": {"test/0000.parquet#1": [("dog", 0, 0, 1, 1)]},
        },
        spoilt_parquet(
            "train/0000.parquet",
            good,
            null=boxed([photos[0], None], objects, names),
            path=boxed([photos[0], "b.png"], objects, names),
            number=boxed(photos, [one(1, 2, 4, 2, category=2)] * 2, names),
            length=boxed(photos, [one(1, 2, 4)] * 2, names),
            negative=boxed(photos, [one(1, 2, -4, 2)] * 2, names),
            beyond=boxed(photos, [one(9, 2, 4, 2)] * 2, names),
            counts=boxed(photos, [{"bbox": [[1.0, 2, 4, 2]], "category": []}] * 2, names),
            nothing=boxed(photos, [one(1, 2, 4, 2), None], names),
            column=labelled(photos, [1, 0]),
        ),
    )


@case
def class_lists():
    return Case(
        "classes",
        "lists",
        {
            "train.txt": "images/a b.png 1\n",
            "val.txt": "images/c.png 0\n",
            "images/a b.png": photo(10),
            "images/c.png": photo(20),
            "classes.txt": "dog\ncat\n",
        },
        ("dog", "cat"),
        {"train": {"images/a b.png": "cat"}, "val": {"images/c.png": "dog"}},
        {
            "outside": ("train.txt", "images", "../images"),
            "duplicate": ("train.txt", "1\n", "1\nimages/a b.png 0\n"),
            "missing": ("train.txt", "a b", "z"),
        },
        ("classes.txt",),
    )


@case
def class_lists_of_synsets():
    """As Datumaro exports ImageNet: images without folders, and numbered classes."""
    return Case(
        "classes",
        "lists",
        {
            "train.txt": "a.png 1\n",
            "val.txt": "b.png 0\n",
            "images/a.png": photo(10),
            "images/b.png": photo(20),
            "synsets.txt": "n01\nn02\n",
        },
        ("n01", "n02"),
        {"train": {"images/a.png": "n02"}, "val": {"images/b.png": "n01"}},
        {},
        ("synsets.txt",),
    )


@case
def class_lists_of_ucf101():
    """UCF101: tests have no label, and class folders hold the files."""
    return Case(
        "classes",
        "lists",
        {
            "splits/trainlist01.txt": "Biking/a.png 2\n",
            "splits/testlist01.txt": "Archery/b.png\n",
            "splits/testlist02.txt": "Biking/a.png\n",
            "splits/classInd.txt": "1 Archery\n2 Biking\n",
            "Biking/a.png": photo(10),
            "Archery/b.png": photo(20),
        },
        ("Archery", "Biking"),
        {"train": {"Biking/a.png": "Biking"}, "test": {"Archery/b.png": "Archery"}},
        {"outside": ("splits/trainlist01.txt", "Biking/a", "../a")},
        ("splits/testlist02.txt", "splits/classInd.txt"),
    )


@case
def class_lists_of_hmdb51():
    """HMDB51: 1 is train, 2 is test, 0 is unused."""
    lists = "testTrainMulti_7030_splits"
    return Case(
        "classes",
        "hmdb51",
        {
            f"{lists}/brush_hair_test_split1.txt": "a.avi 1 \nb c.avi 2 \nd.avi 0 \n",
            f"{lists}/brush_hair_test_split2.txt": "a.avi 2 \n",
            f"{lists}/cartwheel_test_split1.txt": "e.avi 1 \n",
            "hmdb51/brush_hair/a.png": photo(10),
            "hmdb51/brush_hair/b c.png": photo(20),
            "hmdb51/brush_hair/d.png": photo(30),
            "hmdb51/cartwheel/e.png": photo(40),
        },
        ("brush_hair", "cartwheel"),
        {
            "train": {
                "hmdb51/brush_hair/a.png": "brush_hair",
                "hmdb51/cartwheel/e.png": "cartwheel",
            },
            "test": {"hmdb51/brush_hair/b c.png": "brush_hair"},
        },
        {
            "mark": (f"{lists}/cartwheel_test_split1.txt", "1", "7"),
            "missing": (f"{lists}/cartwheel_test_split1.txt", "e", "f"),
            "duplicate": (f"{lists}/brush_hair_test_split1.txt", "d.avi 0", "a.avi 1"),
        },
        (f"{lists}/brush_hair_test_split2.txt",),
    )


@case
def class_table_of_kinetics():
    """Kinetics: names with the times of the clip, or without."""
    head = "label,youtube_id,time_start,time_end,split\n"
    return Case(
        "classes",
        "kinetics",
        {
            "annotations/train.csv": f"{head}abseiling,0-x,1,11,train\nzumba,_y,103,113,train\n",
            "annotations/val.csv": f"{head}zumba,z,0,10,validate\n".replace("validate", "val"),
            "train/abseiling/0-x_000001_000011.png": photo(10),
            "train/_y.png": photo(20),
            "val/z_000000_000010.png": photo(30),
        },
        ("abseiling", "zumba"),
        {
            "train": {
                "train/abseiling/0-x_000001_000011.png": "abseiling",
                "train/_y.png": "zumba",
            },
            "val": {"val/z_000000_000010.png": "zumba"},
        },
        {
            "times": ("annotations/train.csv", ",1,11,", ",11,1,"),
            "missing": ("annotations/train.csv", "_y", "_v"),
            "class": ("annotations/val.csv", "zumba", "\x07"),
        },
    )


@case
def class_lists_of_something():
    """Something-Something v2: templates with brackets, and numbered classes."""
    rows = [
        {"id": "74225", "label": "spinning cube", "template": "Spinning [something]"},
        {"id": 3, "label": "a b", "template": "Moving [something] and [something]"},
    ]
    names = {"Spinning something": "1", "Moving something and something": "0"}
    return Case(
        "classes",
        "something",
        {
            "labels/labels.json": json.dumps(names),
            "labels/train.json": json.dumps(rows),
            "labels/validation.json": json.dumps([rows[0] | {"id": "5"}]),
            "labels/test.json": json.dumps([{"id": "6"}]),
            "videos/74225.png": photo(10),
            "videos/3.png": photo(20),
            "videos/5.png": photo(30),
        },
        ("Moving something and something", "Spinning something"),
        {
            "train": {
                "videos/74225.png": "Spinning something",
                "videos/3.png": "Moving something and something",
            },
            "val": {"videos/5.png": "Spinning something"},
        },
        {
            "class": ("labels/train.json", "Spinning [", "Turning ["),
            "missing": ("labels/train.json", "74225", "74226"),
            "numbers": ("labels/labels.json", '"1"', '"2"'),
            "rows": ("labels/train.json", '"id": 3', '"id": null'),
        },
        ("labels/test.json",),
    )


def imagenet(table, content, where):
    files = {"train/n01/a.png": photo(10), "train/n02/images/b.png": photo(20), table: content}
    files |= {f"{where}/c.png": photo(30)}
    splits = {
        "train": {"train/n01/a.png": "n01", "train/n02/images/b.png": "n02"},
        "val": {f"{where}/c.png": "n02"},
    }
    spoil = {"class": (table, "n02", "n03"), "outside": (table, "c", "../c")}
    return Case("classes", "imagenet", files, ("n01", "n02"), splits, spoil)


@case
def imagenet_of_kaggle():
    table = "ImageId,PredictionString\nc,n02 1 1 5 5 n02 2 2 3 3\n"
    return imagenet("LOC_val_solution.csv", table, "val")


@case
def imagenet_with_names():
    """Kaggle's edition, with the names of its classes."""
    made = CASES["imagenet_of_kaggle"]
    names = "n01 crane, bird\nn02 crane\n"
    splits = {
        split: {key: {"n01": "n01 crane", "n02": "n02 crane"}[label] for key, label in each.items()}
        for split, each in made.splits.items()
    }
    files = dict(made.files) | {"LOC_synset_mapping.txt": names}
    spoil = {"line": ("LOC_synset_mapping.txt", "n02 crane", "n02")}
    harmless = ("LOC_synset_mapping.txt", "LOC_val_solution.csv")
    return Case("classes", "imagenet", files, ("n01 crane", "n02 crane"), splits, spoil, harmless)


def meta_of_imagenet(*wnids):
    """Return `meta.mat` with these classes, and one that is above them, as in the original."""
    kinds = [("ILSVRC2012_ID", "f8"), ("WNID", "O"), ("words", "O"), ("num_children", "f8")]
    rows = [(number, wnid, "a, b", 0) for number, wnid in enumerate(wnids, 1)]
    rows.append((len(rows) + 1, "n99", "c", len(rows)))
    stream = io.BytesIO()
    scipy.io.savemat(stream, {"synsets": np.array(rows, kinds).reshape(-1, 1)})
    return stream.getvalue()


@case
def imagenet_with_devkit():
    """The original edition: numbers in the order of the images' names."""
    labels = "devkit/data/ILSVRC2012_validation_ground_truth.txt"
    return Case(
        "classes",
        "imagenet",
        {
            "train/n01/a.png": photo(10),
            "train/n02/b.png": photo(20),
            "val/c.png": photo(30),
            "val/d.png": photo(40),
            labels: "2\n1\n",
            "devkit/data/meta.mat": meta_of_imagenet("n01", "n02"),
        },
        ("n01", "n02"),
        {
            "train": {"train/n01/a.png": "n01", "train/n02/b.png": "n02"},
            "val": {"val/c.png": "n02", "val/d.png": "n01"},
        },
        {
            "above": (labels, "2", "3"),
            "class": (labels, "2", "0"),
            "count": (labels, "2\n", ""),
            "text": (labels, "2", "n02"),
        },
    )


@case
def imagenet_tiny():
    return imagenet("val/val_annotations.txt", "c.png\tn02\t0\t32\t44\t62\n", "val/images")


@case
def voc_masks():
    return Case(
        "masks",
        "voc",
        {
            "classes.txt": "ground\ncat\n",
            "JPEGImages/a.png": photo(10),
            "JPEGImages/b.png": photo(20),
            "SegmentationClass/a.png": half(),
            "SegmentationClass/b.png": half(255),
            "ImageSets/Segmentation/train.txt": "a\n",
            "ImageSets/Segmentation/val.txt": "b\n",
        },
        ("ground", "cat"),
        {
            "train": {"JPEGImages/a.png": HALF},
            "val": {"JPEGImages/b.png": ["0000...."] * HEIGHT},
        },
        {
            "outside": ("ImageSets/Segmentation/train.txt", "a", "../a"),
            "duplicate": ("ImageSets/Segmentation/train.txt", "a\n", "a\na\n"),
        },
    )


def stack(*pages, bits=8):
    """Return a TIFF file with a page for each array."""
    kind = np.uint8 if bits == 8 else np.uint16
    first, *rest = [Image.fromarray(np.asarray(page, kind)) for page in pages]
    stream = io.BytesIO()
    first.save(stream, "TIFF", save_all=True, append_images=rest)
    return stream.getvalue()


def grey(value):
    return np.full((HEIGHT, WIDTH), value)


def halves(right=1, left=0):
    return [[left] * 4 + [right] * 4] * HEIGHT


@case
def stack_of_isbi():
    """ISBI 2012: the test stack has no labels, and the masks of two classes have 0 and 255."""
    return Case(
        "masks",
        "stacks",
        {
            "classes.txt": "membrane\ncell\n",
            "train-volume.tif": stack(grey(10), grey(20)),
            "train-labels.tif": stack(halves(), halves(0, 1)),
            "test-volume.tif": stack(grey(30)),
        },
        ("membrane", "cell"),
        {"train": {"train-volume.tif#1": HALF, "train-volume.tif#2": ["11110000"] * HEIGHT}},
        {},
        ("classes.txt",),
    )


@case
def stack_with_16_bits():
    """Images and masks of 16 bits, without splits."""
    return Case(
        "masks",
        "stacks",
        {
            "classes.txt": "ground\ncat\n",
            "images.tif": stack(grey(1000), grey(2000), grey(3000), bits=16),
            "masks.tif": stack(halves(), grey(0), halves(255), bits=16),
        },
        ("ground", "cat"),
        {
            "all": {
                "images.tif#1": HALF,
                "images.tif#2": ["0" * 8] * HEIGHT,
                "images.tif#3": ["0000...."] * HEIGHT,
            }
        },
        {},
        ("classes.txt",),
    )


@case
def stacks_in_folders():
    return Case(
        "masks",
        "stacks",
        {
            "classes.txt": "ground\ncat\n",
            "images/train/a.tif": stack(grey(10), grey(20)),
            "masks/train/a.tif": stack(halves(), grey(0)),
            "images/val/b.tif": stack(grey(30), grey(40)),
            "masks/val/b.tif": stack(halves(0, 1), grey(1)),
        },
        ("ground", "cat"),
        {
            "train": {"images/train/a.tif#1": HALF, "images/train/a.tif#2": ["0" * 8] * HEIGHT},
            "val": {
                "images/val/b.tif#1": ["11110000"] * HEIGHT,
                "images/val/b.tif#2": ["1" * 8] * HEIGHT,
            },
        },
        {},
        ("classes.txt",),
    )


@case
def mask_pairs():
    return Case(
        "masks",
        "pairs",
        {
            "classes.txt": "ground\ncat\n",
            "images/train/a.png": photo(10),
            "images/val/b.png": photo(20),
            "masks/train/a.png": half(),
            "masks/val/b.png": half(255),
        },
        ("ground", "cat"),
        {
            "train": {"images/train/a.png": HALF},
            "val": {"images/val/b.png": ["0000...."] * HEIGHT},
        },
    )


@case
def index_maps():
    return Case(
        "instances",
        "index",
        {
            "images/train/a.png": photo(10),
            "images/val/b.png": photo(20),
            "masks/train/a.png": half(),
            "masks/val/b.png": half(7),
            "instances.csv": "path,instance,class\nimages/train/a.png,1,cat\n"
            "images/val/b.png,7,dog\n",
        },
        ("cat", "dog"),
        {
            "train": {"images/train/a.png": [("cat", 4, 0, 8, 6, 24)]},
            "val": {"images/val/b.png": [("dog", 4, 0, 8, 6, 24)]},
        },
        {"duplicate": ("instances.csv", "images/val/b.png,7", "images/train/a.png,1")},
    )
