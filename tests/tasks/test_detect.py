"""Detection from the command line: train, eval, predict, proposals, files of others."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from safetensors.torch import load_file
from torchvision.models import detection as tv

import cvkit as package
from cvkit.cli import run
from cvkit.console import Reporter
from cvkit.data.formats.coco import read_coco
from cvkit.data.synthetic.samples import CATEGORY_IDS, write_detection
from cvkit.errors import CvkitWarning
from cvkit.metrics.coco import CLASS_COLUMNS, METRICS
from cvkit.models import weights
from cvkit.options.detect import PROTOCOLS, DetectEval, DetectPredict, DetectTrain
from cvkit.output.canvas import enlarged_hw
from cvkit.tasks.detect.network import freeze_backbone
from cvkit.tasks.detect.task import Detect
from cvkit.tasks.instance.task import Instance

TINY = (
    *("--backbone", "mobilenet_v3_small", "--min-size", "64", "--batch-size", "2"),
    *("--workers", "0", "--roi-samples", "32", "--channels", "32", "--quiet"),
)
"""Flags of a training that takes a few seconds."""
CROPS = (
    *("--arch", "rcnn", "--backbone", "mobilenet_v3_small", "--min-size", "40"),
    *("--batch-size", "2", "--workers", "0", "--quiet"),
)


@pytest.fixture(scope="session")
def boxes(tmp_path_factory):
    """A dataset of scenes with boxes: 8 to train, 4 to validate, 96x96."""
    folder = tmp_path_factory.mktemp("boxes")
    write_detection(folder, {"train": 8, "val": 4}, seed=3, size_hw=(96, 96))
    return folder


@pytest.fixture(scope="session")
def proposals(boxes, tmp_path_factory):
    path = tmp_path_factory.mktemp("proposals") / "all.npz"
    flags = ["--max-boxes", "60", "--workers", "0", "--quiet"]
    assert run(["detect", "proposals", str(boxes), "--out", str(path), *flags]) == 0
    return path


@pytest.fixture(scope="session")
def detector(boxes, tmp_path_factory):
    """A run folder of a detector that has seen a little."""
    out = tmp_path_factory.mktemp("runs")
    flags = ["--data", str(boxes), "--out", str(out), "--epochs", "2", "--anchor-size", "32", *TINY]
    assert run(["detect", "train", *flags]) == 0
    return out / "detect-faster-rcnn-001"


def test_a_run_leaves_everything_that_is_promised(detector, boxes):
    names = {path.name for path in detector.iterdir()}
    wanted = {"config.yaml", "metrics.jsonl", "curves.png", "best.safetensors", "environment.json"}
    assert wanted <= names
    lines = [json.loads(line) for line in (detector / "metrics.jsonl").read_text().splitlines()]
    losses = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}
    assert all(set(line["losses"]) == losses for line in lines)
    assert set(METRICS) <= set(lines[0])


def test_eval_gives_the_numbers_of_pycocotools_on_what_predict_writes(
    cvkit, detector, boxes, tmp_path
):
    flags = ["--weights", detector, "--threshold", "0.01"]
    live = cvkit("detect", "eval", *flags, "--data", boxes, "--out", tmp_path, "--json")
    assert live.code == 0 and live.json["counts"]["detections"] > 20
    truth = boxes / "annotations" / "instances_val.json"
    out = tmp_path / "out"
    images = boxes / "images" / "val"
    done = cvkit("detect", "predict", images, *flags, "--out", out, "--image-ids", truth)
    assert done.code == 0
    files = cvkit(
        *("detect", "eval", "--predictions", out, "--truth", truth),
        *("--out", tmp_path, "--json"),
    )
    assert files.json["metrics"] == live.json["metrics"]
    assert files.json["per_class"] == live.json["per_class"]
    reference = COCO(truth)
    run_ = COCOeval(reference, reference.loadRes(str(out / "results.json")), "bbox")
    run_.evaluate()
    run_.accumulate()
    run_.summarize()
    wanted = [None if value == -1 else value for value in run_.stats.tolist()]
    assert list(live.json["metrics"].values()) == wanted
    assert live.json["metrics"]["AR100"] > 0


def test_eval_writes_tables_and_pictures(cvkit, detector, boxes, tmp_path):
    done = cvkit(
        "detect", "eval", "--weights", detector, "--data", boxes, "--out", tmp_path, "--json"
    )
    files = done.json["files"]
    for name in ("precision_recall_png", "confusion_matrix_png"):
        assert np.asarray(Image.open(files[name])).std() > 5
    rows = (tmp_path / "detect-eval-001" / "per_image.csv").read_text().splitlines()
    assert rows[0] == "path,objects,detections,found" and len(rows) == 5
    errors = done.json["errors"]
    objects = done.json["counts"]["objects"]
    assert errors["correct"] + errors["missed"] == objects > 5
    assert "F1" in errors["rule"]


@pytest.mark.parametrize("protocol", ["voc07", "voc12"])
def test_voc_protocols_are_named_with_their_rules(cvkit, detector, boxes, protocol):
    flags = ["--weights", detector, "--data", boxes, "--protocol", protocol, "--no-files"]
    done = cvkit("detect", "eval", *flags, "--json", "--fail-under", f"{protocol}_map=0")
    assert done.code == 0
    assert list(done.json["metrics"]) == [f"{protocol}_map"]
    assert protocol[3:] in done.json["rules"][f"{protocol}_map"]
    assert "VOC 20" in cvkit("detect", "eval", *flags).out


def test_the_table_of_classes_has_the_same_columns_by_every_protocol(cvkit, boxes, tmp_path):
    truth = boxes / "annotations" / "instances_val.json"
    path = write_results(tmp_path / "r.json", perfect(truth))
    flags = ["--predictions", path, "--truth", truth, "--no-files"]
    nothing = ["--predictions", write_results(tmp_path / "none.json", []), *flags[2:]]
    assert len(PROTOCOLS) == 3
    for protocol in PROTOCOLS:
        done = cvkit("detect", "eval", *flags, "--protocol", protocol, "--json")
        rows = done.json["per_class"]
        assert all(tuple(row) == CLASS_COLUMNS for row in rows.values()), protocol
        name, row = next((name, row) for name, row in rows.items() if row["objects"])
        assert [row[column] for column in ("AP", "AP50", "recall")] == pytest.approx([1, 1, 1])
        shown = cvkit("detect", "eval", *flags, "--protocol", protocol).out
        assert all(column in shown for column in CLASS_COLUMNS)
        for column, value in row.items():
            own = ["--protocol", protocol, "--fail-under"]
            passed = cvkit("detect", "eval", *flags, *own, f"{column}@{name}={value or 0}")
            assert passed.code == (4 if value is None else 0), (protocol, column)
            few, gate = (flags, value + 1) if column == "objects" else (nothing, 0.5)
            failed = cvkit("detect", "eval", *few, *own, f"{column}@{name}={gate}")
            found = value if column == "objects" or value is None else 0.0
            assert failed.code == 4 and f"{column}@{name} is {found}" in failed.err


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--protocol", "coco"], "at IoU 0.5"),
        (["--protocol", "voc07", "--iou", "0.75"], "at IoU over 0.75"),
        (["--protocol", "voc12", "--iou", "0.3"], "at IoU over 0.3"),
    ],
)
def test_curves_are_titled_with_their_iou(cvkit, boxes, tmp_path, monkeypatch, flags, words):
    titles = []
    draw = Axes.set_title
    monkeypatch.setattr(Axes, "set_title", lambda *a, **k: titles.append(a[1]) or draw(*a, **k))
    truth = boxes / "annotations" / "instances_val.json"
    path = write_results(tmp_path / "r.json", perfect(truth))
    files = ["--predictions", path, "--truth", truth, "--out", tmp_path]
    assert cvkit("detect", "eval", *files, *flags).code == 0
    assert titles == [f"precision and recall {words}"]


def test_predict_writes_results_in_original_pixels(cvkit, detector, boxes, tmp_path):
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    scene = Image.open(next((boxes / "images" / "val").iterdir())).resize((200, 150))
    scene.save(source / "sub" / "x.jpg")
    exif = Image.Exif()
    exif[0x0112] = 6
    scene.save(source / "turned.jpg", exif=exif)
    (source / "broken.jpg").write_bytes(b"nothing")
    out = tmp_path / "out"
    done = cvkit(
        *("detect", "predict", source, "--weights", detector, "--out", out),
        *("--threshold", "0.001", "--save", "yolo,voc,csv", "--draw-threshold", "0.01"),
    )
    assert done.code == 3
    lines = {
        line["path"]: line
        for line in map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    }
    assert {path: (line["width"], line["height"]) for path, line in lines.items()} == {
        "sub/x.jpg": (200, 150),
        "turned.jpg": (150, 200),
    }
    results = json.loads((out / "results.json").read_text())
    assert len(results) > 10
    assert {row["category_id"] for row in results} <= set(CATEGORY_IDS.values())
    for line in lines.values():
        found = np.array(line["boxes"])
        assert (found >= -1e-3).all() and (found[:, 2] <= line["width"] + 1e-3).all()
        assert found[:, 3].max() > 75  # not left in the pixels of the network's input
        assert line["scores"] == sorted(line["scores"], reverse=True)
        shown = enlarged_hw((line["height"], line["width"]))
        assert Image.open(out / line["overlay"]).size == shown[::-1]
    first = next(row for row in results if row["file_name"] == "sub/x.jpg")
    x1, y1, x2, y2 = lines["sub/x.jpg"]["boxes"][0]
    assert first["bbox"] == [x1, y1, x2 - x1, y2 - y1]
    label = (out / "labels" / "sub" / "x.txt").read_text().splitlines()[0].split()
    assert float(label[1]) == pytest.approx((x1 + x2) / 2 / 200, abs=1e-6)
    table = (out / "detections.csv").read_text().splitlines()
    assert len(table) == len(results) + 1
    rows = [line for f in (out / "voc").glob("*.txt") for line in f.read_text().splitlines()]
    assert len(rows) == len(results)
    score = lines["sub/x.jpg"]["scores"][0]
    best = next(row for row in rows if row.startswith("x ") and f"{score:.8f}" in row)
    assert [float(v) for v in best.split()[2:]] == pytest.approx([x1 + 1, y1 + 1, x2, y2], abs=1e-5)


WRONG_IDS = {
    "missing": (None, "does not exist"),
    "torn": ("{", "is not valid JSON"),
    "of others": ('{"images": [{"id": 1, "file_name": "other.png"}]}', "lacks 4 images"),
}


@pytest.mark.parametrize("kind", WRONG_IDS)
def test_wrong_image_ids_are_refused_before_the_first_image(cvkit, detector, boxes, tmp_path, kind):
    """They were noticed after the last one."""
    text, words = WRONG_IDS[kind]
    ids, out = tmp_path / "ids.json", tmp_path / "out"
    if text:
        ids.write_text(text)
    flags = [boxes / "images" / "val", "--weights", detector, "--out", out, "--quiet"]
    done = cvkit("detect", "predict", *flags, "--image-ids", ids)
    assert done.code == 2 and words in done.err and f"--image-ids {ids}" in done.err
    assert not out.exists()
    out.mkdir()
    (out / "predictions.jsonl").write_text("of another run")
    done = cvkit("detect", "predict", *flags, "--image-ids", ids, "--overwrite")
    assert done.code == 2
    assert [path.name for path in out.iterdir()] == ["predictions.jsonl"]
    assert (out / "predictions.jsonl").read_text() == "of another run"


def test_image_ids_know_what_a_resumed_folder_holds(cvkit, detector, boxes, tmp_path):
    first, *others = sorted((boxes / "images" / "val").iterdir())
    out, ids = tmp_path / "out", tmp_path / "ids.json"
    flags = ["--weights", detector, "--out", out, "--quiet"]
    assert cvkit("detect", "predict", first, *flags).code == 0
    before = (out / "predictions.jsonl").read_bytes()
    rows = [{"id": n, "file_name": path.name} for n, path in enumerate(others, 50)]
    ids.write_text(json.dumps({"images": rows}))
    more = [*others, *flags, "--resume", "--image-ids", ids]
    done = cvkit("detect", "predict", *more)
    assert done.code == 2 and f"lacks 1 image, such as {first.name}" in done.err
    assert (out / "predictions.jsonl").read_bytes() == before
    ids.write_text(json.dumps({"images": [*rows, {"id": 9, "file_name": first.name}]}))
    assert cvkit("detect", "predict", *more).code == 0
    lines = (out / "predictions.jsonl").read_text().splitlines()
    assert [json.loads(line)["path"] for line in lines] == [p.name for p in (first, *others)]
    found = {row["image_id"] for row in json.loads((out / "results.json").read_text())}
    assert found <= {9, 50, 51, 52}


@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_proposals_of_a_network_that_makes_its_own_are_refused(
    cvkit, detector, boxes, proposals, tmp_path, verb
):
    flags = ["--weights", detector, "--proposals", proposals, "--out", tmp_path / "out"]
    what = ["--data", boxes] if verb == "eval" else [boxes / "images" / "val"]
    done = cvkit("detect", verb, *what, *flags)
    assert done.code == 2 and "--proposals has no effect: faster-rcnn makes its own" in done.err
    assert not (tmp_path / "out").exists()


def test_voc_result_files_score_what_the_json_scores(cvkit, detector, boxes, tmp_path):
    out, truth = tmp_path / "out", boxes / "annotations" / "instances_val.json"
    images = boxes / "images" / "val"
    flags = ["--weights", detector, "--threshold", "0.01", "--save", "voc"]
    cvkit("detect", "predict", images, *flags, "--out", out, "--image-ids", truth)
    flags = ["--truth", truth, "--no-files", "--json", "--protocol", "voc12"]
    by_json = cvkit("detect", "eval", "--predictions", out / "results.json", *flags)
    by_text = cvkit("detect", "eval", "--predictions", out / "voc", *flags)
    value = by_json.json["metrics"]["voc12_map"]
    assert value > 0 and by_text.json["metrics"]["voc12_map"] == pytest.approx(value, abs=1e-6)


def write_results(path, rows):
    path.write_text(json.dumps(rows))
    return path


def perfect(truth):
    found = read_coco(truth, truth.parent, truth.parent)
    return [
        {
            "image_id": image.image_id,
            "category_id": found.classes.ids[label - 1],
            "bbox": box,
            "score": 0.9,
        }
        for image in found.images
        for label, box in zip(image.truth.labels.tolist(), image.truth.xywh.tolist(), strict=True)
    ]


def test_truths_as_predictions_score_1(cvkit, boxes, tmp_path):
    truth = boxes / "annotations" / "instances_val.json"
    path = write_results(tmp_path / "r.json", perfect(truth))
    flags = ["--predictions", path, "--truth", truth, "--no-files", "--json"]
    assert cvkit("detect", "eval", *flags).json["metrics"]["AP"] == pytest.approx(1)
    for protocol in ("voc07", "voc12"):
        done = cvkit("detect", "eval", *flags, "--protocol", protocol)
        assert done.json["metrics"][f"{protocol}_map"] == pytest.approx(1)


def test_no_predictions_score_0_with_a_warning(cvkit, boxes, tmp_path):
    path = write_results(tmp_path / "r.json", [])
    truth = boxes / "annotations" / "instances_val.json"
    done = cvkit("detect", "eval", "--predictions", path, "--truth", truth, "--no-files", "--json")
    assert done.code == 0 and done.json["metrics"]["AP"] == 0
    assert "contains no detections" in done.err


@pytest.mark.parametrize(
    "row, code",
    [
        ({"image_id": 99}, "results.image"),
        ({"image_id": [1]}, "results.row"),
        ({"category_id": {}}, "results.row"),
        ({"score": 10**400}, "results.row"),
        ({"category_id": 99}, "results.category"),
        ({"bbox": [1, 2, 3]}, "results.row"),
        ({"bbox": [1, 2, -3, 4]}, "results.value"),
        ({"score": "high"}, "results.row"),
        ({"score": None}, "results.row"),
    ],
)
def test_unusable_results_are_refused(cvkit, boxes, tmp_path, row, code):
    good = {"image_id": 1, "category_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}
    path = write_results(tmp_path / "r.json", [good, good | row])
    truth = boxes / "annotations" / "instances_val.json"
    done = cvkit("detect", "eval", "--predictions", path, "--truth", truth, "--no-files", "--json")
    assert done.code == 2 and done.json["error"]["code"] == code
    assert "[1]" in done.json["error"]["message"]


def test_gates_and_unknown_classes(cvkit, detector, boxes, tmp_path):
    flags = ["--weights", detector, "--data", boxes, "--no-files"]
    assert cvkit("detect", "eval", *flags, "--fail-under", "AP=0.99").code == 4
    other = tmp_path / "other"
    write_detection(other, {"val": 2}, seed=3, size_hw=(96, 96))
    path = other / "annotations" / "instances_val.json"
    path.write_text(path.read_text().replace("circle", "wheel"))
    done = cvkit("detect", "eval", "--weights", detector, "--data", other, "--no-files")
    assert done.code == 2 and "wheel" in done.err


def test_categories_are_matched_by_name_and_written_back_by_id(cvkit, detector, boxes, tmp_path):
    """Other ids and another order of the same classes give the same numbers."""
    wanted = cvkit("detect", "eval", "--weights", detector, "--data", boxes, "--no-files", "--json")
    other = tmp_path / "other"
    write_detection(other, {"train": 8, "val": 4}, seed=3, size_hw=(96, 96))
    path = other / "annotations" / "instances_val.json"
    content = json.loads(path.read_text())
    for row in content["categories"]:
        row["id"] = 100 - row["id"]
    for row in content["annotations"]:
        row["category_id"] = 100 - row["category_id"]
    path.write_text(json.dumps(content))
    found = cvkit("detect", "eval", "--weights", detector, "--data", other, "--no-files", "--json")
    assert found.json["per_class"] == wanted.json["per_class"]


def test_json_files_without_a_dataset_folder(cvkit, boxes, tmp_path):
    moved = {}
    for split in ("train", "val"):
        content = json.loads((boxes / "annotations" / f"instances_{split}.json").read_text())
        for row in content["images"]:
            row["file_name"] = f"{split}/{row['file_name']}"
        moved[split] = write_results(tmp_path / f"{split}-part.json", content)
    done = cvkit(
        *("detect", "train", "--train-json", moved["train"], "--val-json", moved["val"]),
        *("--images", boxes / "images", "--epochs", "1", "--out", tmp_path / "runs", *TINY),
    )
    assert done.code == 0
    alone = cvkit("detect", "train", "--val-json", moved["val"], "--out", tmp_path, *TINY)
    assert alone.code == 2 and "--train-json" in alone.err


@pytest.mark.parametrize(
    "flags, text",
    [
        (["--backbone", "vit_b_16"], "has no maps at several strides"),
        (["--min-size", "12"], "--min-size '12'"),
        (["--min-size", "200", "--max-size", "100"], "--max-size 100 is smaller"),
        (["--neck", "c4", "--backbone", "swin_t"], "--neck c4 needs"),
        (["--proposals", "x.npz"], "makes its own"),
        (["--trainable-layers", "9"], "the backbone has"),
        (["--arch", "fast-rcnn", "--proposals", "nowhere.npz"], "does not exist"),
        (["--label-smoothing", "0.1"], "--label-smoothing has no effect"),
        (["--head", "softmax"], "--head has no effect with --arch faster-rcnn"),
        (["--arch", "rcnn", "--neck", "c4"], "--neck has no effect with --arch rcnn"),
        (["--arch", "faster-rcnn-2015", "--min-size", "143"], "no anchor of --arch"),
    ],
)
def test_mistakes_are_told_in_one_line(cvkit, boxes, tmp_path, flags, text):
    done = cvkit(
        *("detect", "train", "--data", boxes, "--out", tmp_path / "runs", "--epochs", "1"),
        *("--workers", "0", "--quiet", *flags),
    )
    assert done.code == 2 and text in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not list((tmp_path).glob("runs/*"))


def test_resting_norms_and_layers_stay_as_they_began(boxes, tmp_path):
    from cvkit.model_files import read_model

    flags = ["--data", str(boxes), "--epochs", "1", *TINY, "--freeze-bn", "--trainable-layers", "1"]
    assert run(["detect", "train", *flags, "--out", str(tmp_path / "a")]) == 0
    tensors, _ = read_model(tmp_path / "a" / "detect-faster-rcnn-001" / "best.safetensors")
    norms = {n: t for n, t in tensors.items() if n.startswith("backbone.body.") and "running" in n}
    assert len(norms) > 20
    for name, tensor in norms.items():
        wanted = 0.0 if name.endswith("mean") else 1.0
        assert (tensor == wanted).all(), name


def test_a_frozen_backbone_leaves_its_new_pyramid_to_train(boxes, tmp_path):
    flags = ["--data", str(boxes), "--epochs", "1", *TINY, "--channels", "16", "--freeze-backbone"]
    flags.append("--keep-states")
    assert run(["detect", "train", *flags, "--out", str(tmp_path)]) == 0
    folder = tmp_path / "detect-faster-rcnn-001"
    (first, last) = sorted(folder.glob("ckpt/step-*/model.safetensors"))
    before, after = load_file(first), load_file(last)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in changed if name.startswith("backbone.body.")]
    assert any(name.startswith("backbone.fpn.") for name in changed)


def test_proposals_are_written_counted_and_reused(cvkit, boxes, proposals, tmp_path):
    with np.load(proposals) as file:
        assert len(file["keys"]) == 12 and file["offsets"][-1] == len(file["boxes"])
    done = cvkit(
        *("detect", "proposals", boxes, "--out", tmp_path / "p.npz", "--max-boxes", "60"),
        *("--workers", "1", "--json"),
    )
    assert done.code == 0 and 0 < done.json["val"]["recall"] <= 1
    assert done.json["train"]["boxes"] <= 60 and done.json["train"]["images"] == 8
    with np.load(proposals) as one, np.load(tmp_path / "p.npz") as two:
        assert np.array_equal(one["boxes"], two["boxes"])
    again = cvkit("detect", "proposals", boxes, "--out", tmp_path / "p.npz")
    assert again.code == 2 and "--overwrite" in again.err


@pytest.mark.parametrize("kind", ["json", "folder"])
def test_proposals_of_others_serve_too(cvkit, boxes, proposals, tmp_path, kind):
    with np.load(proposals) as file:
        keys, cuts = file["keys"].tolist(), file["offsets"].tolist()
        table = {
            k: file["boxes"][a:b].tolist() for k, a, b in zip(keys, cuts, cuts[1:], strict=False)
        }
    path = write_results(tmp_path / "own.json", [{"path": k, "boxes": v} for k, v in table.items()])
    place = path if kind == "json" else tmp_path
    flags = ["--data", boxes, "--arch", "fast-rcnn", "--proposals", place, "--epochs", "1", *TINY]
    assert cvkit("detect", "train", *flags, "--out", tmp_path / "runs").code == 0
    table.popitem()
    write_results(path, [{"path": k, "boxes": v} for k, v in table.items()])
    short = cvkit("detect", "train", *flags, "--out", tmp_path / "runs")
    assert short.code == 2 and "lacks 1 image" in short.err


@pytest.fixture(scope="session")
def crops(boxes, proposals, tmp_path_factory):
    """A run folder of a small R-CNN with its SVMs."""
    out = tmp_path_factory.mktemp("crops")
    flags = ["--data", str(boxes), "--proposals", str(proposals), "--epochs", "1"]
    assert run(["detect", "train", *flags, *CROPS, "--out", str(out)]) == 0
    return out / "detect-rcnn-001"


def test_rcnn_stores_all_stages_in_one_file(cvkit, crops, boxes, proposals, tmp_path):
    tensors = load_file(crops / "best.safetensors")
    assert tensors["fitted"] == 1
    assert tensors["svm_weight"].abs().sum() > 0 and tensors["ridge_weight"].abs().sum() > 0
    final = json.loads((crops / "stages.json").read_text())
    flags = ["--weights", crops, "--data", boxes, "--proposals", proposals, "--no-files", "--json"]
    found = cvkit("detect", "eval", *flags)
    assert found.json["metrics"]["AP"] == pytest.approx(final["AP"], abs=1e-6)
    out = tmp_path / "out"
    images = boxes / "images" / "val"
    done = cvkit("detect", "predict", images, "--weights", crops, "--out", out)
    assert done.code == 0 and json.loads((out / "results.json").read_text())
    flags = ["--weights", crops, "--proposals", tmp_path / "none.npz", "--out", tmp_path / "other"]
    wrong = cvkit("detect", "predict", images, *flags)
    assert wrong.code == 2 and "does not exist" in wrong.err
    assert not (tmp_path / "other").exists()


def test_rcnn_may_stop_after_its_network(boxes, proposals, tmp_path):
    flags = ["--data", str(boxes), "--proposals", str(proposals), "--epochs", "1"]
    code = run(["detect", "train", *flags, *CROPS, "--head", "softmax", "--out", str(tmp_path)])
    assert code == 0
    tensors = load_file(tmp_path / "detect-rcnn-001" / "best.safetensors")
    assert tensors["fitted"] == 0 and not tensors["svm_weight"].any()


def test_a_resumed_rcnn_repeats_its_stages_to_the_same_bits(cvkit, crops):
    before = load_file(crops / "best.safetensors")
    assert cvkit("detect", "train", "--resume", crops, "--quiet").code == 0
    after = load_file(crops / "best.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_python_gets_instances(detector, boxes):
    predictor = package.load(detector, threshold=0.01)
    image = next((boxes / "images" / "val").iterdir())
    (result,) = predictor.predict([image])
    assert result.boxes.shape == (len(result), 4) and len(result) > 3
    assert predictor.classes[result.labels[0]] in (
        "circle",
        "square",
        "triangle",
        "star",
        "ring",
    )


@pytest.fixture
def foreign(tmp_path):
    """Torchvision's MobileNet detector with random weights, as a file."""
    torch.manual_seed(0)
    model = tv.fasterrcnn_mobilenet_v3_large_320_fpn(weights=None, weights_backbone=None)
    path = tmp_path / "mobile.pth"
    torch.save(model.state_dict(), path)
    return model.eval(), path


def test_an_imported_detector_gives_torchvisions_boxes(cvkit, foreign, boxes, tmp_path):
    theirs, path = foreign
    name = "fasterrcnn_mobilenet_v3_large_320_fpn"
    out = tmp_path / "m.safetensors"
    done = cvkit("weights", "import", path, "--task", "detect", "--arch", name, "--out", out)
    assert done.code == 0
    image = next((boxes / "images" / "val").iterdir())
    predictor = package.load(out, threshold=0.0)
    (found,) = predictor.predict([image])
    theirs.roi_heads.score_thresh = 0.0
    pixels = torch.from_numpy(np.array(Image.open(image))).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        (wanted,) = theirs([pixels])
    assert len(found) == len(wanted["boxes"]) >= 10
    assert np.array_equal(found.labels + 1, wanted["labels"].numpy())
    assert np.allclose(found.boxes, wanted["boxes"].numpy(), atol=1e-3)
    assert predictor.classes[0] == "person" and len(predictor.classes) == 90


def test_a_published_detector_is_found_by_name(cvkit, foreign, boxes, tmp_path, monkeypatch):
    _, path = foreign
    monkeypatch.setenv("CVKIT_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    image = next((boxes / "images" / "val").iterdir())
    flags = ["--weights", "coco:mobilenet-320", "--offline", "--quiet"]
    missing = cvkit("detect", "predict", image, *flags, "--out", tmp_path / "a")
    assert missing.code == 2 and "--offline" in missing.err and "https://" in missing.err
    entry = tv.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights.DEFAULT
    cached = tmp_path / "cache" / entry.url.rpartition("/")[2]
    cached.parent.mkdir()
    cached.write_bytes(path.read_bytes())
    damaged = cvkit("detect", "predict", image, *flags, "--out", tmp_path / "b")
    assert damaged.code == 2 and "is damaged" in damaged.err
    # A file of that hash cannot be made here; everything but the hash is as in earnest.
    monkeypatch.setattr(weights, "verified", lambda path: path)
    done = cvkit("detect", "predict", image, *flags, "--out", tmp_path / "c")
    assert done.code == 0
    unknown = cvkit("detect", "predict", image, "--weights", "coco:mobile", "--out", tmp_path / "d")
    assert unknown.code == 2 and "coco:mobilenet" in unknown.err


FIT = ("--workers", "0", "--quiet", "--augment", "none", "--batch-size", "4")
SMALL = ("--backbone", "resnet18", "--channels", "64", "--min-size", "96", "--roi-samples", "64")
LIGHT = (
    *("--arch", "rcnn", "--backbone", "shufflenet_v2_x0_5", "--min-size", "64"),
    *("--roi-samples", "32"),
)
"""An R-CNN on a small network, because every region passes through all of it."""


@pytest.mark.slow
@pytest.mark.usefixtures("measured_last")
@pytest.mark.parametrize(
    "own, epochs, least",
    [
        ([*SMALL, "--lr", "1e-3"], 20, 0.5),
        (["--arch", "fast-rcnn", *SMALL, "--lr", "1e-3"], 20, 0.5),
        ([*LIGHT, "--lr", "3e-3"], 24, 0.5),
    ],
    ids=["faster-rcnn", "fast-rcnn", "rcnn"],
)
def test_detectors_learn_the_images_they_see(cvkit, boxes, proposals, tmp_path, own, epochs, least):
    flags = ["--data", boxes, "--val-split", "train", *FIT, *own]
    if "--arch" in own:
        flags += ["--proposals", proposals]
    done = cvkit("detect", "train", *flags, "--epochs", epochs, "--out", tmp_path, "--json")
    assert done.code == 0
    assert done.json["best"]["AP50"] > least


@pytest.mark.slow
@pytest.mark.parametrize("arch", ["faster-rcnn", "rcnn"])
def test_checks_pass_for_detectors(cvkit, boxes, proposals, tmp_path, arch):
    flags = ["--data", boxes, "--batch-size", "4", "--workers", "0", "--augment", "none"]
    flags += ["--epochs", "1", "--out", tmp_path, "--check"]
    own = {
        "faster-rcnn": [*SMALL, "--min-size", "64"],
        "rcnn": [*LIGHT, "--proposals", proposals],
    }
    done = cvkit("detect", "train", *flags, *own[arch])
    assert done.code == 0
    checks = json.loads((tmp_path / f"detect-{arch}-001" / "checks.json").read_text())
    assert len(checks) == 6
    assert {check["name"] for check in checks if not check["passed"]} <= {"size of the updates"}


@pytest.mark.parametrize("arch", ["rcnn", "fast-rcnn"])
@pytest.mark.parametrize("mode", ["fast", "quality"])
def test_evaluation_and_prediction_search_as_training_did(boxes, monkeypatch, arch, mode):
    asked, regions = [], np.array([[0, 0, 9, 9]], np.float32)

    def search_images(images, *, mode, **_):
        asked.append(mode)
        return {image.key: regions for image in images}

    place = "cvkit.tasks.detect.proposals"
    monkeypatch.setattr(f"{place}.search_images", search_images)
    monkeypatch.setattr(f"{place}.selective_search", lambda _, mode: asked.append(mode) or regions)
    flags = {"arch": arch, "backbone": "mobilenet_v3_small", "min_size": "32"}
    options, quiet = DetectTrain(data=str(boxes), proposal_mode=mode, **flags), Reporter(quiet=True)
    task = Detect.for_training(options, quiet)
    assert asked == [mode] and task.network.needs_proposals
    header = task.header(options)
    for wanted in (mode, "fast"):
        asked.clear()
        used = DetectEval(data=str(boxes))
        evaluated = Detect.for_model(used, header).with_data(used, header, quiet)
        assert asked == [wanted] and len(evaluated.proposals) == 4
        model = Detect.for_model(DetectPredict(), header)
        assert model.search("a.jpg", np.zeros((20, 20, 3), np.uint8)).tolist() == regions.tolist()
        assert asked == [wanted] * 2
        header.pop("proposals", None)  # a file that does not say it


def test_freezing_the_backbone_means_the_body_of_any_detector():
    class Whole(torch.nn.Module):
        """A detector that has no neck."""

        def __init__(self):
            super().__init__()
            self.layers = torch.nn.ModuleDict({"net": torch.nn.Linear(1, 1)})

        @property
        def body(self):
            return self.layers["net"]

    for task in (Detect, Instance):
        assert task.body(None, Whole()) == "layers.net"


def test_batch_norms_that_are_not_there_cannot_be_frozen():
    options = DetectTrain(freeze_bn=True, backbone="vgg11")
    without = SimpleNamespace(body=torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3)))
    with pytest.warns(CvkitWarning, match="--freeze-bn has no effect: the backbone vgg11 has no"):
        freeze_backbone(without, options)
    norm = torch.nn.BatchNorm2d(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        freeze_backbone(SimpleNamespace(body=torch.nn.Sequential(norm)), options)
    assert not norm.weight.requires_grad
