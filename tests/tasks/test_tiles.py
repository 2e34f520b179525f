"""Large images in tiles, from the command line: detect, instance and segment."""

import json
import shutil

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools import mask as coco

import cvkit as package
from cvkit.data.decode import read_image
from cvkit.data.given import read_picture
from cvkit.data.synthetic.samples import write_detection
from cvkit.output.canvas import enlarged_hw
from cvkit.tasks import tiling

TASKS = ("segment", "detect", "instance")
MODELS = {"segment": "scenes", "detect": "boxes", "instance": "masks"}
"""The models in weights/, which know the shapes of the scenes."""
SIDE = 32
"""Of the small images."""


def joined(images, n):
    """Return n x n images as one."""
    rows = [np.concatenate(images[y * n : y * n + n], 1) for y in range(n)]
    return np.concatenate(rows)


def coco_mosaics(source, target, n):
    """Write the images of a COCO dataset's val split as mosaics of n x n, with their objects."""
    truth = json.loads((source / "annotations/instances_val.json").read_text())
    made = truth | {"images": [], "annotations": []}
    (target / "images/val").mkdir(parents=True)
    (target / "annotations").mkdir()
    for first in range(0, len(truth["images"]) - n * n + 1, n * n):
        group = truth["images"][first : first + n * n]
        pictures = [read_image(source / "images/val" / each["file_name"]) for each in group]
        number, (h, w) = len(made["images"]) + 1, pictures[0].shape[:2]
        picture = joined(pictures, n)
        name = f"{number}.png"
        Image.fromarray(picture).save(target / "images/val" / name)
        made["images"].append({"id": number, "file_name": name, "width": n * w, "height": n * h})
        for place, image in enumerate(group):
            y, x = divmod(place, n)
            for row in (r for r in truth["annotations"] if r["image_id"] == image["id"]):
                moved = row | {"id": len(made["annotations"]) + 1, "image_id": number}
                left, top, *size = row["bbox"]
                moved["bbox"] = [left + x * w, top + y * h, *size]
                if row.get("segmentation"):
                    polygons = row["segmentation"]
                    code = (
                        coco.merge(coco.frPyObjects(polygons, h, w))
                        if isinstance(polygons, list)
                        else polygons
                    )
                    whole = np.zeros(picture.shape[:2], np.uint8, order="F")
                    whole[y * h : (y + 1) * h, x * w : (x + 1) * w] = coco.decode(code)
                    code = coco.encode(whole)
                    moved["segmentation"] = code | {"counts": code["counts"].decode()}
                made["annotations"].append(moved)
    (target / "annotations/instances_val.json").write_text(json.dumps(made))
    return target


@pytest.fixture(scope="module")
def mosaics(data_of, tmp_path_factory):
    """Return a dataset of each task with one mosaic of 2x2 of its small images."""
    made = {}

    def get(task):
        if task in made:
            return made[task]
        source, target = data_of(task), tmp_path_factory.mktemp(f"mosaics-{task}")
        if task == "segment":
            for kind in ("images", "masks"):
                (target / kind / "val").mkdir(parents=True)
                files = sorted((source / kind / "val").iterdir())[:4]
                values = joined([np.array(Image.open(file)) for file in files], 2)
                Image.fromarray(values).save(target / kind / "val" / "1.png")
            shutil.copy(source / "classes.txt", target)
        else:
            shutil.rmtree(target)
            coco_mosaics(source, target, 2)
        made[task] = target
        return target

    return get


def pictures(folder):
    """Return the pixels of all pictures in a folder of results, by path."""
    found = sorted(p for p in folder.rglob("*.png") if p.name != "contact_sheet.png")
    return {str(p.relative_to(folder)): np.array(Image.open(p)) for p in found}


def lines(folder):
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("task", TASKS)
def test_an_image_that_fits_into_a_tile_is_predicted_as_without_tiles(
    cvkit, data_of, tmp_path, task
):
    inputs = data_of(task) / "images/val"
    common = (task, "predict", inputs, "--weights", MODELS[task], "--workers", 0)
    plain, tiled = tmp_path / "plain", tmp_path / "tiled"
    assert cvkit(*common, "--out", plain).code == 0
    assert cvkit(*common, "--out", tiled, "--tiles", f"{SIDE}x40").code == 0
    assert lines(plain) == lines(tiled)
    one, other = pictures(plain), pictures(tiled)
    assert one.keys() == other.keys() and one
    assert all(np.array_equal(one[name], other[name]) for name in one)


def numbers(done):
    """Return the metrics of an evaluation: one table, or one of masks and one of boxes."""
    metrics = done.json["metrics"]
    return [metrics[kind] for kind in ("mask", "box")] if "mask" in metrics else [metrics]


@pytest.mark.parametrize("task", TASKS)
def test_what_predict_writes_of_tiles_scores_what_eval_says(cvkit, mosaics, tmp_path, task):
    data, model, tiles = mosaics(task), MODELS[task], ("--tiles", SIDE, "--overlap", 0.3)
    common = ("--weights", model, "--workers", 0, *tiles)
    done = cvkit(task, "eval", *common, "--data", data, "--out", tmp_path, "--json")
    assert done.code == 0, done.err
    assert done.json["inference"]["tiles"] == f"{SIDE}x{SIDE}"
    assert done.json["inference"]["overlap"] == 0.3
    out = tmp_path / "p"
    assert cvkit(task, "predict", data / "images/val", *common, "--out", out).code == 0
    (line,) = lines(out)
    assert (line["width"], line["height"]) == (2 * SIDE, 2 * SIDE)
    files = out if task == "segment" else out / "results.json"
    scored = cvkit(
        *(task, "eval", "--predictions", files, "--truth", data, "--json", "--no-files"),
    )
    assert scored.code == 0, scored.err
    for metrics, expected in zip(numbers(scored), numbers(done), strict=True):
        assert metrics == pytest.approx(expected)
    plain = cvkit(
        *(task, "eval", "--weights", model, "--workers", 0),
        *("--data", data, "--no-files", "--json"),
    )
    assert plain.json["metrics"] != done.json["metrics"]
    assert "tiles" not in plain.json["inference"]


@pytest.fixture(scope="module")
def scenes_128(tmp_path_factory):
    """Scenes with masks of the size that the shipped models are trained on."""
    folder = tmp_path_factory.mktemp("scenes") / "d"
    write_detection(folder, {"train": 1, "val": 12}, seed=7, size_hw=(128, 128))
    return folder


@pytest.mark.parametrize(("task", "metric"), [("instance", "mask"), ("detect", None)])
def test_tiles_of_a_mosaic_lose_and_double_nothing(cvkit, scenes_128, tmp_path, task, metric):
    """The shipped model finds in mosaics, whose size it has never seen, what it finds in scenes."""
    data = coco_mosaics(scenes_128, tmp_path / "m", 2)

    def evaluate(data, *more):
        done = cvkit(
            *(task, "eval", "--weights", MODELS[task], "--data", data, "--workers", 0),
            *("--no-files", "--json", *more),
        )
        assert done.code == 0, done.err
        found = done.json["metrics"]
        return found[metric]["AP"] if metric else found["AP"]

    single = evaluate(scenes_128)
    assert single > 0.5
    assert evaluate(data, "--tiles", "auto") >= 0.98 * single
    assert evaluate(data) < 0.98 * single, "as a whole, objects have half their size"


def test_a_tiled_tiff_gives_what_its_png_gives(cvkit, mosaics, tmp_path):
    for task in TASKS:
        picture = read_image(mosaics(task) / "images/val/1.png")
        folder = tmp_path / task
        folder.mkdir()
        tifffile.imwrite(folder / "x.tif", picture, tile=(16, 16), photometric="rgb")
        Image.fromarray(picture).save(folder / "y.png")
        done = cvkit(
            *(task, "predict", folder, "--weights", MODELS[task], "--workers", 0),
            *("--tiles", SIDE, "--out", tmp_path / f"{task}-out"),
        )
        assert done.code == 0, done.err
        one, other = lines(tmp_path / f"{task}-out")
        names = ("path", "name", "mask", "overlay")
        assert {k: v for k, v in one.items() if k not in names} == {
            k: v for k, v in other.items() if k not in names
        }
        found = pictures(tmp_path / f"{task}-out")
        kinds = {name.split("/")[0] for name in found}
        assert kinds == ({"overlays"} if task == "detect" else {"overlays", "masks"})
        for kind in kinds:
            one, other = (found[name] for name in sorted(found) if name.startswith(kind))
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("save", ["", "video"])
@pytest.mark.parametrize("task", TASKS)
def test_frames_and_pages_are_predicted_in_tiles_as_their_pictures_are(
    cvkit, mosaics, tmp_path, task, save
):
    picture = read_image(mosaics(task) / "images/val/1.png")
    shades = [picture, picture[::-1].copy(), picture[:, ::-1].copy()]
    clips, single = tmp_path / "clips", tmp_path / "single"
    clips.mkdir()
    single.mkdir()
    clip = str(clips / "c.avi")
    writer = cv2.VideoWriter(clip, cv2.VideoWriter_fourcc(*"MJPG"), 5, picture.shape[1::-1])
    for shade in shades:
        writer.write(shade[..., ::-1])
    writer.release()
    tifffile.imwrite(clips / "x.tif", np.stack(shades), photometric="rgb")
    for number in (1, 2, 3):
        for name in (f"c.avi#{number}", f"x.tif#{number}"):
            pixels = read_picture(clips / name)
            Image.fromarray(pixels).save(single / f"{name.replace('#', '-')}.png")
    found = {}
    for folder in (clips, single):
        out = tmp_path / f"{folder.name}-out"
        flags = ("--weights", MODELS[task], "--workers", 2, "--tiles", SIDE, "--out", out)
        more = ("--save", save) if folder == clips and save else ()
        done = cvkit(task, "predict", folder, *flags, *more)
        assert done.code == 0, done.err
        names = ("path", "name", "mask", "overlay", "frame", "time_seconds")
        found[folder] = [{k: v for k, v in row.items() if k not in names} for row in lines(out)]
    assert found[clips] == found[single] and len(found[clips]) == 6
    shown = [row for row in lines(tmp_path / "clips-out") if "frame" in row]
    assert [row["time_seconds"] for row in shown] == [0.0, 0.2, 0.4]
    assert all(("overlay" in row) == (not save) for row in shown)
    assert (tmp_path / "clips-out" / "videos" / "c.mp4").is_file() == bool(save)


@pytest.mark.parametrize("task", TASKS)
def test_the_overlay_of_a_large_image_is_reduced(cvkit, mosaics, tmp_path, monkeypatch, task):
    monkeypatch.setattr(tiling, "LONGEST", 30)
    done = cvkit(
        *(task, "predict", mosaics(task) / "images/val", "--weights", MODELS[task]),
        *("--workers", 0, "--tiles", SIDE, "--out", tmp_path / "o"),
    )
    assert done.code == 0, done.err
    (line,) = lines(tmp_path / "o")
    overlay = np.array(Image.open(tmp_path / "o" / line["overlay"]))
    assert overlay.shape[1] == enlarged_hw((21, 21))[1]  # 64 / 3
    if "mask" in line:
        assert np.array(Image.open(tmp_path / "o" / line["mask"])).shape == (64, 64)


def test_results_from_python_are_those_of_the_command(cvkit, mosaics, tmp_path):
    for task in TASKS:
        image = mosaics(task) / "images/val/1.png"
        out = tmp_path / task
        common = ("--weights", MODELS[task], "--workers", 0, "--tiles", SIDE)
        assert cvkit(task, "predict", image, *common, "--out", out).code == 0
        (line,) = lines(out)
        model = package.load(MODELS[task], tiles=str(SIDE), precision="fp32")
        for given in (image, read_image(image)):
            made = model.predict(given).as_dict()
            assert {name: made[name] for name in made if name != "path"} == {
                name: line[name] for name in made if name != "path"
            }


def test_an_image_that_cannot_be_read_costs_itself_alone(cvkit, mosaics, tmp_path):
    """Its header is good, so it fails when it is predicted."""
    picture = read_image(mosaics("segment") / "images/val/1.png")
    tifffile.imwrite(tmp_path / "a.tif", picture, tile=(16, 16), photometric="rgb")
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "b.tif").write_bytes(content[:-100])
    cv2.imwrite(str(tmp_path / "c.png"), picture)
    for task in TASKS:
        done = cvkit(
            *(task, "predict", *sorted(tmp_path.glob("*.*")), "--weights", MODELS[task]),
            *("--workers", 0, "--tiles", SIDE, "--out", tmp_path / task),
        )
        assert done.code == 3, done.err
        assert [line["path"] for line in lines(tmp_path / task)] == ["a.tif", "c.png"]
        (failed,) = map(json.loads, (tmp_path / task / "failures.jsonl").read_text().splitlines())
        assert failed["path"] == "b.tif"
        assert failed["code"] in ("image.truncated", "image.corrupt")
