"""Optimizers, learning rate schedules and the average of the weights."""

import copy
import functools
import itertools
import math
import re
from collections.abc import Callable, Container
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cvkit.catalog import SCHEDULES, nearest
from cvkit.engine.lars import LARS
from cvkit.errors import UsageError

FUSED_ON = ("cuda",)
"""Devices with fused optimizers; on a CPU they gain little, and their bits are different."""


def make_optimizer(
    model: nn.Module,
    name: str,
    lr: float,
    weight_decay: float,
    momentum: float,
    *,
    fused: bool = False,
) -> torch.optim.Optimizer:
    """Return an optimizer over the trainable parameters; norms and biases have no weight decay.

    If asked for, AdamW, Adam and SGD are fused on a GPU: one kernel updates all parameters, or none
    where their attribute `found_inf` is 1, so no step has to wait for the device.
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    fused = fused and bool(trainable) and all(p.device.type in FUSED_ON for p in trainable)
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    make: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "adamw": lambda: torch.optim.AdamW(groups, lr, fused=fused or None),
        "adam": lambda: torch.optim.Adam(groups, lr, fused=fused or None),
        "amsgrad": lambda: torch.optim.Adam(groups, lr, amsgrad=True, fused=fused or None),
        "sgd": lambda: torch.optim.SGD(groups, lr, momentum=momentum, fused=fused or None),
        "lars": lambda: LARS(groups, lr, momentum),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr, momentum=momentum),
        "adagrad": lambda: torch.optim.Adagrad(groups, lr),
    }
    return make[name]()


def total(terms: dict[str, Tensor]) -> Tensor:
    """Return the sum of the terms of a loss."""
    first, *others = terms.values()
    return sum(others, start=first)


def penalties(model: nn.Module, l1: float, l2: float) -> dict[str, Tensor]:
    """Return the penalties on the trainable weights by name; norms and biases have none.

    Args:
        model: whose parameters are penalised.
        l1: factor of the sum of absolute values.
        l2: factor of half the sum of squares; both together are an elastic net.
    """
    factors = {"l1": l1, "l2": l2}
    norms = {"l1": lambda w: w.abs().sum(), "l2": lambda w: w.square().sum() / 2}
    weights = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    return {
        name: factor * sum(norms[name](weight) for weight in weights)
        for name, factor in factors.items()
        if factor and weights
    }


@dataclass(frozen=True)
class Milestones:
    """A schedule in steps of a given size.

    Attributes:
        epochs: numbers of epochs after which the rate falls, ascending.
        factor: by which it is multiplied each time.
    """

    epochs: tuple[int, ...]
    factor: float = 0.1

    def at(self, step: int, total: int, epochs: int) -> float:
        """Return the fraction of the peak rate at a step (from 0) of `total` in `epochs`."""
        return self.factor ** sum(step * epochs >= epoch * total for epoch in self.epochs)


@functools.cache
def milestones(schedule: str) -> Milestones | None:
    """Return the milestones of a schedule such as `step:30,60,90@0.1`; None for one by name.

    Raises:
        UsageError: the epochs are not positive and ascending, or the factor is not between 0 and 1.
    """
    if schedule in SCHEDULES:
        return None
    match = re.fullmatch(r"step:(\d{1,9}(?:,\d{1,9})*)(?:@(\d*\.?\d+))?", schedule)
    epochs = tuple(int(part) for part in match[1].split(",")) if match else ()
    factor = float(match[2]) if match and match[2] else 0.1
    ascending = all(a < b for a, b in itertools.pairwise((0, *epochs)))
    if not match or not ascending or not 0 < factor < 1:
        raise UsageError(
            f"--schedule {schedule!r} is neither a name nor step:EPOCHS@FACTOR",
            code="schedule.syntax",
            hint=nearest(
                schedule,
                SCHEDULES,
                f"{', '.join(SCHEDULES)}, or ascending epochs and a factor below 1, such as "
                "step:30,60,90@0.1",
            ),
        )
    return Milestones(epochs, factor)


def lr_factor(schedule: str, step: int, total: int, warmup: int = 0, epochs: int = 1) -> float:
    """Return the fraction of the peak learning rate at a step.

    Args:
        schedule: `poly` is (1 - t)^0.9, `cosine` half a cosine, `linear` 1 - t, `step` a tenth
            after 2/3 and a hundredth after 8/9, or as `milestones` reads it; `inverse-sqrt` falls
            with 1 / sqrt(step), `constant` is 1.
        step: from 0.
        total: steps of the whole run; t = step / total.
        warmup: steps in which the rate rises linearly.
        epochs: of the whole run.
    """
    t = min(1.0, step / total)
    marks = milestones(schedule)
    named = {
        "poly": lambda: (1 - t) ** 0.9,
        "cosine": lambda: 0.5 * (1 + math.cos(math.pi * t)),
        "linear": lambda: 1 - t,
        "step": lambda: 0.1 ** ((t >= 2 / 3) + (t >= 8 / 9)),
        "inverse-sqrt": lambda: math.sqrt(max(warmup, 1) / max(step + 1, warmup, 1)),
        "constant": lambda: 1.0,
    }
    value = marks.at(step, total, epochs) if marks else named[schedule]()
    return value * min(1.0, (step + 1) / warmup) if warmup else value


class WeightAverage:
    """Exponential moving average of a model's weights; buffers are copied.

    Args:
        model: the average starts from its current state.
        decay: weight of the old average in each step; smaller in the first steps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the weights after step number `step` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages = [average.detach() for average in self.model.parameters()]
        weights = [weight.detach() for weight in model.parameters()]
        torch._foreach_lerp_(averages, weights, 1 - decay)
        for average, buffer in zip(self.model.buffers(), model.buffers(), strict=True):
            average.copy_(buffer)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as tensors named `PARAMETER.KEY`."""
    state = optimizer.state_dict()["state"]
    return {
        f"{index}.{key}": torch.as_tensor(value)
        for index, entry in state.items()
        for key, value in entry.items()
        if value is not None
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer,
    tensors: dict[str, Tensor],
    steps: int,
    untouched: Container[int] = (),
) -> None:
    """Restore what `optimizer_tensors` returned, strictly.

    Args:
        optimizer: over the same parameters.
        tensors: its state.
        steps: done so far.
        untouched: ids of parameters that have not been trained and have no state.

    Raises:
        KeyError: after `steps` > 0 steps a parameter has no state, or state has no parameter.
    """
    content = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, key = name.split(".", 1)
        state.setdefault(int(index), {})[key] = value
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    known = {index for index, p in enumerate(parameters) if id(p) not in untouched}
    plain_sgd = isinstance(optimizer, torch.optim.SGD) and not optimizer.defaults["momentum"]
    expected = set() if plain_sgd else known
    for number in known & set(state):
        parameter, entry = parameters[number], state[number]
        for key, value in entry.items():
            if value.shape == parameter.shape:
                # Fused kernels need the parameter's order in memory; files have none.
                entry[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
    if steps and set(state) != expected:
        raise KeyError(f"optimizer state of parameters {sorted(set(state) ^ expected)[:5]}")
    kinds = {frozenset(entry) for entry in state.values()}
    if len(kinds) > 1:
        raise KeyError(f"optimizer state differs between parameters: {sorted(map(sorted, kinds))}")
    content["state"] = state
    optimizer.load_state_dict(content)
