"""Files for annotation programs: each of them says the same objects, whatever their shape."""

import csv
import json
import shutil
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.path import Path as Outline
from PIL import Image
from pycocotools import mask as rle
from pycocotools.coco import COCO

from cvkit.annotation.brush import decode_brush, encode_brush
from cvkit.data.boxes import read_boxes
from cvkit.ops.rle import decode, encode
from cvkit.output.annotated import detected
from cvkit.output.annotation_files import WRITERS, Results, write_annotations
from cvkit.output.boxes import write_results
from cvkit.structures import ClassList

CLASSES = ClassList(("cat", 'a "b" & <c>'), (7, 3), ((200, 10, 0), (0, 0, 250)))
NAMES = ("x/é 1", "a&b<c>", "y")
HEIGHT, WIDTH = 12, 17


def masks():
    """A ring; two squares that touch at a corner, beside a single pixel; everything; noise."""
    made = np.zeros((4, HEIGHT, WIDTH), bool)
    made[0, 1:8, 2:9], made[0, 3:6, 4:7] = True, False
    made[1, 0:3, 0:3], made[1, 3:6, 3:6], made[1, 11, 16] = True, True, True
    made[2] = True
    made[3] = np.random.default_rng(1).random((HEIGHT, WIDTH)) < 0.6
    return made


def line(name, shown):
    """A line of `predictions.jsonl` with these masks."""
    codes = encode(shown) if len(shown) else ()
    boxes = [[0.25, 0.5, 10.125, 9.0]] * len(shown)
    labels = [CLASSES.names[n % 2] for n in range(len(shown))]
    return {
        **{"path": f"{name}.png", "name": name, "width": WIDTH, "height": HEIGHT},
        **{"labels": labels, "scores": [0.75 - n / 8 for n in range(len(shown))], "boxes": boxes},
        "category_ids": [CLASSES.ids[n % 2] for n in range(len(shown))],
        "masks": [r | {"counts": r["counts"].decode()} for r in codes.as_rle()] if codes else [],
    }


@pytest.fixture(scope="module", params=[True, False], ids=["masks", "boxes"])
def written(request, tmp_path_factory):
    """The folder of three results, one of them without objects; and whether there are masks."""
    folder = tmp_path_factory.mktemp("results")
    lines = [line(name, masks()[: 4 - 2 * n]) for n, name in enumerate(NAMES)]
    if not request.param:
        lines = [{k: v for k, v in each.items() if k != "masks"} for each in lines]
    (folder / "predictions.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines))
    (folder / "predict.json").write_text('{"model": "0123456789abcdef"}')
    for name in NAMES:
        path = folder / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT)).save(path)
    kinds = ("coco", "yolo", "voc", "labelstudio", "cvat", "labelme", "geojson")
    ids = {f"{name}.png": 50 - n for n, name in enumerate(NAMES)}
    failures = write_results(folder, CLASSES, kinds, ids, masks=request.param)
    assert failures == []
    return folder, lines, request.param


def wanted(name):
    return masks()[: 4 - 2 * NAMES.index(name)]


def check(written, name, found):
    """Compare objects (class, score, and mask or box) with those of the results."""
    _, lines, with_masks = written
    one = lines[NAMES.index(name)]
    assert len(found) == len(one["labels"])
    rows = zip(one["labels"], one["scores"], found, strict=True)
    for place, (label, score, (label_now, score_now, shape)) in enumerate(rows):
        assert (label_now, score_now) == (label, score)
        if with_masks:
            assert np.array_equal(shape, wanted(name)[place]), place
        else:
            assert shape == pytest.approx(one["boxes"][place], abs=1e-5)


def corners(x, y, width, height):
    return [x, y, x + width, y + height]


def test_coco_datasets_have_the_polygons_of_the_masks(written):
    folder, _, with_masks = written
    data = COCO(folder / "coco.json")
    assert [data.cats[id_]["name"] for id_ in (7, 3)] == list(CLASSES.names)
    for number, name in enumerate(NAMES):
        rows = data.loadAnns(data.getAnnIds(50 - number))
        assert data.imgs[50 - number]["file_name"] == f"{name}.png"
        shapes = [data.annToMask(r) if with_masks else corners(*r["bbox"]) for r in rows]
        labels = [data.cats[row["category_id"]]["name"] for row in rows]
        check(written, name, list(zip(labels, [r["score"] for r in rows], shapes, strict=True)))
        if with_masks:
            assert [row["area"] for row in rows] == [mask.sum() for mask in wanted(name)]
            assert all(isinstance(row["segmentation"], list) for row in rows)
    assert [row["id"] for row in data.dataset["annotations"]] == [1, 2, 3, 4, 5, 6]


def test_yolo_lines_end_with_the_score(written):
    folder, _, with_masks = written
    for name in NAMES:
        found = []
        for text in (folder / "labels" / f"{name}.txt").read_text().splitlines():
            label, *shares, score = map(float, text.split())
            values = np.array(shares) * ([WIDTH, HEIGHT] * (len(shares) // 2))
            if with_masks:
                code = rle.merge(rle.frPyObjects([values.tolist()], HEIGHT, WIDTH))
                shape = rle.decode(code)
            else:
                shape = corners(*(values[:2] - values[2:] / 2), *values[2:])
            found.append((CLASSES.names[int(label)], score, shape))
        check(written, name, found)
    assert "names:" in (folder / "data.yaml").read_text()


def bits(code):
    """Decode a brush bit by bit, as its format is described, into bytes."""
    text = "".join(f"{byte:08b}" for byte in code)
    place = 0

    def take(count):
        nonlocal place
        place += count
        return int(text[place - count : place], 2)

    size, depth = take(32), take(5) + 1
    widths, result = [take(4) + 1 for _ in range(4)], []
    while len(result) < size:
        repeated, length = take(1), None
        length = take(widths[take(2)]) + 1
        result += [take(depth)] * length if repeated else [take(depth) for _ in range(length)]
    return result


def test_brushes_and_rectangles_of_label_studio_say_the_same(written):
    folder, _, with_masks = written
    tasks = json.loads((folder / "labelstudio.json").read_text())
    places = [task["data"]["image"] for task in tasks]
    assert places == [
        *("/data/local-files/?d=x/%C3%A9%201.png", "/data/local-files/?d=a%26b%3Cc%3E.png"),
        "/data/local-files/?d=y.png",
    ]
    for name, task in zip(NAMES, tasks, strict=True):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == "cvkit-0123456789ab"
        found = []
        for row in prediction["result"]:
            assert (row["original_width"], row["original_height"]) == (WIDTH, HEIGHT)
            value = row["value"]
            (label,) = value[row["type"]]
            if with_masks:
                assert (row["type"], value["format"]) == ("brushlabels", "rle")
                pixels = np.array(bits(value["rle"])).reshape(HEIGHT, WIDTH, 4)
                assert {*np.unique(pixels)} <= {0, 255} and (pixels[..., :1] == pixels).all()
                shape = pixels[..., 3] > 0
            else:
                sides = [value[side] / 100 for side in ("x", "y", "width", "height")]
                shape = corners(*np.multiply(sides, [WIDTH, HEIGHT, WIDTH, HEIGHT]))
            found.append((label, row["score"], shape))
        check(written, name, found)
    assert (
        "score" not in tasks[2]["predictions"][0] and tasks[1]["predictions"][0]["score"] == 0.6875
    )
    view = ElementTree.parse(folder / "labelstudio.xml").getroot()
    control = view.find("BrushLabels" if with_masks else "RectangleLabels")
    assert [label.get("value") for label in control] == list(CLASSES.names)
    (kinds,) = {row["from_name"] for t in tasks for p in t["predictions"] for row in p["result"]}
    assert control.get("name") == kinds and control.get("toName") == view.find("Image").get("name")


@pytest.mark.parametrize("layout", ["cvat", "labelme"])
def test_files_are_read_again(written, tmp_path, layout):
    folder, lines, with_masks = written
    if layout == "cvat":
        shutil.copy(folder / "cvat.xml", tmp_path / "annotations.xml")
    else:
        shutil.copytree(folder / "labelme", tmp_path, dirs_exist_ok=True)
    for name in NAMES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(folder / f"{name}.png", tmp_path / f"{name}.png")
    data = read_boxes(tmp_path, layout, ["all"], masks=with_masks)
    assert not data.defects
    images = {image.key.removesuffix(".png"): image.truth for image in data.splits["all"]}
    assert images.keys() == {*NAMES}
    for name, one in zip(NAMES, lines, strict=True):
        truth = images[name]
        shapes = decode(truth.masks) if with_masks else truth.boxes.tolist()
        labels = [data.classes.names[label - 1] for label in truth.labels]
        check(written, name, list(zip(labels, one["scores"], shapes, strict=True)))


def test_scores_are_in_the_files_that_readers_take_none_from(written):
    folder, lines, _ = written
    image = ElementTree.parse(folder / "cvat.xml").find("image")
    assert [float(n.findtext("attribute")) for n in image] == lines[0]["scores"]
    drawn = json.loads((folder / "labelme" / f"{NAMES[0]}.json").read_text())
    assert {shape["score"] for shape in drawn["shapes"]} == {*lines[0]["scores"]}
    boxes = ElementTree.parse(folder / "voc" / "Annotations" / f"{NAMES[0]}.xml").findall("object")
    assert [float(node.findtext("score")) for node in boxes] == lines[0]["scores"]
    sides = [float(boxes[0].find("bndbox").findtext(s)) for s in ("xmin", "ymin", "xmax", "ymax")]
    assert sides == [1.25, 1.5, 10.125, 9.0]  # from 1 and inclusive


def test_features_of_geojson_are_in_pixels_with_holes(written):
    folder, _, with_masks = written
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    for name in NAMES:
        content = json.loads((folder / "geojson" / f"{name}.geojson").read_text())
        assert content["type"] == "FeatureCollection"
        found = []
        for feature in content["features"]:
            shape, about = feature["geometry"], feature["properties"]
            several = shape["type"] == "MultiPolygon"
            polygons = shape["coordinates"] if several else [shape["coordinates"]]
            drawn = np.zeros((HEIGHT, WIDTH), bool)
            for outside, *holes in polygons:
                for ring in (outside, *holes):
                    assert ring[0] == ring[-1] and len({*map(tuple, ring)}) == len(ring) - 1
                    inside = Outline(ring).contains_points(np.stack([x, y], -1).reshape(-1, 2))
                    drawn ^= inside.reshape(HEIGHT, WIDTH)
            box = [*np.min(polygons[0][0], 0), *np.max(polygons[0][0], 0)]
            label = about["classification"]["name"]
            color = CLASSES.colors[CLASSES.names.index(label)]
            assert tuple(about["classification"]["color"]) == color
            shown = drawn if with_masks else box
            found.append((label, about["measurements"]["score"], shown))
        check(written, name, found)


@pytest.mark.parametrize("size_hw", [(1, 1), (3, 7), (200, 190)])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 1.0])
def test_brushes_of_any_mask_are_decoded_to_it(size_hw, share):
    """The longest run of 38,000 pixels is over one length of 16 bits, 65,536 values."""
    mask = np.random.default_rng(2).random(size_hw) < share
    code = encode_brush(mask)
    assert np.array_equal(decode_brush(code, size_hw), mask)
    assert np.array_equal(np.array(bits(code)).reshape(*size_hw, 4)[..., 0] > 0, mask)
    for wrong in (code[:-1], code[:5], []):
        with pytest.raises(ValueError, match="ends too early"):
            decode_brush(wrong, size_hw)
    with pytest.raises(ValueError, match="values"):
        decode_brush(code, (size_hw[0] + 1, size_hw[1]))


def test_brushes_are_what_label_studio_decodes():
    reason = "pip install label-studio-sdk for the program's decoder"
    brush = pytest.importorskip("label_studio_sdk.converter.brush", reason=reason)
    for mask in masks():
        pixels = brush.decode_rle(encode_brush(mask)).reshape(HEIGHT, WIDTH, 4)
        assert np.array_equal(pixels[..., 3] > 0, mask)


def test_images_that_xml_cannot_name_are_failures(tmp_path):
    lines = [line("a\x01b", masks()[:1]), line("c", masks()[:1])]
    results = Results(
        folder=tmp_path,
        classes=CLASSES,
        read=lambda: (detected(each, CLASSES) for each in lines),
        controls=[],
    )
    (failure,) = write_annotations(results, ["cvat", "voc"])
    assert (failure.path, failure.code) == ("a\x01b.png", "xml.name")
    (image,) = ElementTree.parse(tmp_path / "cvat.xml").findall("image")
    assert image.get("name") == "c.png"
    (path,) = (tmp_path / "voc" / "Annotations").iterdir()
    assert path.name == "c.xml"


@pytest.mark.parametrize("name", ["a\nb", "a\rb", "a "])
def test_images_that_a_line_cannot_name_are_failures(tmp_path, name):
    lines = [line(name, masks()[:1]), line("c d", masks()[:1])]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(e) + "\n" for e in lines))
    (failure,) = write_results(tmp_path, CLASSES, ["voc"], {e["path"]: 1 for e in lines})
    assert (failure.path, failure.code) == (f"{name}.png", "voc.name")
    (row,) = (tmp_path / "voc" / "comp3_det_test_cat.txt").read_text().splitlines()
    assert row.startswith("c d 0.75")


@pytest.mark.parametrize("kind", WRITERS)
def test_frames_that_a_file_names_are_said_once(tmp_path, kind):
    lines = [line(name, masks()[:1]) | {"path": name} for name in ("a.gif#1", "a.gif#2", "c#3.png")]
    (tmp_path / "predict.json").write_text('{"model": "0123456789abcdef"}')

    def said(lines):
        read = lambda: (detected(each, CLASSES) for each in lines)  # noqa: E731
        results = Results(folder=tmp_path, classes=CLASSES, read=read, controls=[])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            write_annotations(results, [kind])
        return [str(each.message) for each in caught]

    assert said(lines[2:]) == []
    found = said(lines)
    assert len(found) == (kind not in ("yolo", "geojson"))
    assert all("'a.gif#1'" in text and "frames" in text for text in found)


def test_the_image_of_labelme_is_found_from_its_file(tmp_path):
    one = line("sub/a", masks()[:1]) | {"file": "../photos/sub/a.png"}
    results = Results(
        folder=tmp_path, classes=CLASSES, read=lambda: iter([detected(one, CLASSES)]), controls=[]
    )
    assert write_annotations(results, ["labelme"]) == []
    path = tmp_path / "labelme" / "sub" / "a.json"
    assert json.loads(path.read_text())["imagePath"] == "../../../photos/sub/a.png"


SAVED = {
    "classify": "labelstudio,cvat,labelme",
    "segment": "coco,yolo,csv,labelstudio,cvat,labelme,geojson",
    "detect": "coco,yolo,voc,csv,labelstudio,cvat,labelme,geojson",
    "instance": "coco,yolo,voc,labelstudio,cvat,labelme,geojson",
    "video": "labelstudio",
}


def files(folder):
    """The content of each file but the contact sheet, the journal of failures, and the flags."""
    found = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
    left = ("contact_sheet.png", "predict.json", "predictions.jsonl", ".cvkit-lock")
    return {name: content for name, content in names.items() if name not in left}


@pytest.mark.parametrize("task", SAVED)
def test_a_resumed_prediction_writes_the_same_files(cvkit, run_of, data_of, tmp_path, task):
    root = data_of(task)
    kind = "*.mp4" if task == "video" else "*.png"
    found = (p for p in root.rglob(kind) if "masks" not in p.parts and "val" in p.parts)
    paths = sorted(found, key=lambda path: path.name)[:3]  # the order of predict in one folder
    for path in paths:
        (tmp_path / "in").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "in" / path.name)
    flags = (task, "predict", "--weights", run_of(task), "--quiet", "--batch-size", 1)
    flags += ("--contact-sheet", 0, *(("--per-clip",) if task == "video" else ()))
    flags += ("--threshold", 0.1) if task in ("detect", "instance") else ()
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    save = ("--save", SAVED[task])
    assert cvkit(*flags, tmp_path / "in", "--out", whole, *save).code == 0
    assert cvkit(*flags, tmp_path / "in" / paths[0].name, "--out", parts).code == 0  # without
    done = cvkit(*flags, tmp_path / "in", "--out", parts, *save, "--resume")
    assert done.code == 0, done.err
    found = {k: v for k, v in files(parts).items() if k != f"labelme/{paths[0].stem}.json"}
    wanted = {k: v for k, v in files(whole).items() if k != f"labelme/{paths[0].stem}.json"}
    assert found == wanted
    lines = [json.loads(text) for text in (whole / "predictions.jsonl").open()]
    tasks = json.loads((whole / "labelstudio.json").read_text())
    for each, one in zip(tasks, lines, strict=True):
        (place,) = each["data"].values()
        assert place == f"/data/local-files/?d={one['path']}"
        results = each["predictions"][0]["result"]
        if task in ("classify", "video"):
            assert results[0]["value"]["choices"] == one["labels"][:1]
            assert results[0]["score"] == one["scores"][0]
        if task == "video":
            spans = [part["value"]["ranges"][0] for part in results[1:]]
            with (whole / one["timeline"]).open() as table:
                first = next(csv.DictReader(table))
            assert spans[0]["start"] == round(float(first["seconds"]) * one["fps"]) + 1
            assert spans[-1]["end"] == one["frames"]
        if task == "segment":
            drawn = np.asarray(Image.open(whole / one["mask"]))
            kept = [name for name in one["labels"] if name != "background"]
            assert [row["value"]["brushlabels"] for row in results] == [[name] for name in kept]
            for row, name in zip(results, kept, strict=True):
                mask = decode_brush(row["value"]["rle"], drawn.shape)
                index = json.loads((whole / "predict.json").read_text())["classes"]
                number = [about["name"] for about in index].index(name)
                assert np.array_equal(mask, drawn == number)
    if "labelme" in save[1]:
        path = whole / "labelme" / f"{paths[1].stem}.json"
        image = json.loads(path.read_text())["imagePath"]
        assert (path.parent / image).resolve() == (tmp_path / "in" / paths[1].name).resolve()
    if "csv" in save[1] and task == "segment":
        with (whole / "areas.csv").open() as stream:
            rows = list(csv.DictReader(stream))
        assert sum(int(row["pixels"]) for row in rows) == sum(
            one["width"] * one["height"] for one in lines
        )
