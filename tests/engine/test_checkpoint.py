"""Model files and resume states: always loadable, checked, and never code."""

import builtins
import os
import shutil

import pytest
import torch

from cvkit.engine import checkpoint
from cvkit.engine.checkpoint import load_state, save_model, save_state
from cvkit.errors import MachineError, ModelFileError, TrainingDiverged

DATA = {"fingerprint": "x"}


def state(run, step):
    tensors = {
        "model": {"w": torch.full((3,), float(step))},
        "optim": {"0.step": torch.tensor(float(step))},
    }
    save_state(run, step, tensors, {"step": step, "data": DATA})


def step_of(run):
    tensors, content, _ = load_state(run, DATA)
    assert tensors["model"]["w"].tolist() == [content["step"]] * 3
    return content["step"]


class Crash(BaseException):
    """The process is gone: nothing after this point happens, cleaning up included."""


def crash_at(monkeypatch, number):
    """Make the n-th file operation, and all that follow, fail; return a counter."""
    count = [0]

    def wrap(function, label):
        def wrapped(*arguments, **options):
            write = label != "open" or "w" in str(arguments[1:2])
            if write:
                count[0] += 1
                if count[0] >= number:
                    raise Crash(label)
            return function(*arguments, **options)

        return wrapped

    for module, name in ((os, "fsync"), (os, "replace"), (os, "mkdir"), (builtins, "open")):
        monkeypatch.setattr(module, name, wrap(getattr(module, name), name))
    monkeypatch.setattr(shutil, "rmtree", wrap(shutil.rmtree, "rmtree"))
    monkeypatch.setattr(os, "unlink", wrap(os.unlink, "unlink"))
    return count


def test_a_crash_at_any_file_operation_leaves_a_loadable_state(tmp_path):
    outcomes = []
    for number in range(1, 100):
        run = tmp_path / str(number)
        run.mkdir()
        state(run, 1)
        state(run, 2)
        with pytest.MonkeyPatch.context() as patch:
            crash_at(patch, number)
            try:
                state(run, 3)
                finished = True
            except Crash:
                finished = False
        outcomes.append(step_of(run))
        state(run, 4)  # and the run goes on
        assert step_of(run) == 4
        assert not list((run / "ckpt").glob(".tmp-*"))
        if finished:
            break
    assert finished, "the writer has fewer than 100 operations"
    assert len(outcomes) > 15, "the crashes hit the writer's single steps"
    assert set(outcomes) == {2, 3}
    assert outcomes == sorted(outcomes), "once the new state counts, it stays"


def test_disk_errors_are_told_and_leave_the_old_state(tmp_path, monkeypatch):
    state(tmp_path, 1)
    real = os.fsync

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MachineError, match="disk is full") as caught:
        state(tmp_path, 2)
    assert caught.value.exit_code == 6
    monkeypatch.setattr(os, "fsync", real)
    assert step_of(tmp_path) == 1
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(MachineError, match="MiB needed, 0 MiB free"):
        state(tmp_path, 2)
    assert step_of(tmp_path) == 1


def test_damage_is_found_and_the_newest_intact_state_is_used(tmp_path):
    state(tmp_path, 1)
    state(tmp_path, 2)
    files = sorted((tmp_path / "ckpt" / "step-0000000002").iterdir())
    assert [f.name for f in files] == [
        "MANIFEST.json",
        "model.safetensors",
        "optim.safetensors",
        "state.json",
    ]
    for file in files:
        content = file.read_bytes()
        for position in range(0, len(content), 1 if file.name == "MANIFEST.json" else 7):
            flipped = bytearray(content)
            flipped[position] ^= 1
            file.write_bytes(flipped)
            _, found, rejected = load_state(tmp_path, DATA)
            assert found["step"] == 1
            assert "step-0000000002" in rejected[0]
        for damage in (content[:-1], b"", None):
            file.unlink() if damage is None else file.write_bytes(damage)
            assert step_of(tmp_path) == 1
        file.write_bytes(content)
        assert step_of(tmp_path) == 2
    stray = files[0].with_name("ema.safetensors")  # would be loaded with the others
    stray.write_bytes(files[1].read_bytes())
    assert step_of(tmp_path) == 1
    stray.unlink()
    (tmp_path / "ckpt" / "last").write_text("nonsense")
    assert step_of(tmp_path) == 2
    shutil.rmtree(tmp_path / "ckpt" / "step-0000000001")
    files[1].write_bytes(b"x")
    with pytest.raises(ModelFileError, match=r"model\.safetensors does not match"):
        load_state(tmp_path, DATA)


def test_old_states_go_in_numeric_order_and_two_stay(tmp_path):
    for step in (9, 10, 99, 100, 1000):
        state(tmp_path, step)
        names = sorted(p.name for p in (tmp_path / "ckpt").glob("step-*"))
        assert names[-1] == f"step-{step:010d}"
        assert len(names) <= checkpoint.KEEP


def test_a_changed_dataset_is_not_resumed(tmp_path):
    state(tmp_path, 1)
    with pytest.raises(ModelFileError, match="dataset") as caught:
        load_state(tmp_path, {"fingerprint": "y"})
    assert caught.value.code == "resume.data"


def test_a_state_that_does_not_say_its_data_is_refused(tmp_path):
    save_state(tmp_path, 1, {"model": {"w": torch.ones(3)}}, {"step": 1})
    with pytest.raises(ModelFileError, match="step-0000000001 does not say its data"):
        load_state(tmp_path, DATA)


def test_nothing_non_finite_is_saved(tmp_path):
    bad = {"w": torch.tensor([1.0, float("nan")])}
    with pytest.raises(TrainingDiverged, match="w has a non-finite number"):
        save_state(tmp_path, 1, {"model": bad}, {})
    with pytest.raises(TrainingDiverged):
        save_model(tmp_path / "m.safetensors", bad, {})
    assert not list(tmp_path.iterdir())
