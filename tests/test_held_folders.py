"""No command writes into a folder that another process is writing to."""

import os
import shutil

import pytest

from cvkit import storage
from cvkit.catalog import TASKS
from cvkit.commands import training_job
from cvkit.console import Reporter
from cvkit.errors import UsageError

MODELS = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}


@pytest.fixture
def refused(cvkit):
    """Call a command while its folder is held; it must change nothing."""

    def call(folder, *words):
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        with storage.held(folder, pytest.fail):
            done = cvkit(*words)
        assert done.code == 2
        assert done.err.splitlines()[-1].startswith(
            f"error: {folder} is in use by process {os.getpid()} "
        )
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
        return done

    return call


@pytest.mark.parametrize("task", TASKS)
def test_a_run_folder_in_use_is_not_resumed(refused, tmp_path, task):
    (tmp_path / "config.yaml").write_text("data: /nowhere\n")
    refused(tmp_path, task, "train", "--resume", tmp_path)


def test_a_study_in_use_is_not_resumed(refused, tmp_path):
    (tmp_path / "config.yaml").write_text("task: classify\ndata: /nowhere\n")
    refused(tmp_path, "tune", "classify", "--resume", tmp_path)


@pytest.mark.parametrize("task", TASKS)
def test_a_folder_in_use_takes_no_predictions(refused, data_of, tmp_path, task):
    ends = (".png", ".mp4", ".avi")
    image = next(path for path in sorted(data_of(task).rglob("*")) if path.suffix in ends)
    words = (task, "predict", image, "--weights", MODELS[task], "--out", tmp_path)
    for how in ((), ("--overwrite",), ("--resume",)):
        refused(tmp_path, *words, *how)


def test_a_folder_in_use_takes_no_samples(refused, tmp_path):
    refused(tmp_path, "samples", tmp_path)


def held_while(monkeypatch, place, folder_of):
    """Make a function look whether the folder that its command writes to is held."""
    seen = []

    def look(*arguments, **named):
        with pytest.raises(UsageError) as caught, storage.held(folder_of(), pytest.fail):
            pass
        seen.append(caught.value.code)
        raise UsageError("looked", code="looked")

    monkeypatch.setattr(place, look)
    return seen


def test_a_command_holds_its_folder_while_it_works(
    cvkit, data_of, flags_of, run_of, tmp_path, monkeypatch
):
    data = data_of("classify")
    flags = (*flags_of("classify"), "--data", data, "--out", tmp_path / "runs")
    newest = lambda: max((tmp_path / "runs").iterdir())  # noqa: E731
    image = next(data.rglob("*.png"))
    run = tmp_path / "runs" / "classify-lenet-000"
    shutil.copytree(run_of("classify"), run)
    study = ("tune", "classify", "--data", data, "--out", tmp_path / "runs", "--set", "arch=lenet")
    for words, place, folder_of in (
        (("classify", "train", *flags), "cvkit.engine.train.Trainer.fit", newest),
        (("classify", "train", *flags, "--find-lr"), "cvkit.engine.lr_range.lr_range", newest),
        (
            ("classify", "train", "--resume", run, "--epochs", 3),
            "cvkit.engine.train.Trainer.fit",
            lambda: run,
        ),
        (
            ("classify", "predict", image, "--weights", run, "--out", tmp_path / "out"),
            "cvkit.tasks.classify.task.Classify.finish",
            lambda: tmp_path / "out",
        ),
        (study, "cvkit.commands.tune.run_training", newest),
    ):
        with monkeypatch.context() as patch:
            seen = held_while(patch, place, folder_of)
            assert cvkit(*words).code == 2
        assert seen == ["folder.in_use"], words
        assert not (folder_of() / storage.LOCK).exists()


def test_processes_that_train_together_share_their_folder(tmp_path, monkeypatch):
    """Only the first of them asks for it."""
    with storage.held(tmp_path, pytest.fail):
        for rank in ("1", "2"):
            monkeypatch.setenv("LOCAL_RANK", rank)
            with training_job.held_run(tmp_path, Reporter()):
                pass
        for rank in ("0", None):
            monkeypatch.setenv("LOCAL_RANK", rank) if rank else monkeypatch.delenv("LOCAL_RANK")
            with pytest.raises(UsageError), training_job.held_run(tmp_path, Reporter()):
                pass


def test_two_evaluations_into_one_folder_have_reports_of_their_own(cvkit, tmp_path):
    (tmp_path / "t.csv").write_text("path,label,a,b\nx.jpg,a,0.7,0.3\ny.jpg,b,0.2,0.8\n")
    files = ("--predictions", tmp_path / "t.csv", "--truth", tmp_path / "t.csv")
    for _ in range(2):
        done = cvkit("classify", "eval", *files, "--out", tmp_path / "runs", "--json")
        assert done.code == 0, done.err
    names = sorted(path.name for path in (tmp_path / "runs").iterdir())
    assert names == ["classify-eval-001", "classify-eval-002"]
