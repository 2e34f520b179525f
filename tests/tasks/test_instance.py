"""Instance segmentation from the command line: train, eval, predict, files of others."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torchvision.models import detection as tv

import cvkit as package
from cvkit import catalog
from cvkit.catalog import TASKS
from cvkit.data.annotated import AnnotatedImage, make_truth
from cvkit.data.formats.coco import read_coco
from cvkit.data.formats.index_maps import read_index_maps
from cvkit.data.synthetic.samples import write_detection
from cvkit.metrics.coco import CLASS_COLUMNS, METRICS
from cvkit.model_files import read_model, write_sealed
from cvkit.models import weights
from cvkit.ops.rle import decode, encode, index_map, make_masks
from cvkit.options.detect import DetectTrain
from cvkit.options.instance import InstanceTrain
from cvkit.options.tree import OPTIONS
from cvkit.output.canvas import enlarged_hw
from cvkit.output.instances import write_index_map
from cvkit.tasks.detect.inputs import Preprocessing, input_sizes
from cvkit.tasks.detect.network import Network, with_anchors

TINY = (
    *("--backbone", "mobilenet_v3_small", "--channels", "32", "--min-size", "64"),
    *("--batch-size", "2", "--workers", "0", "--roi-samples", "32", "--quiet"),
)
"""Flags of a training that takes a few seconds."""


@pytest.fixture(scope="session")
def shapes(tmp_path_factory):
    """A dataset of scenes with masks: 8 to train, 4 to validate, 96x96."""
    folder = tmp_path_factory.mktemp("shapes")
    write_detection(folder, {"train": 8, "val": 4}, seed=3, size_hw=(96, 96))
    return folder


@pytest.fixture
def masker():
    """A model that knows the shapes of the scenes, but not their size."""
    return "masks"


def test_a_run_leaves_everything_that_is_promised(run_of):
    run = run_of("instance")
    names = {path.name for path in run.iterdir()}
    wanted = {"config.yaml", "metrics.jsonl", "curves.png", "best.safetensors", "environment.json"}
    assert wanted <= names
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    losses = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg", "loss_mask"}
    assert all(set(line["losses"]) == losses for line in lines)
    assert {f"{kind}.{name}" for kind in ("mask", "box") for name in METRICS} <= set(lines[0])


def by_pycocotools(truth, results, kind):
    reference = COCO(str(truth))
    rows = json.loads(results.read_text())
    if kind == "segm":  # else pycocotools takes the boxes' areas for the masks'
        rows = [{name: value for name, value in row.items() if name != "bbox"} for row in rows]
    check = COCOeval(reference, reference.loadRes(rows), kind)
    check.evaluate()
    check.accumulate()
    check.summarize()
    return [None if value == -1 else value for value in check.stats.tolist()]


def test_eval_gives_the_numbers_of_pycocotools_on_what_predict_writes(
    cvkit, masker, shapes, tmp_path
):
    flags = ["--weights", masker, "--threshold", "0.01"]
    live = cvkit("instance", "eval", *flags, "--data", shapes, "--out", tmp_path, "--json")
    assert live.code == 0 and live.json["counts"]["detections"] > 20
    truth, out = shapes / "annotations" / "instances_val.json", tmp_path / "out"
    images = shapes / "images" / "val"
    done = cvkit("instance", "predict", images, *flags, "--out", out, "--image-ids", truth)
    assert done.code == 0
    files = cvkit(
        *("instance", "eval", "--predictions", out, "--truth", truth),
        *("--out", tmp_path, "--json"),
    )
    assert files.json["metrics"] == live.json["metrics"]
    assert files.json["per_class"] == live.json["per_class"]
    metrics = live.json["metrics"]
    assert list(metrics) == ["mask", "box"] and list(metrics["mask"]) == list(METRICS)
    assert metrics["mask"]["AR100"] > 0
    assert list(metrics["mask"].values()) == by_pycocotools(truth, out / "results.json", "segm")
    assert list(metrics["box"].values()) == by_pycocotools(truth, out / "results.json", "bbox")
    report = json.loads((tmp_path / "instance-eval-001" / "report.json").read_text())
    assert report["metrics"] == metrics and "masks" in report["rules"]["mask"]["AP"]


def test_predict_writes_everything_in_original_pixels(cvkit, masker, shapes, tmp_path):
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    scene = Image.open(next((shapes / "images" / "val").iterdir())).resize((200, 150))
    scene.save(source / "sub" / "x.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.save(source / "turned.jpg", exif=exif)
    (source / "broken.jpg").write_bytes(b"nothing")
    out = tmp_path / "out"
    done = cvkit(
        *("instance", "predict", source, "--weights", masker, "--out", out),
        *("--threshold", "0", "--draw-threshold", "0.002", "--max-detections", "30"),
    )
    assert done.code == 3
    lines = {
        line["path"]: line
        for line in map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    }
    sizes = {path: (line["width"], line["height"]) for path, line in lines.items()}
    assert sizes == {"sub/x.jpg": (200, 150), "turned.jpg": (150, 200)}
    results = json.loads((out / "results.json").read_text())
    assert len(results) == sum(len(line["boxes"]) for line in lines.values()) > 10
    with open(out / "instances.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == len(results)
    seen = 0
    for path, line in lines.items():
        assert len(line["masks"]) == len(line["boxes"]) == len(line["areas"])
        assert all(mask["size"] == [line["height"], line["width"]] for mask in line["masks"])
        own = encoded(line)
        shown = np.array(line["scores"]) >= 0.002
        picture = Image.open(out / line["mask"])
        assert picture.size == (line["width"], line["height"]) and picture.mode == "P"
        assert np.array_equal(np.asarray(picture), index_map(own[shown]))
        overlay = Image.open(out / line["overlay"])
        assert overlay.size == enlarged_hw(picture.size[::-1])[::-1]
        mine = [row for row in rows if row["path"] == path]
        masks = decode(own)
        for number, (row, mask) in enumerate(zip(mine, masks, strict=True), 1):
            assert int(row["instance"]) == number and int(row["area"]) == mask.sum()
            if mask.any():
                y, x = np.nonzero(mask)
                assert float(row["centroid_x"]) == pytest.approx(x.mean() + 0.5)
                assert float(row["centroid_y"]) == pytest.approx(y.mean() + 0.5)
                seen += 1
    assert seen > 5
    first = next(row for row in results if row["file_name"] == "sub/x.jpg")
    assert first["segmentation"] == lines["sub/x.jpg"]["masks"][0]


def encoded(line):
    """Return the masks of a line of predictions."""
    codes = [mask["counts"].encode() for mask in line["masks"]]
    return make_masks(codes, (line["height"], line["width"]))


def test_more_than_255_objects_want_16_bits(tmp_path):
    masks = np.zeros((300, 20, 40), bool)
    masks[np.arange(300), np.arange(300) // 20, np.arange(300) % 20] = True
    write_index_map(tmp_path / "many.png", encode(masks))
    many = Image.open(tmp_path / "many.png")
    assert many.mode == "I;16" and np.asarray(many).max() == 300
    write_index_map(tmp_path / "few.png", encode(masks[:255]))
    few = Image.open(tmp_path / "few.png")
    assert few.mode == "P" and np.asarray(few).max() == 255
    write_index_map(tmp_path / "none.png", encode(masks[:0]))
    assert not np.asarray(Image.open(tmp_path / "none.png")).any()


def test_a_folder_of_predictions_is_a_dataset(cvkit, masker, shapes, tmp_path):
    """The maps of objects and the table have the layout that training reads."""
    out, data = tmp_path / "out", tmp_path / "data"
    flags = ["--threshold", "0.001", "--draw-threshold", "0.001", "--quiet"]
    cvkit("instance", "predict", shapes / "images", "--weights", masker, "--out", out, *flags)
    (data / "images").mkdir(parents=True)
    for split in ("train", "val"):
        (data / "images" / split).symlink_to(shapes / "images" / split)
    (data / "masks").symlink_to(out / "masks")
    table = (out / "instances.csv").read_text().splitlines()
    moved = [table[0], *(f"images/{row}" for row in table[1:])]
    (data / "instances.csv").write_text("\n".join(moved) + "\n")
    written = len([row for row in table[1:] if row.startswith("train/")])
    found = read_index_maps(data, "train").images
    assert 0 < sum(len(image.truth) for image in found) <= written  # some are hidden by others
    done = cvkit("instance", "train", "--data", data, "--epochs", "1", "--out", tmp_path, *TINY)
    assert done.code == 0


def perfect(truth, boxes):
    found = read_coco(truth, truth.parent, truth.parent, masks=True)
    rows = []
    for image in found.images:
        columns = (image.truth.labels.tolist(), image.truth.xywh.tolist())
        for label, box, mask in zip(*columns, image.truth.masks.as_rle(), strict=True):
            row = {"image_id": image.image_id, "category_id": found.classes.ids[label - 1]}
            row |= {"score": 0.9, "segmentation": mask | {"counts": mask["counts"].decode()}}
            rows.append(row | ({"bbox": box} if boxes else {}))
    return rows


@pytest.mark.parametrize("boxes", [True, False])
def test_truths_as_predictions_score_1(cvkit, shapes, tmp_path, boxes):
    truth, path = shapes / "annotations" / "instances_val.json", tmp_path / "r.json"
    path.write_text(json.dumps(perfect(truth, boxes)))
    flags = ["--predictions", path, "--truth", truth, "--no-files", "--json", "--boundary"]
    found = cvkit("instance", "eval", *flags).json["metrics"]
    assert {kind: round(each["AP"], 9) for kind, each in found.items()} == {
        "mask": 1,
        "box": 1,
        "boundary": 1,
    }


def test_gates_reach_every_column_of_the_table_of_classes(cvkit, shapes, tmp_path):
    truth, path = shapes / "annotations" / "instances_val.json", tmp_path / "r.json"
    path.write_text(json.dumps(perfect(truth, True)))
    (tmp_path / "none.json").write_text("[]")
    flags = ["--predictions", path, "--truth", truth, "--no-files"]
    nothing = ["--predictions", tmp_path / "none.json", *flags[2:]]
    rows = cvkit("instance", "eval", *flags, "--json").json["per_class"]
    name, row = next((name, row) for name, row in rows.items() if row["objects"])
    assert set(row) == {*CLASS_COLUMNS, "box AP"}
    for column, value in row.items():
        passed = cvkit("instance", "eval", *flags, "--fail-under", f"{column}@{name}={value}")
        few, gate = (flags, value + 1) if column == "objects" else (nothing, 0.5)
        failed = cvkit("instance", "eval", *few, "--fail-under", f"{column}@{name}={gate}")
        assert (passed.code, failed.code) == (0, 4), column


def test_no_predictions_score_0_with_a_warning(cvkit, shapes, tmp_path):
    path, truth = tmp_path / "r.json", shapes / "annotations" / "instances_val.json"
    path.write_text("[]")
    flags = ["--predictions", path, "--truth", truth, "--no-files"]
    done = cvkit("instance", "eval", *flags, "--json")
    assert done.code == 0 and done.json["metrics"]["mask"]["AP"] == 0
    assert "contains no detections" in done.err
    shown = cvkit("instance", "eval", *flags)
    assert "mask.AP " in shown.out and "box.AR100" in shown.out


@pytest.mark.parametrize(
    "row, code",
    [
        ({"image_id": 99}, "results.image"),
        ({"image_id": [1]}, "results.row"),
        ({"category_id": {}}, "results.row"),
        ({"score": 10**400}, "results.row"),
        ({"category_id": 99}, "results.category"),
        ({"segmentation": None}, "segm.missing"),
        ({"segmentation": {"size": [96, 95], "counts": [9120]}}, "rle.size_mismatch"),
        ({"segmentation": {"size": [96, 96], "counts": "zz"}}, "rle.invalid"),
        ({"segmentation": [[1, 2, 3, 4]]}, "segm.odd_or_short"),
        ({"score": "high"}, "results.row"),
        ({"score": None}, "results.row"),
        ({"bbox": [1, 2, 3]}, "results.row"),
    ],
)
def test_unusable_results_are_refused(cvkit, shapes, tmp_path, row, code):
    mask = {"size": [96, 96], "counts": [0, 50, 9166]}
    good = {"image_id": 1, "category_id": 3, "segmentation": mask, "score": 0.5}
    path, truth = tmp_path / "r.json", shapes / "annotations" / "instances_val.json"
    path.write_text(json.dumps([good, good | row]))
    flags = ["--predictions", path, "--truth", truth, "--no-files", "--json"]
    done = cvkit("instance", "eval", *flags)
    assert done.code == 2 and done.json["error"]["code"] == code
    assert "[1]" in done.json["error"]["message"]


def test_a_folder_without_results_is_named(cvkit, shapes, tmp_path):
    truth = shapes / "annotations" / "instances_val.json"
    done = cvkit("instance", "eval", "--predictions", tmp_path, "--truth", truth)
    assert done.code == 2 and "results.json" in done.err


def test_wrong_image_ids_are_refused_before_the_first_image(cvkit, masker, shapes, tmp_path):
    ids, out = tmp_path / "ids.json", tmp_path / "out"
    ids.write_text('{"images": [{"id": 1, "file_name": "other.png"}]}')
    flags = ["--weights", masker, "--out", out, "--image-ids", ids]
    done = cvkit("instance", "predict", shapes / "images" / "val", *flags)
    assert done.code == 2 and f"--image-ids {ids} lacks" in done.err
    assert not out.exists()
    tasks = {t for t in TASKS if "image_ids" in OPTIONS[t]["predict"].__dataclass_fields__}
    assert tasks == {"detect", "instance"}  # both are tested


def test_gates_name_a_kind_and_a_number(cvkit, masker, shapes):
    flags = ["--weights", masker, "--data", shapes, "--no-files", "--quiet"]
    assert cvkit("instance", "eval", *flags, "--fail-under", "mask.AP=0.99").code == 4
    assert cvkit("instance", "eval", *flags, "--fail-under", "box.AR100=0").code == 0
    assert cvkit("instance", "eval", *flags, "--fail-under", "AP@circle=0.99").code in (0, 4)
    unknown = cvkit("instance", "eval", *flags, "--fail-under", "AP=0.5")
    assert unknown.code == 2 and "mask.AP" in unknown.err
    more = ["--boundary", "--fail-under", "boundary.AP=0.99"]
    assert cvkit("instance", "eval", *flags, *more).code == 4


def test_the_size_of_the_input_may_be_another_than_in_training(cvkit, masker, shapes):
    image = next((shapes / "images" / "val").iterdir())
    found = {}
    for size in ("", "128", "96", "native", "x0.5", "48"):
        predictor = package.load(masker, threshold=0.0, min_size=size)
        found[size] = predictor.predict([image])[0].boxes
    assert np.array_equal(found[""], found["128"]) and np.array_equal(found["96"], found["native"])
    assert np.array_equal(found["x0.5"], found["48"])
    for one, other in (("128", "96"), ("48", "96")):
        assert found[one].shape != found[other].shape or not np.allclose(found[one], found[other])
    flags = ["--weights", masker, "--data", shapes, "--no-files", "--min-size"]
    assert "--min-size 'huge'" in cvkit("instance", "eval", *flags, "huge").err
    done = cvkit("instance", "eval", *flags, "native", "--json")
    assert done.json["inference"]["min_sizes"] == []
    assert "'x99'" in cvkit("instance", "eval", *flags, "x99").err


def test_a_higher_threshold_makes_masks_smaller(masker, shapes):
    image = next((shapes / "images" / "val").iterdir())
    areas = []
    for threshold in (0.3, 0.5, 0.7):
        predictor = package.load(masker, threshold=0.001, mask_threshold=threshold)
        (result,) = predictor.predict([image])
        areas.append(result.masks.sum((1, 2)))
    assert len(areas[0]) and (areas[0] >= areas[1]).all() and (areas[1] >= areas[2]).all()
    assert areas[0].sum() > areas[2].sum()


@pytest.mark.parametrize(
    "flags, text",
    [
        (["--data", "nowhere"], "is not a folder"),
        (["--neck", "c4", "--backbone", "swin_t"], "--neck c4 needs"),
        (["--label-smoothing", "0.1"], "--label-smoothing has no effect"),
        (["--arch", "faster-rcnn"], "--arch"),
        (["--anchor-size", "-1"], "--anchor-size"),
    ],
)
def test_mistakes_are_told_in_one_line(cvkit, shapes, tmp_path, flags, text):
    done = cvkit(
        *("instance", "train", "--data", shapes, "--out", tmp_path / "runs", "--epochs", "1"),
        *("--workers", "0", "--quiet", *flags),
    )
    assert done.code == 2 and text in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list(tmp_path.glob("runs/*"))


def test_boxes_alone_do_not_train_masks(cvkit, shapes, tmp_path):
    other = tmp_path / "other"
    write_detection(other, {"train": 2, "val": 2}, seed=3, size_hw=(96, 96))
    for path in (other / "annotations").iterdir():
        content = json.loads(path.read_text())
        for row in content["annotations"]:
            del row["segmentation"]
        path.write_text(json.dumps(content))
    done = cvkit("instance", "train", "--data", other, "--out", tmp_path / "runs", *TINY)
    assert done.code == 2 and "segmentation None is missing" in done.err
    assert "cvkit detect" in done.err


@pytest.mark.parametrize(
    "sides, wanted", [((60, 90), 32), ((20, 30), 16), ((9, 12), 8), ((40, 7), 16)]
)
def test_anchors_fit_the_smallest_fifth_of_the_objects(sides, wanted):
    truth = make_truth(np.array([[0, 0, *sides]] * 5, float), [1] * 5)
    images = [AnnotatedImage("a", Path("a"), 1, (200, 100), truth)]
    network = Network("mask-rcnn", "resnet18")
    found = with_anchors(network, InstanceTrain(), Preprocessing((100,), 400), images)
    assert found.smallest == wanted
    given = with_anchors(network, InstanceTrain(anchor_size=24), Preprocessing((100,), 400), images)
    assert given.smallest == 24


@pytest.mark.parametrize(
    "side, sizes, wanted",
    [
        (256, (10, 40, 90), ((256,), 1.0)),  # some objects are large parts: a fixed side
        (256, (10, 20, 30), ((), 1.0)),
        (250, (10, 20, 30), ((), 1.0)),
        (640, (10, 20, 30), ((), 0.5)),
        (64, (2, 4, 6), ((), 2.0)),
    ],
)
def test_images_of_small_objects_are_scaled_by_one_factor(side, sizes, wanted):
    truth = make_truth(np.array([[0, 0, size, size] for size in sizes], float), [1] * len(sizes))
    images = [AnnotatedImage("a", Path("a"), 1, (side + 50, side), truth)]
    nothing = AnnotatedImage("b", Path("b"), 2, (side, side), make_truth(np.zeros((0, 4)), []))
    for data in (images, [*images, nothing]):
        found = input_sizes(InstanceTrain(), data, [(side, side + 50)])
        assert (found.min_sizes, found.scale) == wanted
    assert input_sizes(InstanceTrain(min_size="480"), images, [(side, side)]).min_sizes == (480,)
    assert input_sizes(InstanceTrain(), [nothing], [(256, 256)]).min_sizes == (256,)


@pytest.mark.parametrize("arch", catalog.DETECTORS)
def test_images_left_to_themselves_get_a_size_that_holds_anchors(arch):
    truth = make_truth(np.array([[0.0, 0, 40, 40]]), [1])
    image = AnnotatedImage("a", Path("a"), 1, (64, 64), truth)
    options = InstanceTrain if arch in catalog.ARCHS["instance"] else DetectTrain
    side = min(input_sizes(options(arch=arch), [image], [(64, 64)]).min_sizes)
    assert side >= max(32, catalog.DETECTORS[arch].least_side)


def test_a_factor_is_stored_with_the_model(cvkit, shapes, tmp_path):
    flags = [*TINY, "--min-size", "x0.5", "--epochs", "1", "--out", tmp_path]
    done = cvkit("instance", "train", "--data", shapes, *flags)
    assert done.code == 0, done.err
    flags = ["--weights", tmp_path / "instance-mask-rcnn-001", "--data", shapes, "--no-files"]
    rule = cvkit("instance", "eval", *flags, "--json").json["inference"]
    assert (rule["min_sizes"], rule["scale"]) == ([], 0.5)


def test_python_gets_masks(masker, shapes):
    predictor = package.load(masker, threshold=0.0)
    image = next((shapes / "images" / "val").iterdir())
    (result,) = predictor.predict([image])
    assert result.masks.shape == (len(result), 96, 96) and len(result) > 3


@pytest.fixture(scope="module")
def foreign(tmp_path_factory):
    """Torchvision's Mask R-CNN with random weights, as a file."""
    torch.manual_seed(0)
    model = tv.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None)
    path = tmp_path_factory.mktemp("foreign") / "mask.pth"
    torch.save(model.state_dict(), path)
    return model.eval(), path


@pytest.mark.slow
def test_an_imported_network_gives_torchvisions_masks(cvkit, foreign, shapes, tmp_path):
    theirs, path = foreign
    out = tmp_path / "m.safetensors"
    flags = ["--task", "instance", "--arch", "maskrcnn_resnet50_fpn", "--out", out]
    assert cvkit("weights", "import", path, *flags).code == 0
    tensors, header = read_model(out)
    inputs = header["preprocessing"]
    assert (inputs["min_sizes"], inputs["max_size"]) == ([800], 1333)
    assert (theirs.transform.min_size, theirs.transform.max_size) == ((800,), 1333)
    inputs["min_sizes"], theirs.transform.min_size = [200], (200,)  # a sixteenth of the time
    write_sealed(out, tensors, header)
    image = next((shapes / "images" / "val").iterdir())
    predictor = package.load(out, threshold=0.0, max_detections=20)
    (found,) = predictor.predict([image])
    theirs.roi_heads.score_thresh, theirs.roi_heads.detections_per_img = 0.0, 20
    pixels = torch.from_numpy(np.array(Image.open(image))).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        (wanted,) = theirs([pixels])
    assert len(found) == len(wanted["boxes"]) >= 10
    assert np.array_equal(found.labels + 1, wanted["labels"].numpy())
    assert np.allclose(found.boxes, wanted["boxes"].numpy(), atol=1e-3)
    masks = (wanted["masks"][:, 0] > 0.5).numpy()
    assert masks.sum() > 50 and np.array_equal(found.masks, masks)
    assert predictor.classes[0] == "person" and len(predictor.classes) == 90


def test_a_published_network_is_found_by_name(cvkit, foreign, shapes, tmp_path, monkeypatch):
    _, path = foreign
    monkeypatch.setenv("CVKIT_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    image = next((shapes / "images" / "val").iterdir())
    flags = ["--weights", "coco:resnet50", "--offline", "--quiet"]
    missing = cvkit("instance", "predict", image, *flags, "--out", tmp_path / "a")
    assert missing.code == 2 and "--offline" in missing.err and "https://" in missing.err
    entry = tv.MaskRCNN_ResNet50_FPN_Weights.DEFAULT
    cached = tmp_path / "cache" / entry.url.rpartition("/")[2]
    cached.parent.mkdir()
    cached.symlink_to(path)
    damaged = cvkit("instance", "predict", image, *flags, "--out", tmp_path / "b")
    assert damaged.code == 2 and "is damaged" in damaged.err
    # A file of that hash cannot be made here; everything but the hash is as in earnest.
    monkeypatch.setattr(weights, "verified", lambda path: path)
    done = cvkit("instance", "predict", image, *flags, "--out", tmp_path / "c")
    assert done.code == 0
    wrong = cvkit("detect", "predict", image, "--weights", "coco:resnet34", "--out", tmp_path / "d")
    assert wrong.code == 2


def test_masks_learn_the_images_they_see(learned, tmp_path):
    write_detection(tmp_path / "four", {"train": 4}, seed=3, size_hw=(96, 96))
    best = learned(
        "instance",
        **{"data": str(tmp_path / "four"), "backbone": "toy", "channels": 32, "roi_samples": 32},
        **{"min_size": "96", "batch_size": 4, "epochs": 40, "lr": 5e-3},
    )
    assert best["mask.AP50"] > 0.5


@pytest.mark.slow
def test_checks_pass(cvkit, shapes, tmp_path):
    flags = ["--data", shapes, "--batch-size", "4", "--workers", "0", "--augment", "none"]
    flags += ["--epochs", "1", "--out", tmp_path, "--check", "--backbone", "resnet18"]
    more = ["--channels", "64", "--roi-samples", "64"]
    done = cvkit("instance", "train", *flags, "--min-size", "64", *more)
    assert done.code == 0
    checks = json.loads((tmp_path / "instance-mask-rcnn-001" / "checks.json").read_text())
    assert len(checks) == 6
    assert {check["name"] for check in checks if not check["passed"]} <= {"size of the updates"}
