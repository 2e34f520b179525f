"""LARS: gradient descent whose steps are in proportion to the weights of each layer."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

TRUST = 1e-3
"""Norm of a step, as a fraction of that of the weights, at a learning rate of 1."""


class LARS(torch.optim.Optimizer):
    """SGD with momentum whose gradient is scaled layer by layer.

    A gradient g of weights w counts `TRUST` |w| / (|g| + decay |w|) times; that of biases and norms
    (tensors of one axis) is left as it is.

    Source: Large Batch Training of Convolutional Networks, 2017, arXiv:1708.03888.

    Args:
        params: parameters or groups of them, which may have a `weight_decay`.
        lr: learning rate.
        momentum: of the steps.
    """

    def __init__(self, params: Iterable[Any], lr: float, momentum: float) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Make one step."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step(weight, group)

    def _step(self, weight: Tensor, group: dict[str, Any]) -> None:
        state, slope = self.state[weight], weight.grad
        assert slope is not None, "the caller leaves the others out"
        if not state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        gradient = slope + group["weight_decay"] * weight
        if weight.ndim > 1:
            size, steep = weight.norm(), slope.norm()
            whole = steep + group["weight_decay"] * size
            ratio = TRUST * size / whole
            gradient = gradient * torch.where((size > 0) & (whole > 0), ratio, 1.0)
        momentum = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        weight.sub_(group["lr"] * momentum)
