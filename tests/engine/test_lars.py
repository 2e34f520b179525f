"""LARS against its formula."""

import pytest
import torch

from cvkit.engine.lars import LARS, TRUST


def test_steps_are_in_proportion_to_the_weights_of_each_layer():
    weight = torch.tensor([[3.0, 4.0]], requires_grad=True)
    bias = torch.tensor([1.0], requires_grad=True)
    groups = [{"params": [weight], "weight_decay": 0.1}, {"params": [bias], "weight_decay": 0.0}]
    optimizer = LARS(groups, lr=2.0, momentum=0.5)
    w, b, speed_w, speed_b = [3.0, 4.0], 1.0, [0.0, 0.0], 0.0
    for gradient, slope in (([1.0, 0.0], 0.5), ([0.0, 2.0], -0.25)):
        weight.grad, bias.grad = torch.tensor([gradient]), torch.tensor([slope])
        optimizer.step()
        size, steep = sum(x * x for x in w) ** 0.5, sum(g * g for g in gradient) ** 0.5
        ratio = TRUST * size / (steep + 0.1 * size)
        scaled = [ratio * (g + 0.1 * x) for g, x in zip(gradient, w, strict=True)]
        speed_w = [0.5 * v + g for v, g in zip(speed_w, scaled, strict=True)]
        speed_b = 0.5 * speed_b + slope
        w = [x - 2.0 * v for x, v in zip(w, speed_w, strict=True)]
        b -= 2.0 * speed_b
        assert weight.tolist()[0] == pytest.approx(w, rel=1e-6)
        assert bias.tolist() == pytest.approx([b], rel=1e-6)


def test_weights_of_zero_and_gradients_of_zero_step_plainly():
    weights = [torch.zeros(1, 2, requires_grad=True), torch.ones(1, 2, requires_grad=True)]
    optimizer = LARS(weights, lr=1.0, momentum=0.0)
    weights[0].grad, weights[1].grad = torch.ones(1, 2), torch.zeros(1, 2)
    optimizer.step()
    assert [weight.tolist() for weight in weights] == [[[-1.0, -1.0]], [[1.0, 1.0]]]
