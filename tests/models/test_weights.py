"""Pretrained backbones: verified, offline, and never code."""

import hashlib
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from cvkit import catalog
from cvkit.errors import ModelFileError, UsageError
from cvkit.models import weights
from cvkit.models.weights import find_model, load_pretrained


def backbone(name="resnet18"):
    entry = catalog.BACKBONES[name]
    return catalog.resolve(entry.target)(entry.builder)


def load(net, source, name="resnet18", offline=True):
    said = []
    line = load_pretrained(net, name, str(source), offline=offline, say=said.append)
    return line, said


@pytest.fixture
def classifier(tmp_path):
    torch.manual_seed(7)
    model = torchvision.models.resnet18()
    torch.save(model.state_dict(), tmp_path / "r18.pth")
    return model, tmp_path / "r18.pth"


def same_features(net, model):
    state = model.state_dict()
    return all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


def test_a_torchvision_classifier_becomes_a_backbone(classifier, tmp_path):
    model, path = classifier
    net = backbone()
    assert not same_features(net, model)
    line, _ = load(net, path)
    assert same_features(net, model)
    assert "r18.pth" in line
    save_file({f"backbone.{k}": v for k, v in net.state_dict().items()}, tmp_path / "b.safetensors")
    again = backbone()
    load(again, tmp_path / "b.safetensors")
    assert same_features(again, model)


def test_a_file_for_another_backbone_is_refused(classifier):
    with pytest.raises(ModelFileError, match=r"--backbone resnet34: .* missing"):
        load(backbone("resnet34"), classifier[1], "resnet34")


class Canary:
    def __reduce__(self):
        return (exec, ("open('canary', 'w')",))


def test_a_hostile_file_runs_no_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"w": Canary()}, tmp_path / "evil.pth")
    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Canary()))
    (tmp_path / "text.pth").write_text("hello")
    for name in ("evil.pth", "raw.pth", "text.pth"):
        with pytest.raises(ModelFileError, match=name):
            load(backbone(), tmp_path / name)
    assert not (tmp_path / "canary").exists()
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelFileError, match="not a dictionary of tensors"):
        load(backbone(), tmp_path / "list.pth")
    with pytest.raises(ModelFileError, match="does not exist"):
        load(backbone(), tmp_path / "missing.pth")


@pytest.fixture
def published(classifier, tmp_path, monkeypatch):
    """Pretend that the classifier's file is what torchvision published."""
    model, path = classifier
    name = f"resnet18-{hashlib.sha256(path.read_bytes()).hexdigest()[:8]}.pth"

    entry = SimpleNamespace(url=f"https://weights.invalid/{name}", meta={"_file_size": 44.7})
    entries = SimpleNamespace(__members__={"IMAGENET1K_V1": entry})
    monkeypatch.setattr(weights.torchvision.models, "get_model_weights", lambda _: entries)
    monkeypatch.setenv("CVKIT_WEIGHTS", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    return model, path, tmp_path / "cache" / name


def test_published_weights_are_taken_from_the_cache_and_verified_each_time(published):
    model, path, cached = published
    cached.parent.mkdir()
    shutil.copy(path, cached)
    net = backbone()
    load(net, "imagenet")
    assert same_features(net, model)
    content = bytearray(cached.read_bytes())
    content[100] ^= 1
    cached.write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged: its SHA-256") as caught:
        load(net, "imagenet")
    assert caught.value.code == "pretrained.hash"


def test_offline_refuses_at_once_and_says_where_the_file_belongs(published):
    _, _, cached = published
    with pytest.raises(ModelFileError, match="--offline") as caught:
        load(backbone(), "imagenet")
    assert str(cached) in str(caught.value)


def test_a_failed_download_shows_url_and_size_and_leaves_nothing(published):
    _, _, cached = published
    said = []
    with pytest.raises(ModelFileError, match=r"cannot download https://weights\.invalid") as caught:
        load_pretrained(backbone(), "resnet18", "imagenet:v1", offline=False, say=said.append)
    assert caught.value.code == "pretrained.network"
    assert "45 MB" in said[0]
    assert not cached.exists()
    assert not list(cached.parent.iterdir())


@pytest.mark.parametrize("name", ["LOCAL_RANK", "SLURM_LOCALID"])
def test_only_the_first_process_of_a_machine_downloads(published, monkeypatch, name):
    _, path, cached = published
    cached.parent.mkdir()
    waited, said = [], []

    def comes(seconds):
        waited.append(seconds)
        if len(waited) == 3:  # the first process has it
            shutil.copy(path, cached)

    monkeypatch.setattr("cvkit.models.weights.time.sleep", comes)
    monkeypatch.setenv("SLURM_NTASKS", "2")
    monkeypatch.setenv(name, "1")
    load_pretrained(backbone(), "resnet18", "imagenet:v1", offline=False, say=said.append)
    assert len(waited) == 3
    assert not said
    cached.unlink()
    monkeypatch.setenv(name, "0")
    with pytest.raises(ModelFileError, match="cannot download"):
        load_pretrained(backbone(), "resnet18", "imagenet:v1", offline=False, say=said.append)
    assert len(waited) == 3


def test_only_what_is_published_can_be_named():
    with pytest.raises(UsageError, match=r"imagenet:v7.*published: imagenet:v1"):
        load(backbone(), "imagenet:v7")
    with pytest.raises(UsageError, match="train from scratch"):
        load(backbone(), "imagenet", "unet2015")


def test_training_says_which_weights_it_starts_from(cvkit, scenes, tiny, tmp_path):
    state = torchvision.models.mobilenet_v3_small().state_dict()
    torch.save(state, tmp_path / "m.pth")
    loud = [flag for flag in tiny if flag != "--quiet"]
    done = cvkit(
        *("segment", "train", "--data", scenes, "--epochs", 1, "--out", tmp_path / "runs"),
        *("--pretrained", tmp_path / "m.pth", "--freeze-backbone", *loud),
    )
    assert done.code == 0, done.err
    assert "backbone weights:" in done.err
    assert "m.pth" in done.err
    from safetensors.torch import load_file

    after = load_file(tmp_path / "runs/segment-unet-001/best.safetensors")
    assert torch.equal(after["backbone.features.0.0.weight"], state["features.0.0.weight"])


def test_models_are_found_by_run_file_and_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in ("runs/a/best.safetensors", "weights/shapes.safetensors", "m.safetensors"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert find_model("runs/a").name == "best.safetensors"
    assert find_model("m.safetensors").name == "m.safetensors"
    assert find_model("shapes").name == "shapes.safetensors"
    with pytest.raises(ModelFileError, match="nothing does not exist"):
        find_model("nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelFileError, match=r"contains neither best\.safetensors nor last\."):
        find_model("empty")


def test_a_run_without_a_finished_epoch_is_resumed_first(tmp_path):
    (tmp_path / "run" / "ckpt").mkdir(parents=True)
    with pytest.raises(ModelFileError, match="has no finished epoch") as caught:
        find_model(str(tmp_path / "run"))
    assert caught.value.hint == f"continue with: --resume {tmp_path / 'run'}"


def test_a_model_that_comes_with_cvkit_is_found_where_nobody_may_look(monkeypatch):
    real = Path.is_file

    def is_file(path):
        if not path.is_absolute():
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "is_file", is_file)
    assert find_model("shapes").name == "shapes.safetensors"
