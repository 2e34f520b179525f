"""Pixels are normalised as the weights of `--pretrained` expect, however these are given."""

import hashlib
import itertools
import json

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.engine.checkpoint import save_model
from cvkit.errors import DataError, ModelFileError
from cvkit.models import published, weights
from cvkit.models.convert import VIDEO
from cvkit.ops.images import IMAGENET_MEAN
from cvkit.options.classify import ClassifyTrain
from cvkit.options.tree import OPTIONS
from cvkit.options.video import VideoTrain
from cvkit.tasks import normalisation
from cvkit.tasks.classify import setup as classify_setup
from cvkit.tasks.normalisation import normalised
from cvkit.tasks.video import network as video_network

HALF = (0.5, 0.5, 0.5)
SMALL = [(64, 64)]
NETWORKS = [(name, entry) for name, entry in catalog.BACKBONES.items() if entry.builder]


def wanted(builder):
    """Mean and deviation in torchvision's own words; two networks change their input inside."""
    if builder in ("googlenet", "inception_v3"):
        return HALF, HALF
    preset = torchvision.models.get_model_weights(builder).DEFAULT.transforms()
    return tuple(preset.mean), tuple(preset.std)


def of_classifier(name, source, **more):
    options = ClassifyTrain(arch=name, pretrained=source, **more)
    made = classify_setup.preprocessing_for(options, SMALL)
    return made.mean, made.std


def of_video(arch, source, backbone="resnet18", **more):
    options = VideoTrain(arch=arch, backbone=backbone, pretrained=source, **more)
    made = video_network.preprocessing_for(options, SMALL)
    return made.mean, made.std


CASES = [
    *((entry.builder, "imagenet", of_classifier, (name,)) for name, entry in NETWORKS),
    *((builder, "kinetics", of_video, (arch,)) for builder, arch in VIDEO.items()),
    *(
        (builder, "imagenet", of_video, (arch, builder))
        for builder in ("googlenet", "resnet18")
        for arch, entry in catalog.CLIP_NETWORKS.items()
        if entry.takes_backbone
    ),
    ("resnet50", "imagenet", of_video, ("i3d",)),
]


@pytest.mark.parametrize(("builder", "word", "found", "parts"), CASES)
def test_a_file_of_published_weights_counts_as_their_name(
    tmp_path, monkeypatch, builder, word, found, parts
):
    arch, *backbone = parts
    assert found(arch, word, *backbone) == wanted(builder)
    entry = torchvision.models.get_model_weights(builder).DEFAULT
    named = tmp_path / entry.url.rpartition("/")[2]
    renamed = tmp_path / "mine.pth"
    for path in (named, renamed):
        path.write_bytes(b"stands for the file of that hash, which cannot be made here")
    digest = hashlib.sha256(renamed.read_bytes()).hexdigest()[:8]
    with pytest.raises(ModelFileError, match="is damaged"):
        found(arch, str(named), *backbone)
    monkeypatch.setattr(weights, "verified", lambda path: path)
    assert found(arch, str(named), *backbone) == wanted(builder)
    monkeypatch.setattr(published, "_hash_prefix", lambda _: digest)
    assert found(arch, str(renamed), *backbone) == wanted(builder)


@pytest.mark.parametrize("found", [of_classifier, of_video])
def test_a_model_of_cvkit_brings_its_own(tmp_path, found):
    path = tmp_path / "m.safetensors"
    header = {"preprocessing": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    save_model(path, {"w": torch.zeros(1)}, header)
    arch = "googlenet" if found is of_classifier else "r3d"
    assert found(arch, str(path)) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


@pytest.mark.parametrize("found", [of_classifier, of_video])
def test_other_files_leave_the_usual_numbers(tmp_path, found):
    arch = "googlenet" if found is of_classifier else "r3d"
    usual = found(arch, None)
    for name in ("own.pth", "own.safetensors"):
        (tmp_path / name).write_bytes(b"something else")
        assert found(arch, str(tmp_path / name)) == usual
    assert found(arch, str(tmp_path / "missing.pth")) == usual


@pytest.mark.parametrize("found", [of_classifier, of_video])
def test_a_resumed_run_keeps_its_numbers_when_the_file_has_gone(tmp_path, found):
    arch = "googlenet" if found is of_classifier else "r3d"
    mine = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    # A run of a version that did not write them down has them in its best model only.
    (tmp_path / "old" / "environment.json").write_text("{}")
    save_model(tmp_path / "old/best.safetensors", {"w": torch.zeros(1)}, {"preprocessing": mine})
    (tmp_path / "new" / "environment.json").write_text(json.dumps({"preprocessing": mine}))
    for name in ("old", "new"):
        again = found(arch, "gone.pth", resume=tmp_path / name)
        assert again == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))


QUIET = Reporter(quiet=True)


@pytest.fixture
def measured(smallest, data_of):
    """Return the task of a training with `--normalize`, and its options."""

    def get(name, place=None, **more):
        values = smallest[name] | {"data": str(place or data_of(name)), "workers": 0} | more
        options = OPTIONS[name]["train"](**{"normalize": "data"} | values)
        made = catalog.resolve(catalog.TASKS[name]).for_training(options, QUIET)
        return normalised(made, options, QUIET), options

    return get


@pytest.mark.parametrize("name", catalog.TASKS)
def test_the_training_split_gives_mean_and_deviation(measured, name):
    task, options = measured(name)
    train = task.dataset("train", training=False)
    if name == "video":
        pixels = [train.read(index).image for index in range(len(train))]
    else:
        pixels = [np.asarray(Image.open(train.file(i)).convert("RGB")) for i in range(len(train))]
    levels = np.concatenate([each.reshape(-1, 3) for each in pixels]).astype(np.float64) / 255
    assert task.preprocessing.mean == pytest.approx(tuple(levels.mean(0)), abs=1e-9)
    assert task.preprocessing.std == pytest.approx(tuple(levels.std(0)), abs=1e-9)
    header = json.loads(json.dumps(task.header(options)))
    for verb in ("eval", "predict"):
        again = type(task).for_model(OPTIONS[name][verb](), header)
        assert again.preprocessing.mean == task.preprocessing.mean
        assert again.preprocessing.std == task.preprocessing.std


@pytest.mark.parametrize("name", catalog.TASKS)
def test_a_resumed_run_does_not_measure_again(measured, tmp_path, name):
    mine = {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}
    (tmp_path / "environment.json").write_text(json.dumps({"preprocessing": mine}))
    task, _ = measured(name, resume=tmp_path)
    assert task.preprocessing.mean == (0.1, 0.2, 0.3)
    assert task.preprocessing.std == (0.4, 0.5, 0.6)


def test_imagenets_numbers_may_be_asked_for(measured, tmp_path):
    path = tmp_path / "m.safetensors"
    header = {"preprocessing": {"mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6]}}
    save_model(path, {"w": torch.zeros(1)}, header)
    chosen = {"arch": None, "backbone": "resnet18", "pretrained": str(path), "loss": "ce"}
    for normalize, numbers in (("auto", (0.1, 0.2, 0.3)), ("imagenet", IMAGENET_MEAN)):
        assert measured("classify", normalize=normalize, **chosen)[0].preprocessing.mean == numbers


def test_a_constant_channel_is_not_divided_by_zero(measured, tmp_path):
    for number, (split, label) in enumerate(itertools.product(("train", "val"), "ab")):
        folder = tmp_path / split / label
        folder.mkdir(parents=True)
        noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3), np.uint8)
        noise[..., 2] = 51
        Image.fromarray(noise).save(folder / "one.png")
    task, _ = measured("classify", tmp_path)
    assert task.preprocessing.mean[2] == pytest.approx(0.2)
    assert task.preprocessing.std[2] == 1 / 255


def test_samples_that_cannot_be_read_are_told(measured, monkeypatch):
    monkeypatch.setattr(normalisation, "colours", lambda *_: None)
    with pytest.raises(DataError, match="no sample of 'train' can be read") as refused:
        measured("classify")
    assert refused.value.code == "normalize.unread"
