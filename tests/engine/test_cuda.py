"""On a GPU: the same command gives the same bits, and fp32 gives the CPU's numbers."""

import json
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from cvkit import catalog
from cvkit.data.synthetic.samples import WRITERS
from cvkit.engine.train import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]

PRECISIONS = ("fp32", "bf16", "fp16")
STEPS = 20
SMALL = {
    "classify": ("--arch", "resnet18", "--image-size", 64),
    "segment": ("--arch", "deeplab", "--backbone", "resnet18", "--image-size", "64x64"),
    "detect": ("--backbone", "resnet18", "--roi", "pool"),
    "instance": ("--backbone", "resnet18"),
    "video": ("--arch", "r3d-small", "--image-size", 32, "--frames", 4),
}
SHIPPED = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}
CASES = [(task, precision) for task in catalog.TASKS for precision in PRECISIONS]


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    found = {}
    for task, write in WRITERS.items():
        found[task] = tmp_path_factory.mktemp(task)
        write(found[task], {"train": STEPS, "val": 4}, 3, (96, 96))
    return found


@pytest.fixture
def train(cvkit, places, tmp_path):
    """Train for 20 steps, two epochs, into a folder of this name; return the outcome."""

    def start(task, precision, name, *flags):
        return cvkit(
            *(task, "train", "--data", places[task], "--out", tmp_path / name, *SMALL[task]),
            *("--epochs", 2, "--batch-size", 2),
            *("--device", "cuda", "--precision", precision, *flags),
        )

    return start


def the_run(folder):
    (run,) = folder.iterdir()
    return run


def tensors(run):
    return load_file(run / "last.safetensors")


def flat(metrics):
    """Return metrics as `metrics.jsonl` names them: those of masks and boxes as `mask.AP`."""
    found = {}
    for name, value in metrics.items():
        more = {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {}
        found |= more or {name: value}
    return found


def assert_equal_bits(one, two):
    assert one.keys() == two.keys()
    assert not [name for name in one if not torch.equal(one[name], two[name])]


@pytest.mark.parametrize(("task", "precision"), CASES)
def test_two_trainings_and_a_stopped_one_end_in_the_same_bits(
    train, cvkit, tmp_path, monkeypatch, task, precision
):
    for name in ("one", "two"):
        done = train(task, precision, name)
        assert done.code == 0, done.err
    step, taken = Trainer._step, []

    def stopping(trainer, batches):
        taken.append(len(batches))
        if len(taken) == 13:
            signal.raise_signal(signal.SIGTERM)
        return step(trainer, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", stopping)
        stopped = train(task, precision, "stopped")
    assert stopped.code == 143, stopped.err
    assert len(taken) == 13
    stopped_run = the_run(tmp_path / "stopped")
    resumed = cvkit(task, "train", "--resume", stopped_run, "--precision", precision)
    assert resumed.code == 0, resumed.err
    one, two, again = (the_run(tmp_path / name) for name in ("one", "two", "stopped"))
    lines = (one / "metrics.jsonl").read_text()
    assert json.loads(lines.splitlines()[-1])["step"] == STEPS
    assert (two / "metrics.jsonl").read_text() == lines
    assert (again / "metrics.jsonl").read_text() == lines
    assert_equal_bits(tensors(one), tensors(two))
    assert_equal_bits(tensors(one), tensors(again))


@pytest.mark.parametrize(("task", "precision"), CASES)
def test_a_trained_model_evaluates_and_predicts(train, cvkit, places, tmp_path, task, precision):
    trained = train(task, precision, "runs")
    assert trained.code == 0, trained.err
    run = the_run(tmp_path / "runs")
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    flags = ("--weights", run / "last.safetensors", "--device", "cuda", "--precision", precision)
    flags = (*flags, "--batch-size", 2, "--json")
    measured = cvkit(task, "eval", "--data", places[task], *flags, "--out", tmp_path / "eval")
    assert measured.code == 0, measured.err
    metrics = flat(measured.json["metrics"])
    assert metrics == pytest.approx({name: last[name] for name in metrics}, abs=1e-6)
    predicted = cvkit(task, "predict", places[task], *flags, "--out", tmp_path / "out")
    assert predicted.code == 0, predicted.err
    counts = predicted.json["counts"]
    assert counts["failed"] == 0 < counts["predicted"]


@pytest.fixture(scope="module")
def metrics_of(tmp_path_factory):
    """Return the metrics of the model that comes with cvkit, on a device and in a precision."""
    found = {}

    def get(cvkit, task, device, precision):
        if (task, device, precision) not in found:
            done = cvkit(
                *(task, "eval", "--weights", SHIPPED[task], "--data", "samples", "--json"),
                *("--device", device, "--precision", precision),
                *("--out", tmp_path_factory.mktemp("eval")),
            )
            assert done.code == 0, done.err
            found[task, device, precision] = flat(done.json["metrics"])
        return found[task, device, precision]

    return get


@pytest.mark.parametrize(("task", "precision"), CASES)
def test_shipped_models_have_the_metrics_of_a_cpu(cvkit, metrics_of, task, precision):
    expected = metrics_of(cvkit, task, "cpu", "fp32")
    found = metrics_of(cvkit, task, "cuda", precision)
    assert found == pytest.approx(expected, abs=1e-3 if precision == "fp32" else 1e-2)


@pytest.mark.parametrize("task", catalog.TASKS)
def test_fp32_gives_the_numbers_of_a_cpu(cvkit, places, tmp_path, task):
    scores = []
    for device in ("cpu", "cuda"):
        done = cvkit(
            *(task, "predict", places[task], "--weights", SHIPPED[task], "--device", device),
            *("--precision", "fp32", "--out", tmp_path / device),
        )
        assert done.code == 0, done.err
        lines = (tmp_path / device / "predictions.jsonl").read_text().splitlines()
        scores.append([score for line in lines for score in json.loads(line)["scores"]])
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-4)


@pytest.mark.parametrize("optimizer", catalog.OPTIMIZERS)
def test_every_optimizer_steps(train, optimizer):
    done = train("segment", "fp32", "runs", "--epochs", 1, "--optimizer", optimizer)
    assert done.code == 0, done.err


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there is one CUDA device")
@pytest.mark.parametrize("task", catalog.TASKS)
def test_two_devices_train_together(spawn, places, tmp_path, task):
    losses = []
    for devices in (1, 2):
        process = spawn(
            *(task, "train", "--data", places[task], "--out", tmp_path / str(devices)),
            *SMALL[task],
            *("--epochs", 1, "--batch-size", 4 // devices, "--device", "cuda"),
            *("--devices", devices, "--precision", "fp32"),
        )
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        line = (the_run(tmp_path / str(devices)) / "metrics.jsonl").read_text().splitlines()[-1]
        losses.append(json.loads(line)["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=0.1)
