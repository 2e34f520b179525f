"""What `train --log` writes; that it never ends a training; that a resumed log is a whole one."""

import csv
import json
import socket
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.engine.train import Trainer
from cvkit.errors import Interrupted
from cvkit.loggers import recorder
from cvkit.loggers.contract import Run
from cvkit.loggers.tables import Tables
from cvkit.options import logs
from cvkit.options.logs import PROGRAMS


@pytest.fixture(autouse=True)
def every_step(monkeypatch):
    monkeypatch.setattr(recorder, "EVERY", 1)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Refuse what leaves this machine; programs may talk to helpers of their own on it."""
    real = socket.socket.connect

    def connect(self, address):
        here = self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost")
        assert here, f"calls the network: {address}"
        return real(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    for name in ("WANDB_MODE", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def train(cvkit, flags_of, data_of, tmp_path):
    """Train a small model of a task with these loggers; return the run folder and the outcome."""

    def call(task, log, *more, code=0, name="runs", **values):
        out = tmp_path / name
        flags = flags_of(task, epochs=2, data=data_of(task), out=out, **values)
        done = cvkit(task, "train", *flags, "--log", log, *more)
        assert done.code == code, done.err
        return next(iter(out.iterdir()), None) if out.is_dir() else None, done

    return call


def need(*names):
    for name in names:
        for package in PROGRAMS[name].packages:
            extra = PROGRAMS[name].extra
            pytest.importorskip(package, reason=f"pip install 'cvkit[{extra}]' for --log {name}")


def history(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").open()]


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("task", TASKS)
def test_tables_have_the_steps_and_the_epochs(train, task):
    run, _ = train(task, "csv")
    lines, steps, epochs = history(run), rows(run / "steps.csv"), rows(run / "epochs.csv")
    assert [int(row["step"]) for row in steps] == list(range(1, lines[-1]["step"] + 1))
    per_epoch = len(steps) // 2
    assert per_epoch and len(epochs) == 2
    for number, (line, row) in enumerate(zip(lines, epochs, strict=True)):
        assert (int(row["epoch"]), int(row["step"])) == (line["epoch"], line["step"])
        losses = [float(r["loss"]) for r in steps[number * per_epoch :][:per_epoch]]
        assert np.mean(losses) == pytest.approx(line["loss"], rel=1e-5)
        for name in ("lr", "loss", "val_loss"):
            assert line[name] is None or float(row[name]) == line[name]
        for name, value in line["losses"].items():
            assert float(row[f"losses/{name}"]) == value
    assert float(steps[-1]["lr"]) > 0  # of the step itself; that of the next one would be 0


def events(run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(run / "tensorboard"), {"images": 0, "scalars": 0})
    found.Reload()
    tags = found.Tags()
    scalars = {tag: [(e.step, e.value) for e in found.Scalars(tag)] for tag in tags["scalars"]}
    pictures = {tag: found.Images(tag) for tag in tags["images"]}
    texts = {
        tag: found.Tensors(tag)[-1].tensor_proto.string_val[0].decode() for tag in tags["tensors"]
    }
    return scalars, pictures, texts


@pytest.mark.parametrize("task", TASKS)
def test_tensorboard_reads_curves_pictures_and_flags(train, task):
    need("tensorboard")
    run, _ = train(task, "tensorboard,csv", "--keep", "last")
    scalars, pictures, texts = events(run)
    lines, steps = history(run), rows(run / "steps.csv")
    for name in ("loss", "lr"):
        wanted = [(int(row["step"]), np.float32(float(row[name]))) for row in steps]
        assert scalars[f"step/{name}"] == wanted
    for line in lines:
        for name, value in line.items():
            if isinstance(value, float):
                assert (line["step"], np.float32(value)) in scalars[f"epoch/{name}"]
    assert len(pictures) == 4
    for shown in pictures.values():
        assert [each.step for each in shown] == [line["step"] for line in lines]
    assert "epochs: 2" in texts["config/text_summary"]
    best = next(name for name in lines[-1] if name.startswith("train_")).removeprefix("train_")
    assert f"| {best} | {lines[-1][best]} |" in texts["final/text_summary"]


def interrupted(train, monkeypatch, task, log):
    """Train until the second epoch is trained but not saved, then continue; return the run."""
    real = Trainer._validate

    def stopped(self, seconds):
        if self.progress.epoch == 1:
            raise Interrupted("stopped", signal_number=2)
        real(self, seconds)

    monkeypatch.setattr(Trainer, "_validate", stopped)
    run, _ = train(task, log, code=130, name="parts")
    monkeypatch.setattr(Trainer, "_validate", real)
    return run


def test_a_resumed_log_is_that_of_a_whole_run(cvkit, train, monkeypatch):
    installed = "tensorboard" if not missing("tensorboard") else "csv"
    names = f"csv,{installed}"
    whole, _ = train("classify", names)
    run = interrupted(train, monkeypatch, "classify", names)
    assert len(rows(run / "steps.csv")) == len(rows(whole / "steps.csv"))  # more than was saved
    done = cvkit("classify", "train", "--resume", run)
    assert done.code == 0, done.err
    for table in ("steps.csv", "epochs.csv"):
        assert (run / table).read_bytes() == (whole / table).read_bytes()
    if installed == "tensorboard":
        (scalars, pictures, _), (wanted, drawn, _) = events(run), events(whole)
        assert scalars == wanted
        steps = {tag: [each.step for each in shown] for tag, shown in pictures.items()}
        assert steps == {tag: [each.step for each in shown] for tag, shown in drawn.items()}


def missing(name):
    return any(logs.find_spec(package) is None for package in PROGRAMS[name].packages)


def test_a_logger_that_fails_ends_with_a_warning(train, monkeypatch):
    calls = []

    def full(self, step, values):
        calls.append(step)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Tables, "scalars", full)
    run, done = train("classify", "csv")
    assert calls == [1] and len(history(run)) == 2
    assert done.err.count("--log csv: OSError: [Errno 28] No space left on device") == 1


def test_pictures_that_cannot_be_drawn_cost_no_numbers(train, monkeypatch):
    def broken(self, network):
        raise ValueError("no picture")

    monkeypatch.setattr(recorder.Shown, "draw", broken)
    run, done = train("classify", "csv")
    assert len(rows(run / "epochs.csv")) == 2 and "no picture" in done.err


@pytest.mark.parametrize("name", [name for name in PROGRAMS if PROGRAMS[name].packages])
def test_a_missing_package_is_told_before_the_data_are_read(train, monkeypatch, name):
    package = PROGRAMS[name].packages[-1]
    real = logs.find_spec
    found = lambda asked: None if asked == package else real(asked) or True  # noqa: E731
    monkeypatch.setattr(logs, "find_spec", found)
    run, done = train("classify", name, "--data", "nowhere", code=2)
    assert run is None
    assert f"--log {name} needs the package {package}" in done.err
    assert f"pip install 'cvkit[{PROGRAMS[name].extra}]'" in done.err


def test_logging_changes_no_weights(train):
    with_log, _ = train("classify", "csv", name="logged")
    without, _ = train("classify", "", name="silent")
    last = "last.safetensors"
    tensors = [path.read_bytes().partition(b"}}")[2] for path in (with_log / last, without / last)]
    assert history(with_log) == history(without)
    assert len(tensors[0]) == len(tensors[1])
    assert not (without / "steps.csv").exists()


def test_mlflow_keeps_a_run_in_the_run_folder(cvkit, train, monkeypatch):
    need("mlflow")
    run = interrupted(train, monkeypatch, "classify", "mlflow,csv")
    assert cvkit("classify", "train", "--resume", run).code == 0
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=f"sqlite:///{run / 'mlflow.db'}")
    (found,) = client.search_runs([client.get_experiment_by_name("cvkit").experiment_id])
    steps = rows(run / "steps.csv")
    logged = client.get_metric_history(found.info.run_id, "step/loss")
    assert [m.step for m in logged] == [int(row["step"]) for row in steps]
    assert [m.value for m in logged] == [float(row["loss"]) for row in steps]
    assert found.data.params["arch"] == "lenet" and found.info.status == "FINISHED"
    pictures = list((run / "mlflow").rglob("validation/step-*/*.png"))
    assert len(pictures) == 8 and Image.open(pictures[0]).mode == "RGB"
    assert found.data.metrics["final/top1"] == max(line["top1"] for line in history(run))


def test_wandb_stays_offline(train):
    need("wandb")
    run, _ = train("classify", "wandb,csv")
    (folder,) = (run / "wandb").glob("offline-run-*")
    (record,) = folder.glob("run-*.wandb")
    assert record.stat().st_size > 1000
    assert record.stem == f"run-{(run / 'wandb' / 'run-id.txt').read_text()}"
    pictures = list(folder.rglob("validation*.png"))
    assert len(pictures) == 8


def test_tables_without_a_row_are_continued(tmp_path):
    """Runs of fewer steps than are logged at once have none."""
    begun = Run(tmp_path, 0, {}, [], offline=False)
    Tables(begun).close()
    assert (tmp_path / "steps.csv").read_text() == ""
    resumed = Tables(replace(begun, step=4))
    resumed.scalars(10, {"step/loss": 0.5})
    resumed.epoch({"epoch": 2, "step": 10}, {})
    resumed.close()
    assert rows(tmp_path / "steps.csv") == [{"step": "10", "loss": "0.5"}]
    assert rows(tmp_path / "epochs.csv") == [{"epoch": "2", "step": "10"}]
