"""The training loop: processes, divergence, freezing, stopping early, and that it learns."""

import json
import signal

import numpy as np
import pytest
import torch
import yaml
from networks import segmenter
from PIL import Image
from safetensors.torch import load_file

from cvkit import catalog
from cvkit.data.synthetic import cache
from cvkit.model_files import read_header, read_model
from cvkit.models.segmentation.unet import ClassicUNet
from cvkit.tasks.segment.task import Segment


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def states(run):
    return sorted(p.name for p in (run / "ckpt").glob("step-*"))


def test_a_run_folder_holds_what_a_run_is(trained):
    names = {path.name for path in trained.iterdir()}
    assert names == {
        *("best.safetensors", "last.safetensors", "config.yaml", "curves.png"),
        *("environment.json", "metrics.jsonl"),
    }
    config = yaml.safe_load((trained / "config.yaml").read_text())
    assert (config["arch"], config["batch_size"], config["image_size"]) == ("unet", 2, "32x32")
    about = json.loads((trained / "environment.json").read_text())
    assert about["packages"]["torch"]
    header = read_header(trained / "best.safetensors")
    assert about["preprocessing"] == header["preprocessing"]
    _, header = read_model(trained / "best.safetensors")
    assert header["task"] == "segment"
    assert [c["name"] for c in header["classes"]][:2] == ["background", "circle"]
    assert header["preprocessing"]["image_size_wh"] == [32, 32]
    best = max(lines(trained), key=lambda line: line["miou"])
    assert header["metrics"]["miou"] == best["miou"]
    assert header["training"]["epoch"] == best["epoch"]
    assert (trained / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_training_without_data_says_in_its_first_line_that_it_uses_samples(
    cvkit, tmp_path, monkeypatch, tiny
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setitem(cache.CACHED, "segment", ((4, 2), (64, 64)))
    loud = [flag for flag in tiny if flag != "--quiet"]
    done = cvkit("segment", "train", "--arch", "unet", "--epochs", 1, "--out", tmp_path, *loud)
    assert done.code == 0
    first = done.err.splitlines()[0]
    assert "built-in samples" in first
    assert "4 train, 2 val" in first
    assert "scratch" in done.err
    assert done.out.strip() == str(tmp_path / "segment-unet-001")


@pytest.mark.slow
def test_two_processes_make_the_update_of_one_that_accumulates(scenes, spawn, tmp_path):
    common = (
        *("segment", "train", "--data", scenes, "--epochs", 1, "--optimizer", "sgd", "--lr", 0.1),
        *("--backbone", "mobilenet_v3_small", "--image-size", "32x32", "--batch-size", 4),
        *("--arch", "deeplab", "--clip-grad", 0, "--device", "cpu", "--workers", 0),
        *("--warmup-epochs", 0, "--keep-states"),
    )
    both = spawn(*common, "--out", tmp_path / "two", "--devices", 2)
    alone = spawn(*common, "--out", tmp_path / "one", "--accumulate", 2)
    for process in (both, alone):
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    one, two = (tmp_path / name / "segment-deeplab-001" for name in ("one", "two"))
    assert states(one) == states(two) == ["step-0000000000", "step-0000000001"]
    start = fresh("deeplab")
    moved = 0
    first, second = (load_file(r / "ckpt/step-0000000001/model.safetensors") for r in (one, two))
    for name, value in first.items():
        if "running" not in name and "num_batches" not in name:
            torch.testing.assert_close(second[name], value, atol=2e-6, rtol=1e-4)
            moved += not torch.equal(value, start[name])
    assert moved > 50, "an update that changes nothing would prove nothing"
    assert lines(one)[0]["loss"] == pytest.approx(lines(two)[0]["loss"], abs=1e-5)


def fresh(arch):
    """The weights that a run with seed 0 starts from."""
    from cvkit.engine.sampler import MODEL_SEED
    from cvkit.ops.seeds import key_seed

    torch.manual_seed(key_seed(MODEL_SEED, 0))
    return segmenter(arch, "mobilenet_v3_small", 6).state_dict()


def train(cvkit, scenes, out, tiny, *more):
    return cvkit("segment", "train", "--data", scenes, "--out", out, *tiny, *more)


def test_a_non_finite_loss_stops_at_its_step_and_names_term_and_images(
    scenes, cvkit, tmp_path, tiny, monkeypatch
):
    real, calls = Segment.loss, [0]

    def poisoned(self, model, batch):
        calls[0] += 1
        terms = real(self, model, batch)
        if calls[0] == 6:
            terms["out"] = terms["out"] * float("inf")
            poisoned.images = [sample.path for sample in batch.samples]
        return terms

    monkeypatch.setattr(Segment, "loss", poisoned)
    done = train(cvkit, scenes, tmp_path, tiny, "--epochs", 3, "--json")
    assert done.code == 5
    assert calls[0] == 6
    assert done.json["error"]["code"] == "diverged.loss"
    assert "loss term out is not finite at step 6" in done.err
    for image in poisoned.images:
        assert image in done.err
    run = tmp_path / "segment-unet-001"
    assert states(run) == ["step-0000000000", "step-0000000004"]
    assert len(lines(run)) == 1
    read_model(run / "best.safetensors")


def test_a_huge_learning_rate_never_reaches_a_file(scenes, cvkit, tmp_path, tiny):
    more = ("--lr", 1e30, "--clip-grad", 0, "--warmup-epochs", 0, "--optimizer", "sgd")
    done = train(cvkit, scenes, tmp_path, tiny, "--epochs", 3, "--save-minutes", 0, *more)
    assert done.code == 5
    for file in tmp_path.rglob("*.safetensors"):
        for value in load_file(file).values():
            assert not value.is_floating_point() or torch.isfinite(value).all()


def test_a_frozen_backbone_keeps_weights_and_statistics(scenes, cvkit, tmp_path, tiny):
    done = train(cvkit, scenes, tmp_path, tiny, "--epochs", 1, "--freeze-backbone")
    assert done.code == 0, done.err
    after = load_file(tmp_path / "segment-unet-001/best.safetensors")
    before = fresh("unet")
    for name, value in after.items():
        if name.startswith("backbone."):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(after["head.weight"], before["head.weight"])


def test_patience_ends_a_run_that_does_not_improve(scenes, cvkit, tmp_path, tiny):
    more = ("--patience", 2, "--lr", 0, "--freeze-backbone", "--keep-states")
    done = train(cvkit, scenes, tmp_path, tiny, "--epochs", 50, *more)
    assert done.code == 0
    history = lines(tmp_path / "segment-unet-001")
    best = max(range(len(history)), key=lambda i: (history[i]["miou"], -i))
    assert len(history) == best + 1 + 2
    assert states(tmp_path / "segment-unet-001")[-1] == f"step-{4 * len(history):010d}"


@pytest.mark.parametrize(
    "more",
    [
        ("--optimizer", "rmsprop", "--schedule", "cosine", "--loss", "ohem+0.5*focal"),
        ("--optimizer", "adagrad", "--schedule", "step", "--class-weights", "1,2,2,2,2,2"),
        ("--optimizer", "adam", "--precision", "bf16", "--label-smoothing", 0.1, "--loss", "ce"),
        ("--arch", "fcn-8s", "--deconv", "--augment", "strong", "--class-weights", "balanced"),
        ("--arch", "unet", "--backbone", "unet2015", "--augment", "none", "--momentum", 0.5),
        (
            "--arch",
            "deeplab-plus",
            "--resize",
            "native",
            "--accumulate",
            2,
            "--channels-last",
            "off",
        ),
        ("--arch", "pspnet", "--aux-weight", 0, "--schedule", "inverse-sqrt"),
    ],
    ids=lambda more: more[1],
)
def test_settings_train(scenes, cvkit, tmp_path, tiny, monkeypatch, more):
    monkeypatch.setattr(ClassicUNet, "widths", (4, 8, 16, 32, 64))  # few weights
    done = train(cvkit, scenes, tmp_path, tiny, "--epochs", 1, *more)
    assert done.code == 0, done.err
    run = next(tmp_path.iterdir())
    assert 0 < lines(run)[0]["loss"] < 50


@pytest.mark.parametrize("workers", [0, 2])
def test_sigterm_saves_and_tells_how_to_go_on(scenes, spawn, wait_until, tmp_path, tiny, workers):
    flags = ("--data", scenes, "--out", tmp_path, "--epochs", 500, *tiny, "--workers", workers)
    process = spawn("segment", "train", *flags)
    run = tmp_path / "segment-unet-001"
    wait_until((run / "best.safetensors").exists, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume" in errors


def test_data_defects_are_all_listed_before_a_run_folder_exists(scenes, cvkit, tmp_path, tiny):
    import shutil

    root = tmp_path / "bad"
    shutil.copytree(scenes, root)
    Image.fromarray(np.full((64, 64), 9, np.uint8)).save(root / "masks/train/scene00001.png")
    (root / "images/val/scene00009.png").write_bytes(b"junk")
    done = train(cvkit, root, tmp_path / "runs", tiny)
    assert done.code == 2
    assert "2 defects" in done.err
    assert "scene00001.png: mask value 9" in done.err
    assert "scene00009.png" in done.err
    assert not (tmp_path / "runs").exists()


def test_masks_of_0_and_255_are_read_as_with_a_mask_map(cvkit, tmp_path, tiny):
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / "d" / kind / split).mkdir(parents=True)
        for index in range(2):
            mask = np.zeros((40, 40), np.uint8)
            mask[10:30, 10:30] = 255
            Image.fromarray(np.stack([mask] * 3, -1)).save(
                tmp_path / f"d/images/{split}/{index}.png"
            )
            Image.fromarray(mask).save(tmp_path / f"d/masks/{split}/{index}.png")
    told = "255 is read as class 1 (--mask-map 255=1)"
    stored = []
    for flags in ((), ("--mask-map", "255=1")):
        aloud = [word for word in tiny if word != "--quiet"]
        done = train(cvkit, tmp_path / "d", tmp_path / "runs", aloud, *flags, "--epochs", 1)
        assert done.code == 0, done.err
        assert (told in done.err) == (not flags)
        (model,) = (tmp_path / "runs").glob(f"*-00{len(stored) + 1}/best.safetensors")
        header = read_header(model)
        stored.append((header["labels"], header["classes"], header["metrics"]))
    assert stored[0] == stored[1] and stored[0][0]["mask_map"] == "255=1"


def write_four_images(root):
    """Two textures side by side or one above the other, with the border at another place in each.

    Straight borders can be represented exactly by logits of any stride that are enlarged
    bilinearly, so every architecture can reach an IoU of 1.
    """
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (root / kind / "train").mkdir(parents=True)
    for index, border in enumerate((24, 40, 24, 40)):
        mask = np.zeros((64, 64), np.uint8)
        mask[:, border:] = 1
        mask = mask if index < 2 else mask.T
        image = rng.normal(128, 40, (64, 64, 3)) + (mask[..., None] * 2.0 - 1) * (30, -30, 0)
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(
            root / f"images/train/{index}.png"
        )
        Image.fromarray(mask).save(root / f"masks/train/{index}.png")


@pytest.mark.parametrize("arch", catalog.ARCHS["segment"])
def test_every_arch_overfits_four_images(learned, tmp_path, arch):
    write_four_images(tmp_path / "four")
    best = learned(
        "segment",
        **{"data": str(tmp_path / "four"), "arch": arch, "backbone": "toy", "batch_size": 4},
        **{"image_size": "64x64", "epochs": 60, "lr": 1e-2, "schedule": "cosine"},
    )
    assert best["miou"] > 0.95
