"""Datasets in another format: what is kept, what is lost and said, and what others read."""

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco
from pycocotools.coco import COCO

from cvkit.data.boxes import read_boxes
from cvkit.data.classified import read_collection
from cvkit.data.files import walk_images, walk_videos
from cvkit.data.formats.recognise import detect_format
from cvkit.data.labelled import read_pairs
from cvkit.data.masks import MaskReader
from cvkit.data.synthetic.samples import WRITERS
from cvkit.format_table import FORMATS, TRUTH_OF
from cvkit.ops.rings import joined_rings
from cvkit.ops.rle import decode

SIZE_HW = (40, 48)
COUNTS = {"train": 4, "val": 2}
WRITTEN = {
    task: [name for name, row in FORMATS[truth].items() if row.writer]
    for task, (truth, _) in TRUTH_OF.items()
}
PAIRS = [
    (task, first, second)
    for task, names in WRITTEN.items()
    for first, second in zip(names, [*names[1:], names[0]], strict=True)
]
"""Each format is written from another one, and then read to write the next."""
EXACT = {"coco", "voc", "labelme", "cvat", "index"}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """A dataset per task, with objects that only some formats can hold."""
    made = {}
    for task, write in WRITERS.items():
        root = made[task] = tmp_path_factory.mktemp(f"convert-{task}")
        write(root, COUNTS, 3, SIZE_HW)
    return made


def contents(task, root, layout="auto"):
    """Return what a dataset contains, by split and name of the file: classes by name."""
    truth, videos = TRUTH_OF[task]
    splits = list(COUNTS)
    if truth == "classes":
        found = read_collection(root, layout, splits, None, walk_videos if videos else walk_images)
        return {
            split: {sample.path.stem: sample.label for sample in samples}
            for split, samples in found.splits.items()
        }
    if truth == "masks":
        return {
            split: {pair.image.stem: MaskReader().read(pair.mask).tolist() for pair in pairs}
            for split, pairs in read_pairs(
                root, detect_format("masks", root, layout), splits
            ).splits.items()
        }
    data = read_boxes(root, layout, splits, masks=truth == "instances")
    assert not data.defects
    return {
        split: {image.path.stem: objects(image.truth, data.classes) for image in images}
        for split, images in data.splits.items()
    }


def objects(truth, classes):
    """Return the objects of an image in an order that does not depend on the format."""
    names = [classes.names[label - 1] for label in truth.labels]
    if truth.masks is not None:
        shapes = [layer.nonzero() for layer in decode(truth.masks)]
        rows = [[axis.tolist() for axis in shape] for shape in shapes]
    else:
        rows = truth.corner_and_size().tolist()
    return sorted(zip(names, rows, strict=True))


def apart(root):
    """Take overlapping objects out of COCO files, which an index map cannot hold."""
    for path in (root / "annotations").iterdir():
        content = json.loads(path.read_text())
        kept, taken = [], {}
        for row in content["annotations"]:
            mask = coco.decode(row["segmentation"] | {}) if "segmentation" in row else None
            before = taken.get(row["image_id"])
            if mask is not None and before is not None and (before & mask).any():
                continue
            taken[row["image_id"]] = mask if before is None else before | mask
            kept.append(row)
        path.write_text(json.dumps(content | {"annotations": kept}))


def convert(cvkit, task, source, to, out, *more):
    flags = ("--task", task, "--to", to, "--out", out, "--quiet", *more)
    return cvkit("data", "convert", source, *flags)


@pytest.mark.parametrize(("task", "first", "second"), PAIRS)
def test_labels_stay_the_same_from_format_to_format(cvkit, sources, tmp_path, task, first, second):
    source = tmp_path / "source"
    shutil.copytree(sources[task], source)
    if TRUTH_OF[task][0] == "instances":
        apart(source)
    wanted = contents(task, source)
    for step, to in enumerate((first, second)):
        done = convert(cvkit, task, source, to, tmp_path / str(step))
        assert done.code == 0, done.err
        source = tmp_path / str(step)
        found = contents(task, source, to)
        if TRUTH_OF[task][0] != "boxes":
            assert found == wanted
            continue
        assert found.keys() == wanted.keys()
        for split, images in wanted.items():
            assert found[split].keys() == images.keys()
            for name, rows in images.items():
                labels, boxes = zip(*rows, strict=True)
                labels_now, boxes_now = zip(*found[split][name], strict=True)
                assert labels_now == labels
                assert np.allclose(boxes_now, boxes, rtol=0, atol=1e-9 if to in EXACT else 1e-4)


@pytest.mark.parametrize("task", TRUTH_OF)
def test_the_dataset_stays_as_it_was_and_files_are_the_same(cvkit, sources, tmp_path, task):
    before = {path: path.read_bytes() for path in sources[task].rglob("*") if path.is_file()}
    assert (
        convert(cvkit, task, sources[task], WRITTEN[task][0], tmp_path / "out", "--link").code == 0
    )
    after = {path: path.read_bytes() for path in sources[task].rglob("*") if path.is_file()}
    assert after == before
    linked = {path.stat().st_ino for path in (tmp_path / "out").rglob("*") if path.is_file()}
    shared = [path for path in before if path.stat().st_ino in linked]
    assert len(shared) == sum(COUNTS.values())


def boxes_with_everything(root):
    """Write a COCO file with a crowd, an area, and a box that leaves its image."""
    (root / "images").mkdir(parents=True)
    Image.new("RGB", (48, 40)).save(root / "images" / "a.v1.png")
    rows = [
        {"bbox": [1.25, 2.5, 10.5, 12], "area": 99.5, "iscrowd": 0, "category_id": 7},
        {"bbox": [30, 20, 30.5, 12], "area": 366.0, "iscrowd": 0, "category_id": 3},
        {"bbox": [0, 0, 20, 20], "area": 400, "iscrowd": 1, "category_id": 3},
    ]
    content = {
        "images": [{"id": 5, "file_name": "a.v1.png", "width": 48, "height": 40}],
        "categories": [{"id": 7, "name": "ä b"}, {"id": 3, "name": "c"}],
        "annotations": [row | {"id": n, "image_id": 5} for n, row in enumerate(rows)],
    }
    (root / "annotations.json").write_text(json.dumps(content))
    return root


LOST = {
    "coco": [],
    "labelme": ["crowd regions, which are left out: 1", "annotated areas: 1"],
    "cvat": ["crowd regions, which are left out: 1", "annotated areas: 1"],
    "voc": ["crowd regions, which are left out: 1", "annotated areas: 1"],
    "yolo": [
        "crowd regions, which are left out: 1",
        "annotated areas: 1",
        "boxes beyond their image, which end at its border: 1",
    ],
}


@pytest.mark.parametrize("to", WRITTEN["detect"])
def test_what_a_format_cannot_hold_is_listed_before_it_is_written(cvkit, tmp_path, to):
    source = boxes_with_everything(tmp_path / "source")
    refused = convert(cvkit, "detect", source, to, tmp_path / "out", "--lossless")
    if LOST[to]:
        assert refused.code == 2 and all(sentence in refused.err for sentence in LOST[to])
        assert not (tmp_path / "out").exists()
    done = convert(cvkit, "detect", source, to, tmp_path / "again", "--json")
    assert done.json["lost"] == LOST[to]
    assert done.json["splits"] == {"all": 1}


def test_objects_become_pixels_the_smaller_one_on_top(cvkit, tmp_path):
    root = tmp_path / "source"
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    Image.new("RGB", (12, 10)).save(root / "images" / "a.png")
    squares = [([0, 0, 6, 6], 1, 0), ([2, 2, 3, 3], 2, 0)]
    squares += [([8, 0, 4, 4], 1, 1), ([7, 7, 2, 2], 1, 0)]
    rows = []
    for number, ((x, y, w, h), label, crowd) in enumerate(squares, 1):
        layer = np.zeros((10, 12), np.uint8, order="F")
        layer[y : y + h, x : x + w] = 1
        code = coco.encode(layer)
        rows.append(
            {
                "id": number,
                "image_id": 1,
                "category_id": label,
                "bbox": [x, y, w, h],
                "area": w * h,
                "iscrowd": crowd,
                "segmentation": code | {"counts": code["counts"].decode()},
            }
        )
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 12, "height": 10}],
        "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
        "annotations": rows,
    }
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    done = convert(cvkit, "instance", root, "index", tmp_path / "index", "--json")
    assert done.json["lost"] == [
        "crowd regions, which are left out: 1",
        "pixels of masks under smaller objects: 9",
    ]
    assert convert(cvkit, "segment", root, "pairs", tmp_path / "out").code == 0
    wanted = np.zeros((10, 12), int)
    wanted[:6, :6], wanted[2:5, 2:5], wanted[7:9, 7:9] = 1, 2, 3
    assert contents_of_mask(tmp_path / "index" / "masks" / "val" / "a.png") == wanted.tolist()
    wanted[:6, :6], wanted[2:5, 2:5], wanted[:4, 8:], wanted[7:9, 7:9] = 1, 2, 255, 1
    assert contents_of_mask(tmp_path / "out" / "masks" / "val" / "a.png") == wanted.tolist()
    lines = (tmp_path / "out" / "classes.txt").read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["background", "one", "two"]


def contents_of_mask(path):
    return np.asarray(Image.open(path)).tolist()


def test_equal_names_in_several_folders_are_told_apart(cvkit, tmp_path):
    for folder, color in (("train/a", 1), ("train/b", 2), ("val/a", 3), ("val/B", 4)):
        (tmp_path / "source" / folder).mkdir(parents=True)
        Image.new("RGB", (9, 9), (color, 0, 0)).save(tmp_path / "source" / folder / "x.png")
    assert convert(cvkit, "classify", tmp_path / "source", "csv", tmp_path / "out").code == 0
    colors = {("train", "a"): 1, ("train", "b"): 2, ("val", "a"): 3, ("val", "B"): 4}
    rows = (tmp_path / "out" / "labels.csv").read_text().splitlines()[1:]
    assert len({row.split(",")[0].casefold() for row in rows}) == 4
    for row in rows:
        path, label, split = row.split(",")
        color = np.asarray(Image.open(tmp_path / "out" / path))[0, 0, 0]
        assert color == colors[split, label]


@pytest.mark.parametrize("task", ["classify", "segment", "detect", "instance"])
def test_files_with_a_number_sign_keep_their_names(cvkit, sources, tmp_path, task):
    source, to = tmp_path / "source", WRITTEN[task][0]
    assert convert(cvkit, task, sources[task], to, source).code == 0
    names = {path: path.with_name(f"{path.stem}#3{path.suffix}") for path in source.rglob("*.png")}
    for path, new in names.items():
        path.rename(new)
    for path in source.rglob("*.*"):
        if path.suffix in (".json", ".csv", ".txt"):
            path.write_text(re.sub(r"(\.png)", r"#3\1", path.read_text()))
    for path in source.rglob("ImageSets/*/*.txt"):
        path.write_text("".join(f"{line}#3\n" for line in path.read_text().splitlines()))
    done = convert(cvkit, task, source, to, tmp_path / "out")
    assert done.code == 0, done.err
    stems = {path.name for path in (tmp_path / "out").rglob("*.png")}
    assert stems == {path.name for path in names.values()}


@pytest.mark.parametrize(("task", "to"), [("detect", "voc"), ("instance", "labelme")])
def test_a_class_that_a_format_cannot_hold_is_refused_before_images_are_read(
    cvkit, sources, tmp_path, task, to
):
    source = tmp_path / "source"
    shutil.copytree(sources[task], source)
    for path in (source / "annotations").iterdir():
        content = json.loads(path.read_text())
        content["categories"][0]["name"] = "  pad "
        path.write_text(json.dumps(content))
    for path in source.rglob("*.png"):
        path.write_bytes(b"no image")
    refused = convert(cvkit, task, source, to, tmp_path / "out", "--json")
    assert (refused.code, refused.json["error"]["code"]) == (2, "classes.syntax"), refused.err
    assert not (tmp_path / "out").exists()


def test_nothing_is_left_of_a_conversion_that_fails(cvkit, sources, tmp_path, monkeypatch):
    from cvkit.data.writing import coco as writer

    def fail(root, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writer, "write", fail)
    failed = convert(cvkit, "detect", sources["detect"], "coco", tmp_path / "out")
    assert failed.code == 6
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("task", "more", "code"),
    [
        ("classify", ("--to", "coco"), "to.unknown"),
        ("segment", ("--to", "yolo"), "to.unknown"),
        ("detect", ("--to", "coco", "--mask-map", "255=1"), "mask_map.idle"),
        ("detect", ("--to", "coco", "--ignore-index", "0"), "mask_map.idle"),
        ("detect", ("--to", "coco", "--format", "pairs"), "format.unknown"),
        ("detect", ("--to", "coco", "--split", "nosuch"), "split.missing"),
    ],
)
def test_what_cannot_be_converted_is_refused(cvkit, sources, tmp_path, task, more, code):
    flags = ("--task", task, *more, "--out", tmp_path / "out", "--json", "--quiet")
    refused = cvkit("data", "convert", sources[task], *flags)
    assert refused.code == 2 and refused.json["error"]["code"] == code
    assert not (tmp_path / "out").exists()


def test_a_dataset_is_not_written_into_itself(cvkit, sources):
    refused = convert(cvkit, "detect", sources["detect"], "coco", sources["detect"] / "new")
    assert refused.code == 2 and "lies in the dataset" in refused.err
    assert not (sources["detect"] / "new").exists()


def test_a_class_that_cannot_be_a_folder_is_refused(cvkit, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    Image.new("RGB", (9, 9)).save(source / "x.png")
    (source / "labels.csv").write_text("path,label\nx.png,a/b\n")
    refused = convert(cvkit, "classify", source, "folders", tmp_path / "out")
    assert refused.code == 2 and "'a/b' cannot be the name of a folder" in refused.err
    assert not (tmp_path / "out").exists() or not any((tmp_path / "out").rglob("*.png"))


def test_pycocotools_and_torchvision_read_what_is_written(cvkit, sources, tmp_path):
    from torchvision.datasets import CocoDetection, ImageFolder

    assert convert(cvkit, "instance", sources["instance"], "coco", tmp_path / "coco").code == 0
    path = tmp_path / "coco" / "annotations" / "instances_val.json"
    truth = COCO(str(path))
    rows = truth.loadAnns(truth.getAnnIds())
    assert rows and all(truth.annToMask(row).sum() == row["area"] for row in rows)
    data = CocoDetection(str(tmp_path / "coco" / "val"), str(path))
    assert len(data) == COUNTS["val"] and data[0][0].size == SIZE_HW[::-1]
    done = convert(cvkit, "classify", sources["classify"], "folders", tmp_path / "folders")
    assert done.code == 0
    assert len(ImageFolder(tmp_path / "folders" / "train")) == COUNTS["train"]


def test_torchvision_reads_the_voc_folders_that_are_written(cvkit, sources, tmp_path):
    from torchvision.datasets import VOCDetection, VOCSegmentation

    place = tmp_path / "VOCdevkit" / "VOC2012"  # where it looks for its own download
    for task in ("detect", "segment"):
        assert convert(cvkit, task, sources[task], "voc", tmp_path / task).code == 0
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(tmp_path / task, place)
        for path in (place / "JPEGImages").iterdir():
            path.rename(path.with_suffix(".jpg"))  # the only suffix that it looks for
        wanted = contents(task, tmp_path / task, "voc")["val"]
        kind = VOCDetection if task == "detect" else VOCSegmentation
        data = kind(str(tmp_path), image_set="val")
        assert len(data) == len(wanted) == COUNTS["val"]
        for (image, target), name in zip(data, data.images, strict=True):
            assert image.size == SIZE_HW[::-1]
            mine = wanted[name.rsplit("/", 1)[1].removesuffix(".jpg")]
            if task == "segment":
                assert np.asarray(target).tolist() == mine
                continue
            rows = target["annotation"]["object"]
            assert sorted(row["name"] for row in rows) == [label for label, _ in mine]
            for row in rows:
                x1, y1, x2, y2 = (float(row["bndbox"][n]) for n in ("xmin", "ymin", "xmax", "ymax"))
                box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]
                assert any(np.allclose(box, other) for _, other in mine)


def test_outlines_give_the_mask_again():
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5, 0.9) * 40:
        high, wide = rng.integers(1, 20, 2)
        mask = rng.random((high, wide)) < share
        if not mask.any():
            continue
        shares = (joined_rings(mask) + (3, 2)) / (30, 26)
        polygon = (shares * (30, 26)).ravel().tolist()
        found = coco.decode(coco.merge(coco.frPyObjects([polygon], 26, 30)))
        wanted = np.zeros((26, 30), bool)
        wanted[2 : 2 + high, 3 : 3 + wide] = mask
        assert (found == wanted).all()
