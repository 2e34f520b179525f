"""A detection run that was stopped ends in the same bits as one that was not."""

import signal

import pytest
import torch
from safetensors.torch import load_file

from cvkit.cli import run
from cvkit.data.synthetic.samples import write_detection
from cvkit.tasks.detect.task import Detect
from cvkit.tasks.instance.task import Instance


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("boxes")
    write_detection(folder, {"train": 6, "val": 4}, seed=8, size_hw=(64, 80))
    return folder


def arguments(scenes, out):
    return [
        *("detect", "train", "--data", str(scenes), "--out", str(out), "--epochs", "2"),
        *("--backbone", "mobilenet_v3_small", "--channels", "16", "--min-size", "48,64"),
        *("--batch-size", "2", "--augment", "mosaic", "--ema", "0.9", "--workers", "0", "--quiet"),
        "--keep-states",
    ]


def final(run_folder):
    """Everything a run ends with."""
    (folder,) = run_folder.glob("ckpt/step-0000000006")
    tensors = {
        f"{file.stem}.{name}": value
        for file in folder.glob("*.safetensors")
        for name, value in load_file(file).items()
    }
    best = load_file(run_folder / "best.safetensors")
    lines = (run_folder / "metrics.jsonl").read_text()
    return tensors | {f"best.{name}": value for name, value in best.items()}, lines


@pytest.fixture(scope="module")
def reference(scenes, tmp_path_factory):
    out = tmp_path_factory.mktemp("reference")
    assert run(arguments(scenes, out)) == 0
    return final(out / "detect-faster-rcnn-001")


@pytest.mark.parametrize(
    "method, call, workers", [("loss", 2, 2), ("loss", 4, 0), ("predict", 3, 0)]
)
def test_a_stopped_run_ends_in_the_same_bits(
    scenes, reference, tmp_path, monkeypatch, method, call, workers
):
    real, calls = getattr(Detect, method), [0]

    def wrapped(self, *rest):
        calls[0] += 1
        if calls[0] == call:
            signal.raise_signal(signal.SIGTERM)
        return real(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Detect, method, wrapped)
        assert run([*arguments(scenes, tmp_path), "--workers", str(2 - workers)]) == 143
    folder = tmp_path / "detect-faster-rcnn-001"
    assert run(["detect", "train", "--resume", str(folder), "--workers", str(workers)]) == 0
    tensors, lines = final(folder)
    assert lines == reference[1]
    assert tensors.keys() == reference[0].keys()
    different = [n for n, value in reference[0].items() if not torch.equal(tensors[n], value)]
    assert not different


def test_a_stopped_fast_rcnn_ends_in_the_same_bits(scenes, tmp_path, monkeypatch):
    proposals = tmp_path / "p.npz"
    flags = ["--out", str(proposals), "--max-boxes", "30", "--workers", "0", "--quiet"]
    assert run(["detect", "proposals", str(scenes), *flags]) == 0
    more = ["--arch", "fast-rcnn", "--proposals", str(proposals)]
    assert run([*arguments(scenes, tmp_path / "a"), *more]) == 0
    real, calls = Detect.loss, [0]

    def wrapped(self, *rest):
        calls[0] += 1
        if calls[0] == 4:
            signal.raise_signal(signal.SIGTERM)
        return real(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Detect, "loss", wrapped)
        assert run([*arguments(scenes, tmp_path / "b"), *more, "--workers", "2"]) == 143
    folders = [tmp_path / name / "detect-fast-rcnn-001" for name in ("a", "b")]
    assert run(["detect", "train", "--resume", str(folders[1])]) == 0
    (one, first), (two, second) = (final(folder) for folder in folders)
    assert first == second and one.keys() == two.keys()
    assert not [name for name in one if not torch.equal(one[name], two[name])]


def test_a_stopped_mask_rcnn_ends_in_the_same_bits(scenes, tmp_path, monkeypatch):
    def flags(name):
        return ["instance", *arguments(scenes, tmp_path / name)[1:]]

    assert run(flags("a")) == 0
    real, calls = Instance.loss, [0]

    def wrapped(self, *rest):
        calls[0] += 1
        if calls[0] == 4:
            signal.raise_signal(signal.SIGTERM)
        return real(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Instance, "loss", wrapped)
        assert run(flags("b")) == 143
    folders = [tmp_path / name / "instance-mask-rcnn-001" for name in ("a", "b")]
    assert run(["instance", "train", "--resume", str(folders[1]), "--workers", "2"]) == 0
    (one, first), (two, second) = (final(folder) for folder in folders)
    assert first == second and one.keys() == two.keys()
    assert any("mask_fcn_logits" in name for name in one)
    assert not [name for name in one if not torch.equal(one[name], two[name])]
