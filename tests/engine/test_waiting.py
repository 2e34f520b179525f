"""A step does not wait for the device, and what is not finite gets into no weights or files."""

from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import load_file

from cvkit.catalog import OPTIMIZERS
from cvkit.engine import optim
from cvkit.engine.train import Trainer
from cvkit.tasks.segment.task import Segment

FUSED = ("adamw", "adam", "sgd")


@pytest.fixture
def late(monkeypatch):
    """The CPU as a GPU: fused optimizers, and numbers that are read after ten steps."""
    monkeypatch.setattr(optim, "FUSED_ON", ("cpu",))


def train(cvkit, scenes, out, tiny, *more):
    return cvkit("segment", "train", "--data", scenes, "--out", out, *tiny, *more)


@contextmanager
def reads_counted(monkeypatch, counts):
    """Count what copies a number from a tensor to Python, and so would wait for a GPU."""
    with monkeypatch.context() as patch:
        for name in ("item", "tolist", "__bool__", "__float__", "__int__"):
            real = getattr(torch.Tensor, name)

            def counted(tensor, real=real):
                counts[-1] += 1
                return real(tensor)

            patch.setattr(torch.Tensor, name, counted)
        yield


def watch(monkeypatch, steps, readings):
    """Collect the number of reads in each step, and in each reading of the losses."""
    for name, counts in (("_step", steps), ("_read_losses", readings)):
        real = getattr(Trainer, name)

        def watched(self, *given, real=real, counts=counts):
            counts.append(0)
            with reads_counted(monkeypatch, counts):
                return real(self, *given)

        monkeypatch.setattr(Trainer, name, watched)


def reads_of_steps(cvkit, scenes, out, tiny, monkeypatch, *more):
    """Return the number of reads in each step of a training, and in each reading of its losses."""
    steps, readings = [], []
    watch(monkeypatch, steps, readings)
    assert train(cvkit, scenes, out, tiny, "--epochs", 2, *more).code == 0
    return steps, readings


@pytest.mark.parametrize("task", ("classify", "video"))
def test_a_step_of_other_tasks_reads_nothing_either(
    cvkit, data_of, flags_of, tmp_path, monkeypatch, late, task
):
    flags = flags_of(task, data=data_of(task), epochs=1, out=tmp_path, optimizer="adamw")
    steps, readings = [], []
    watch(monkeypatch, steps, readings)
    assert cvkit(task, "train", *flags).code == 0
    assert steps and set(steps) == {0} and len(readings) == 1


@pytest.mark.parametrize("name", FUSED)
def test_a_step_reads_nothing_from_the_device(
    cvkit, scenes, tmp_path, tiny, monkeypatch, late, name
):
    monkeypatch.setattr("cvkit.engine.train.LATER", 3)
    more = ("--optimizer", name, "--accumulate", 1)
    steps, readings = reads_of_steps(cvkit, scenes, tmp_path, tiny, monkeypatch, *more)
    assert steps == [0] * 8
    assert (
        len(readings) == 4
    )  # of the steps 3, 4, 6 and 8: the third ones, and those that end an epoch
    assert max(readings) <= 2


def test_each_step_is_checked_where_the_optimizer_cannot_skip_it(
    cvkit, scenes, tmp_path, tiny, monkeypatch, late
):
    more = ("--optimizer", "rmsprop", "--lr", 1e-4)
    steps, readings = reads_of_steps(cvkit, scenes, tmp_path, tiny, monkeypatch, *more)
    assert min(steps) > 0 and len(readings) == len(steps) == 8


@pytest.mark.parametrize("name", FUSED)
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_until_it_is_reported(
    cvkit, scenes, tmp_path, tiny, monkeypatch, late, name, where
):
    real, calls, weights = Segment.loss, [0], []

    class Broken(torch.autograd.Function):
        @staticmethod
        def forward(ctx, value):
            return value.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("nan")

    def poisoned(self, model, batch):
        calls[0] += 1
        terms = real(self, model, batch)
        weights.append([p.detach().clone() for p in model.parameters()])
        if calls[0] == 6:
            poisoned.images = [sample.path for sample in batch.samples]
            value = terms["out"]
            terms["out"] = value * float("inf") if where == "loss" else Broken.apply(value)
        return terms

    monkeypatch.setattr(Segment, "loss", poisoned)
    done = train(cvkit, scenes, tmp_path, tiny, "--epochs", 3, "--optimizer", name, "--json")
    assert done.code == 5 and calls[0] == 8  # the end of the epoch reads the numbers
    assert done.json["error"]["code"] == f"diverged.{where}"
    assert "at step 6" in done.err and all(image in done.err for image in poisoned.images)
    same = [all(map(torch.equal, weights[5], after)) for after in weights]
    assert same == [False] * 5 + [True] * 3
    for file in tmp_path.rglob("*.safetensors"):
        for value in load_file(file).values():
            assert not value.is_floating_point() or torch.isfinite(value).all()


def test_an_error_after_a_number_that_is_not_finite_is_reported_as_that(
    cvkit, scenes, tmp_path, tiny, monkeypatch, late
):
    real, calls = Segment.loss, [0]

    def poisoned(self, model, batch):
        calls[0] += 1
        if calls[0] == 3:
            raise RuntimeError("index out of range")  # as for a box that is NaN
        terms = real(self, model, batch)
        return {
            name: value * float("nan") if calls[0] == 2 else value for name, value in terms.items()
        }

    monkeypatch.setattr(Segment, "loss", poisoned)
    done = train(cvkit, scenes, tmp_path, tiny, "--epochs", 1, "--json")
    assert done.code == 5 and "not finite at step 2" in done.err


def test_losses_read_late_are_those_read_at_once(cvkit, scenes, tmp_path, tiny, monkeypatch, late):
    texts = []
    for number, later in enumerate((1, 3, 10)):
        monkeypatch.setattr("cvkit.engine.train.LATER", later)
        out = tmp_path / str(number)
        assert train(cvkit, scenes, out, tiny, "--epochs", 2).code == 0
        texts.append((out / "segment-unet-001" / "metrics.jsonl").read_text())
    assert texts[0] == texts[1] == texts[2] and texts[0].count("\n") == 2


@pytest.mark.parametrize("name", FUSED)
def test_fused_states_come_back_in_the_order_of_the_weights_in_memory(late, name):
    def network(seed):
        torch.manual_seed(seed)
        return torch.nn.Conv2d(3, 5, 3).to(memory_format=torch.channels_last)

    def step(net, optimizer, seed):
        torch.manual_seed(seed)
        optimizer.zero_grad()
        net(torch.randn(2, 3, 5, 5)).pow(3).mean().backward()
        optimizer.step()

    first, second = network(0), network(1)
    optimizer = optim.make_optimizer(first, name, *OPTIMIZERS[name], 0.9, fused=True)
    assert optimizer.defaults["fused"]
    step(first, optimizer, 1)
    second.load_state_dict(first.state_dict())
    restored = optim.make_optimizer(second, name, *OPTIMIZERS[name], 0.9, fused=True)
    states = optim.optimizer_tensors(optimizer)
    saved = {
        name: value.clone(memory_format=torch.contiguous_format) for name, value in states.items()
    }
    optim.load_optimizer_tensors(restored, saved, steps=1)
    for seed in (2, 3):
        step(first, optimizer, seed)
        step(second, restored, seed)
    assert torch.equal(first.weight, second.weight)


@pytest.mark.parametrize("name", FUSED)
def test_scaled_gradients_are_clipped(cvkit, scenes, tmp_path, tiny, monkeypatch, late, name):
    monkeypatch.setattr("cvkit.engine.runtime.choose_precision", lambda *_, **__: "fp16")
    done = train(cvkit, scenes, tmp_path, tiny, "--epochs", 1, "--optimizer", name)
    assert done.code == 0, done.err
