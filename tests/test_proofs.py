"""`weights prove`: a model runs in bf16 by itself only where its metric was seen to stay."""

import shutil

import pytest
import torch

from cvkit import catalog
from cvkit.commands import weights
from cvkit.engine import runtime
from cvkit.model_files import read_model

CPU = torch.device("cpu")


@pytest.fixture
def model(run_of, tmp_path):
    def copied(task):
        return shutil.copy(run_of(task) / "last.safetensors", tmp_path / f"{task}.safetensors")

    return copied


@pytest.fixture
def cpu_with(monkeypatch):
    """Let the CPU have these instructions beside others."""

    def has(*flags):
        lines = {"flags": " ".join(("sse", "avx2", *flags)), "model name": "A processor"}
        monkeypatch.setattr(runtime, "cpu_facts", lines.__getitem__)

    return has


def value(report, metric):
    """Return a metric of a report; `mask.AP` is `AP` under `mask`."""
    found = report["metrics"]
    for part in metric.split("."):
        found = found[part]
    return found


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_proven_model_runs_in_bf16(cvkit, model, data_of, cpu_with, task):
    path, data = model(task), data_of(task)
    asked = (path, "--data", data, "--workers", 0, "--json")
    proof = cvkit("weights", "prove", *asked).json
    assert proof["proven"] is True
    flags = ("--weights", path, "--data", data, "--workers", 0, "--json", "--precision", "auto")
    flags += ("--no-files",)
    cpu_with()
    measured = cvkit(task, "eval", *flags)
    cpu_with("avx512_bf16")
    in_bf16 = cvkit(task, "eval", *flags)
    note = read_model(path)[1]["proven"]["bf16"]
    assert note == proof["bf16"]
    assert note["fp32"] == value(measured.json, note["metric"])
    assert note["samples"] == measured.json["counts"]["evaluated"] > 0
    assert (measured.json["precision"], in_bf16.json["precision"]) == ("fp32", "bf16")
    assert value(in_bf16.json, note["metric"]) == pytest.approx(note["bf16"])


def test_a_model_that_loses_is_not_noted(cvkit, model, data_of, cpu_with, monkeypatch):
    path = model("segment")
    asked = (path, "--data", data_of("segment"), "--workers", 0, "--json")
    cvkit("weights", "prove", *asked)
    monkeypatch.setattr(weights, "LARGEST_FALL", -2.0)
    lost = cvkit("weights", "prove", *asked)
    assert lost.code == 4
    assert "is not proven to run in bf16: miou 0." in lost.json["error"]["message"]
    tensors, header = read_model(path)
    assert "proven" not in header and tensors
    cpu_with("avx512_bf16")
    found = cvkit("segment", "eval", "--weights", *asked, "--precision", "auto", "--no-files")
    assert found.json["precision"] == "fp32"


def test_auto_needs_the_instructions_and_the_proof(cpu_with):
    for flags, proven, expected in (
        ((), True, "fp32"),
        (("avx512_bf16",), True, "bf16"),
        (("avx512_bf16",), False, "fp32"),
        (("amx_bf16",), False, "bf16"),
        (("avx512_bf16_",), True, "fp32"),
    ):
        cpu_with(*flags)
        assert runtime.choose_precision("auto", CPU, proven=proven) == expected
        assert runtime.choose_precision("fp32", CPU, proven=proven) == "fp32"


@pytest.mark.parametrize("note", [None, [], 5, {}, {"fp16": {}}, "bf16"])
def test_a_strange_note_proves_nothing(cvkit, model, data_of, cpu_with, note):
    from cvkit.engine.checkpoint import save_model

    path = model("classify")
    tensors, header = read_model(path)
    save_model(path, tensors, header | {"proven": note})
    cpu_with("avx512_bf16")
    flags = ("--data", data_of("classify"), "--workers", 0, "--json", "--precision", "auto")
    flags += ("--no-files",)
    assert cvkit("classify", "eval", "--weights", path, *flags).json["precision"] == "fp32"


def test_what_cannot_be_proved_is_refused(cvkit, model, tmp_path):
    missing = cvkit("weights", "prove", tmp_path / "no", "--data", "samples")
    assert missing.code == 2 and "does not exist" in missing.err
    nowhere = cvkit("weights", "prove", model("segment"), "--data", tmp_path / "none")
    assert nowhere.code == 2 and "none" in nowhere.err
