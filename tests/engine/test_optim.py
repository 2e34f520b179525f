"""Schedules against golden values, parameter groups, the average of weights."""

import pytest
import torch
from torch import nn

from cvkit.catalog import OPTIMIZERS
from cvkit.engine.optim import (
    WeightAverage,
    load_optimizer_tensors,
    lr_factor,
    make_optimizer,
    milestones,
    optimizer_tensors,
)
from cvkit.errors import UsageError
from cvkit.options.base import Train
from cvkit.options.described import hints


def test_poly_has_the_golden_values():
    found = [0.01 * lr_factor("poly", step, 30000) for step in (0, 1, 15000, 29999)]
    assert found[0] == 0.01
    assert [f"{rate:.5g}" for rate in found[1:2]] == ["0.0099997"]
    assert [f"{rate:.6g}" for rate in found[2:3]] == ["0.00535887"]
    assert [f"{rate:.2g}" for rate in found[3:]] == ["9.3e-07"]


def test_schedules_have_their_shapes():
    def curve(name, warmup=0):
        return [lr_factor(name, step, 9, warmup) for step in range(9)]

    assert curve("constant") == [1.0] * 9
    assert curve("linear")[3] == pytest.approx(2 / 3)
    assert curve("cosine")[0] == 1.0
    assert lr_factor("cosine", 5, 10) == pytest.approx(0.5)
    assert curve("step") == pytest.approx([1] * 6 + [0.1] * 2 + [0.01])
    assert curve("inverse-sqrt", 4)[3] == 1.0
    assert lr_factor("inverse-sqrt", 15, 100, 4) == pytest.approx(0.5)
    assert curve("constant", 4)[:5] == pytest.approx([0.25, 0.5, 0.75, 1, 1])


@pytest.mark.parametrize("steps", [1, 4, 7])
@pytest.mark.parametrize(
    ("text", "epochs", "factor"),
    [("step:2,4,5@0.5", [2, 4, 5], 0.5), ("step:3", [3], 0.1), ("step:1,2@.25", [1, 2], 0.25)],
)
def test_milestones_are_those_of_torch(text, epochs, factor, steps):
    made = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.3)
    theirs = torch.optim.lr_scheduler.MultiStepLR(made, epochs, factor)
    for epoch in range(6):
        for step in range(epoch * steps, (epoch + 1) * steps):
            ours = 0.3 * lr_factor(text, step, 6 * steps, 0, 6)
            assert ours == pytest.approx(made.param_groups[0]["lr"], rel=1e-12)
        made.step()
        theirs.step()


@pytest.mark.parametrize(
    "text",
    [
        *("step:", "step:0", "step:3,3", "step:4,2", "step:3@1", "step:3@0", "step:3@-1", "polly"),
        *("step:3@", "step:1.5", "step:3@nan", "steps:3", "step:3;4", "STEP:3", "", "step:-1"),
    ],
)
def test_other_schedules_are_refused(text):
    with pytest.raises(UsageError, match=r"step:EPOCHS@FACTOR \(") as refused:
        milestones(text)
    assert refused.value.code == "schedule.syntax"
    assert ("did you mean poly?" in str(refused.value)) == (text == "polly")


def test_the_denominator_of_amsgrad_never_falls():
    """By hand, after: On the Convergence of Adam and Beyond, 2018, algorithm 2 (bias-corrected)."""
    weight = nn.Parameter(torch.zeros(1, 1))
    optimizer = make_optimizer(nn.ParameterList([weight]), "amsgrad", 0.1, 0.0, 0.9)
    value = first = second = largest = 0.0
    for step, gradient in enumerate([3.0, 0.01, 0.02, -0.01], 1):
        weight.grad = torch.full((1, 1), gradient)
        optimizer.step()
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        largest = max(largest, second)
        size = (largest / (1 - 0.999**step)) ** 0.5 + 1e-8
        value -= 0.1 * first / (1 - 0.9**step) / size
        assert weight.item() == pytest.approx(value, rel=1e-5)
    assert largest > second


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)


def test_norms_and_biases_do_not_decay():
    net = Net()
    net.conv.weight.requires_grad_(True)
    for name, (lr, decay) in OPTIMIZERS.items():
        optimizer = make_optimizer(net, name, lr, 0.3, 0.9)
        first, second = optimizer.param_groups
        assert [p is net.conv.weight for p in first["params"]] == [True]
        assert first["weight_decay"] == 0.3
        assert second["weight_decay"] == 0.0
        assert len(second["params"]) == 3
        assert lr > 0 <= decay
    known = hints(Train)["optimizer"].__origin__.__args__
    assert set(known) == set(OPTIMIZERS)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizer_state_survives_a_round_trip_exactly(name):
    def step(net, optimizer, seed):
        torch.manual_seed(seed)
        optimizer.zero_grad()
        net.norm(net.conv(torch.randn(2, 3, 5, 5))).pow(3).mean().backward()
        optimizer.step()

    torch.manual_seed(0)
    first = Net()
    optimizer = make_optimizer(first, name, 0.1, 0.01, 0.9)
    step(first, optimizer, 1)
    second = Net()
    second.load_state_dict(first.state_dict())
    restored = make_optimizer(second, name, 0.1, 0.01, 0.9)
    tensors = {key: value.clone() for key, value in optimizer_tensors(optimizer).items()}
    load_optimizer_tensors(restored, tensors, steps=1)
    for seed in (2, 3):
        step(first, optimizer, seed)
        step(second, restored, seed)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)
    del tensors[next(iter(tensors))]
    lost = {k: v for k, v in tensors.items() if not k.startswith("0.")}
    with pytest.raises(KeyError):
        load_optimizer_tensors(restored, lost, steps=1)


def test_weight_average_follows_its_formula():
    net = Net()
    average = WeightAverage(net, 0.5)
    start = net.conv.weight.detach().clone()
    with torch.no_grad():
        net.conv.weight += 1.0
    average.update(net, step=0)  # the early decay is 1/10
    torch.testing.assert_close(average.model.conv.weight, start + 0.9)
    average.update(net, step=1000)
    torch.testing.assert_close(average.model.conv.weight, start + 0.95)
