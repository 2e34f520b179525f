"""Pretraining and probing from end to end: the loop, the data, what it is for, and refusals."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from cvkit.commands.train import run_training
from cvkit.console import Reporter
from cvkit.data.synthetic.samples import write_classification
from cvkit.engine.runtime import StopSignal
from cvkit.engine.train import Trainer
from cvkit.errors import Interrupted, UsageError
from cvkit.model_files import read_model
from cvkit.models.probes import linear_probabilities, neighbour_probabilities
from cvkit.options.pretrain import Pretrain
from cvkit.options.tree import OPTIONS
from cvkit.pretext_table import PRETEXTS
from cvkit.tasks.pretrain import setup

SMALL = {"arch": "mobilenet_v3_small", "image_size": "32", "stem": "imagenet", "batch_size": 5}
FLAGS = {"moco-v2": {"queue": 8}, "jigsaw": {"permutations": 4}}


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """A folder of 12 images in subfolders, without any layout."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for number in range(12):
        place = folder / "images" / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 36, 3), np.uint8)).save(place / f"{number}.png")
    return folder


def options(photos, out, method="simclr", **more):
    usual = SMALL | FLAGS.get(method, {}) | {"data": str(photos), "out": out, "workers": 0}
    return Pretrain(method=method, precision="fp32", **usual | {"epochs": 2} | more)


def train(chosen, stop=None):
    return run_training(chosen, "pretrain", Reporter(quiet=True), stop or StopSignal())


@pytest.fixture(scope="session")
def pretrained(photos, tmp_path_factory):
    """A finished run of each method, made when it is asked for."""
    made = {}

    def get(method="moco-v2"):
        if method not in made:
            made[method] = train(options(photos, tmp_path_factory.mktemp("runs"), method)).run
        return made[method]

    return get


@pytest.mark.parametrize("method", PRETEXTS)
def test_every_method_trains_measures_and_keeps_its_backbone(pretrained, method):
    run = pretrained(method)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2]
    assert all({"pretext_score", "val_loss", "loss"} <= line.keys() for line in lines)
    assert run.name == f"pretrain-{method}-001"
    tensors, header = read_model(run / "last.safetensors")
    assert header["task"] == "backbone"
    assert header["network"]["backbone"] == "mobilenet_v3_small"
    assert any(name.startswith("backbone.features") for name in tensors)
    assert not (run / "best.safetensors").exists()


@pytest.mark.parametrize("method", ["moco-v2", "jigsaw"])
def test_a_run_that_is_stopped_within_an_epoch_goes_on_to_the_same_bits(
    photos, pretrained, tmp_path, monkeypatch, method
):
    stop, step = StopSignal(), Trainer._step

    def stopping(trainer, batches):
        if trainer.progress.step == 3:  # of two steps per epoch and more
            stop.number = 2
        return step(trainer, batches)

    chosen = options(photos, tmp_path, method, save_minutes=0.0)
    with monkeypatch.context() as patch, pytest.raises(Interrupted):
        patch.setattr(Trainer, "_step", stopping)
        train(chosen, stop)
    (run,) = tmp_path.iterdir()
    train(options(photos, tmp_path, method, save_minutes=0.0, resume=run))
    one, other = (
        read_model(folder / "last.safetensors")[0] for folder in (run, pretrained(method))
    )
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("task", ["classify", "segment", "detect", "instance", "video"])
def test_every_task_begins_with_the_backbone(task, pretrained, data_of, tmp_path):
    from cvkit.commands.training_job import TrainingJob

    network = {
        "classify": {"arch": "mobilenet_v3_small", "image_size": "32"},
        "segment": {"arch": "fcn", "image_size": "32x32"},
        "detect": {"channels": 16, "min_size": "32"},
        "instance": {"channels": 16, "min_size": "32"},
        "video": {"arch": "single-frame", "image_size": "32"},
    }[task]
    if task != "classify":
        network["backbone"] = "mobilenet_v3_small"
    run = pretrained("simclr")
    kind = OPTIONS[task]["train"]
    more = {"data": str(data_of(task)), "pretrained": str(run), "out": tmp_path, "workers": 0}
    job = TrainingJob(kind(**network, **more), task, Reporter(quiet=True))
    with job.joined(StopSignal()):
        job.prepare()
    found = {n: t for n, t in job.model.state_dict().items() if n.endswith("features.0.0.weight")}
    (first,) = found.values()
    tensors, _ = read_model(run / "last.safetensors")
    assert torch.equal(first, tensors["backbone.features.0.0.weight"])


def test_a_backbone_alone_predicts_nothing(cvkit, pretrained, photos):
    done = cvkit("classify", "predict", photos, "--weights", pretrained("simclr"))
    assert done.code == 2
    assert "it scores no classes: --pretrained of train takes it" in done.err


def keys(chosen):
    splits, _ = setup.training_images(chosen, Reporter(quiet=True))
    return {name: {image.key for image in images} for name, images in splits.items()}


def test_only_images_of_the_training_split_are_seen(tmp_path, photos, scenes):
    folder = tmp_path / "data"
    write_classification(folder, {"train": 12, "val": 6}, 1, (32, 32))
    found = keys(options(folder, tmp_path))
    assert {len(found["train"]), len(found["held out"])} == {11, 1}
    assert all(key.startswith("train/") for each in found.values() for key in each)
    masks = keys(options(scenes, tmp_path))
    assert sum(map(len, masks.values())) == 8
    assert not any("masks" in key or "val" in key for each in masks.values() for key in each)
    plain = keys(options(photos, tmp_path))
    assert sum(map(len, plain.values())) == 12
    everything = keys(options(folder, tmp_path, format="images"))
    assert sum(map(len, everything.values())) == 18


def test_copies_of_an_image_are_on_one_side(tmp_path):
    folder = tmp_path / "copies"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(6):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{number}.png")
        shutil.copy(folder / f"{number}.png", folder / f"again{number}.png")
    found = keys(options(folder, tmp_path, val_fraction=0.5))
    for each in found.values():
        assert {f"again{key}" for key in each if not key.startswith("again")} <= each


REFUSED = [
    ({"method": "rotation", "temperature": 0.1}, "temperature.idle"),
    ({"method": "simclr", "queue": 7}, "queue.idle"),
    ({"method": "simclr", "key_momentum": 0.5}, "key-momentum.idle"),
    ({"method": "moco-v2", "permutations": 7}, "permutations.idle"),
    ({"method": "jigsaw", "hole": 0.3}, "hole.idle"),
    ({"method": "jigsaw", "projection": 5}, "projection.idle"),
    ({"method": "simclr", "augment": "none"}, "augment.views"),
    ({"method": "moco-v2", "devices": 2}, "devices.unsupported"),
    ({"method": "inpainting", "arch": "vit_b_16"}, "arch.maps"),
    ({"method": "moco-v2", "queue": 4}, "queue.small"),
    ({"val_fraction": 0.0}, "split"),
    ({"val_fraction": 1.0}, "split"),
    ({"image_size": "32x40"}, "image_size.square"),
    ({"arch": "vgg11", "stem": "small"}, "stem.unsupported"),
]


@pytest.mark.parametrize(("flags", "code"), REFUSED)
def test_flags_without_effect_and_contradictions_are_refused(photos, tmp_path, flags, code):
    with pytest.raises(UsageError) as refused:
        setup.check_flags(options(photos, tmp_path, **flags))
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda at: at / "missing", "data.missing"),
        (lambda at: at, "data.images"),
    ],
)
def test_a_place_without_images_is_refused(tmp_path, cvkit, make, code):
    done = cvkit("pretrain", "--data", make(tmp_path), "--json", "--out", tmp_path / "runs")
    assert (done.code, done.json["error"]["code"]) == (2, code)


def test_a_damaged_image_is_named_before_work_begins(tmp_path, cvkit, photos):
    shutil.copytree(photos, tmp_path / "data")
    (tmp_path / "data/images/0/0.png").write_bytes(b"no image")
    done = cvkit("pretrain", "--data", tmp_path / "data", "--out", tmp_path / "runs", "--json")
    assert done.code == 2
    assert "images/0/0.png" in done.json["error"]["message"]
    assert not list((tmp_path / "runs").glob("*"))


def test_neighbours_vote_by_cosine():
    torch.manual_seed(0)
    features, labels, others = torch.randn(9, 4), torch.arange(9) % 3, torch.randn(5, 4)
    found = neighbour_probabilities(features, labels, others, 3, neighbors=4)
    for row, other in zip(found, others, strict=True):
        near = F.cosine_similarity(features, other[None]).argsort(descending=True)[:4]
        assert torch.equal(row, torch.bincount(labels[near], minlength=3) / 4)


def test_the_linear_probe_is_the_minimum_of_its_loss():
    torch.manual_seed(0)
    features, labels = torch.randn(40, 3) * 5 + 2, torch.arange(40) % 3
    features[:, 0] += labels
    found = linear_probabilities(features, labels, features, 4, regularization=0.1)
    assert found.shape == (40, 4)
    assert (found[:, 3] == 0).all()
    inputs = ((features - features.mean(0)) / features.std(0, correction=0)).double()
    weight = torch.zeros(3, 3, dtype=torch.double, requires_grad=True)
    bias = torch.zeros(3, dtype=torch.double, requires_grad=True)
    solver = torch.optim.LBFGS([weight, bias], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        solver.zero_grad()
        loss = F.cross_entropy(inputs @ weight + bias, labels) + 0.05 * weight.square().sum()
        loss.backward()
        return loss

    solver.step(closure)
    assert torch.allclose(found[:, :3].double(), (inputs @ weight + bias).softmax(1), atol=2e-3)


def test_a_probe_measures_a_pretrained_backbone_beside_random_weights(cvkit, pretrained, tmp_path):
    folder = tmp_path / "data"
    write_classification(folder, {"train": 24, "val": 12}, 1, (32, 32))
    more = ("--data", folder, "--json", "--neighbors", 3, "--workers", 0, "--quiet")
    chosen = cvkit("probe", *more, "--pretrained", pretrained("simclr")).json
    random = cvkit("probe", *more, "--backbone", "mobilenet_v3_small", "--stem", "imagenet").json
    assert chosen["backbone"] == random["backbone"] == "mobilenet_v3_small"
    assert chosen["counts"] == {"train": 24, "val": 12}
    assert chosen["features"] == 1024
    assert {*chosen["linear"]} == {*chosen["knn"]} >= {"top1", "balanced_accuracy"}
    assert chosen["linear"] != random["linear"]
    table = cvkit("probe", *more[:2], *more[3:-1], "--pretrained", pretrained("simclr"))
    assert table.code == 0
    assert "top1" in table.out and "3 neighbours" in table.out
