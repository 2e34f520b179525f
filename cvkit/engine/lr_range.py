"""The learning rate range test.

Source: Cyclical Learning Rates for Training Neural Networks, 2015, arXiv:1506.01186.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.console import Advance
from cvkit.engine import optim
from cvkit.engine.freezing import rest_statistics
from cvkit.engine.loader import load, only_batch
from cvkit.engine.progress import Settings
from cvkit.engine.runtime import StopSignal
from cvkit.engine.sampler import STEP_SEED, batch_plan
from cvkit.engine.workers import Key
from cvkit.errors import DataError
from cvkit.ops.seeds import key_seed
from cvkit.tasks.contract import Dataset, Task

STEPS, LOW, HIGH = 100, 1e-6, 1.0
SMOOTHING = 0.8
"""Weight of the previous average in the smoothed loss; single batches are too noisy."""


@dataclass(frozen=True)
class RangeTest:
    """The result of a range test.

    Attributes:
        rates: learning rates, rising.
        losses: smoothed loss at each.
        suggested: where the loss falls fastest, but not above `largest`.
        largest: a third of the rate with the smallest loss.
        diverged: the rate at which the loss became non-finite; None if it did not.
    """

    rates: list[float]
    losses: list[float]
    suggested: float
    largest: float
    diverged: float | None


def lr_range(
    task: Task,
    model: nn.Module,
    data: Dataset,
    settings: Settings,
    fabric: Fabric,
    workers: int,
    *,
    advance: Advance,
    stop: StopSignal,
) -> RangeTest:
    """Train with an exponentially rising rate until the loss diverges.

    Args:
        task: the problem.
        model: is trained, and useless afterwards.
        data: training samples.
        settings: of the run.
        fabric: the device and precision.
        workers: decoding processes.
        advance: called with the steps done.
        stop: asks to stop.
    """
    model = fabric.to_device(model)  # Adagrad creates its states immediately
    optimizer = optim.make_optimizer(
        model, settings.optimizer, settings.lr, settings.weight_decay, settings.momentum
    )
    model, optimizer = fabric.setup(model, optimizer)
    model.train()
    rest_statistics(model)
    rates: list[float] = []
    losses: list[float] = []
    average, diverged = 0.0, None
    with load(data, list(_plan(len(data), settings)), workers) as loaded:
        for step, items in enumerate(loaded):
            stop.raise_if_set("stopped")
            batch = only_batch(items).to(fabric.device)
            rate = LOW * (HIGH / LOW) ** (step / (STEPS - 1))
            for group in optimizer.param_groups:
                group["lr"] = rate
            torch.manual_seed(key_seed(STEP_SEED, settings.seed, step))
            loss = optim.total(task.loss(model, batch))
            if not math.isfinite(loss.item()):
                diverged = rate
                break
            average = SMOOTHING * average + (1 - SMOOTHING) * loss.item()
            rates.append(rate)
            losses.append(average / (1 - SMOOTHING ** (step + 1)))
            if step > STEPS // 10 and losses[-1] > 4 * min(losses):
                break
            optimizer.zero_grad()
            fabric.backward(loss)
            if settings.clip_grad:
                fabric.clip_gradients(model, optimizer, max_norm=settings.clip_grad)
            optimizer.step()
            advance(step + 1, f"lr {rate:.1e} loss {losses[-1]:.3f}")
    return conclude(rates, losses, diverged)


def _plan(count: int, settings: Settings) -> Iterator[list[Key]]:
    """Yield the batches of all epochs that the test needs."""
    made, epoch = 0, 0
    while made < STEPS:
        for batch in batch_plan(count, epoch, settings, 0, 1)[: STEPS - made]:
            yield batch
            made += 1
        epoch += 1


def conclude(rates: list[float], losses: list[float], diverged: float | None) -> RangeTest:
    """Return the result of a test from its curve.

    Raises:
        DataError: the loss was never finite.
    """
    if len(rates) < 2:
        raise DataError("the loss is not finite even at the smallest rate", code="find_lr.loss")
    lowest = min(range(len(losses)), key=losses.__getitem__)
    slopes = [
        losses[index + 1] - losses[index - 1]
        for index in range(1, max(2, min(lowest, len(rates) - 1)))
    ]
    steepest = 1 + min(range(len(slopes)), key=slopes.__getitem__) if slopes else 0
    largest = rates[lowest] / 3
    return RangeTest(rates, losses, min(rates[steepest], largest), largest, diverged)
