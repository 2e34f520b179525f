"""The settings and the progress of a training run."""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import nn

from cvkit.engine.evaluate import Measured


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train; the fields are the flags of the same names.

    `min_batch` is not a flag but the smallest batch on which the network's batch norms can train.
    """

    epochs: int
    batch_size: int
    accumulate: int
    optimizer: str
    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    warmup_epochs: float
    clip_grad: float
    l1: float
    l2: float
    ema: float
    patience: int
    seed: int
    save_minutes: float
    keep: str = "best"
    min_batch: int = 1

    @property
    def model_file(self) -> str:
        """Name of the kept model's file in the run folder."""
        return f"{self.keep}.safetensors"


class Log(Protocol):
    """What is told of a training while it goes on, in the first process."""

    def step(self, step: int, loss: float, lr: float) -> None:
        """Take note of a step of the run: its loss, and its learning rate."""

    def epoch(self, line: dict[str, Any], network: nn.Module) -> None:
        """Take note of an epoch: its line of metrics.jsonl, and the network that was evaluated."""


@dataclass
class Progress:
    """The progress of a run; all of it is in the resume state.

    Attributes:
        epoch: epochs finished.
        position: steps done in the current epoch.
        step: steps done in the run.
        sums: of each loss term over the current epoch's steps.
        best: best value of the task's metric so far.
        best_epoch: number (from 1) of the kept epoch: among those with the best value the one with
            the smallest validation loss, and among these the last.
        best_loss: its validation loss.
        improved: number of the epoch that reached the best value first.
        history: one entry per epoch, the lines of metrics.jsonl.
    """

    epoch: int = 0
    position: int = 0
    step: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    best_epoch: int = 0
    best_loss: float | None = None
    improved: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def finish_epoch(self, steps: int, lr: float, measured: Measured, name: str) -> bool:
        """Add an epoch to the history; return whether it is the best so far.

        Args:
            steps: of the epoch.
            lr: learning rate at its end.
            measured: after it.
            name: of the metric that decides.
        """
        losses = {term: total / steps for term, total in self.sums.items()}
        self.epoch += 1
        self.position, self.sums = 0, {}
        line: dict[str, Any] = {"epoch": self.epoch, "step": self.step, "lr": lr}
        line |= {"loss": sum(losses.values()), "val_loss": measured.loss}
        line |= {f"train_{name}": measured.train, "losses": losses}
        self.history.append(line | measured.metrics)
        value, loss = measured.metrics[name], measured.loss
        if not self.best_epoch or _larger(value, self.best):
            self.improved = self.epoch
        elif _larger(self.best, value) or _larger(loss, self.best_loss, none=math.inf):
            return False
        self.best, self.best_epoch, self.best_loss = value, self.epoch, loss
        return True

    def kept(self, which: str) -> dict[str, Any]:
        """Return the line of the epoch that `--keep` selects; empty before the first epoch."""
        epoch = self.best_epoch if which == "best" else self.epoch
        return self.history[epoch - 1] if epoch else {}


def _larger(one: float | None, other: float | None, none: float = -math.inf) -> bool:
    """Return whether a number is larger than another one, with `none` in place of None."""
    return (none if one is None else one) > (none if other is None else other)
