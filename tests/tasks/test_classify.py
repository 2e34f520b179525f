"""Classification from data to files, as its user sees it."""

import csv
import json
import shutil

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

from cvkit import load
from cvkit.data.classified import read_collection
from cvkit.data.datasets import ClassificationDataset, CropRule
from cvkit.data.synthetic.samples import write_classification
from cvkit.engine.checkpoint import save_model
from cvkit.model_files import read_model

TINY = (
    *("--arch", "mobilenet_v3_small", "--batch-size", "6", "--workers", "0", "--quiet"),
    *("--image-size", "32"),
)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """24 images to train, 12 to validate, 6 classes, 40x48."""
    folder = tmp_path_factory.mktemp("shapes")
    write_classification(folder, {"train": 24, "val": 12}, seed=3, size_hw=(40, 48))
    return folder


@pytest.fixture(scope="module")
def model(shapes, tmp_path_factory):
    from cvkit.cli import run

    out = tmp_path_factory.mktemp("runs")
    flags = ("--data", str(shapes), "--out", str(out), "--epochs", "8", "--arch", "lenet")
    assert run(["classify", "train", *flags, *TINY[2:]]) == 0
    return out / "classify-lenet-001"


def rows_of(path):
    with open(path, newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_holds_what_it_promises(model):
    names = {path.name for path in model.iterdir()}
    assert {"best.safetensors", "metrics.jsonl", "curves.png", "config.yaml"} <= names
    line = json.loads((model / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(line["losses"]) == {"out"}
    assert 0 <= line["top1"] <= 1


def test_what_predict_writes_scores_what_eval_says(cvkit, shapes, model, tmp_path):
    measured = cvkit(
        *("classify", "eval", "--weights", model, "--data", shapes, "--out", tmp_path, "--json")
    )
    assert measured.code == 0, measured.err
    assert measured.json["counts"] == {"images": 12, "evaluated": 12, "failed": 0}
    out = tmp_path / "out"
    done = cvkit("classify", "predict", shapes / "val", "--weights", model, "--out", out)
    assert done.code == 0, done.err
    truth = tmp_path / "labels.csv"
    lines = [f"{p.parent.name}/{p.name},{p.parent.name}" for p in (shapes / "val").rglob("*.png")]
    truth.write_text("\n".join(["path,label", *lines]) + "\n")
    whole = tmp_path / "whole"
    # Of more inputs, `auto` may choose another engine than eval did.
    flags = ("--weights", model, "--out", whole, "--engine", measured.json["engine"])
    assert cvkit("classify", "predict", shapes, *flags).code == 0
    table = out / "predictions.csv"
    for results, place in ((table, truth), (out, shapes), (whole, shapes)):
        scored = cvkit(
            *("classify", "eval", "--predictions", results, "--truth", place),
            *("--no-files", "--json"),
        )
        assert scored.code == 0, scored.err
        assert scored.json["metrics"] == measured.json["metrics"]
    folder = tmp_path / "classify-eval-001"
    assert {
        "report.json",
        "counts.npz",
        "eval.json",
        "per_image.csv",
        "precision_recall.csv",
        "confusion_matrix.csv",
        "confusion_matrix.png",
    } == {path.name for path in folder.iterdir()}
    right = sum(int(row["correct"]) for row in rows_of(folder / "per_image.csv"))
    assert right / 12 == pytest.approx(measured.json["metrics"]["top1"])
    picture = Image.open(folder / "confusion_matrix.png")
    assert min(picture.size) > 200


def test_predictions_come_in_lines_and_in_a_table(cvkit, shapes, model, tmp_path):
    out = tmp_path / "out"
    flags = ("--top-k", 2, "--save", "sorted", "--embeddings", tmp_path / "f.npz")
    before = {path: path.read_bytes() for path in shapes.rglob("*.png")}
    done = cvkit(
        *("classify", "predict", shapes / "val" / "ring", "--weights", model, "--out", out), *flags
    )
    assert done.code == 0, done.err
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    table = rows_of(out / "predictions.csv")
    assert list(table[0]) == ["path", "label", "score", "label_2", "score_2"]
    stored = np.load(tmp_path / "f.npz")
    predictor = load(model, precision="fp32")
    for line, row, path, features in zip(
        lines, table, stored["paths"], stored["features"], strict=True
    ):
        assert line["path"] == row["path"] == str(path)
        assert line["labels"] == [row["label"], row["label_2"]]
        assert line["scores"] == [float(row["score"]), float(row["score_2"])]
        assert (line["width"], line["height"]) == (48, 40)
        linked = out / line["sorted"]
        assert linked.parent.name == line["labels"][0]
        assert linked.is_symlink()
        assert linked.read_bytes() == (shapes / "val" / "ring" / line["path"]).read_bytes()
        (result,) = predictor.predict([shapes / "val" / "ring" / line["path"]])
        assert predictor.classes[result.label] == line["labels"][0]
        np.testing.assert_allclose(result.scores.max(), line["scores"][0], atol=1e-6)
        tensors = load_file(model / "best.safetensors")
        logits = tensors["head.weight"] @ torch.tensor(features) + tensors["head.bias"]
        np.testing.assert_allclose(logits.softmax(0).numpy(), result.scores, atol=1e-5)
    assert before == {path: path.read_bytes() for path in shapes.rglob("*.png")}


def test_an_interrupted_prediction_still_gets_all_embeddings(cvkit, shapes, model, tmp_path):
    out = tmp_path / "out"
    flags = ("--weights", model, "--out", out, "--embeddings", tmp_path / "f.npz")
    assert cvkit("classify", "predict", shapes / "val", *flags).code == 0
    lines = (out / "predictions.jsonl").read_text().splitlines(keepends=True)
    (out / "predictions.jsonl").write_text("".join(lines[:3]))
    (tmp_path / "f.npz").unlink()
    assert cvkit("classify", "predict", shapes / "val", *flags, "--resume").code == 0
    stored = np.load(tmp_path / "f.npz")
    assert len(stored["paths"]) == len(stored["features"]) == len(lines) > 3
    assert len(rows_of(out / "predictions.csv")) == len(stored["paths"])


def test_a_bad_image_costs_one_image(cvkit, shapes, model, tmp_path):
    folder = tmp_path / "photos"
    shutil.copytree(shapes / "val" / "star", folder)
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    Image.new("L", (5, 90), 77).save(folder / "narrow.png")
    done = cvkit("classify", "predict", folder, "--weights", model, "--out", tmp_path / "out")
    assert done.code == 3
    good = {row["path"] for row in rows_of(tmp_path / "out" / "predictions.csv")}
    assert "narrow.png" in good
    assert "broken.png" not in good
    (failure,) = (tmp_path / "out" / "failures.jsonl").read_text().splitlines()
    assert json.loads(failure)["path"] == "broken.png"


@pytest.mark.parametrize("tta", ["flip", "ten-crop"])
def test_views_are_averaged(cvkit, shapes, model, tmp_path, tta):
    path = next((shapes / "val" / "cross").iterdir())
    plain, averaged = (load(model, **o).predict([path])[0] for o in ({}, {"tta": tta}))
    assert not np.array_equal(plain.scores, averaged.scores)
    np.testing.assert_allclose(averaged.scores.sum(), 1, atol=1e-5)
    if tta == "flip":
        mirrored = tmp_path / "m.png"
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored)
        (other,) = load(model).predict([mirrored])
        np.testing.assert_allclose(averaged.scores, (plain.scores + other.scores) / 2, atol=1e-5)
    flags = ("--weights", model, "--data", shapes, "--tta", tta, "--no-files", "--json")
    assert cvkit("classify", "eval", *flags).json["inference"][tta.replace("-", "_")] is True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda root: [shutil.rmtree(root / split / "ring") for split in ("train", "val")],
            ["ring", "missing"],
        ),
        (lambda root: shutil.copytree(root / "val/ring", root / "val/blob"), ["blob", "added"]),
        (
            lambda root: (root / "classes.txt").write_text(
                "circle\ncross\nring\nsquare\ntriangle\nstar\n"
            ),
            ["order", "'triangle'", "'star'"],
        ),
    ],
)
def test_other_classes_than_the_models_are_named(cvkit, shapes, model, tmp_path, change, words):
    root = tmp_path / "other"
    shutil.copytree(shapes, root)
    change(root)
    done = cvkit("classify", "eval", "--weights", model, "--data", root)
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    for word in words:
        assert word in done.err


def test_a_class_without_images_in_the_split_is_undefined_not_an_error(
    cvkit, shapes, model, tmp_path
):
    root = tmp_path / "other"
    shutil.copytree(shapes, root)
    shutil.rmtree(root / "val" / "ring")
    flags = ("--weights", model, "--data", root, "--no-files", "--json")
    found = cvkit("classify", "eval", *flags).json
    assert found["per_class"]["ring"]["recall"] is None
    assert found["rules"]["classes_absent"] == ["ring"]


@pytest.mark.parametrize(
    "change",
    [
        {"arch": "resnet19"},
        {"image_size": "large"},
        {"backbone": "nothing"},
        {"unknown": 1},
        {"image_size": 10**9},
    ],
)
def test_a_header_that_describes_no_network_is_refused(cvkit, shapes, model, tmp_path, change):
    tensors, header = read_model(model / "best.safetensors")
    header["network"] |= change
    save_model(tmp_path / "m.safetensors", tensors, header)
    done = cvkit(
        "classify", "eval", "--weights", tmp_path / "m.safetensors", "--data", shapes, "--no-files"
    )
    assert done.code == 2
    assert len(done.err.strip().splitlines()) == 1
    assert "header" in done.err


@pytest.mark.parametrize(
    ("name", "word"), [("f.npy", ".npz"), ("no/f.npz", "no"), ("old.npz", "exists")]
)
def test_embeddings_are_refused_before_work_starts(cvkit, shapes, model, tmp_path, name, word):
    (tmp_path / "old.npz").write_bytes(b"old")
    out = tmp_path / "out"
    flags = ("--weights", model, "--out", out, "--embeddings", tmp_path / name)
    done = cvkit("classify", "predict", shapes / "val", *flags)
    assert done.code == 2
    assert word in done.err
    assert not out.exists()
    assert (tmp_path / "old.npz").read_bytes() == b"old"


def train(cvkit, shapes, out, *more):
    return cvkit("classify", "train", "--data", shapes, "--out", out, *TINY, *more)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--arch", "alexnet", "--image-size", 32), ["alexnet", "32x32", "--image-size"]),
        (("--image-size", "64x32"), ["64x32", "not a square"]),
        (("--arch", "alexnet", "--stem", "small"), ["--stem small", "alexnet"]),
        (("--arch", "resnet18", "--backbone", "vgg11"), ["resnet18", "vgg11"]),
        (("--arch", "lenet", "--backbone", "vgg11"), ["lenet"]),
        (("--stochastic-depth", 0.2), ["--stochastic-depth", "mobilenet_v3_small", "swin"]),
        (("--loss", "hinge", "--label-smoothing", 0.1), ["--label-smoothing", "hinge"]),
        (("--class-weights", "1,2"), ["1,2", "6 classes"]),
        (("--aux-weight", 0.3), ["--aux-weight"]),
        (("--freeze", "backbone.layer9"), ["backbone.layer9"]),
        (("--unfreeze-at", 2), ["--unfreeze-at 2", "--freeze"]),
        (("--train-split", "trian"), ["trian", "train"]),
        (("--arch", "lenet", "--pretrained", "imagenet"), ["lenet", "pretrained"]),
        (("--augment", "heavy"), ["heavy", "randaugment"]),
    ],
)
def test_flags_that_cannot_work_are_one_line_and_leave_nothing(
    cvkit, shapes, tmp_path, flags, words
):
    done = train(cvkit, shapes, tmp_path / "runs", *flags)
    assert done.code == 2, done.err
    assert len(done.err.strip().splitlines()) == 1
    for word in words:
        assert word in done.err
    assert not (tmp_path / "runs").exists()


def test_defects_of_the_data_are_listed_before_training(cvkit, shapes, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(shapes, root)
    (root / "train" / "ring" / "a.png").write_bytes(b"")
    (root / "val" / "star" / "b.jpg").write_text("no image")
    done = train(cvkit, root, tmp_path / "runs")
    assert done.code == 2
    assert "2 defects" in done.err
    assert "a.png is empty" in done.err
    assert "b.jpg is not an image" in done.err
    shutil.rmtree(root / "train" / "ring")
    done = train(cvkit, root, tmp_path / "runs")
    assert "'ring'" in done.err
    assert not (tmp_path / "runs").exists()


def test_images_in_both_splits_are_told(cvkit, shapes, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(shapes, root)
    twin = next((root / "train" / "ring").iterdir())
    shutil.copy(twin, root / "val" / "ring" / "twin.png")
    loud = [flag for flag in TINY if flag != "--quiet"]
    done = cvkit(
        "classify", "train", "--data", root, "--out", tmp_path / "runs", *loud, "--epochs", 1
    )
    assert done.code == 0
    assert "warning: 1 image of 'val' is also in 'train'" in done.err
    assert "twin.png" in done.err


@pytest.mark.parametrize("arch", ["lenet", "mlp", "linear", "knn"])
def test_the_classical_networks_learn_the_shapes(cvkit, tmp_path, arch):
    root = tmp_path / "data"
    write_classification(root, {"train": 120, "val": 36}, seed=1, size_hw=(32, 32))
    flags = ("--arch", arch, "--batch-size", 12, "--epochs", 6, "--augment", "none", "--quiet")
    done = cvkit("classify", "train", "--data", root, "--out", tmp_path, *flags, "--json")
    assert done.code == 0, done.err
    assert done.json["best"]["top1"] > 1.5 / 6
    run = done.json["run"]
    measured = cvkit("classify", "eval", "--weights", run, "--data", root, "--no-files", "--json")
    assert measured.json["metrics"] == pytest.approx(
        {name: done.json["best"][name] for name in measured.json["metrics"]}, abs=1e-6
    )


def test_knn_on_a_frozen_network_keeps_its_examples(cvkit, shapes, tmp_path):
    torch.manual_seed(0)
    body = torchvision.models.resnet18()
    torch.save(body.state_dict(), tmp_path / "r.pth")
    flags = ("--arch", "knn", "--backbone", "resnet18", "--pretrained", tmp_path / "r.pth")
    done = cvkit(
        *("classify", "train", "--data", shapes, "--out", tmp_path, "--quiet", "--json"),
        *(*flags, "--neighbors", 1),
    )
    assert done.code == 0, done.err
    tensors = load_file(f"{done.json['run']}/best.safetensors")
    assert tensors["bank"].shape == (24, 512)
    # Its own training images are its nearest neighbours.
    again = cvkit(
        *("classify", "eval", "--weights", done.json["run"], "--data", shapes, "--split", "train"),
        *("--no-files", "--json"),
    )
    assert again.json["metrics"]["top1"] == 1.0


def test_auxiliary_heads_do_not_come_from_the_file(cvkit, shapes, tmp_path):
    torch.manual_seed(0)
    full = torchvision.models.googlenet(num_classes=2, init_weights=True)
    torch.save(full.state_dict(), tmp_path / "g.pth")
    flags = ("--arch", "googlenet", "--pretrained", tmp_path / "g.pth", "--epochs", 1)
    done = cvkit(
        *("classify", "train", "--data", shapes, "--out", tmp_path, *TINY, *flags),
        *("--freeze", "backbone.conv1"),
    )
    assert done.code == 0, done.err
    run = tmp_path / "classify-googlenet-001"
    tensors = load_file(run / "best.safetensors")
    assert tensors["backbone.aux1.fc2.weight"].shape == (6, 1024)
    assert torch.equal(tensors["backbone.conv1.conv.weight"], full.conv1.conv.weight)
    line = json.loads((run / "metrics.jsonl").read_text())
    assert set(line["losses"]) == {"out", "aux1", "aux2"}
    # At the start all three heads know nothing: ln 6, weighted 1, 0.3 and 0.3.
    assert line["losses"]["aux1"] < 0.5 * line["losses"]["out"]


def test_a_sample_carries_the_seed_that_decided_it(shapes):
    found = read_collection(shapes, "auto", ["val"], None)
    data = ClassificationDataset(found.splits["val"], found.names, CropRule(32, 32, "bilinear"))
    assert data.read(3, seed=77).seed == 77
    assert data.read(3).truth.label == found.names.index(found.splits["val"][3].label)


def test_a_vision_transformer_takes_weights_of_another_image_size(cvkit, shapes, tmp_path):
    torch.manual_seed(0)
    large = torchvision.models.vit_b_32(num_classes=2)
    torch.save(large.state_dict(), tmp_path / "v.pth")
    flags = ("--arch", "vit_b_32", "--pretrained", tmp_path / "v.pth", "--image-size", 64)
    done = cvkit(
        *("classify", "train", "--data", shapes, "--out", tmp_path, *TINY, *flags),
        *("--epochs", 1, "--freeze", "backbone"),
    )
    assert done.code == 0, done.err
    tensors = load_file(tmp_path / "classify-vit_b_32-001" / "best.safetensors")
    assert tensors["backbone.encoder.pos_embedding"].shape == (1, 5, 768)
    assert torch.equal(tensors["backbone.conv_proj.weight"], large.conv_proj.weight)


def test_penalties_are_logged_and_shrink_the_weights(cvkit, shapes, tmp_path):
    flags = ("--arch", "linear", "--batch-size", 12, "--epochs", 3, "--quiet", "--weight-decay", 0)
    sizes = []
    for more in ((), ("--l1", 0.1, "--l2", 10)):
        done = cvkit(
            *("classify", "train", "--data", shapes, "--out", tmp_path, *flags, *more, "--json")
        )
        run = done.json["run"]
        sizes.append(load_file(f"{run}/best.safetensors")["head.weight"].abs().sum().item())
        with open(f"{run}/metrics.jsonl") as stream:
            line = json.loads(stream.readline())
        assert set(line["losses"]) == ({"out", "l1", "l2"} if more else {"out"})
    assert sizes[1] < 0.9 * sizes[0]
