"""Whatever a file holds, its reader reads it or says what is wrong with it.

Each reader gets a small valid file, and the same file spoilt in many ways. Nothing but the
errors of cvkit may come out, in short lines; what is read without a defect is usable.
"""

import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hostile import documents, spoilt
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from cvkit.config import assemble
from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage, make_truth
from cvkit.data.boxes import read_boxes
from cvkit.data.classes import make_classes, read_classes
from cvkit.data.classified import read_collection
from cvkit.data.labelled import read_pairs
from cvkit.data.proposals import read_proposals
from cvkit.data.transforms.pipelines import load_pipeline
from cvkit.errors import CvkitError
from cvkit.ops.rle import encode, mask_areas
from cvkit.options.classify import ClassifyEval
from cvkit.options.segment import SegmentEval, SegmentTrain
from cvkit.scoring import classify as classify_files
from cvkit.scoring import segment as segment_files
from cvkit.scoring.class_tables import read_scores
from cvkit.scoring.results import read_results
from cvkit.tasks.detect.image_ids import ImageIds

SIZE = (4, 6)
MASK = encode(np.eye(*SIZE, dtype=bool)[None])
RLE = {"size": list(SIZE), "counts": MASK.codes[0].decode()}
COCO = {
    "images": [
        {"id": 1, "file_name": "a.png", "width": 6, "height": 4},
        {"id": 2, "file_name": "b.png", "width": 6, "height": 4},
    ],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "iscrowd": 0, "bbox": [1, 1, 3, 2], "area": 5}
        | {"segmentation": [[1, 1, 4, 1, 4, 3]]},
        {"id": 2, "image_id": 2, "category_id": 7, "segmentation": RLE},
        {"id": 3, "image_id": 2, "category_id": 7, "iscrowd": 1}
        | {"segmentation": {"size": [4, 6], "counts": [3, 5, 16]}},
    ],
    "categories": [{"id": 3, "name": "cat"}, {"id": 7, "name": "dog"}],
}
RESULTS = [
    {"image_id": 1, "category_id": 3, "bbox": [1, 1, 2, 2], "score": 0.5, "segmentation": RLE},
    {"file_name": "b.png", "category_name": "dog", "bbox": [0.5, 0, 2, 2], "score": 1}
    | {"segmentation": {"size": [4, 6], "counts": [3, 5, 16]}},
]
LINE = {"path": "a.png", "width": 6, "height": 4, "labels": ["cat"], "category_ids": [3]}
LINE |= {"scores": [0.5], "boxes": [[1, 1, 3, 3]], "masks": [RLE]}
ABOUT = {"model": "x", "classes": [{"name": "cat", "id": 3}, {"name": "dog", "id": 7}]}
ABOUT |= {"labels": {"mask_map": "9=1", "ignore_index": 255, "val_fraction": None}}
XML = (
    '<?xml version="1.0" encoding="utf-8"?><annotation><size><width>6</width><height>4</height>'
    "</size><object><name>cat</name><difficult>0</difficult><bndbox><xmin>1</xmin><ymin>1</ymin>"
    "<xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>"
)
YOLO = {"path": ".", "train": ["images/train"], "names": {"0": "cat", "1": "dog"}, "nc": 2}
PIPELINE = {
    "__version__": "2.0.8",
    "transform": {"__class_fullname__": "HorizontalFlip", "p": 0.5},
}


def truths(masks):
    boxes = np.array([[1, 1, 3, 3]], float)
    own = MASK if masks else None
    paths = [Path(name) for name in ("a.png", "b.png")]
    return [
        AnnotatedImage(path.name, path, number, (6, 4), make_truth(boxes, [1], masks=own))
        for number, path in enumerate(paths, 1)
    ]


def classes():
    found = make_classes(["cat", "dog"])
    return type(found)(found.names, (3, 7), found.colors)


def boxes(layout, masks=False):
    def read(root):
        found = read_boxes(root, layout, ["train"], masks=masks)
        for image in found.splits["train"] if not found.defects else ():
            assert np.isfinite(image.truth.boxes).all() and np.isfinite(image.truth.areas).all()
            assert (image.truth.labels <= len(found.classes)).all()
            assert image.path.resolve().is_relative_to(root.resolve())
            if masks:
                assert (mask_areas(image.truth.masks) <= np.prod(image.truth.masks.size_hw)).all()
        return found.defects

    return read


def results(name, masks=False):
    def read(root):
        found = read_results(root / name, truths(masks), classes(), masks)
        for each in found.images:
            if hasattr(each, "scores"):
                assert np.isfinite(each.boxes).all() and np.isfinite(each.scores).all()

    return read


def scores(name):
    def read(root):
        for row in read_scores(root / name, ["cat", "dog"]).scores.values():
            assert not np.isinf(row).any()

    return read


def config(root):
    values = {"config": root / "c.yaml"}
    assemble(SegmentTrain, values, {})


def segment(root):
    options = SegmentEval(predictions=root / "out", truth=root / "truth")
    segment_files.score(options, Reporter(quiet=True))


def masks(predictions, truth):
    def read(root):
        options = SegmentEval(predictions=root / predictions, truth=root / truth)
        scored = segment_files.score(options, Reporter(quiet=True))
        assert scored.metric.matrix.sum() == 4 * 6 * len(scored.outcomes)

    return read


def classify(root):
    options = ClassifyEval(predictions=root / "scores.csv", truth=root / "truth.csv")
    classify_files.score(options, Reporter(quiet=True))


def lines(*documents):
    return "".join(f"{json.dumps(each)}\n" for each in documents).encode()


def npz():
    stream = io.BytesIO()
    arrays = {"keys": np.array(["a.png"]), "boxes": np.array([[0, 0, 2, 2]], np.float32)}
    np.savez_compressed(stream, **arrays, offsets=np.array([0, 1]), about=np.array("{}"))
    return stream.getvalue()


MASKS = {"out/predictions.jsonl": lines({"path": "a.png", "mask": "masks/a.png", **LINE})}
MASKS |= {"out/predict.json": json.dumps(ABOUT).encode(), "truth/classes.txt": b"cat\ndog\n"}
VOC = {f"Annotations/{name}.xml": XML.encode() for name in "ab"}
VOC |= {"ImageSets/Main/train.txt": b"a\n", "classes.txt": b"cat"}
TABLES = {"scores.csv": b"path,cat,dog\na.png,0.4,0.6\n", "truth.csv": b"path,label\na.png,cat\n"}
FOLDER = {"predictions.jsonl": lines(LINE), "predict.json": json.dumps(ABOUT).encode()}
FOLDER |= {"failures.jsonl": lines({"path": "b.png", "code": "x", "reason": "y"})}

READERS = {
    "COCO": ("train.json", COCO, {}, boxes("coco")),
    "COCO with masks": ("train.json", COCO, {}, boxes("coco", True)),
    "COCO results": ("r.json", RESULTS, {}, results("r.json")),
    "COCO results with masks": ("r.json", RESULTS, {}, results("r.json", True)),
    "lines of predictions": ("predictions.jsonl", LINE, FOLDER, results("")),
    "lines of predictions with masks": ("predictions.jsonl", LINE, FOLDER, results("", True)),
    "lines of failures": ("failures.jsonl", {"path": "b.png"}, FOLDER, results("")),
    "about predictions": ("predict.json", ABOUT, FOLDER, results("")),
    "lines of predicted masks": ("out/predictions.jsonl", LINE | {"mask": "m.png"}, MASKS, segment),
    "about predicted masks": ("out/predict.json", ABOUT, MASKS, segment),
    "image ids": ("i.json", COCO, {}, lambda root: ImageIds(root / "i.json")),
    "proposals": ("p.json", {"a.png": [[0, 0, 2, 2]]}, {}, lambda r: read_proposals(r / "p.json")),
    "proposals in a list": (
        *("p.json", [{"path": "a.png", "boxes": [[0, 0, 2, 2]]}], {}),
        lambda root: read_proposals(root / "p.json"),
    ),
    "proposals in arrays": ("p.npz", npz(), {}, lambda root: read_proposals(root / "p.npz")),
    "VOC annotation": ("Annotations/a.xml", XML.encode(), VOC, boxes("voc")),
    "VOC list": ("ImageSets/Main/train.txt", b"a 1\nb -1\n", VOC, boxes("voc")),
    "VOC list of masks": (
        *("ImageSets/Segmentation/train.txt", b"a\nb\n", {}),
        lambda root: read_pairs(root, "voc", ["train"]).splits["train"],
    ),
    "VOC results": ("det_cat.txt", b"a 0.5 1 1 3 3\nb.png 1 2 2 3 3\n", {}, results("")),
    "YOLO data": ("data.yaml", YOLO, {}, boxes("yolo")),
    "YOLO labels": (
        *("labels/train/a.txt", b"0 0.5 0.5 0.2 0.3\n1 0.1 0.1 0.2 0.1 0.2 0.3\n"),
        *({"data.yaml": json.dumps(YOLO).replace('"0"', "0").replace('"1"', "1").encode()},),
        boxes("yolo"),
    ),
    "YOLO list": (
        *("train.txt", b"images/train/a.png\n./images/train/b.png\n"),
        *({"data.yaml": b"train: train.txt\nnames: [cat]\n"}, boxes("yolo")),
    ),
    "classes": (
        "classes.txt",
        b"cat\nroad 1 2 3\n4,5,6 sky\n",
        {},
        lambda r: read_classes(r / "classes.txt"),
    ),
    "label map": (
        "labelmap.txt",
        b"# a\ncat:1,2,3::\n",
        {},
        lambda r: read_classes(r / "labelmap.txt"),
    ),
    "table of images": (
        *("labels.csv", b"path,label,split\na.png,cat,train\nb.png,dog,train\n", {}),
        lambda root: read_collection(root, "auto", ["train"], 0.5),
    ),
    "table of parts": (
        *("labels.csv", b"path,label,start,end\na.png,cat,0,1.5\nb.png,dog,,2\n", {}),
        lambda root: read_collection(root, "auto", ["train"], None),
    ),
    "table of scores": ("scores.csv", TABLES["scores.csv"], TABLES, classify),
    "table of true labels": ("truth.csv", TABLES["truth.csv"], TABLES, classify),
    "table of ranks": (
        *("s.csv", b"path,label,score,label_2,score_2\na.png,cat,0.7,dog,0.3\n", {}),
        scores("s.csv"),
    ),
    "table of masks": (
        *("p.csv", b"ImageId,ClassId,EncodedPixels\na,dog,3 2 7 1\nb.png,1,\nb,cat,1 4\n"),
        *({"truth/classes.txt": b"cat\ndog\n"}, masks("p.csv", "truth")),
    ),
    "table of true masks": (
        *("t.csv", b"ImageId,ClassId,EncodedPixels,Height,Width\na,dog,3 2 7 1,4,6\nb,,,4,6\n"),
        *({}, masks("out/masks", "t.csv")),
    ),
    "table of objects": (
        *(
            "instances.csv",
            b"path,instance,class\nimages/train/a.png,1,cat\nimages/train/b.png,1,dog\n",
        ),
        *({}, boxes("index", True)),
    ),
    "configuration": ("c.yaml", {"epochs": 3, "lr": 0.1, "data": "x", "freeze": "a"}, {}, config),
    "pipeline": ("p.yaml", PIPELINE, {}, lambda root: load_pipeline(root / "p.yaml", ())),
    "pipeline in JSON": ("p.json", PIPELINE, {}, lambda root: load_pipeline(root / "p.json", ())),
}
"""File, its valid content (a document, or bytes), what lies beside it, and what reads it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the images that all layouts speak of."""
    root = tmp_path_factory.mktemp("hostile")
    places = (".", "JPEGImages", "images/train", "masks/train", "SegmentationClass")
    for place in (*places, "out", "out/masks", "truth"):
        (root / place).mkdir(parents=True, exist_ok=True)
        for name in ("a", "b"):
            Image.new("L", SIZE[::-1], 1).save(root / place / f"{name}.png")
    Image.new("L", SIZE[::-1], 1).save(root / "out" / "m.png")
    return root


@pytest.fixture
def reader(request, folder):
    """Return what writes a content to the file of a reader, and reads it."""
    name, content, beside, read = READERS[request.param]
    written = {name, *beside}
    for place, text in beside.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(text)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)

    def call(text):
        (folder / name).write_bytes(text)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            found = read(folder)
        found = found if type(found) is list else ()
        return [each for each in found if isinstance(each, CvkitError)]

    call.content = content
    yield call
    for place in written:
        (folder / place).unlink()


every_reader = pytest.mark.parametrize(
    "reader", READERS, indirect=True, ids=lambda name: name.replace(" ", "-")
)


def as_bytes(content):
    if isinstance(content, bytes):
        return content
    # YAML keeps numbers as keys, which JSON does not have.
    return json.dumps(content).replace('"0":', "0:").replace('"1":', "1:").encode()


@every_reader
def test_the_valid_file_is_read(reader):
    assert not reader(as_bytes(reader.content))


@every_reader
@settings(
    max_examples=150,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(data=st.data())
def test_a_spoilt_file_is_read_or_refused_in_words(reader, data):
    content = reader.content
    ways = [spoilt(as_bytes(content))]
    if not isinstance(content, bytes):
        ways = [documents(content), documents(content), *ways]
    try:
        defects = reader(data.draw(st.one_of(ways)))
    except CvkitError as error:
        defects = [error]
    for defect in defects:
        assert defect.exit_code == 2
        assert defect.code and str(defect).strip()
        for line in defect.shown().split("\n"):
            assert len(line) < 2100 and line.encode("ascii", "replace").decode().isprintable()
