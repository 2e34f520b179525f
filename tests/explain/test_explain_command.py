"""`cvkit explain` end to end: files, lines, targets, failures, the pointing game."""

import json
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image
from questions import MODELS, loaded

from cvkit.commands.explain import parse_target
from cvkit.data.synthetic.samples import write_classification, write_segmentation, write_videos
from cvkit.data.synthetic.scenes import make_scene
from cvkit.errors import UsageError
from cvkit.explain.plan import plan_of
from cvkit.output.heat import draw_heat, heat_colours
from cvkit.tasks.regions import read_regions

WRITERS = {"classify": write_classification, "video": write_videos}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Return an input of a task, of the size that its model knows."""
    made = {}

    def get(task):
        write = WRITERS.get(task, write_segmentation)
        if write not in made:
            made[write] = tmp_path_factory.mktemp(f"data-{task}")
            size = (64, 64) if task in WRITERS else (128, 128)
            write(made[write], {"train": 1, "val": 1}, 7, size)
        return made[write]

    return get


def inputs(folder):
    return sorted(
        p for p in folder.rglob("*") if p.suffix in (".png", ".mp4") and "val" in p.parts
    )[:1]


def lines(out, name="explanations.jsonl"):
    return [json.loads(text) for text in (out / name).open()]


@pytest.mark.parametrize("task", MODELS)
def test_every_task_gets_maps_pictures_lines_and_a_page(cvkit, data, tmp_path, task):
    out = tmp_path / "out"
    done = cvkit(
        *("explain", *inputs(data(task)), "--weights", MODELS[task], "--out", out),
        *("--method", "gradient,grad-cam", "--json"),
    )
    assert done.code == 0, done.err
    (line,) = lines(out)
    assert not lines(out, "failures.jsonl")
    assert list(line["methods"]) == ["gradient", "grad-cam"]
    assert line["label"] in loaded(task).task.classes.names
    assert line["label"] in line["target"]
    assert 0 < line["probability"] <= 1
    for name, entry in line["methods"].items():
        found = np.load(out / entry["map"])
        assert found.dtype == np.float32
        assert found.ndim == (3 if task == "video" else 2)
        side = 64 if task in WRITERS else 128
        assert found.shape[-2:] == (side, side)
        with Image.open(out / entry["picture"]) as picture:
            assert picture.height >= 480
        assert ("video" in entry) == (task == "video")
        assert ("layer" in entry) == (name == "grad-cam")
    if task == "video":
        video = cv2.VideoCapture(str(out / entry["video"]))
        assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == len(found)
    page = (out / "explanations.html").read_text()
    assert page.count("<img ") == 2
    assert line["target"] in page
    assert done.json["counts"] == {"explained": 1, "failed": 0}
    content = json.loads((out / "explain.json").read_text())
    assert content["methods"] == done.json["methods"]
    assert done.json["methods"]["gradient"]["seconds"] > 0


def test_unreadable_inputs_fail_alone_and_are_listed(cvkit, data, tmp_path):
    (image,) = inputs(data("classify"))
    bad = tmp_path / "bad.png"
    bad.write_bytes(image.read_bytes()[:200])
    flags = ("--weights", "shapes", "--method", "gradient")
    done = cvkit("explain", bad, image, tmp_path / "none.png", *flags, "--out", tmp_path / "out")
    assert done.code == 3 or "none.png" in done.err
    done = cvkit("explain", bad, image, *flags, "--out", tmp_path / "two")
    assert done.code == 3
    assert "1 explained, 1 failed" in done.err
    (failure,) = lines(tmp_path / "two", "failures.jsonl")
    assert failure["path"].endswith("bad.png")
    assert "bad.png" in (tmp_path / "two" / "explanations.html").read_text()
    done = cvkit("explain", bad, *flags, "--out", tmp_path / "three")
    assert (done.code, len(lines(tmp_path / "three", "failures.jsonl"))) == (3, 1)


def test_pages_and_frames_are_explained_one_by_one(cvkit, data, tmp_path):
    (image,) = inputs(data("classify"))
    with Image.open(image) as picture:
        picture.save(tmp_path / "two.tif", save_all=True, append_images=[picture.rotate(90)])
    (clip,) = inputs(data("video"))
    flags = ("--weights", "shapes", "--method", "gradient", "--out", tmp_path / "out")
    done = cvkit("explain", tmp_path / "two.tif", *flags)
    assert done.code == 0, done.err
    assert [line["path"][-6:] for line in lines(tmp_path / "out")] == [".tif#1", ".tif#2"]
    done = cvkit("explain", clip, *flags, "--overwrite")
    assert done.code == 0, done.err
    found = lines(tmp_path / "out")
    assert len(found) == 16
    assert [line["frame"] for line in found] == list(range(1, 17))


NAMES = ("cat", "dog", "top dog")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("top1", {"kind": "top1"}),
        ("dog", {"kind": "class", "name": "dog"}),
        ("top dog", {"kind": "class", "name": "top dog"}),
        ("box 3", {"kind": "box", "number": 3}),
        ("point 3,4.5", {"kind": "point", "point_xy": (3.0, 4.5)}),
    ],
)
def test_targets_are_classes_boxes_and_points(text, wanted):
    found = parse_target(text, "x", ("top1", "class", "box", "point"), NAMES)
    assert {name: getattr(found, name) for name in wanted} == wanted


def test_a_wrong_target_names_the_nearest_class():
    with pytest.raises(UsageError, match=r"'dgo' is no class.*did you mean dog\?"):
        parse_target("dgo", "detect", ("top1", "class", "box"), NAMES)
    with pytest.raises(UsageError, match="known: top1, 'box N' with N from 1, cat, dog"):
        parse_target("zzz", "detect", ("top1", "class", "box"), NAMES)


def test_the_point_of_a_segmentation_decides_class_and_region(cvkit, data, tmp_path):
    (image,) = inputs(data("segment"))
    frame = make_scene(7, 1).render()
    corner = {}
    for y, x in ((2, 2), (125, 125)):
        done = cvkit(
            *("explain", image, "--weights", "scenes", "--target", f"point {x},{y}"),
            *("--method", "gradient", "--out", tmp_path / f"{x}"),
        )
        assert done.code == 0, done.err
        (line,) = lines(tmp_path / f"{x}")
        assert line["target"] == f"{line['label']} at {x},{y}"
        found = np.load(tmp_path / f"{x}" / line["methods"]["gradient"]["map"])
        rows, columns = np.indices(found.shape)
        corner[x] = (found * rows).sum() / found.sum(), (found * columns).sum() / found.sum()
    assert corner[2] < corner[125]
    assert frame.image.shape == (128, 128, 3)
    done = cvkit(
        *("explain", image, "--weights", "scenes", "--target", "point 300,2"),
        *("--method", "gradient", "--out", tmp_path / "outside"),
    )
    assert done.code == 3
    assert "128x128" in lines(tmp_path / "outside", "failures.jsonl")[0]["reason"]


def test_a_class_that_is_not_found_is_a_failure(cvkit, data, tmp_path):
    (image,) = inputs(data("segment"))
    for weights, target in (("boxes", "box 99"), ("scenes", "ring"), ("boxes", "ring")):
        out = tmp_path / f"{weights}-{target}"
        done = cvkit(
            *("explain", image, "--weights", weights, "--target", target, "--out", out),
            *("--method", "gradient"),
        )
        if done.code == 0:  # the scene has one
            continue
        assert done.code == 3
        assert lines(out, "failures.jsonl")[0]["code"] == "target.absent"
        break
    else:
        pytest.fail("every target was found")


def test_the_pointing_game_counts_inputs_with_an_object_of_the_class(cvkit, data, tmp_path):
    root = data("segment")
    (image,) = inputs(root)
    done = cvkit(
        *("explain", image, "--weights", "scenes", "--truth", root, "--measure", "--json"),
        *("--method", "gradient,occlusion", "--patch", 32, "--out", tmp_path / "out"),
    )
    assert done.code == 0, done.err
    (line,) = lines(tmp_path / "out")
    methods = done.json["methods"]
    assert list(methods) == ["gradient", "occlusion", "random"]
    assert all(methods[name]["pointed"] == 1 for name in methods)
    for name in ("gradient", "occlusion"):
        entry = line["methods"][name]
        assert methods[name]["pointing"] == float(entry["pointing"])
        assert methods[name]["deletion"] == entry["deletion"]
        assert len(methods[name]["randomised_by_layer"]) == len(done.json["randomised_from"])
        assert methods[name]["randomised"] == methods[name]["randomised_by_layer"][-1]
    assert methods["random"]["deletion"] == line["baseline"]["deletion"]
    assert methods["random"]["seconds"] is None
    regions = read_regions(root, _files(image), loaded("segment").task, _silent())
    region = regions(SimpleNamespace(file=image), line["label"])
    found = np.load(tmp_path / "out" / line["methods"]["gradient"]["map"])
    place = np.unravel_index(found.argmax(), found.shape)
    assert line["methods"]["gradient"]["pointing"] == bool(region[place])


def _files(*paths):
    from cvkit.data.files import InputFile

    return [InputFile(path, path.name) for path in paths]


def _silent():
    from cvkit.console import Reporter

    return Reporter(quiet=True)


CATS = SimpleNamespace(name="classify", classes=SimpleNamespace(names=("cat", "dog")))


def test_regions_of_objects_are_their_boxes_or_masks(tmp_path):
    Image.new("RGB", (20, 10)).save(tmp_path / "a.png")
    shape = [[2, 1, 6, 1, 6, 5, 2, 5]]
    content = {
        "images": [{"id": 1, "file_name": "a.png", "width": 20, "height": 10}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "bbox": [2, 1, 4, 4], "area": 16}
            | {"iscrowd": 0, "segmentation": shape},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [10, 2, 5, 6], "area": 30}
            | {"iscrowd": 0, "segmentation": [[10, 2, 15, 2, 15, 8]]},
        ],
    }
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    geometry = SimpleNamespace(original_hw=(10, 20))
    sample = SimpleNamespace(file=tmp_path / "a.png", geometry=geometry)
    regions = read_regions(tmp_path, _files(tmp_path / "a.png"), CATS, _silent())
    wanted = np.zeros((10, 20), bool)
    wanted[1:5, 2:6] = True
    assert np.array_equal(regions(sample, "cat"), wanted)
    assert 0 < regions(sample, "dog").sum() < 30
    assert regions(sample, "cow") is None
    for row in content["annotations"]:
        del row["segmentation"]
    (tmp_path / "annotations" / "instances_train.json").write_text(json.dumps(content))
    regions = read_regions(tmp_path, _files(tmp_path / "a.png"), CATS, _silent())
    assert regions(sample, "dog").sum() == 30


def test_an_exported_file_is_refused(cvkit, data, tmp_path, monkeypatch):
    (image,) = inputs(data("classify"))
    made = SimpleNamespace(runtime="onnxruntime")
    monkeypatch.setattr("cvkit.tasks.trained.load_trained", lambda *_: made)
    done = cvkit("explain", image, "--weights", "shapes", "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "weights.exported")


@pytest.mark.parametrize(("method", "refused"), [("gradient", True), ("occlusion", False)])
def test_scores_without_a_gradient_allow_only_occlusion(method, refused):
    task = SimpleNamespace(gradient_free=True)
    net = SimpleNamespace(named_modules=lambda: [])
    if refused:
        with pytest.raises(UsageError, match="needs a gradient"):
            plan_of(method, None, task, net, None, None)
    else:
        assert plan_of(method, None, task, net, None, None).methods == ("occlusion",)
    assert plan_of("all", None, task, net, None, None).methods == ("occlusion",)


def test_a_picture_has_the_colours_of_its_bar():
    image = np.full((500, 600, 3), 255, np.uint8)
    found = np.zeros((500, 600), np.float32)
    found[:, 300:] = 1
    picture = draw_heat(image, found, signed=False)
    table = heat_colours(False).astype(float)
    low, high = picture[250, 50], picture[250, 550]
    assert np.abs(high - (0.1 * 255 + 0.9 * table[255])).max() <= 1
    assert np.abs(low - (0.75 * 255 + 0.25 * table[0])).max() <= 1
    bar = picture[:, 600 + 13]
    assert np.abs(bar[10:20].astype(float) - table[250]).max() < 40  # bright at the top
    assert np.abs(bar[-20:-10].astype(float) - table[5]).max() < 40


def test_signed_maps_are_red_and_blue_around_white():
    table = heat_colours(True)
    assert table[0].tolist() == [33, 102, 172]
    assert table[255].tolist() == [178, 24, 43]
    assert (table[127] > 250).all()
    picture = draw_heat(
        np.zeros((500, 600, 3), np.uint8), np.full((500, 600), -2.0), signed=True, most=2.0
    )
    assert np.abs(picture[250, 300] - 0.9 * table[0]).max() <= 1
