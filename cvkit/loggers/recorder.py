"""Passes what happens in a training to its loggers; one that fails is left out from then on."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.loggers.contract import Logger, Run, named_numbers
from cvkit.loggers.showing import Shown
from cvkit.options.logs import PROGRAMS

EVERY = 10
"""Steps between logged losses and learning rates."""


class Recorder:
    """The `cvkit.engine.progress.Log` of a training with `--log`.

    Args:
        names: of the programs.
        run: to be logged.
        shown: the pictures of each epoch.
        report: for warnings.
    """

    def __init__(self, names: Sequence[str], run: Run, shown: Shown, report: Reporter) -> None:
        self.loggers: dict[str, Logger] = {}
        self.shown, self.report = shown, report
        for name in names:
            self._try(name, partial(self._begin, name, run))

    def _begin(self, name: str, run: Run) -> None:
        kind: Callable[[Run], Logger] = catalog.resolve(PROGRAMS[name].logger)
        self.loggers[name] = kind(run)

    def _try(self, name: str, action: Callable[[], object]) -> None:
        """Do something with a logger; what goes wrong must not end a training."""
        try:
            action()
        except Exception as error:  # of any library
            self.loggers.pop(name, None)
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            self.report.warn(f"--log {name}: {reason}; training goes on without it")

    def _all(self, action: Callable[[Logger], object]) -> None:
        for name, logger in [*self.loggers.items()]:
            self._try(name, partial(action, logger))

    def step(self, step: int, loss: float, lr: float) -> None:
        """Log the loss and the learning rate of a step, if it is one of every `EVERY`."""
        if step % EVERY == 0:
            self._all(lambda logger: logger.scalars(step, {"step/loss": loss, "step/lr": lr}))

    def epoch(self, line: dict[str, Any], network: nn.Module) -> None:
        """Log an epoch: its numbers, and some validation samples as the network sees them."""
        values = named_numbers(line)
        self._all(lambda logger: logger.epoch(line, values))
        if self.loggers:
            pictures: list[Any] = []
            self._try("pictures", lambda: pictures.extend(self.shown.draw(network)))
            self._all(lambda logger: logger.pictures(line["step"], pictures))

    def final(self, line: dict[str, Any], report: Path | None) -> None:
        """Log the metrics of the kept model, and the page of `--report`, if there is one."""
        values = {name.partition("/")[2]: value for name, value in named_numbers(line).items()}
        self._all(lambda logger: logger.final(values, report))

    def close(self) -> None:
        """End all loggers."""
        self._all(lambda logger: logger.close())
        self.loggers.clear()
