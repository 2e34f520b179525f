"""A run that was stopped anywhere ends in the same bits as one that was not."""

import dataclasses
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cvkit.catalog import TASKS
from cvkit.cli import run
from cvkit.config import CHANGEABLE, NOT_STORED, settled_flags
from cvkit.engine import checkpoint
from cvkit.options.tree import OPTIONS
from cvkit.tasks.segment.task import Segment
from cvkit.yaml_files import dump_yaml, read_yaml

EPOCHS = 3
STEPS = 4 * EPOCHS  # 8 images in batches of 2


def arguments(scenes, out):
    return (
        *("segment", "train", "--data", scenes, "--out", out, "--epochs", EPOCHS),
        *("--arch", "fcn", "--backbone", "mobilenet_v3_small", "--image-size", "32x32"),
        *("--batch-size", 2, "--ema", 0.9, "--workers", 0, "--quiet"),
        "--keep-states",
    )


def final(run):
    """Everything a run ends with: saved tensors, the best model, the lines of metrics."""
    folder = Path(run) / "ckpt" / f"step-{STEPS:010d}"
    tensors = {
        f"{file.stem}.{name}": value
        for file in folder.glob("*.safetensors")
        for name, value in load_file(file).items()
    }
    best = load_file(Path(run) / "best.safetensors")
    return tensors | {f"best.{k}": v for k, v in best.items()}, (
        Path(run) / "metrics.jsonl"
    ).read_text()


def assert_same(run, reference):
    tensors, lines = final(run)
    expected, expected_lines = reference
    assert lines == expected_lines
    assert tensors.keys() == expected.keys()
    different = [name for name in expected if not torch.equal(tensors[name], expected[name])]
    assert not different


@pytest.fixture(scope="module")
def finished(scenes, tmp_path_factory):
    """The folder of a run that nothing has stopped; not to be changed."""
    out = tmp_path_factory.mktemp("reference")
    assert run([str(a) for a in arguments(scenes, out)]) == 0
    return out / "segment-fcn-001"


@pytest.fixture(scope="module")
def reference(finished):
    result = final(finished)
    assert len(result[1].splitlines()) == EPOCHS
    return result


def signal_in(monkeypatch, method, call, number=signal.SIGTERM):
    """Send this process a signal inside the n-th call of a method of the task."""
    real, calls = getattr(Segment, method), [0]

    def wrapped(self, *rest):
        calls[0] += 1
        if calls[0] == call:
            signal.raise_signal(number)
        return real(self, *rest)

    monkeypatch.setattr(Segment, method, wrapped)


@pytest.fixture(scope="module")
def stopped(scenes, tmp_path_factory):
    """Return a copy of a run that a signal has stopped in a step; each is trained once."""
    made = {}

    def get(step, target):
        if step not in made:
            out = tmp_path_factory.mktemp("stopped")
            with pytest.MonkeyPatch.context() as patch:
                signal_in(patch, "loss", step)
                assert run([str(a) for a in arguments(scenes, out)]) == 143
            made[step] = out / "segment-fcn-001"
        return shutil.copytree(made[step], target / "segment-fcn-001")

    return get


@pytest.mark.parametrize(
    ("method", "call", "number", "workers"),
    [
        ("loss", 1, signal.SIGTERM, 0),  # the very first step
        ("loss", 6, signal.SIGINT, 2),  # in the middle of the second epoch
        ("loss", 8, signal.SIGTERM, 0),  # its last step
        ("predict", 3, signal.SIGTERM, 2),  # in the validation of the second epoch
    ],
)
def test_a_stopped_run_resumes_bit_exactly(
    scenes, cvkit, tmp_path, reference, monkeypatch, method, call, number, workers
):
    with monkeypatch.context() as patch:
        signal_in(patch, method, call, number)
        stopped = cvkit(*arguments(scenes, tmp_path), "--workers", 2 - workers)
    assert stopped.code == 128 + number
    folder = tmp_path / "segment-fcn-001"
    assert f"--resume {folder}" in stopped.err
    resumed = cvkit("segment", "train", "--resume", folder, "--workers", workers, "--quiet")
    assert resumed.code == 0, resumed.err
    assert_same(folder, reference)


def test_workers_do_not_change_a_run(scenes, cvkit, tmp_path, reference):
    done = cvkit(*arguments(scenes, tmp_path), "--workers", 2)
    assert done.code == 0
    assert_same(tmp_path / "segment-fcn-001", reference)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "workers"), [(0, 2), (7, 0)])
def test_a_killed_run_resumes_bit_exactly(
    scenes, cvkit, spawn, wait_until, tmp_path, reference, step, workers
):
    process = spawn(*arguments(scenes, tmp_path), "--save-minutes", 0, "--workers", workers)
    folder = tmp_path / "segment-fcn-001"
    last = folder / "ckpt" / "last"
    wait_until(
        lambda: last.exists() and int(last.read_text().removeprefix("step-")) >= step, process
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    resumed = cvkit("segment", "train", "--resume", folder, "--save-minutes", 5, "--quiet")
    assert resumed.code == 0, resumed.err
    assert_same(folder, reference)


@pytest.mark.parametrize("lost", ["optim", "ema", "position", "step", "sums"])
def test_the_comparison_notices_a_lost_part(cvkit, stopped, tmp_path, reference, monkeypatch, lost):
    folder = stopped(6, tmp_path)
    real = checkpoint.load_state

    def forgetful(*rest):
        tensors, state, rejected = real(*rest)
        if lost in tensors:
            tensors[lost] = {k: torch.zeros_like(v) for k, v in tensors[lost].items()}
        elif lost == "sums":
            state["progress"]["sums"] = {}
        else:
            state["progress"][lost] -= 1
        return tensors, state, rejected

    monkeypatch.setattr(checkpoint, "load_state", forgetful)
    assert cvkit("segment", "train", "--resume", folder, "--quiet").code in (0, 5)
    with pytest.raises((AssertionError, FileNotFoundError)):
        assert_same(folder, reference)


def test_missing_parts_are_refused_by_name(cvkit, stopped, tmp_path, monkeypatch):
    folder = stopped(2, tmp_path)
    real = checkpoint.load_state
    for part, ending in (
        *(("model", "weight"), ("model", "num_batches_tracked"), ("optim", "exp_avg")),
        *(("ema", "running_mean"), ("ema", "num_batches_tracked")),
    ):

        def partial(*rest, part=part, ending=ending):
            tensors, state, rejected = real(*rest)
            del tensors[part][min(name for name in tensors[part] if name.endswith(ending))]
            return tensors, state, rejected

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "load_state", partial)
            refused = cvkit("segment", "train", "--resume", folder)
        assert refused.code == 2
        assert "does not fit this model" in refused.err


def test_a_resumed_run_keeps_its_settings(cvkit, stopped, tmp_path):
    folder = stopped(2, tmp_path)
    refused = cvkit("segment", "train", "--resume", folder, "--lr", "0.5")
    assert refused.code == 2
    assert "--lr 0.5 differs" in refused.err


def test_a_damaged_last_save_falls_back_and_says_so(cvkit, stopped, tmp_path, reference):
    folder = stopped(6, tmp_path)
    newest = max((folder / "ckpt").glob("step-*"))
    (newest / "model.safetensors").write_bytes(b"gone")
    arguments_ = ("segment", "train", "--resume", folder, "--workers", 0)
    resumed = cvkit(*arguments_)
    assert resumed.code == 0
    assert f"damaged save: {newest.name}" in resumed.err
    assert_same(folder, reference)


def test_a_finished_run_resumes_to_itself(cvkit, finished, tmp_path, reference):
    folder = shutil.copytree(finished, tmp_path / "segment-fcn-001")
    assert cvkit("segment", "train", "--resume", folder, "--quiet").out.strip() == str(folder)
    assert_same(folder, reference)


def test_the_average_is_what_is_measured_and_written(reference):
    tensors, _ = reference
    assert any(
        not torch.equal(tensors[name], tensors[name.replace("ema.", "model.", 1)])
        for name in tensors
        if name.startswith("ema.") and name.endswith("weight")
    )


EDITED = {
    "lr": 0.5,
    "batch_size": 4,
    "seed": 7,
    "image_size": "64x64",
    "ema": 0.5,
    "augment": "strong",
    "weight_decay": 0.25,
}


@pytest.mark.parametrize(
    ("name", "states"),
    [*((name, True) for name in EDITED), ("lr", False), ("image_size", False)],
)
def test_a_configuration_that_was_edited_is_not_resumed_with(
    cvkit, finished, tmp_path, name, states
):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    if not states:  # it continues from its last model
        shutil.rmtree(run / "ckpt")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    stored = read_yaml(run / "config.yaml")
    assert stored[name] != EDITED[name]
    (run / "config.yaml").write_text(dump_yaml(stored | {name: EDITED[name]}))
    refused = cvkit("segment", "train", "--resume", run, "--epochs", EPOCHS + 1, "--quiet")
    assert refused.code == 2 and f"config.yaml: {name} is {EDITED[name]!r}" in refused.err
    assert f"trained with {stored[name]!r}" in refused.err
    assert {path: path.read_bytes() for path in before if path.name != "config.yaml"} == {
        path: content for path, content in before.items() if path.name != "config.yaml"
    }


@pytest.mark.parametrize("task", TASKS)
def test_every_flag_of_a_run_is_settled_or_may_change(task):
    options = OPTIONS[task]["train"]()
    settled = settled_flags(options)
    names = {field.name for field in dataclasses.fields(options)}
    assert settled.keys() == names - CHANGEABLE - NOT_STORED
    assert {"lr", "batch_size", "seed", "arch"} <= settled.keys()
