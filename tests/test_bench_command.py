"""`cvkit bench`, for every task on its smallest model."""

import dataclasses
import json
import os
import signal
import threading
from pathlib import Path

import pytest

from cvkit.catalog import ARCHS, TASKS
from cvkit.commands.bench import BY_DEFAULT
from cvkit.engine import bench as loops
from cvkit.errors import UsageError
from cvkit.tasks import candidates, comparison

pytestmark = pytest.mark.apart
QUICK = ("--seconds", "0.1", "--batch-sizes", "1,2", "--no-memory", "--json")
PAIRS = [(engine, precision) for engine in BY_DEFAULT for precision in ("fp32", "bf16")]


@pytest.fixture(autouse=True)
def two_rounds(monkeypatch):
    monkeypatch.setattr(loops, "ROUNDS", 2)
    monkeypatch.setattr(loops.measure, "__kwdefaults__", {"rounds": 2})


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """An empty current folder, and one for temporary files."""
    (tmp_path / "tmp").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("task", TASKS)
def test_every_engine_and_precision_is_measured(cvkit, nowhere, run_of, data_of, task):
    words = ("bench", task, "--weights", run_of(task), "--data", data_of(task))
    found = cvkit(*words, *QUICK)
    assert found.code == 0, found.err
    found = found.json
    assert found["task"] == task and found["trained"] is True
    assert found["counts"]["failed"] == 0 and 2 <= found["counts"]["measured"] <= 7
    results = {(row["engine"], row["precision"]): row for row in found["results"]}
    assert list(results) == PAIRS
    shown = {(row["engine"], row["precision"], row["batch_size"]) for row in found["rows"]}
    there = {pair for pair, row in results.items() if row["available"]}
    assert {("eager", "fp32"), ("eager", "bf16")} <= there
    assert shown == {(*pair, size) for pair in there for size in (1, 2)}
    for row in found["rows"]:
        assert row["per_second"] > 0 and len(row["rates"]) == 2
        assert 0 < row["latency_ms"]["p50"] <= row["latency_ms"]["p90"] <= row["latency_ms"]["p99"]
        assert row["batches"] >= 2
        assert sum(row["shares"].values()) == pytest.approx(1)
        assert all(share > 0 for share in row["shares"].values()), row["shares"]
        assert row["peak_memory"] is None
    asked = cvkit(task, "eval", *words[2:], "--no-files", "--engine", "eager", "--json").json
    reference = results["eager", "fp32"]
    assert reference["metrics"] == pytest.approx(flat(asked["metrics"]), abs=1e-6)
    assert (reference["agreement"], reference["difference"]) == (1, 0)
    for row in (results[pair] for pair in there):
        value = row["metrics"][found["metric"]] - reference["metrics"][found["metric"]]
        assert row["difference"] == pytest.approx(value)
    assert found["recommended"].startswith(f"cvkit {task} predict INPUTS --weights {run_of(task)}")
    assert not [*Path().iterdir(), *(nowhere / "tmp").iterdir()], "nothing is written"


def flat(metrics):
    """Return metrics by dotted name."""
    parts = {name: value for name, value in metrics.items() if isinstance(value, dict)}
    found = {name: value for name, value in metrics.items() if name not in parts}
    return found | {f"{part}.{n}": v for part, inner in parts.items() for n, v in inner.items()}


@pytest.mark.parametrize("task", TASKS)
def test_without_a_model_it_is_the_shipped_one_and_without_inputs_samples(
    cvkit, nowhere, monkeypatch, task
):
    seen = []
    monkeypatch.setattr(
        comparison, "compare", lambda subject, report: seen.append(subject) or stop()
    )

    def stop():
        raise UsageError("stopped by the test", code="test")

    monkeypatch.setattr(candidates, "cached_samples", lambda name: nowhere / name)
    place = nowhere / task / ("val" if task in ("classify", "video") else "images/val")
    place.mkdir(parents=True)
    name = "a.mp4" if task == "video" else "a.png"
    (place / name).write_bytes(b"")
    assert "stopped by the test" in cvkit("bench", task, *QUICK).err
    (subject,) = seen
    assert subject.task.name == task
    assert [file.path for file in subject.files] == [place / name]
    assert subject.weights == candidates.shipped_model(task)


@pytest.mark.parametrize("task", TASKS)
def test_an_untrained_network_is_measured_for_speed_only(
    cvkit, nowhere, monkeypatch, data_of, smallest, task
):
    real = candidates.untrained_model
    monkeypatch.setattr(
        candidates,
        "untrained_model",
        lambda options, *rest: real(dataclasses.replace(options, data=str(data_of(task))), *rest),
    )
    more = dict(smallest[task])
    arch = more.pop("arch", next(iter(ARCHS[task])))
    flags = [word for pair in more.items() for word in ("--set", "=".join(map(str, pair)))]
    place = data_of(task) / ("val" if task in ("classify", "video") else "images/val")
    engines = ("--engines", "eager", "--precisions", "fp32")
    done = cvkit("bench", task, place, "--arch", arch, *flags, *engines, *QUICK)
    assert done.code == 0, done.err
    found = done.json
    assert (found["trained"], found["weights"], found["metric"]) == (False, None, None)
    assert any("untrained" in note for note in found["notes"])
    assert "--weights" not in found["recommended"]
    assert found["recommended"].startswith(f"cvkit {task} predict {place} --engine eager")


@pytest.fixture
def bench(cvkit, nowhere, run_of, data_of):
    """Call bench on the smallest classifier and its validation images."""

    place, model = data_of("classify") / "val", run_of("classify")

    def call(*words, json=True):
        flags = QUICK if json else QUICK[:-1]
        return cvkit("bench", "classify", place, "--weights", model, *flags, *words)

    return call


def test_what_a_machine_does_not_have_is_a_row_that_says_why(bench, monkeypatch):
    real = candidates.use_engine

    def use(wanted, *given):
        if wanted == "fused":
            raise UsageError("--engine fused needs a chip", code="engine.missing")
        return real(wanted, *given)

    engines = ("--engines", "eager,fused")

    monkeypatch.setattr(candidates, "use_engine", use)
    found = bench(*engines, "--precisions", "fp32,fp16").json
    reasons = {(row["engine"], row["precision"]): row["reason"] for row in found["results"]}
    assert reasons["eager", "fp32"] == ""
    assert reasons["eager", "fp16"] == "--precision fp16 needs a GPU"
    assert reasons["fused", "fp32"] == "--engine fused needs a chip"
    assert {(row["engine"], row["precision"]) for row in found["rows"]} == {("eager", "fp32")}
    assert "--engine fused needs a chip" in bench(*engines, "--precisions", "fp32", json=False).out
    done = bench("--engines", "fused", "--precisions", "fp32")
    assert done.code == 2
    assert done.json["error"]["code"] == "engine.missing"


def test_an_engine_with_other_results_is_not_recommended(bench, monkeypatch):
    monkeypatch.setattr(comparison, "agreement", lambda result, other: float(result is other))
    found = bench("--engines", "fused", "--precisions", "fp32").json
    assert found["recommended"] is None
    assert any("nothing that was measured" in note for note in found["notes"])


def test_a_busy_machine_is_said(bench, monkeypatch):
    monkeypatch.setattr(os, "getloadavg", lambda: (64.0, 0.0, 0.0))
    found = bench("--engines", "eager", "--precisions", "fp32").json
    assert any("load average 64.0" in note for note in found["notes"])
    assert found["machine"]["load_before"] == 64.0
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    monkeypatch.setattr(loops, "rate_of_predict", lambda *_: 3.0)
    found = bench("--engines", "eager", "--precisions", "fp32").json
    assert not any("busy" in note for note in found["notes"]), found["notes"]
    rates = iter([1.0, 2.0] * 4)
    monkeypatch.setattr(loops, "rate_of_predict", lambda *_: next(rates))
    found = bench("--engines", "eager", "--precisions", "fp32").json
    assert any("differed by up to" in note for note in found["notes"])


def test_results_are_written_only_where_they_should_be(bench, nowhere):
    few = ("--engines", "eager", "--precisions", "fp32", "--out")
    done = bench(*few, "b.json", json=False)
    assert done.code == 0, done.err
    written = json.loads(Path("b.json").read_text())
    assert "recommended      " in done.out and written["recommended"] in done.out
    assert [path.name for path in Path().iterdir()] == ["b.json"]
    assert bench(*few, "b.json").json["error"]["code"] == "out.exists"
    assert json.loads(Path("b.json").read_text()) == written
    assert bench(*few, "b.json", "--overwrite").code == 0
    assert json.loads(Path("b.json").read_text()) != written


def test_an_input_that_cannot_be_read_is_left_out(bench, nowhere):
    bad = nowhere / "bad.png"
    bad.write_bytes(b"no image")
    done = bench(bad, "--engines", "eager", "--precisions", "fp32")
    assert done.code == 3
    assert done.json["counts"]["failed"] == 1
    assert [Path(row["path"]).name for row in done.json["failures"]] == ["bad.png"]


def test_no_readable_input_is_an_error(cvkit, nowhere):
    (nowhere / "bad.png").write_bytes(b"no image")
    done = cvkit("bench", "classify", nowhere / "bad.png", "--weights", "shapes", *QUICK)
    assert done.code == 2
    assert "no input can be read: " in done.err


def test_the_memory_of_each_row_is_that_of_a_process_that_predicts(bench, monkeypatch):
    seen = []

    def run(words, **more):
        assert not [name for name in more["env"] if name.startswith("CVKIT_PREDICT")]
        listed = next(word for word in words if word.startswith("@"))
        assert len(Path(listed[1:]).read_text().splitlines()) >= 2
        seen.append(words)
        code = 0 if len(seen) < 4 else 1
        return type(
            "Done", (), {"stdout": f"out\n{len(seen)}000\n", "stderr": "no\n", "returncode": code}
        )

    monkeypatch.setattr(comparison.subprocess, "run", run)
    found = bench("--engines", "eager", "--memory", "--set", "top-k=2").json
    assert [row["peak_memory"] for row in found["rows"]] == [1000, 2000, 3000, None]
    assert any("was not measured: no" in note for note in found["notes"])
    for words, row in zip(seen, found["rows"], strict=True):
        flags = {words[n]: words[n + 1] for n in range(len(words) - 1)}
        assert (flags["--engine"], flags["--precision"]) == (row["engine"], row["precision"])
        assert flags["--batch-size"] == str(row["batch_size"])
        assert flags["--top-k"] == "2"
        assert words[3:5] == ["classify", "predict"]
    assert "--top-k 2" in found["recommended"]


@pytest.mark.slow
def test_a_process_says_how_much_memory_it_took(tmp_path):
    notes = []
    taken = comparison._peak(["models", "--help"], notes)
    assert not notes and taken > 2**24
    assert comparison._peak(["models", "--no-such"], notes) is None
    assert len(notes) == 1 and "--no-such" in notes[0]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once_and_leaves_nothing(bench, nowhere, monkeypatch, number):
    real = loops.rate_of_predict

    def interrupted(*arguments):
        assert threading.current_thread() is threading.main_thread()
        signal.raise_signal(number)
        return real(*arguments)

    monkeypatch.setattr(loops, "rate_of_predict", interrupted)
    done = bench("--out", "b.json")
    assert done.code == 128 + number
    assert "interrupted; nothing was written (run the same command again)" in done.err
    assert not [*Path().iterdir(), *(nowhere / "tmp").iterdir()]
