"""Speed of a trained network: whole predictions, latency, and the shares of the stages."""

import contextlib
import itertools
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.console import Advance
from cvkit.engine.inference import Placed, by_size, read_ahead
from cvkit.engine.journal import Journal
from cvkit.engine.loader import in_order, read_sample, stack
from cvkit.engine.predict import NamedInput, Work, predict
from cvkit.engine.processes import Layout
from cvkit.engine.ranks import Ranks
from cvkit.engine.runtime import StopSignal
from cvkit.structures import Batch, Failure, Sample
from cvkit.tasks.contract import Task

STAGES = ("decode", "model", "post-process", "write")
"""Reading and resizing; the network's layers; the rest of predict; drawing and writing."""
ROUNDS = 5
"""Rounds in which the networks alternate."""
MOST_INPUTS = 256
"""Inputs that are measured at most, evenly spaced over all of them."""
TOLERATED = 1e-3
"""Largest loss of metric or agreement of an engine that is recommended: 0.1 point."""
EQUAL = 0.02
"""Difference of rates below which the first of two networks is recommended."""


Input = TypeVar("Input", bound=NamedInput)


@dataclass(frozen=True, kw_only=True)
class Leg:
    """A network on one engine in one precision, with a batch size.

    Attributes:
        task: what it solves.
        model: in evaluation mode, on its device.
        fabric: device and precision.
        workers: threads or processes that decode.
        batch_size: samples per forward pass.
    """

    task: Task
    model: nn.Module
    fabric: Fabric
    workers: int
    batch_size: int

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the network in its precision, without gradients, inside the block."""
        with torch.inference_mode(), self.fabric.autocast():
            yield

    def predict(self, batch: Batch) -> list[Any]:
        """Return the results of a batch, complete."""
        with self.running():
            results = self.task.predict(self.model, batch.to(self.fabric.device))
        self.wait()
        return results

    def wait(self) -> None:
        """Wait for what was given to an accelerator."""
        if self.fabric.device.type != "cpu":
            getattr(torch, self.fabric.device.type).synchronize()


@dataclass
class Timings:
    """What was measured of a leg.

    Attributes:
        rates: samples per second of whole predictions, one for each round.
        latencies: seconds from the files of a batch to its results.
        stages: seconds of one thread, by stage.
    """

    rates: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    stages: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))

    @property
    def rate(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rates)

    @property
    def spread(self) -> float:
        """Difference of the fastest and the slowest round, as a fraction of the median."""
        return (max(self.rates) - min(self.rates)) / self.rate

    def latency(self, percent: float) -> float:
        """Return a percentile of the latencies, in seconds: one of them, never between two."""
        ranked = sorted(self.latencies)
        return ranked[max(0, -int(-len(ranked) * percent // 100) - 1)]

    def shares(self) -> dict[str, float]:
        """Return the fraction of each stage."""
        whole = sum(self.stages.values())
        return {name: seconds / whole for name, seconds in self.stages.items()}


class LayerClock:
    """Takes the seconds inside the layers of a leg's network while it is in a `with`.

    A layer that another one calls is part of it. What a network computes outside of its layers,
    such as non-maximum suppression, is not counted.
    """

    def __init__(self, leg: Leg) -> None:
        self.leg, self.seconds, self._depth, self._start = leg, 0.0, 0, 0.0

    def __enter__(self) -> "LayerClock":
        self._hooks = []
        for layer in self.leg.model.modules():
            self._hooks.append(layer.register_forward_pre_hook(self._enter))
            self._hooks.append(layer.register_forward_hook(self._leave, always_call=True))
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self._hooks:
            hook.remove()

    def _enter(self, *_: object) -> None:
        if not self._depth:
            self.leg.wait()
            self._start = time.perf_counter()
        self._depth += 1

    def _leave(self, *_: object) -> None:
        self._depth -= 1
        if not self._depth:
            self.leg.wait()
            self.seconds += time.perf_counter() - self._start


def evenly(files: Sequence[Input], count: int) -> list[Input]:
    """Return some of the files, evenly spaced; all of them if there are no more."""
    count = min(count, len(files))
    return [files[place * len(files) // count] for place in range(count)]


def results_of(leg: Leg, files: Sequence[NamedInput]) -> tuple[dict[str, Any], list[Failure]]:
    """Return the results of files by their keys, and the failures."""
    found: dict[str, Any] = {}
    failures: list[Failure] = []
    keys = in_order(len(files), leg.batch_size)
    with read_ahead(leg.task.source(files), keys, leg.workers, leg.fabric.device) as loaded:
        batches: Iterator[Placed] = by_size(loaded, leg.batch_size)
        for _, item in batches:
            if isinstance(item, Failure):
                failures.append(item)
            else:
                for sample, result in zip(item.samples, leg.predict(item), strict=True):
                    if isinstance(result, Failure):
                        failures.append(result)
                    else:
                        found[sample.path] = result
    return found, failures


def measure(
    legs: Sequence[Leg],
    files: Sequence[NamedInput],
    folder: Path,
    *,
    seconds: float,
    advance: Advance,
    rounds: int = ROUNDS,
) -> list[Timings]:
    """Measure legs in alternation, each round in the other direction; they are warmed up first.

    Args:
        legs: what is measured.
        files: inputs that can be read, of which as many are used as the slowest leg can predict
            in its time, the same ones for all.
        folder: for what is written, which is removed at once.
        seconds: per leg, for all rounds together.
        advance: called with the number of measured rounds of legs.
        rounds: in which the legs alternate.
    """
    share = seconds / rounds
    found = [Timings() for _ in legs]
    slowest = max(warmed_up(leg, files) for leg in legs)
    count = max(int(share / 2 / slowest), *(leg.batch_size for leg in legs))
    chosen = evenly(files, min(count, MOST_INPUTS))
    done = 0
    for number in range(rounds):
        pairs = list(zip(legs, found, strict=True))
        for leg, timings in pairs[:: -1 if number % 2 else 1]:
            timings.rates.append(rate_of_predict(leg, chosen, folder, share / 2))
            time_batches(leg, chosen, folder, share / 2, timings)
            done += 1
            advance(done)
    return found


def warmed_up(leg: Leg, files: Sequence[NamedInput]) -> float:
    """Run a leg on two batches; return the seconds per sample of the second.

    It is 0 if none of the samples can be read.
    """
    samples = batches_of(leg, evenly(files, leg.batch_size))
    taken = 0.0
    for _ in range(2):
        start = time.perf_counter()
        for batch in samples[0]:
            leg.predict(batch)
        taken = time.perf_counter() - start
    return taken / max(1, sum(map(len, samples[0])))


def batches_of(leg: Leg, files: Sequence[NamedInput]) -> list[list[Batch]]:
    """Return the inputs of a leg, in groups of its batch size, each stacked by size."""
    data = leg.task.source(files)
    groups = in_order(len(files), leg.batch_size)
    return [_stacked([read_sample(data, key) for key in keys]) for keys in groups]


def _stacked(items: Sequence[Sample | Failure]) -> list[Batch]:
    return [batch for batch in stack(items) if isinstance(batch, Batch)]


def rate_of_predict(leg: Leg, files: Sequence[NamedInput], folder: Path, seconds: float) -> float:
    """Return the samples per second of the loop of predict, writing included."""
    names = {file.key: f"{place:05d}" for place, file in enumerate(files)}
    spent, count = 0.0, 0
    while not count or spent < seconds:
        with fresh(folder) as place:
            start = time.perf_counter()
            journal = Journal(place, resume=False, model="")
            with contextlib.closing(journal):
                work = Work(
                    task=leg.task,
                    model=leg.model,
                    files=files,
                    fabric=leg.fabric,
                    names=names,
                    batch_size=leg.batch_size,
                    workers=leg.workers,
                    ranks=Ranks(Layout(), StopSignal()),
                    advance=lambda done, note="": None,
                )
                counts = predict(work, journal)
            spent += time.perf_counter() - start
            count += counts.predicted
    return count / spent


def time_batches(
    leg: Leg, files: Sequence[NamedInput], folder: Path, seconds: float, timings: Timings
) -> None:
    """Add the latencies of batches, and the times of the stages of every other one.

    At least one of each is taken. The batches of which stages are timed give no latency, because
    the clock of the layers delays them.
    """
    data = leg.task.source(files)
    groups = itertools.cycle(in_order(len(files), leg.batch_size))
    begun = time.perf_counter()
    for number in itertools.count():
        if number > 1 and time.perf_counter() - begun >= seconds:
            return
        keys = next(groups)
        start = time.perf_counter()
        batches = _stacked([read_sample(data, key) for key in keys])
        read = time.perf_counter() - start
        if number % 2:
            for batch in batches:
                leg.predict(batch)
            timings.latencies.append(time.perf_counter() - start)
        else:
            with fresh(folder) as place:
                _add_stages(leg, batches, read, place, timings.stages)


def _add_stages(
    leg: Leg, batches: Sequence[Batch], read: float, folder: Path, stages: dict[str, float]
) -> None:
    stages["decode"] += read
    for batch in batches:
        with LayerClock(leg) as clock:
            start = time.perf_counter()
            results = leg.predict(batch)
            ended = time.perf_counter()
        stages["model"] += clock.seconds
        stages["post-process"] += ended - start - clock.seconds
        for number, pair in enumerate(zip(results, batch.samples, strict=True)):
            leg.task.write(*pair, f"{id(batch)}-{number}", folder)
        stages["write"] += time.perf_counter() - ended


@contextlib.contextmanager
def fresh(folder: Path) -> Iterator[Path]:
    """Yield an empty folder in another one; it is removed after the block."""
    place = folder / "results"
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What decides whether a leg is recommended.

    Attributes:
        rate: samples per second.
        metric: on labelled data, in [0, 1]; None if it was not measured.
        agreement: with the reference, in [0, 1]; None if it was not measured.
    """

    rate: float
    metric: float | None = None
    agreement: float | None = None

    def loss(self, reference: float | None) -> float:
        """Return how much worse the results are than those of eager layers in fp32."""
        if self.metric is not None and reference is not None:
            return reference - self.metric
        return 0.0 if self.agreement is None else 1 - self.agreement


def recommended(found: Mapping[int, Measured], reference: float | None) -> int | None:
    """Return which leg to recommend: the fastest that loses no more than `TOLERATED`.

    Of legs that are equally fast it is the first.

    Args:
        found: by number, in order of preference.
        reference: metric of eager layers in fp32.
    """
    fitting = {n: m for n, m in found.items() if m.loss(reference) <= TOLERATED + 1e-9}
    if not fitting:
        return None
    best = max(each.rate for each in fitting.values())
    return next(n for n, each in fitting.items() if each.rate >= best * (1 - EQUAL))
