"""A finished run leaves its models, goes on for more epochs, and finds its dataset elsewhere."""

import json
import shutil
import typing
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from cvkit import catalog
from cvkit.config import CHANGEABLE
from cvkit.data.synthetic.samples import WRITERS
from cvkit.engine.optim import lr_factor
from cvkit.model_files import read_model
from cvkit.options.base import Train
from cvkit.options.described import hints
from cvkit.options.panels import DATA
from cvkit.options.tree import OPTIONS


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def copied(run_of, tmp_path):
    """A copy of a task's finished run of two epochs."""

    def get(task):
        return Path(shutil.copytree(run_of(task), tmp_path / run_of(task).name))

    return get


def tree(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_finished_run_holds_two_models_and_no_resume_state(run_of, task):
    folder = run_of(task)
    sizes = {path.name: path.stat().st_size for path in folder.rglob("*") if path.is_file()}
    models = sizes.pop("best.safetensors") + sizes.pop("last.safetensors")
    assert not [path for path in folder.iterdir() if "ckpt" in path.name]
    assert sum(sizes.values()) < 200_000 < models or task in ("classify", "video")
    assert set(sizes) == {"config.yaml", "curves.png", "environment.json", "metrics.jsonl"}


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_finished_run_goes_on_with_data_that_have_moved(copied, data_of, cvkit, tmp_path, task):
    folder, moved = copied(task), tmp_path / "elsewhere"
    before = lines(folder)
    shutil.copytree(data_of(task), moved)
    done = cvkit(task, "train", "--resume", folder, "--epochs", 3, "--data", moved)
    assert done.code == 0, done.err
    after = lines(folder)
    assert after[:2] == before
    assert [line["epoch"] for line in after] == [1, 2, 3]
    steps = before[0]["step"]
    assert after[2]["step"] == 3 * steps
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert (settings["epochs"], settings["data"]) == (3, str(moved))
    # The rate is that of a run of three epochs; here it is told when two of them are done.
    peak = before[0]["lr"] / lr_factor("poly", steps, 2 * steps, steps)
    rate = peak * lr_factor("poly", 2 * steps, 3 * steps, steps)
    assert "epochs: 2 -> 3, 2 done; from here on the learning rate follows --schedule" in done.err
    assert f"over 3 epochs, now {rate:.2e}" in done.err
    assert "fresh optimizer" in done.err
    assert read_model(folder / "last.safetensors")[1]["training"]["epoch"] == 3
    assert not (folder / "ckpt").exists()


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_finished_run_resumes_to_itself(copied, cvkit, task):
    folder = copied(task)
    before = tree(folder)
    done = cvkit(task, "train", "--resume", folder)
    assert done.code == 0, done.err
    assert "all 2 epochs are done" in done.err and "optimizer" not in done.err
    after = tree(folder)
    assert after.keys() == before.keys()
    assert all(after[path] == before[path] for path in before if path.suffix != ".png")


@pytest.mark.parametrize("task", catalog.TASKS)
def test_other_data_are_not_taken_for_those_that_moved(copied, cvkit, tmp_path, task):
    folder, other = copied(task), tmp_path / "other"
    WRITERS[task](other, {"train": 14, "val": 7}, 6, (32, 32))
    before = tree(folder)
    refused = cvkit(task, "train", "--resume", folder, "--epochs", 3, "--data", other, "--json")
    assert refused.code == 2
    assert refused.json["error"]["code"] == "resume.data"
    assert tree(folder) == before


@pytest.mark.slow
def test_with_its_states_a_longer_run_is_what_it_would_have_been(
    flags_of, data_of, cvkit, tmp_path
):
    common = flags_of("segment", data=data_of("segment"), schedule="constant", ema=0.9)
    common += ["--keep-states", "--quiet"]
    folders = []
    for name, epochs in (("whole", 3), ("parts", 2)):
        done = cvkit("segment", "train", *common, "--epochs", epochs, "--out", tmp_path / name)
        assert done.code == 0, done.err
        folders.append(tmp_path / name / "segment-fcn-001")
    whole, parts = folders
    done = cvkit("segment", "train", "--resume", parts, "--epochs", 3)
    assert done.code == 0, done.err
    assert "fresh" not in done.err
    assert lines(whole) == lines(parts)
    newest = max(path.name for path in (whole / "ckpt").glob("step-*"))
    for name in ("best", "last", *(f"ckpt/{newest}/{part}" for part in ("model", "optim", "ema"))):
        one, two = (load_file(folder / f"{name}.safetensors") for folder in (whole, parts))
        assert one.keys() == two.keys()
        assert not [key for key in one if not torch.equal(one[key], two[key])], name


def test_a_run_does_not_become_shorter_than_it_is(copied, cvkit):
    folder = copied("classify")
    before = tree(folder)
    refused = cvkit("classify", "train", "--resume", folder, "--epochs", 1)
    assert refused.code == 2
    assert f"--epochs 1: {folder} already has 2 epochs" in refused.err
    assert tree(folder) == before


def test_patience_that_is_used_up_is_told_and_may_grow(flags_of, data_of, cvkit, tmp_path):
    more = flags_of("classify", data=data_of("classify"), lr=0, patience=1, out=tmp_path)
    assert cvkit("classify", "train", *more, "--epochs", 9, "--quiet").code == 0
    folder = tmp_path / "classify-lenet-001"
    assert len(lines(folder)) == 2
    resume = ("classify", "train", "--resume", folder)
    stopped = cvkit(*resume)
    assert stopped.code == 0 and "--patience 1 is used up" in stopped.err
    assert len(lines(folder)) == 2
    assert cvkit(*resume, "--patience", 3).code == 0
    assert len(lines(folder)) == 4


def test_a_damaged_history_is_told(copied, cvkit):
    folder = copied("classify")
    (folder / "metrics.jsonl").unlink()
    refused = cvkit("classify", "train", "--resume", folder, "--epochs", 3)
    assert refused.code == 2
    assert "cannot continue from last.safetensors" in refused.err and "--weights" in refused.err


def test_what_a_crash_left_of_the_states_goes(copied, cvkit):
    folder = copied("classify")
    (folder / ".ckpt.1.tmp" / "step-0000000002").mkdir(parents=True)
    assert cvkit("classify", "train", "--resume", folder, "--quiet").code == 0
    assert not list(folder.glob(".*"))


@pytest.mark.parametrize("task", catalog.TASKS)
def test_every_place_of_data_may_be_named_again(task):
    known = hints(OPTIONS[task]["train"])
    paths = {
        name
        for name, kind in known.items()
        if Path in (typing.get_args(kind)[0], *typing.get_args(typing.get_args(kind)[0]))
        and typing.get_args(kind)[1].rich_help_panel == DATA
    }
    assert {"data", *paths} <= CHANGEABLE
    assert CHANGEABLE - {"train_json", "val_json", "images", "proposals"} <= hints(Train).keys()
