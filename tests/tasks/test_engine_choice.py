"""The engine of --engine auto: by number in short jobs, measured once per machine in long ones."""

import json

import pytest
import torch

from cvkit import catalog
from cvkit.models.engines import TIMED, available
from cvkit.tasks import engine_choice

pytestmark = pytest.mark.apart
CPU = torch.device("cpu")
SECONDS = {"eager": 1.0, "fused": 3.0, "openvino": 2.0}


@pytest.fixture
def timed(monkeypatch, tmp_path):
    """Return the names of the engines as they are timed; every job is a long one."""
    names = []

    def seconds(name, trained, batch):
        names.append(name)
        assert batch.images.shape[0] == len(batch) > 0
        return SECONDS[name]

    monkeypatch.setattr(engine_choice, "_seconds", seconds)
    monkeypatch.setattr(engine_choice, "MANY", 1)
    monkeypatch.setattr(engine_choice, "usual_engine", lambda *given: "fused")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return names


@pytest.fixture
def used(cvkit, run_of, data_of, tmp_path):
    """Return the engine that a task's predict says it used."""

    def run(task="segment", *flags):
        places = [data_of(task) / "images" / "val", data_of(task) / "val"]
        inputs = next(place for place in places if place.is_dir())
        model = ("--weights", run_of(task) / "last.safetensors", "--workers", 0, "--json")
        out = () if "--out" in flags else ("--out", tmp_path / task, "--overwrite")
        return cvkit(task, "predict", inputs, *model, *out, *flags).json["engine"]

    return run


@pytest.mark.parametrize("task", catalog.TASKS)
def test_the_fastest_is_measured_once(timed, used, tmp_path, task):
    assert used(task) == "eager" and tuple(timed) == TIMED
    (stored,) = (tmp_path / "cache" / "cvkit" / "engines").iterdir()
    assert json.loads(stored.read_text()) == {"engine": "eager", "seconds_per_batch": SECONDS}
    assert used(task) == "eager" and tuple(timed) == TIMED


def test_what_was_measured_decides(timed, used, monkeypatch):
    for name in ("fused", "openvino"):
        monkeypatch.setitem(SECONDS, name, 0.5 if name == "fused" else 0.25)
        assert used("segment", "--batch-size", 1 + len(timed)) == name


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"engine": "mkl"}', '{"engine": []}'])
def test_a_damaged_note_is_measured_again(timed, used, tmp_path, content):
    used()
    (stored,) = (tmp_path / "cache" / "cvkit" / "engines").iterdir()
    stored.write_text(content)
    assert used() == "eager" and tuple(timed) == TIMED * 2


def test_what_the_speed_depends_on_is_measured_anew(timed, used):
    used()
    for precision, flags in (("bf16", ("--precision", "bf16")), ("fp32", ("--batch-size", 1))):
        timed.clear()
        used("segment", *flags)
        # Some CPUs do not multiply in bf16.
        assert timed == [name for name in TIMED if available(name, precision, CPU)]
    used("classify")
    assert tuple(timed) == TIMED * 2


def test_without_a_cache_nothing_is_measured(timed, used, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert used() == "fused" and not timed


def test_an_engine_that_is_missing_is_not_measured(timed, used, monkeypatch):
    monkeypatch.setattr(engine_choice, "available", lambda name, *given: name != "openvino")
    assert used() == "eager" and timed == ["eager", "fused"]


def test_short_jobs_measure_nothing(timed, used, monkeypatch):
    monkeypatch.setattr(engine_choice, "MANY", 10**8)
    assert used() == "fused" and not timed


def test_a_resumed_job_stays_on_its_engine(timed, used, tmp_path):
    out = tmp_path / "segment"
    assert used("segment", "--out", out, "--engine", "fused") == "fused"
    lines = (out / "predictions.jsonl").read_bytes().splitlines(keepends=True)
    (out / "predictions.jsonl").write_bytes(b"".join(lines[:1]))
    timed.clear()
    assert used("segment", "--out", out, "--resume") == "fused" and not timed
    assert (out / "predictions.jsonl").read_bytes().splitlines(keepends=True) == lines
    about = json.loads((out / "predict.json").read_text())
    assert about["engine"] == "fused"
    (out / "predict.json").write_text(json.dumps(about | {"engine": "mkl"}))
    (out / "predictions.jsonl").write_bytes(b"".join(lines[:1]))
    assert used("segment", "--out", out, "--resume") == "eager" and tuple(timed) == TIMED


def test_times_are_of_the_engine_that_is_named(used, monkeypatch, tmp_path):
    """Nothing is faked but what is measured: each engine runs, and leaves the network as it was."""
    ran = []
    monkeypatch.setattr(engine_choice, "MANY", 1)
    monkeypatch.setattr(engine_choice, "usual_engine", lambda *given: "fused")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    right = engine_choice.run_on

    def noted(name, model, precision):
        assert not any("forward" in part.__dict__ for part in model.modules())
        parts = right(name, model, precision)
        ran.append((name, parts))
        return parts

    monkeypatch.setattr(engine_choice, "run_on", noted)
    used()
    names = [name for name, _ in ran]
    assert tuple(names[:-1]) == TIMED and names[-1] in TIMED
    assert all(parts is None or parts.used == name for name, parts in ran)
