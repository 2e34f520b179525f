"""What the benchmarks share: legs that alternate, their ratios, and models and photos to measure.

A script yields `Line`s from a function and hands it to `main`; `benchmarks/all.py` runs the scripts
and writes docs/benchmarks.md.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Leg = Callable[[], object]


@dataclass(frozen=True)
class Line:
    """One measured comparison.

    Attributes:
        what: is measured.
        ours: cvkit's leg.
        peer: the other leg.
        ratio: the peer's time by cvkit's, the median over the rounds; more than 1 is faster.
        low: the smallest ratio of a round.
        high: the largest one.
        goal: for the ratio; None without.
        note: more about it.
    """

    what: str
    ours: str
    peer: str
    ratio: float
    low: float
    high: float
    goal: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Skipped:
    """A comparison that was not made.

    Attributes:
        what: was to be measured.
        why: it was not.
    """

    what: str
    why: str


@dataclass(frozen=True)
class Score:
    """The metric of a model on an engine in a precision.

    Attributes:
        task: of the model.
        weights: its name.
        way: engine and precision.
        metric: name.
        value: in [0, 1].
        difference: from eager layers in fp32.
    """

    task: str
    weights: str
    way: str
    metric: str
    value: float
    difference: float


Measure = Callable[[int], Iterator[Line | Skipped | Score]]
"""Yields the comparisons, each measured in this number of rounds."""


def alternate(
    legs: Mapping[str, Leg], rounds: int, *, warm_up: bool = True
) -> dict[str, list[float]]:
    """Return the seconds of legs in each round; a first round warms up and does not count.

    Each round has the other direction, so that what other processes do favours no leg.
    """
    found: dict[str, list[float]] = {name: [] for name in legs}
    for number in range(0 if warm_up else 1, rounds + 1):
        for name, leg in list(legs.items())[:: -1 if number % 2 else 1]:
            start = time.perf_counter()
            leg()
            if number:
                found[name].append(time.perf_counter() - start)
    return found


def compared(
    what: str,
    seconds: Mapping[str, list[float]],
    peer: str,
    *,
    goals: Mapping[str, float] | None = None,
    notes: Mapping[str, str] | None = None,
) -> Iterator[Line]:
    """Yield the ratio of every leg to one of them.

    Args:
        what: is measured.
        seconds: of each leg by its name, as `alternate` returns them.
        peer: name of the leg that the others are compared with.
        goals: ratios that are wanted, by leg.
        notes: by leg.
    """
    for name, times in seconds.items():
        if name == peer:
            continue
        ratios = [theirs / ours for theirs, ours in zip(seconds[peer], times, strict=True)]
        note = f"{1e3 * statistics.median(times):.1f} ms"
        more = (notes or {}).get(name, "")
        yield Line(
            *(what, name, peer, statistics.median(ratios), min(ratios), max(ratios)),
            goal=(goals or {}).get(name),
            note=f"{note}; {more}" if more else note,
        )


def main(measure: Measure) -> None:
    """Run a script: print its lines, or with `--json` one object per line."""
    parser = argparse.ArgumentParser(description=sys.modules["__main__"].__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="alternating rounds")
    parser.add_argument("--json", action="store_true", help="print objects")
    asked = parser.parse_args()
    for line in measure(asked.rounds):
        print(json.dumps(asdict(line)) if asked.json else shown(line), flush=True)


def shown(line: Line | Skipped | Score) -> str:
    """Return a comparison as a line of text."""
    if isinstance(line, Score):
        value = f"{line.value:.4f} ({line.difference:+.4f})"
        return f"{line.task} {line.weights}, {line.way}: {line.metric} {value}"
    if isinstance(line, Skipped):
        return f"{line.what}: skipped, {line.why}"
    goal = f", goal {line.goal:g}" if line.goal else ""
    return (
        f"{line.what}: {line.ours} {line.ratio:.2f} ({line.low:.2f} to {line.high:.2f}) times as "
        f"fast as {line.peer}{goal} [{line.note}]"
    )


SIZES = [(640, 480), (480, 640), (500, 375), (375, 500), (800, 600)]
SIZES += [(1024, 768), (640, 427), (427, 640), (600, 600), (720, 540)]
"""Widths and heights of photos in a mixed folder."""


def make_photos(folder: Path, count: int, sizes: list[tuple[int, int]]) -> list[Path]:
    """Write JPEGs with the smooth areas and the noise of photos; return their paths."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = []
    for index in range(count):
        wide, high = sizes[int(rng.integers(len(sizes)))]
        coarse = Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8))
        smooth = np.asarray(coarse.resize((wide, high), Image.Resampling.BICUBIC), np.int16)
        pixels = np.clip(smooth + rng.integers(-9, 9, smooth.shape, np.int16), 0, 255)
        paths.append(folder / f"{index:05d}.jpg")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1], quality=90)
    return paths


def make_model(task: str, flags: Mapping[str, Any], folder: Path) -> str:
    """Write an untrained network, made from flags of train, as a model file; return its path."""
    from cvkit.console import Reporter
    from cvkit.options.tree import task_options
    from cvkit.tasks.candidates import untrained_model

    folder.mkdir(parents=True, exist_ok=True)
    options = task_options(task, "train")(data="samples", **flags)
    return str(untrained_model(options, task, folder, Reporter(quiet=True)))


def candidates(task: str, weights: str, **flags: Any) -> Iterator[Any]:
    """Yield a model on every engine in fp32 and bf16, those with a reason that are not there."""
    from cvkit.options.base import ENGINES
    from cvkit.options.tree import task_options
    from cvkit.tasks.candidates import load_candidate

    options = task_options(task, "predict")(weights=weights, quiet=True, **flags)
    for engine in ENGINES:
        for precision in ("fp32", "bf16"):
            if engine != "auto":
                yield load_candidate(engine, precision, options, task)
