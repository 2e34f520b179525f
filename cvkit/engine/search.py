"""The settings that a search tries, and the ranking of its results.

Random search draws each trial from (seed, trial) alone, so a study can be interrupted and
continued. This is our own loop and not a library's, because the trials are ordinary runs that can
be resumed, and only this choice and the ranking remain to be done.
Sources: Random Search for Hyper-Parameter Optimization, 2012, JMLR 13; Non-stochastic Best Arm
Identification and Hyperparameter Optimization, 2015, arXiv:1502.07943 (successive halving).
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from cvkit.errors import UsageError

SEARCH_SEED = 5


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, on a logarithmic scale."""

    low: float
    high: float

    def draw(self, rng: np.random.Generator) -> float:
        """Return a number, log-uniform."""
        return float(f"{math.exp(rng.uniform(math.log(self.low), math.log(self.high))):.3g}")

    def grid(self, points: int) -> list[float]:
        """Return evenly spaced numbers on the logarithmic scale, including both ends."""
        return [float(f"{value:.3g}") for value in np.geomspace(self.low, self.high, points)]

    def near(self, value: float) -> "Range":
        """Return a third of the range on the logarithmic scale, around a value where possible."""
        low, high = math.log(self.low), math.log(self.high)
        start = min(max(math.log(value) - (high - low) / 6, low), high - (high - low) / 3)
        return Range(math.exp(start), math.exp(start + (high - low) / 3))

    def on_edge(self, value: float) -> str:
        """Return `low` or `high` if a value is in the outer tenth of the range, else ""."""
        place = math.log(value / self.low) / math.log(self.high / self.low)
        return "low" if place < 0.1 else "high" if place > 0.9 else ""


@dataclass(frozen=True)
class Choices:
    """A list of values to choose from."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """Return one of the values."""
        return self.values[int(rng.integers(len(self.values)))]

    def grid(self, points: int) -> list[Any]:
        """Return all values."""
        return list(self.values)

    def near(self, value: Any) -> "Choices":
        """Return the value alone."""
        return Choices((value,))

    def on_edge(self, value: Any) -> str:
        """Return "": a list has no edge."""
        return ""


Space = dict[str, Range | Choices]


def parse_range(text: str, flag: str, *, zero: bool = True) -> Range | Choices:
    """Return the range of a text LOW,HIGH, or its single value.

    Args:
        text: value of the flag.
        flag: its name without dashes.
        zero: whether 0 is allowed as the single value.

    Raises:
        UsageError: malformed, or LOW is not positive and below HIGH.
    """
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1 and (0 < values[0] < math.inf or (zero and values[0] == 0)):
        return Choices((values[0],))
    if len(values) != 2 or not 0 < values[0] < values[1] < math.inf:
        raise UsageError(
            f"--{flag} {text!r} is not LOW,HIGH with 0 < LOW < HIGH",
            code="range.syntax",
            hint="such as 1e-4,1e-2, or one value",
        )
    return Range(*values)


def trials(space: Space, strategy: str, count: int, points: int, seed: int) -> list[dict]:
    """Return the settings of each trial.

    Args:
        space: the values of each flag, by its name.
        strategy: `random` or `grid`.
        count: trials of a random search.
        points: values of each range in a grid.
        seed: of the random search.
    """
    if strategy == "grid":
        values = product(*(part.grid(points) for part in space.values()))
        return [dict(zip(space, combination, strict=True)) for combination in values]
    return _drawn(space, seed, range(count))


def _drawn(space: Space, seed: int, numbers: Iterable[int]) -> list[dict]:
    """Return random settings; each depends on the seed and its number alone."""
    rngs = (np.random.default_rng((SEARCH_SEED, seed, number)) for number in numbers)
    return [{name: part.draw(rng) for name, part in space.items()} for rng in rngs]


def halving(
    space: Space, results: Sequence[dict], count: int, epochs: int, seed: int
) -> list[dict]:
    """Return the settings of the trials that are known from results, the finished ones included.

    The coarse stage draws `count` trials from the whole space; while there are more than `THIRD`,
    the best third is trained again for three times as long. The fine stage draws a third as many
    as the first rung had, for as long as the last, from a third of each range around the best.

    Args:
        space: the values of each flag, by its name.
        results: of the first trials, in order.
        count: trials of the first rung.
        epochs: of each of them.
        seed: of the draws.
    """
    plan = [{**values, "epochs": epochs} for values in _drawn(space, seed, range(count))]
    rung = plan
    while len(results) >= len(plan):
        ranked = ranking(results[len(plan) - len(rung) : len(plan)])
        kept = [line for line in ranked if line["value"] is not None]
        if not kept:
            return plan
        if len(rung) <= THIRD:
            near = {name: part.near(kept[0][name]) for name, part in space.items()}
            fine = _drawn(near, seed, range(len(plan), len(plan) + math.ceil(count / THIRD)))
            return plan + [{**values, "epochs": rung[0]["epochs"]} for values in fine]
        longer = {"epochs": THIRD * rung[0]["epochs"]}
        best = kept[: math.ceil(len(rung) / THIRD)]
        rung = [{name: line[name] for name in space} | longer for line in best]
        plan = plan + rung
    return plan


THIRD = 3
"""Of as many trials one goes on, for as many times as long."""


def ranking(results: Sequence[dict]) -> list[dict]:
    """Return the trials from best to worst; those without a value are last.

    Trials of different lengths are compared only with those of their length; the longest are first.
    """

    def place(line: dict) -> tuple[bool, int, float]:
        known = line["value"] is not None
        return known, line.get("epochs", 0), line["value"] if known else 0.0

    return sorted(results, key=place, reverse=True)


def edges(space: Space, best: dict) -> list[str]:
    """Return a warning for each range with the best trial at its edge."""
    found = []
    for name, part in space.items():
        side = part.on_edge(best[name])
        if side:
            limit = getattr(part, side)
            found.append(
                f"the best {name} {best[name]:g} is on the {side} edge of its range ({limit:g}): "
                "extend the range there"
            )
    return found
