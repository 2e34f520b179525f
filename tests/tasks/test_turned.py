"""Images that EXIF turns, whose annotations are of the pixels as stored, scored from files."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from cvkit.ops.rle import encode

TURNS = (1, 5, 6, 7, 8)
BOX = (30, 5, 50, 15)
"""The object in stored pixels."""


def coded(mask):
    code = encode(mask[None]).codes[0].decode()
    return {"size": list(mask.shape), "counts": code}


@pytest.fixture
def turned(tmp_path):
    """Return a dataset, and perfect results in the pixels that people see."""
    root = tmp_path / "data"
    for name in ("images/val", "annotations", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    (root / "JPEGImages").symlink_to(root / "images" / "val")
    x1, y1, x2, y2 = BOX
    stored = np.zeros((40, 60), bool)
    stored[y1:y2, x1:x2] = True
    stored[y1, x1] = False  # so that the mask is not symmetric
    rows, images, annotations = [], [], []
    for id_ in TURNS:
        exif = Image.Exif()
        exif[0x0112] = id_
        path = root / "images" / "val" / f"i{id_}.png"
        Image.fromarray(np.repeat(stored[..., None] * np.uint8(255), 3, 2)).save(path, exif=exif)
        shown = np.asarray(ImageOps.exif_transpose(Image.open(path)))[..., 0] > 0
        y, x = np.nonzero(shown)
        box = [int(v) for v in (x.min(), y.min(), np.ptp(x) + 1, np.ptp(y) + 1)]
        row = {"image_id": id_, "category_id": 1}
        images.append({"id": id_, "file_name": path.name, "width": 60, "height": 40})
        own = {"id": id_, "bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": coded(stored)}
        annotations.append(row | own)
        rows.append(row | {"bbox": box, "segmentation": coded(shown), "score": 0.9})
        bounds = f"<xmin>{x1 + 1}</xmin><ymin>{y1 + 1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
        (root / "Annotations" / f"i{id_}.xml").write_text(
            "<annotation><size><width>60</width><height>40</height></size><object><name>cat</name>"
            f"<bndbox>{bounds}</bndbox></object></annotation>"
        )
    categories = [{"id": 1, "name": "cat"}]
    content = {"images": images, "annotations": annotations, "categories": categories}
    (root / "annotations" / "instances_val.json").write_text(json.dumps(content))
    (root / "ImageSets" / "Main" / "val.txt").write_text("".join(f"i{n}\n" for n in TURNS))
    (root / "classes.txt").write_text("cat\n")
    results = tmp_path / "results.json"
    results.write_text(json.dumps(rows))
    return root, results


def lines_of(results, out):
    """Write results as predict does."""
    out.mkdir()
    rows = json.loads(results.read_text())
    (out / "predict.json").write_text(json.dumps({"model": "x", "classes": [{"name": "cat"}]}))
    lines = []
    for row in rows:
        x, y, w, h = row["bbox"]
        height, width = row["segmentation"]["size"]
        line = {"path": f"i{row['image_id']}.png", "width": width, "height": height}
        line |= {"labels": ["cat"], "scores": [0.9], "boxes": [[x, y, x + w, y + h]]}
        lines.append(json.dumps(line | {"masks": [row["segmentation"]]}))
    (out / "predictions.jsonl").write_text("\n".join(lines) + "\n")
    return out


def score(cvkit, task, predictions, truth, *more):
    flags = ["--predictions", predictions, "--truth", truth, "--no-files", "--json", *more]
    return cvkit(task, "eval", *flags)


PLACES = {
    "file": ("annotations/instances_val.json",),
    "coco": ("", "--format", "coco"),
    "voc": ("", "--format", "voc"),
}
CASES = [(task, place) for task in ("detect", "instance") for place in PLACES]
CASES.remove(("instance", "voc"))  # has no masks


@pytest.mark.parametrize("task, place", CASES)
@pytest.mark.parametrize("folder", [True, False])
def test_perfect_detections_are_perfect(cvkit, turned, tmp_path, task, place, folder):
    root, results = turned
    truth, *flags = PLACES[place]
    if place == "voc":  # where images have no numbers of their own
        rows = json.loads(results.read_text())
        rows = [row | {"file_name": f"i{row['image_id']}.png"} for row in rows]
        results.write_text(json.dumps(rows))
    place = lines_of(results, tmp_path / "out") if folder else results
    found = score(cvkit, task, place, root / truth, *flags)
    assert found.code == 0, found.err
    metrics = found.json["metrics"]
    for each in metrics.values() if task == "instance" else [metrics]:
        assert each["AP"] == pytest.approx(1)
    told = f"{len(TURNS) - 1} images are rotated by EXIF"
    assert told in found.err and (f"warning: {told}" in found.err) is not folder


@pytest.mark.parametrize("place", PLACES)
def test_perfect_voc_files_are_perfect(cvkit, turned, tmp_path, place):
    root, results = turned
    lines = []
    for row in json.loads(results.read_text()):
        x, y, w, h = row["bbox"]
        lines.append(f"i{row['image_id']} 0.9 {x + 1} {y + 1} {x + w} {y + h}")
    (tmp_path / "voc").mkdir()
    (tmp_path / "voc" / "comp3_det_test_cat.txt").write_text("\n".join(lines))
    truth, *flags = PLACES[place]
    found = score(cvkit, "detect", tmp_path / "voc", root / truth, *flags, "--protocol", "voc12")
    assert found.code == 0, found.err
    assert found.json["metrics"]["voc12_map"] == pytest.approx(1)


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_without_the_images_it_is_refused_or_they_are_named(cvkit, turned, tmp_path, task):
    root, results = turned
    alone = tmp_path / "elsewhere" / "alone.json"
    alone.parent.mkdir()
    alone.write_text((root / "annotations" / "instances_val.json").read_text())
    out = lines_of(results, tmp_path / "out")
    found = score(cvkit, task, out, alone)
    assert found.code == 2 and found.json["error"]["code"] == "image.size_mismatch"
    assert "--images DIR" in found.json["error"]["hint"]
    assert "i5.png was predicted at 40x60" in found.json["error"]["message"]
    for place in (out, results):
        found = score(cvkit, task, place, alone, "--images", root / "images" / "val")
        assert found.code == 0, found.err
        best = found.json["metrics"]["mask"] if task == "instance" else found.json["metrics"]
        assert best["AP"] == pytest.approx(1)


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_another_size_than_the_images_is_refused(cvkit, turned, tmp_path, task):
    root, results = turned
    truth = root / "annotations" / "instances_val.json"
    content = json.loads(truth.read_text())
    content["images"][0]["width"] = 61
    for row in content["annotations"]:
        row["segmentation"] = [[30, 5, 50, 5, 50, 15, 30, 15]]
    truth.write_text(json.dumps(content))
    out = lines_of(results, tmp_path / "out")
    named = ("--format", "coco"), ("--images", root / "images" / "val")
    for predictions, place, flags in (
        *((predictions, place, flags) for predictions in (out, results)
          for place, flags in zip((root, truth), named, strict=True)),
        (out, truth, ()),
    ):  # fmt: skip
        found = score(cvkit, task, predictions, place, *flags)
        assert found.code == 2
        assert found.json["error"]["code"] == "image.size_mismatch"
        assert "61x40" in found.json["error"]["message"]


@pytest.mark.parametrize("task", ["detect", "instance"])
def test_sizes_that_a_file_does_not_say_are_those_of_its_images(cvkit, turned, tmp_path, task):
    """Its annotations are then of the upright pixels."""
    root, results = turned
    truth = root / "annotations" / "instances_val.json"
    content = json.loads(truth.read_text())
    for image in content["images"]:
        del image["width"], image["height"]
    rows = {row["image_id"]: row for row in json.loads(results.read_text())}
    for row in content["annotations"]:
        row |= {name: rows[row["image_id"]][name] for name in ("bbox", "segmentation")}
    truth.write_text(json.dumps(content))
    for place in (results, lines_of(results, tmp_path / "out")):
        found = score(cvkit, task, place, truth)
        assert found.code == 0, found.err
        best = found.json["metrics"]["mask"] if task == "instance" else found.json["metrics"]
        assert best["AP"] == pytest.approx(1)
        assert "EXIF" not in found.err
