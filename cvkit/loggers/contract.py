"""The contract of a logger."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Run:
    """The training run that is logged.

    Attributes:
        folder: of the run; whatever a logger keeps is in it.
        step: steps done, in this process or before it was resumed; what was logged of later ones
            is void.
        config: the flags, as in config.yaml.
        history: lines of metrics.jsonl of the epochs done.
        offline: `--offline` was given.
    """

    folder: Path
    step: int
    config: dict[str, Any]
    history: Sequence[dict[str, Any]]
    offline: bool


class Logger(Protocol):
    """A logger of one run; an error of any method ends the logger, not the training."""

    def __init__(self, run: Run) -> None: ...

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers after a step, which is later than the one before."""

    def epoch(self, line: dict[str, Any], values: Mapping[str, float]) -> None:
        """Log an epoch: its line of metrics.jsonl, and the same as named numbers."""

    def pictures(self, step: int, shown: Sequence[tuple[str, np.ndarray]]) -> None:
        """Log pictures after a step: HWC RGB uint8, each with its name."""

    def final(self, values: Mapping[str, float], report: Path | None) -> None:
        """Log the metrics of the kept model, and the page of `--report`."""

    def close(self) -> None:
        """Write what is left, and end."""


def named_numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a line of metrics.jsonl, `epoch/NAME` or `epoch/losses/NAME`."""
    found: dict[str, float] = {}
    for name, value in line.items():
        values = value.items() if isinstance(value, Mapping) else [("", value)]
        for inner, each in values:
            if isinstance(each, int | float) and name != "step":
                found["/".join(filter(None, ("epoch", name, inner)))] = float(each)
    return found
