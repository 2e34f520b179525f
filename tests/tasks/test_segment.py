"""The task as its users meet it: evaluation, scoring, inference options, the Python API."""

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import cvkit as package
from cvkit.api.results import Segmentation
from cvkit.console import Reporter
from cvkit.data.classes import numbered_classes
from cvkit.data.files import list_inputs
from cvkit.data.masks import MaskReader
from cvkit.engine.loader import stack
from cvkit.errors import DataError, ModelFileError, UsageError
from cvkit.options.segment import SegmentEval, SegmentTrain
from cvkit.tasks.segment.network import Network, Preprocessing
from cvkit.tasks.segment.setup import Inference, parse_tta
from cvkit.tasks.segment.task import Segment


def evaluate(cvkit, trained, data, out, *more):
    return cvkit(
        *("segment", "eval", "--weights", trained, "--data", data, "--out", out, "--json", "-q"),
        *more,
    )


def test_evaluation_reads_masks_as_training_did(scenes):
    flags = {"backbone": "mobilenet_v3_small", "image_size": "32x32"}
    told = {"ignore_index": 77, "mask_map": "78=1,79=0"}
    quiet = Reporter(quiet=True)
    options = SegmentTrain(data=str(scenes), **flags, **told)
    task = Segment.for_training(options, quiet)
    header = task.header(options)
    assert {name: header["labels"][name] for name in told} == told

    def reader(**own):
        used = SegmentEval(data=str(scenes), **own)
        return Segment.for_model(used, header).with_data(used, header, quiet).reader

    assert task.reader.ignore_index == reader().ignore_index == 77
    assert task.reader.mask_map.values == reader().mask_map.values == {78: 1, 79: 0}
    assert reader(ignore_index=80).ignore_index == 80
    assert reader(mask_map="81=2").mask_map.values == {81: 2}
    header["labels"] = {}  # a file that does not say it
    assert (reader().ignore_index, reader().mask_map.values) == (255, {})


def test_several_scales_are_those_of_deeplab():
    flip, scales = parse_tta("flip,scales")
    assert flip and scales == (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert parse_tta("flip") == (True, (1.0,)) and parse_tta(None) == (False, (1.0,))


def test_evaluation_repeats_the_number_of_training(cvkit, trained, scenes, tmp_path):
    done = evaluate(cvkit, trained, scenes, tmp_path)
    assert done.code == 0, done.err
    history = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert done.json["metrics"]["miou"] == max(line["miou"] for line in history)
    assert done.json["counts"] == {"images": 4, "evaluated": 4, "failed": 0, "pixels": 4 * 64 * 64}
    assert done.json["rules"]["absent_class"] == "exclude"
    assert done.json["precision"] == "fp32"
    report = json.loads((tmp_path / "segment-eval-001/report.json").read_text())
    assert report["metrics"] == done.json["metrics"]
    with open(done.json["files"]["per_image"]) as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows] == [f"images/val/scene{i:05d}.png" for i in range(8, 12)]


def test_evaluation_equals_scoring_what_predict_wrote(cvkit, trained, scenes, tmp_path):
    direct = evaluate(cvkit, trained, scenes, tmp_path).json
    cvkit(
        *("segment", "predict", scenes / "images", "--weights", trained),
        *("--out", tmp_path / "out", "-q", "--overlay", "none"),
    )
    scored = cvkit(
        *("segment", "eval", "--predictions", tmp_path / "out", "--truth", scenes),
        *("--out", tmp_path, "--json"),
    ).json
    assert scored["metrics"] == direct["metrics"]
    assert scored["per_class"] == direct["per_class"]


def test_truth_scored_against_itself_is_perfect(cvkit, voc, tmp_path):
    done = cvkit(
        *("segment", "eval", "--predictions", voc / "SegmentationClass", "--truth", voc),
        *("--no-files", "--json", "--fail-under", "miou=1"),
    )
    assert done.code == 0, done.err
    assert set(done.json["metrics"].values()) == {1.0}
    assert "folder" not in done.json


def test_scoring_counts_missing_predictions_and_refuses_wrong_values(cvkit, scenes, tmp_path):
    masks = tmp_path / "masks"
    shutil.copytree(scenes / "masks" / "val", masks)
    (masks / "scene00008.png").unlink()
    command = ("segment", "eval", "--predictions", masks, "--truth", scenes, "--no-files", "--json")
    done = cvkit(*command)
    assert done.code == 3
    assert done.json["counts"]["failed"] == 1
    assert done.json["failures"][0]["path"] == "scene00008"
    Image.fromarray(np.full((64, 64), 255, np.uint8)).save(masks / "scene00009.png")
    refused = cvkit(*command)
    assert refused.code == 2
    assert "scene00009" in refused.err
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(masks / "scene00009.png")
    refused = cvkit(*command)
    assert refused.code == 2
    assert "(32, 64)" in refused.err


def test_an_unreadable_image_is_counted_and_a_wrong_label_stops(cvkit, trained, scenes, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(scenes, root)
    (root / "images/val/scene00008.png").write_bytes(b"bad")
    done = evaluate(cvkit, trained, root, tmp_path)
    assert done.code == 3
    assert done.json["counts"]["evaluated"] == 3
    assert done.json["failures"][0]["path"] == "images/val/scene00008.png"
    Image.fromarray(np.full((64, 64), 6, np.uint8)).save(root / "masks/val/scene00009.png")
    stopped = evaluate(cvkit, trained, root, tmp_path)
    assert stopped.code == 2
    assert "scene00009.png: mask value 6" in stopped.err


def test_other_classes_than_the_models_are_named(cvkit, trained, scenes, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(scenes, root)
    lines = (root / "classes.txt").read_text()
    (root / "classes.txt").write_text(lines.replace("star", "hexagon"))
    done = evaluate(cvkit, trained, root, tmp_path)
    assert done.code == 2
    assert "star missing, hexagon added" in done.json["error"]["message"]
    (root / "classes.txt").write_text("\n".join(reversed(lines.splitlines())))
    assert "another order" in evaluate(cvkit, trained, root, tmp_path).json["error"]["message"]


def test_gates_decide_the_exit_code(cvkit, trained, scenes, tmp_path):
    assert evaluate(cvkit, trained, scenes, tmp_path, "--fail-under", "miou=0").code == 0
    failed = evaluate(cvkit, trained, scenes, tmp_path, "--fail-under", "miou=0.99")
    assert failed.code == 4
    assert "below 0.99" in failed.err
    unknown = evaluate(cvkit, trained, scenes, tmp_path, "--fail-under", "mious=0.9")
    assert unknown.code == 2


@pytest.fixture
def native(cvkit, scenes, tiny, tmp_path):
    """A run folder of a small model that learned from crops of the images as they are."""
    flags = ("--resize", "native", "--epochs", 1, "--out", tmp_path / "native", *tiny)
    assert cvkit("segment", "train", "--data", scenes, *flags).code == 0
    return tmp_path / "native" / "segment-unet-001"


@pytest.mark.parametrize(
    ("model", "more"), [("trained", ("--tta", "flip,scales")), ("native", ("--sliding-window",))]
)
def test_inference_options_are_reported_and_change_the_result(
    cvkit, request, scenes, tmp_path, model, more
):
    model = request.getfixturevalue(model)
    plain = evaluate(cvkit, model, scenes, tmp_path).json
    other = evaluate(cvkit, model, scenes, tmp_path, *more).json
    assert other["inference"] != plain["inference"]
    assert other["metrics"] != plain["metrics"]


def test_windows_and_augmentation_exclude_each_other(cvkit, trained, scenes, tmp_path):
    refused = evaluate(cvkit, trained, scenes, tmp_path, "--tta", "flip", "--sliding-window")
    assert refused.code == 2


def test_one_window_that_holds_the_fitted_image_changes_nothing(cvkit, trained, scenes, tmp_path):
    plain = evaluate(cvkit, trained, scenes, tmp_path).json
    other = evaluate(cvkit, trained, scenes, tmp_path, "--sliding-window").json
    assert other["inference"] == plain["inference"] | {"sliding_window": True}
    assert other["metrics"] == plain["metrics"]
    folders = [tmp_path / name for name in ("plain", "windows")]
    for folder, more in zip(folders, ((), ("--sliding-window",)), strict=True):
        command = ("segment", "predict", scenes / "images/val", "--weights", trained, "--quiet")
        assert cvkit(*command, "--out", folder, *more).code == 0
    masks = [sorted((folder / "masks").iterdir()) for folder in folders]
    assert len(masks[0]) == 4
    assert [m.read_bytes() for m in masks[0]] == [m.read_bytes() for m in masks[1]]


@pytest.mark.parametrize(
    ("resize", "size_hw", "windows_hw"),
    [
        ("fit", (64, 96), [(32, 48)]),
        ("fit", (96, 64), [(32, 32), (32, 32)]),
        ("fit", (40, 200), [(10, 48)]),
        ("short", (64, 96), [(32, 48)]),
        ("short", (96, 64), [(32, 32), (32, 32)]),
        ("short", (40, 80), [(32, 48), (32, 48)]),
        ("native", (64, 96), [(32, 48)] * 9),
        ("native", (30, 20), [(30, 20)]),
    ],
)
def test_windows_slide_at_the_scale_of_training(resize, size_hw, windows_hw, tmp_path):
    seen = []

    class Model:
        def logits(self, images):
            seen.append(tuple(images.shape[-2:]))
            return images[:, :2]

    Image.new("RGB", size_hw[::-1]).save(tmp_path / "a.png")
    task = Segment(
        classes=numbered_classes(2),
        network=Network("unet", "resnet18", None, False, False),
        preprocessing=Preprocessing((48, 32), resize),
        splits={"val": []},
        reader=MaskReader(2),
        inference=Inference(sliding_window=True),
    )
    assert task.dataset("val", training=False).resize == resize
    sample = task.source(list_inputs([str(tmp_path / "a.png")])).read(0)
    (result,) = task.predict(Model(), *stack([sample]))
    assert seen == windows_hw
    assert result.labels.shape == size_hw


def test_damaged_and_foreign_models_are_refused(cvkit, trained, scenes, tmp_path):
    content = bytearray((trained / "best.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "m.safetensors").write_bytes(content)
    done = evaluate(cvkit, tmp_path / "m.safetensors", scenes, tmp_path)
    assert done.code == 2
    assert done.json["error"]["code"] == "model.hash"
    (tmp_path / "m.safetensors").write_bytes(b"\x80\x04cos\nsystem\n.")
    assert evaluate(cvkit, tmp_path / "m.safetensors", scenes, tmp_path).code == 2


def test_python_api_predicts_in_original_pixels(trained, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (37, 61, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    Image.fromarray(pixels[:20]).save(tmp_path / "b.png")
    predictor = package.load(trained, batch_size=1)
    first, second = predictor.predict([tmp_path / "a.png", str(tmp_path / "b.png")])
    assert isinstance(first, Segmentation)
    assert first.labels.shape == first.confidence.shape == (37, 61)
    assert second.labels.shape == (20, 61)
    assert first.labels.max() < len(predictor.classes) == 6
    assert predictor.predict([]) == []
    with pytest.raises(DataError, match=r"missing\.png"):
        predictor.predict([tmp_path / "missing.png"])
    with pytest.raises(UsageError, match="did you mean batch_size"):
        package.load(trained, batchsize=1)
    with pytest.raises(ModelFileError, match="nowhere"):
        package.load(tmp_path / "nowhere")


def test_voc_data_without_class_names_trains_and_evaluates(cvkit, voc, tmp_path, tiny):
    done = cvkit("segment", "train", "--data", voc, "--epochs", 1, "--out", tmp_path, *tiny)
    assert done.code == 0, done.err
    done = evaluate(cvkit, tmp_path / "segment-unet-001", voc, tmp_path)
    assert done.code == 0
    assert list(done.json["per_class"]) == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.slow
def test_real_images_train_evaluate_and_predict(cvkit, real_data, tmp_path):
    data, run = real_data / "segment", tmp_path / "segment-unet-001"
    done = cvkit(
        *("segment", "train", "--data", data, "--backbone", "mobilenet_v3_small", "--epochs", 1),
        *("--image-size", "96x72", "--out", tmp_path),
    )
    assert done.code == 0, done.err
    assert "voc layout" in done.err
    assert "pedestrian" in done.err
    scored = evaluate(cvkit, run, data, tmp_path)
    assert scored.json["metrics"]["miou"] > 0.10, "the all-road floor is 0.027"
    images = sorted((data / "JPEGImages").glob("0016E5_0*.jpg"))[:5]
    done = cvkit("segment", "predict", *images, "--weights", run, "--out", tmp_path / "out", "-q")
    assert done.code == 0
    assert len(list((tmp_path / "out/masks").glob("*.png"))) == 5


def test_masks_of_one_class_are_not_scored_as_perfect(cvkit, tmp_path):
    for name, value in (("truth", 255), ("found", 0)):
        (tmp_path / name).mkdir()
        mask = np.zeros((8, 8), np.uint8)
        mask[2:6] = value
        Image.fromarray(mask).save(tmp_path / name / "a.png")
    flags = ("--predictions", tmp_path / "found", "--truth", tmp_path / "truth", "--no-files")
    for more in ((), ("--mask-map", "255=1")):
        done = cvkit("segment", "eval", *flags, *more, "--json")
        assert done.code == 0 and ("255 is read as class 1" in done.err) == (not more)
        assert done.json["metrics"]["miou"] == 0.25
    mask[:] = 0
    Image.fromarray(mask).save(tmp_path / "truth" / "a.png")
    refused = cvkit("segment", "eval", *flags)
    assert refused.code == 2 and "only one class" in refused.err
