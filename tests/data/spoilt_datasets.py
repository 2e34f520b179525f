"""For every rule of the check, a change of a small dataset that breaks this rule and no other."""

import json
import os
import shutil
from dataclasses import dataclass

import cv2
import numpy as np
import parquet_writing as written_parquet
import small_datasets as small
from PIL import Image


@dataclass(frozen=True)
class Case:
    """A minimal bad dataset.

    Attributes:
        rule: the only one that is broken, but for those in `more`.
        base: writes the dataset in which nothing is wrong.
        task: whose data it has.
        change: breaks the rule.
        file: that the finding names, relative to the dataset.
        place: in the file.
        more: rules that cannot but be broken, too.
        flags: of the request.
    """

    rule: str
    base: object
    task: str
    change: object
    file: str = ""
    place: str = ""
    more: tuple = ()
    flags: tuple = ()


TRAIN = "annotations/instances_train.json"
XML = "Annotations/0.xml"
LABELS = "labels/train/0.txt"
IMAGE = "images/train/0.png"
MASK = "masks/train/0.png"
SEGMENTATION = "segmentation"
GROUND_TRUTH = "data/ILSVRC2012_validation_ground_truth.txt"
META = "data/meta.mat"


def coded(change, path=TRAIN):
    """Change the content of a JSON file."""

    def apply(root):
        content = json.loads((root / path).read_text())
        made = change(content)
        (root / path).write_text(json.dumps(content if made is None else made))

    return apply


def annotated(**values):
    """Set members of the first annotation; `...` removes one."""

    def change(content):
        row = content["annotations"][0]
        row.update(values)
        for name in [name for name, value in values.items() if value is ...]:
            del row[name]

    return coded(change)


def listed(name, place, /, **values):
    """Set members of an entry of a list."""
    return coded(lambda content: content[name][place].update(values))


def replaced(path, old, new):
    """Replace a text in a file."""

    def apply(root):
        text = (root / path).read_text()
        assert old in text
        (root / path).write_text(text.replace(old, new, 1))

    return apply


def written(path, content):
    """Give a file another content."""

    def apply(root):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content.encode() if isinstance(content, str) else content)

    return apply


def piped(path):
    """Put a pipe in the place of a file."""

    def apply(root):
        (root / path).unlink()
        os.mkfifo(root / path)

    return apply


def removed(path):
    return lambda root: (root / path).unlink()


def copied(old, new):
    def apply(root):
        (root / new).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / old, root / new)

    return apply


def both(*changes):
    def apply(root):
        for change in changes:
            change(root)

    return apply


def masked(values, path=MASK):
    return lambda root: small.mask(root / path, values)


def stored(path, make):
    """Store an array or image in a file."""

    def apply(root):
        made = make() if callable(make) else make
        image = made if isinstance(made, Image.Image) else Image.fromarray(made)
        image.save(root / path)

    return apply


def saved_as(path, format_):
    """Encode an image anew."""

    def apply(root):
        with Image.open(root / path) as image:
            image.load()
        image.convert("L").save(root / path, format_)

    return apply


def cut(path, share):
    """Cut off the end of a file."""

    def apply(root):
        content = (root / path).read_bytes()
        (root / path).write_bytes(content[: int(len(content) * share)])

    return apply


def damaged(path):
    """Spoil the compressed pixels of a PNG in the middle."""

    def apply(root):
        content = bytearray((root / path).read_bytes())
        middle = len(content) // 2
        content[middle : middle + 8] = bytes(byte ^ 255 for byte in content[middle : middle + 8])
        (root / path).write_bytes(content)

    return apply


def looped(path):
    """Put a link to itself in the place of a file."""

    def apply(root):
        (root / path).unlink()
        (root / path).symlink_to((root / path).name)

    return apply


def unlike(path):
    """Change a picture so little that nobody sees it."""

    def apply(root):
        with Image.open(root / "images/train/0.png") as image:
            image.point(lambda value: max(0, value - 1)).save(root / path)

    return apply


def palette(root):
    """Give a mask the palette of classes in another order."""
    (root / "classes.txt").write_text("a 10 20 30\nb 40 50 60\n")
    made = Image.fromarray(np.tile([0, 1], (small.SIZE_WH[1], 36)).astype(np.uint8), "P")
    made.putpalette([40, 50, 60, 7, 7, 7])
    made.save(root / MASK)


def video(path, frames=16):
    """Write a video in which every frame can be decoded alone."""

    def apply(root):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        code = cv2.VideoWriter_fourcc(*"MJPG")
        writer = cv2.VideoWriter(str(root / path), code, 10, (32, 24))
        for number in range(frames):
            writer.write(
                np.random.default_rng(number).integers(256, size=(24, 32, 3), dtype=np.uint8)
            )
        writer.release()

    return apply


def claiming(path, frames):
    """Let the header of a video's stream claim another number of frames."""

    def apply(root):
        content = bytearray((root / path).read_bytes())
        place = content.index(b"strh") + 8 + 32  # after name and size: dwLength
        content[place : place + 4] = frames.to_bytes(4, "little")
        (root / path).write_bytes(content)

    return apply


def zigzag():
    return [[value for n in range(2000) for value in (600 * (-1) ** n, 600 * (-1) ** (n // 2))]]


RUNS = {"size": [64, 72], "counts": [64 * 72]}
FIRST = "annotations[0] (id 1)"
OBJECTS = [
    Case("ann.category_unknown", small.coco, "detect", annotated(category_id=9), TRAIN, FIRST),
    Case("ann.id_duplicate", small.coco, "detect", annotated(id=2), TRAIN, "annotations[1] (id 2)"),
    Case("ann.id_type", small.coco, "detect", annotated(id="x"), TRAIN, "annotations[0] (id 'x')"),
    Case("ann.id_zero", small.coco, "detect", annotated(id=0), TRAIN, "annotations[0]"),
    Case("ann.image_unknown", small.coco, "detect", annotated(image_id=9), TRAIN, FIRST),
    Case(
        *("ann.malformed", small.coco, "detect"),
        coded(lambda content: content["annotations"].append(7)),
        TRAIN,
    ),
    Case(
        *("annotations.empty", small.coco, "detect"),
        coded(lambda content: content.update(annotations=[])),
    ),
    Case(
        *("annotations.missing", small.coco, "detect"),
        coded(lambda content: content.pop("annotations") and None),
        TRAIN,
    ),
    Case("area.mismatch", small.coco, "detect", annotated(area=999), "images/train/0.png"),
    Case("area.value", small.coco, "detect", annotated(area=-1), TRAIN, FIRST),
    Case("bbox.length", small.coco, "detect", annotated(bbox=[1, 2, 3]), TRAIN, FIRST),
    Case(
        "bbox.nonfinite", small.coco, "detect", annotated(bbox=[1e308, 0, 1e308, 9]), TRAIN, FIRST
    ),
    Case("bbox.nonpositive", small.coco, "detect", annotated(bbox=[8, 8, -8, 8]), TRAIN, FIRST),
    Case("bbox.outside", small.coco, "detect", annotated(bbox=[99, 99, 8, 8]), TRAIN, FIRST),
    Case("box.clipped", small.coco, "detect", annotated(bbox=[60, 8, 16, 16]), IMAGE),
    Case("box.without_area", small.coco, "detect", annotated(bbox=[8, 8, 0, 8], area=0)),
    Case(
        *("categories.missing", small.coco, "detect"),
        coded(lambda content: content.update(categories=7)),
        TRAIN,
    ),
    Case(
        "category.id_duplicate",
        small.coco,
        "detect",
        listed("categories", 1, id=1),
        TRAIN,
        "categories[1]",
    ),
    Case(
        "category.malformed",
        small.coco,
        "detect",
        listed("categories", 1, name=None),
        TRAIN,
        "categories[1]",
    ),
    Case(
        *("category.missing", small.coco, "detect"),
        coded(lambda content: content.update(categories=[], annotations=[])),
        TRAIN,
        more=("annotations.empty",),
    ),
    Case(
        "category.name_duplicate",
        small.coco,
        "detect",
        listed("categories", 1, name="a"),
        TRAIN,
        "categories[1]",
    ),
    Case(
        "class.unused",
        small.coco,
        "detect",
        both(
            *(
                coded(
                    lambda c: c["categories"].append({"id": 7, "name": "c"}),
                    f"annotations/instances_{s}.json",
                )
                for s in ("train", "val")
            )
        ),
    ),
    Case(
        "classes.differ",
        small.coco,
        "detect",
        listed("categories", 1, name="c"),
    ),
    Case(
        "image.file_duplicate",
        small.coco,
        "detect",
        listed("images", 1, file_name="0.png"),
        TRAIN,
        "images[1]",
        more=("ann.image_unknown",),
    ),
    Case(
        "image.file_missing",
        small.coco,
        "detect",
        both(listed("images", 0, file_name="x.png"), listed("images", 1, file_name="y.png")),
        TRAIN,
    ),
    Case(
        "image.file_name_type",
        small.coco,
        "detect",
        listed("images", 1, file_name=7),
        TRAIN,
        "images[1]",
        more=("ann.image_unknown",),
    ),
    Case(
        "image.id_duplicate",
        small.coco,
        "detect",
        listed("images", 1, id=0),
        TRAIN,
        "images[1]",
        more=("ann.image_unknown",),
    ),
    Case(
        "image.id_type",
        small.coco,
        "detect",
        listed("images", 1, id="x"),
        TRAIN,
        "images[1]",
        more=("ann.image_unknown",),
    ),
    Case(
        "image.missing",
        small.coco,
        "detect",
        listed("images", 1, file_name="x.png"),
        "images/train/x.png",
    ),
    Case(
        "image.size",
        small.coco,
        "detect",
        listed("images", 0, width=-1),
        TRAIN,
        "images[0]",
        more=("image.size_missing",),
    ),
    Case(
        "image.size_mismatch",
        small.coco,
        "detect",
        listed("images", 0, width=71),
        "images/train/0.png",
    ),
    Case(
        "image.size_missing",
        small.coco,
        "detect",
        listed("images", 0, width=None),
        "images/train/0.png",
    ),
    Case(
        *("images.empty", small.coco, "detect"),
        coded(lambda content: content.update(images=[], annotations=[])),
        TRAIN,
    ),
    Case(
        *("images.missing", small.coco, "detect"),
        coded(lambda content: content.update(images={})),
        TRAIN,
    ),
    Case("iscrowd.value", small.coco, "detect", annotated(iscrowd=2), TRAIN, FIRST),
    Case("imagenet.count", small.imagenet, "classify", removed("val/3.png"), GROUND_TRUTH),
    Case("imagenet.meta", small.imagenet, "classify", written("data/meta.mat", "x"), META),
    Case("imagenet.meta", small.imagenet, "classify", removed("data/meta.mat"), GROUND_TRUTH),
    Case(
        "json.duplicate_key",
        small.coco,
        "detect",
        replaced(TRAIN, '"bbox"', '"bbox": 7, "bbox"'),
        TRAIN,
    ),
    Case("json.encoding", small.coco, "detect", written(TRAIN, b"{\xff}"), TRAIN, "line 1"),
    Case("json.nan_literal", small.coco, "detect", replaced(TRAIN, "200", "NaN"), TRAIN),
    Case("json.not_a_file", small.coco, "detect", piped(TRAIN), TRAIN),
    Case("json.not_object", small.coco, "detect", written(TRAIN, "[]"), TRAIN),
    Case("json.syntax", small.coco, "detect", cut(TRAIN, 0.5), TRAIN, "line 1 column"),
    Case(
        "path.escape",
        small.coco,
        "detect",
        listed("images", 0, file_name="../x.png"),
        TRAIN,
    ),
    Case(
        "split.ambiguous",
        small.coco,
        "detect",
        copied(TRAIN, "annotations/instances_train2.json"),
        "annotations",
    ),
    Case(
        "rle.invalid",
        small.coco,
        "instance",
        annotated(segmentation={"size": [64, 72], "counts": [7]}),
        TRAIN,
        FIRST,
    ),
    Case(
        "rle.size",
        small.coco,
        "detect",
        annotated(bbox=..., segmentation={"size": [-1, 5], "counts": [5]}),
        TRAIN,
        FIRST,
    ),
    Case(
        "rle.size_mismatch",
        small.coco,
        "instance",
        annotated(segmentation={"size": [9, 9], "counts": [81]}),
        TRAIN,
        FIRST,
    ),
    Case("segm.missing", small.coco, "instance", annotated(segmentation=...), TRAIN, FIRST),
    Case(
        "segm.odd_or_short",
        small.coco,
        "instance",
        annotated(segmentation=[[1, 2, 3]]),
        TRAIN,
        FIRST,
    ),
    Case(
        "segm.outside",
        small.coco,
        "instance",
        annotated(segmentation=[[80, 80, 90, 80, 90, 90]]),
        TRAIN,
        FIRST,
    ),
    Case("segm.too_long", small.coco, "instance", annotated(segmentation=zigzag()), TRAIN, FIRST),
    Case("mask.without_pixels", small.coco, "instance", annotated(segmentation=RUNS)),
]
VOC = [
    Case("bndbox.missing", small.voc, "detect", replaced(XML, "<xmin>8</xmin>", ""), XML, "a"),
    Case("bndbox.nonfinite", small.voc, "detect", replaced(XML, ">8<", ">-inf<"), XML, "a"),
    Case("bndbox.order", small.voc, "detect", replaced(XML, ">24<", ">4<"), XML, "a"),
    Case(
        "bndbox.outside",
        small.voc,
        "detect",
        both(replaced(XML, ">24<", ">90<"), replaced(XML, "<xmin>8<", "<xmin>80<")),
        XML,
        "a",
    ),
    Case(
        "difficult.value",
        small.voc,
        "detect",
        replaced(XML, "<difficult>0", "<difficult>2"),
        XML,
        "a",
    ),
    Case(
        "filename.mismatch", small.voc, "detect", replaced(XML, "0.png", "x.png"), XML, "<filename>"
    ),
    Case("file.same_name", small.voc, "detect", copied("JPEGImages/0.png", "JPEGImages/0.bmp")),
    Case(
        "image.without_label",
        small.voc,
        "detect",
        both(
            lambda root: shutil.rmtree(root / "ImageSets"),
            lambda root: small.picture(root / "JPEGImages" / "x.png", 9),
        ),
    ),
    Case("object.name_missing", small.voc, "detect", replaced(XML, "<name>a<", "<name><"), XML),
    Case("object.name_unknown", small.voc, "detect", replaced(XML, "<name>a<", "<name>c<"), XML),
    Case("root.name", small.voc, "detect", written(XML, "<x/>"), XML),
    Case("size.value", small.voc, "detect", replaced(XML, "<width>72", "<width>-1"), XML, "<size>"),
    Case(
        "split.encoding",
        small.voc,
        "detect",
        written("ImageSets/Main/train.txt", b"\xff"),
        "ImageSets/Main/train.txt",
        "line 1",
    ),
    Case(
        "split.not_a_file",
        small.voc,
        "detect",
        piped("ImageSets/Main/train.txt"),
        "ImageSets/Main/train.txt",
    ),
    Case("split.id_without_file", small.voc, "detect", removed(XML), XML),
    Case(
        "split.duplicate",
        small.voc,
        "detect",
        written("ImageSets/Main/train.txt", "0\n1\n0\n"),
        "ImageSets/Main/train.txt",
    ),
    Case(
        "xml.dtd",
        small.voc,
        "detect",
        replaced(XML, "<annotation>", "<!DOCTYPE a><annotation>"),
        XML,
    ),
    Case(
        "xml.encoding",
        small.voc,
        "detect",
        replaced(XML, "<annotation>", '<?xml version="1.0" encoding="x-y"?><annotation>'),
        XML,
    ),
    Case("xml.not_a_file", small.voc, "detect", piped(XML), XML),
    Case("xml.size", small.voc, "detect", written(XML, b" " * 10_000_001), XML),
    Case("xml.syntax", small.voc, "detect", written(XML, "<annotation>"), XML),
]
YOLO = [
    Case("classes.missing", small.yolo, "detect", removed("data.yaml")),
    Case("classes.syntax", small.yolo, "detect", replaced("data.yaml", "[a, b]", "7"), "data.yaml"),
    Case(
        "label.shared",
        small.yolo,
        "detect",
        both(lambda root: small.picture(root / "images/train/0.bmp", 77)),
    ),
    Case(
        "path.ignored",
        small.yolo,
        "detect",
        replaced("data.yaml", "train:", "path: /elsewhere\ntrain:"),
        "data.yaml",
    ),
    Case("split.missing", small.yolo, "detect", replaced("data.yaml", "images/val", "images/x")),
    Case("split.empty", small.yolo, "detect", removed("images/val/2.png")),
    Case(
        "split.unused",
        small.yolo,
        "detect",
        replaced("data.yaml", "val:", "valid: images/val\nval:"),
        more=("leak.same_file",),
    ),
    Case(
        "yolo.class", small.yolo, "detect", written(LABELS, "7 0.5 0.5 0.2 0.2\n"), LABELS, "line 1"
    ),
    Case("yolo.encoding", small.yolo, "detect", written(LABELS, b"0\n\xff"), LABELS, "line 2"),
    Case("yolo.not_a_file", small.yolo, "detect", piped(LABELS), LABELS),
    Case(
        "yolo.path",
        small.yolo,
        "detect",
        replaced("data.yaml", "images/val", "7"),
        "data.yaml",
        "val",
    ),
    Case(
        "yolo.range", small.yolo, "detect", written(LABELS, "0 0.5 0.5 2 0.2\n"), LABELS, "line 1"
    ),
    Case("yolo.syntax", small.yolo, "detect", written(LABELS, "0 0.5 0.5\n"), LABELS, "line 1"),
]
MASKS = [
    Case(
        "stack.pages",
        small.stacks,
        "segment",
        lambda root: Image.new("L", small.SIZE_WH, 1).save(root / "val-labels.tif"),
        "val-volume.tif",
    ),
    Case(
        "classes.color",
        small.pairs,
        "segment",
        written("classes.txt", "a 0 0 999\nb\n"),
        "classes.txt",
        "line 1",
    ),
    Case(
        "classes.count", small.pairs, "segment", written("classes.txt", "# none\n"), "classes.txt"
    ),
    Case(
        "classes.duplicate",
        small.pairs,
        "segment",
        written("classes.txt", "a\na\n"),
        "classes.txt",
        "line 2",
    ),
    Case(
        "classes.encoding",
        small.pairs,
        "segment",
        written("classes.txt", b"a\n\xff"),
        "classes.txt",
        "line 2",
    ),
    Case(
        "classes.line",
        small.pairs,
        "segment",
        written("classes.txt", "x" * 2000),
        "classes.txt",
        "line 1",
    ),
    Case("file.unread", small.pairs, "segment", written("images/train/x.avif", b"x")),
    Case(
        "file.unused",
        small.pairs,
        "segment",
        lambda root: small.picture(root / "images" / "x.png", 9),
        "images",
    ),
    Case(
        "mask.16bit", small.pairs, "segment", stored(MASK, np.full((64, 72), 300, np.uint16)), MASK
    ),
    Case(
        "mask.all_ignore",
        small.pairs,
        "segment",
        both(masked([255]), masked([255], "masks/train/1.png")),
    ),
    Case(
        "mask.color",
        small.pairs,
        "segment",
        stored(MASK, np.full((64, 72, 3), (1, 2, 3), np.uint8)),
        MASK,
    ),
    Case(
        "mask.float",
        small.pairs,
        "segment",
        both(removed(MASK), stored("masks/train/0.tif", np.full((64, 72), 0.5, np.float32))),
        "masks/train/0.tif",
    ),
    Case("mask.lossy", small.pairs, "segment", saved_as(MASK, "JPEG"), MASK),
    Case("mask.palette", small.pairs, "segment", palette, MASK),
    Case(
        "mask.size_mismatch", small.pairs, "segment", stored(MASK, np.zeros((9, 9), np.uint8)), MASK
    ),
    Case("mask.unused", small.pairs, "segment", masked([0, 1], "masks/train/x.png")),
    Case("mask.value_range", small.pairs, "segment", masked([0, 2]), MASK),
    Case(
        "leak.near_duplicate",
        small.pairs,
        "segment",
        unlike("images/val/2.png"),
        "images/val/2.png",
    ),
    Case(
        "leak.same_file",
        small.pairs,
        "segment",
        copied(IMAGE, "images/val/2.png"),
        "images/val/2.png",
    ),
    Case(
        "classes.unknown",
        small.described,
        "instance",
        written("classes.txt", "a\nc\n"),
        "instances.csv",
    ),
    Case(
        "instances.row",
        small.described,
        "instance",
        replaced("instances.csv", ",1,", ",x,"),
        "instances.csv",
    ),
    Case("instances.without_classes", small.index, "instance", written("classes.txt", "a\nb\n")),
    Case("mask.instance_unknown", small.described, "instance", masked([0, 1, 3]), MASK),
    Case(
        "mask.rgb_not_index",
        small.index,
        "instance",
        stored(MASK, np.zeros((64, 72, 3), np.uint8)),
        MASK,
    ),
]
CLASSES = [
    Case(
        "class.case_collision",
        small.folders,
        "classify",
        lambda root: small.picture(root / "train/A/9.png", 9),
        "train",
        more=("class.not_evaluated",),
    ),
    Case("class.empty", small.folders, "classify", lambda root: (root / "train/c").mkdir()),
    Case(
        "class.name", small.folders, "classify", lambda root: (root / "train/c\n").mkdir(), "train"
    ),
    Case(
        "class.not_evaluated",
        small.folders,
        "classify",
        lambda root: small.picture(root / "train/c/9.png", 9),
    ),
    Case(
        "class.only_in_val",
        small.folders,
        "classify",
        lambda root: small.picture(root / "val/c/9.png", 9),
    ),
    Case(
        "class.unknown",
        small.folders,
        "classify",
        both(
            written("classes.txt", "a\nb\n"), lambda root: small.picture(root / "train/c/9.png", 9)
        ),
        more=("class.not_evaluated",),
    ),
    Case(
        "folder.unreadable",
        small.folders,
        "classify",
        lambda root: (root / "train/a/gone").symlink_to("nowhere"),
        "train/a/gone",
    ),
    Case("image.corrupt", small.folders, "classify", damaged("train/a/0.png"), "train/a/0.png"),
    Case(
        "image.depth",
        small.folders,
        "classify",
        stored("train/a/9.tif", np.zeros((64, 72), np.float32)),
        "train/a/9.tif",
    ),
    Case("image.empty", small.folders, "classify", written("train/a/9.png", ""), "train/a/9.png"),
    Case(
        "image.not_a_file",
        small.folders,
        "classify",
        lambda root: os.mkfifo(root / "train/a/9.png"),
        "train/a/9.png",
    ),
    Case(
        "image.not_an_image",
        small.folders,
        "classify",
        written("train/a/9.png", "text"),
        "train/a/9.png",
    ),
    Case(
        "image.too_large",
        small.folders,
        "classify",
        written("train/a/9.png", small.png(20000, 20000)),
        "train/a/9.png",
    ),
    Case("image.truncated", small.folders, "classify", cut("train/a/0.png", 0.5), "train/a/0.png"),
    Case("image.unreadable", small.folders, "classify", looped("train/a/0.png"), "train/a/0.png"),
    Case(
        "list.bad_line",
        small.table,
        "classify",
        replaced("labels.csv", "0.png,a", "0.png"),
        "labels.csv",
        "line 2",
    ),
    Case(
        "list.separator",
        small.table,
        "classify",
        written("labels.csv", "path;label\na.png;cat\n"),
        "labels.csv",
    ),
    Case(
        "list.column",
        small.table,
        "classify",
        replaced("labels.csv", "label", "name"),
        "labels.csv",
    ),
    Case(
        "list.empty", small.table, "classify", written("labels.csv", "path,label\n"), "labels.csv"
    ),
    Case(
        "list.encoding",
        small.table,
        "classify",
        written("labels.csv", b"path\n\xff"),
        "labels.csv",
        "line 2",
    ),
    Case(
        "list.not_a_file",
        small.table,
        "classify",
        both(removed("labels.csv"), lambda root: os.mkfifo(root / "labels.csv")),
        "labels.csv",
        flags=(("layout", "csv"),),
    ),
    Case(
        "list.unreadable",
        small.table,
        "classify",
        written("labels.csv", 'path,label\n"x,a\n'),
        "labels.csv",
        "line 2",
    ),
]
VIDEOS = [
    Case(
        "class.is_video",
        small.videos,
        "video",
        lambda root: [small.picture(root / f"val/c/{n:02}.png", 200 + n) for n in range(16)],
        "val",
        more=("class.only_in_val",),
    ),
    Case(
        "video.part_empty",
        small.parts,
        "video",
        replaced("labels.csv", "0,0.64", "9,9.5"),
        "train/a/0",
    ),
    Case(
        "video.shorter_than_clip",
        small.videos,
        "video",
        lambda root: small.picture(root / "val/a/9/0.png", 9),
        "val/a/9",
    ),
    Case(
        "video.truncated",
        small.videos,
        "video",
        both(video("val/a/9.avi", 60), cut("val/a/9.avi", 0.5)),
        "val/a/9.avi",
    ),
    Case(
        "video.count_mismatch",
        small.videos,
        "video",
        both(video("val/a/9.avi", 16), claiming("val/a/9.avi", 17)),
        "val/a/9.avi",
    ),
    Case("video.unreadable", small.videos, "video", written("val/a/9.avi", "text"), "val/a/9.avi"),
    Case("video.zero_frames", small.videos, "video", video("val/a/9.avi", 0), "val/a/9.avi"),
]
XML_FILE, STUDIO, DRAWN = "annotations.xml", "project.json", "train/0.json"


def brushed(tasks):
    """Make the first object a brush whose code ends too early."""
    result = tasks[0]["annotations"][0]["result"][0]
    names = result["value"]["polygonlabels"]
    result |= {"type": "brushlabels"}
    result["value"] = {"format": "rle", "rle": [7], "brushlabels": names}


def labelled(**values):
    """Set members of the shapes of the first LabelMe file."""

    def change(content):
        content["shapes"] = [shape | values for shape in content["shapes"]]

    return coded(change, DRAWN)


TOOLS = [
    Case(
        "cvat.numbers",
        small.cvat_boxes,
        "detect",
        replaced(XML_FILE, 'xbr="24"', 'xbr="x"'),
        XML_FILE,
        "image '0'",
    ),
    Case(
        "cvat.points",
        small.cvat_polygons,
        "instance",
        replaced(XML_FILE, "24,8;", "24;"),
        XML_FILE,
        "image '0'",
    ),
    Case(
        "cvat.rotation",
        small.cvat_boxes,
        "detect",
        replaced(XML_FILE, "xtl", 'rotation="30" xtl'),
        XML_FILE,
    ),
    Case(
        "cvat.video",
        small.cvat_boxes,
        "detect",
        replaced(XML_FILE, "</meta>", '</meta><track id="0"></track>'),
        XML_FILE,
    ),
    Case(
        "data.note",
        small.cvat_boxes,
        "detect",
        replaced(XML_FILE, "</image>", '<points label="a" points="1,1"></points></image>'),
    ),
    Case(
        "labelme.mask",
        small.labelme,
        "instance",
        replaced(DRAWN, '"mask": "', '"mask": "!'),
        DRAWN,
        "shapes[1]",
    ),
    Case(
        "labelme.oriented",
        small.labelme,
        "detect",
        labelled(shape_type="oriented_rectangle"),
        DRAWN,
    ),
    Case(
        "labelme.shape_type",
        small.labelme,
        "detect",
        labelled(shape_type="cuboid"),
        DRAWN,
        "shapes[0]",
    ),
    Case(
        "labelme.shapes",
        small.labelme,
        "detect",
        coded(lambda c: c | {"shapes": 3}, DRAWN),
        DRAWN,
        more=("data.note",),
    ),
    Case(
        "labelstudio.brush",
        small.studio_polygons,
        "instance",
        coded(brushed, STUDIO),
        STUDIO,
        "task 0, result 0",
    ),
    Case(
        "labelstudio.rotation",
        small.studio_boxes,
        "detect",
        replaced(STUDIO, '"rotation": 0', '"rotation": 9'),
        STUDIO,
    ),
    Case(
        "labelstudio.several",
        small.studio_boxes,
        "detect",
        coded(lambda c: c[0]["annotations"].append(c[0]["annotations"][0]), STUDIO),
        STUDIO,
    ),
    Case(
        "labelstudio.tasks",
        small.studio_boxes,
        "detect",
        coded(lambda c: c[0].pop("annotations") and None, STUDIO),
        STUDIO,
    ),
    Case(
        "yolo.oriented",
        small.yolo,
        "detect",
        written(LABELS, "1 1 4 1 4 4 1 4 a 0\n1 0.3 0.3 0.2 0.2\n"),
        LABELS,
        "line 1",
    ),
]
SHARD = "train-00000-of-00001.parquet"


def rewritten(make):
    """Write a file again, from the content of its images."""

    def apply(root):
        (root / SHARD).write_bytes(make([*small.contents(root, (0, 1, 4))]))

    return apply


BOXED = [written_parquet.one(8, 8, 20, 16)] * 2
PARQUET = [
    Case(
        "parquet.column",
        small.parquet_boxes,
        "detect",
        rewritten(written_parquet.parquet),
        SHARD,
    ),
    Case(
        "parquet.file",
        small.parquet_boxes,
        "detect",
        lambda root: (root / SHARD).write_bytes((root / SHARD).read_bytes()[:-9]),
        SHARD,
    ),
    Case(
        "parquet.label",
        small.parquet,
        "classify",
        rewritten(lambda images: written_parquet.labelled(images, [0, 2, 1], "ab")),
        SHARD,
        "row 2",
    ),
    Case(
        "parquet.null",
        small.parquet_boxes,
        "detect",
        rewritten(lambda images: written_parquet.boxed([images[0], None], BOXED, "ab")),
        SHARD,
        "row 2",
    ),
    Case(
        "parquet.path",
        small.parquet,
        "classify",
        rewritten(lambda i: written_parquet.labelled([i[0], "1.png", i[2]], [0, 1, 1], "ab")),
        SHARD,
        "row 2",
    ),
]
CASES = [*OBJECTS, *VOC, *YOLO, *MASKS, *CLASSES, *VIDEOS, *TOOLS, *PARQUET]
