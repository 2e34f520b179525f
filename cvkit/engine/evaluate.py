"""The evaluation loop: results against truths."""

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.console import Advance
from cvkit.engine.inference import InOrder, Placed, by_size, one_by_one, read_ahead
from cvkit.engine.loader import in_order, load
from cvkit.engine.runtime import StopSignal
from cvkit.errors import TrainingDiverged
from cvkit.ops.seeds import key_seed
from cvkit.structures import Batch, Failure, Sample
from cvkit.tasks.contract import Dataset, Metric, Task

OnImage = Callable[[Sample, Any], None]
"""Called with a sample and what `Metric.update` returned for it."""
LOSS_SEED = 6
"""First part of the random key of a loss, such as for the regions that a detector samples."""


@dataclass(frozen=True)
class Measured:
    """The measurements after an epoch.

    Attributes:
        metrics: of the validation split, by name.
        loss: mean over its samples; None if there is none, or it is not finite.
        train: the deciding metric on a part of the training split, measured as in validation.
    """

    metrics: dict[str, float | None]
    loss: float | None = None
    train: float | None = None


class MeanLoss:
    """The mean loss of samples that come in batches."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, loss: float, count: int) -> None:
        """Add the mean loss of `count` samples."""
        self.total, self.count = self.total + loss * count, self.count + count

    @property
    def finite(self) -> bool:
        """Whether all losses were finite numbers."""
        return math.isfinite(self.total)

    def compute(self) -> float | None:
        """Return the mean over all samples; None if it is not a finite number."""
        mean = self.total / self.count if self.count else math.nan
        return mean if math.isfinite(mean) else None


class Part:
    """Some samples of a dataset, evenly spaced, so that every class is represented.

    Args:
        data: the whole dataset.
        count: maximum number of samples in the part.
    """

    def __init__(self, data: Dataset, count: int) -> None:
        self.data, whole = data, len(data)
        count = min(count, whole)
        self.indices = [place * whole // count for place in range(count)]

    def __len__(self) -> int:
        return len(self.indices)

    def key(self, index: int) -> str:
        """Return the path of a sample, relative to the dataset."""
        return self.data.key(self.indices[index])

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return one sample; see `Dataset.read`."""
        return self.data.read(self.indices[index], seed)


@torch.inference_mode()
def evaluate(
    task: Task,
    model: nn.Module,
    data: Dataset,
    fabric: Fabric,
    *,
    metric: Metric,
    batch_size: int,
    workers: int,
    stop: StopSignal,
    advance: Advance,
    on_image: OnImage | None = None,
    loss: MeanLoss | None = None,
) -> list[Failure]:
    """Predict every sample once and fill the metric; return the samples that failed.

    `loss`, for a task made for training, accumulates the mean loss of all samples.

    Each of n processes takes every n-th sample and ends up with the metric of all of them;
    `on_image` gets only the samples of its process.

    Raises:
        Interrupted: a signal came; the metric is incomplete.
        TrainingDiverged: the requested loss is not finite.
    """
    model.eval()
    failures: list[Failure] = []
    world = fabric.world_size
    if world > 1:  # each process has its own batch norms; those of the first are saved
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)
    order: InOrder[tuple[Sample, Any] | Failure] = InOrder()
    done = 0
    with _batches(data, batch_size, workers, fabric, in_sequence=loss is not None) as batches:
        for places, item in batches:
            stop.raise_if_set("evaluation interrupted", "run the same command again")
            if isinstance(item, Failure):
                order.put(places[0], item)
            else:
                with fabric.autocast():
                    item = item.to(fabric.device)
                    seed = key_seed(LOSS_SEED, done, fabric.global_rank)
                    results = _results(task, model, item, loss, seed)
                if loss is None or loss.finite:
                    for place, sample, result in zip(places, item.samples, results, strict=True):
                        order.put(place, (sample, result))
                elif world == 1:
                    raise _diverged()  # all processes must get here before one may raise
            failures += _counted(order.take(), metric, on_image)
            done += len(places)
            advance(min(done * world, len(data)), "")
    if world > 1:
        failures = _together(metric, failures, loss, world)
        if loss and not loss.finite:
            raise _diverged()
    return failures


def _counted(
    entries: Iterable[tuple[Sample, Any] | Failure], metric: Metric, on_image: OnImage | None
) -> list[Failure]:
    """Add results to a metric, in order; return the samples that failed."""
    failures = []
    for entry in entries:
        if isinstance(entry, Failure):
            failures.append(entry)
            continue
        sample, result = entry
        counts = metric.update(result, sample.truth)
        if on_image:
            on_image(sample, counts)
    return failures


@contextlib.contextmanager
def _batches(
    data: Dataset, batch_size: int, workers: int, fabric: Fabric, *, in_sequence: bool
) -> Iterator[Iterator[Placed]]:
    """Yield the batches of one process.

    Args:
        data: of all processes.
        batch_size: samples of a batch.
        workers: threads or processes that read.
        fabric: device, and number of processes.
        in_sequence: leave samples in order; a loss is the mean of a batch, so it depends on them.
    """
    keys = in_order(len(data), batch_size, fabric.global_rank, fabric.world_size)
    if in_sequence:
        with load(data, keys, workers) as loaded:
            yield one_by_one(loaded)
    else:
        with read_ahead(data, keys, workers, fabric.device) as loaded:
            yield by_size(loaded, batch_size)


def _results(
    task: Task, model: nn.Module, batch: Batch, loss: MeanLoss | None, seed: int
) -> list[Any]:
    """Return the results of a batch, and add its loss if requested."""
    if loss is None:
        return task.predict(model, batch)
    torch.manual_seed(seed)
    results, value = task.validate(model, batch)
    loss.add(float(value), len(batch))
    return results


def _diverged() -> TrainingDiverged:
    return TrainingDiverged(
        "the validation loss is not finite",
        code="diverged.validation",
        hint="the model was not saved; use a smaller --lr, or resume from the last save",
    )


def _together(
    metric: Metric, failures: list[Failure], loss: MeanLoss | None, world: int
) -> list[Failure]:
    """Merge the counts of all processes into those of this process; return all failures."""
    states: list[Any] = [None] * world
    sums = (loss.total, loss.count) if loss else (0.0, 0)
    torch.distributed.all_gather_object(states, (metric.state(), failures, sums))
    metric.merge([state for state, *_ in states])
    if loss:
        totals, counts = zip(*(sums for *_, sums in states), strict=True)
        loss.total, loss.count = sum(totals), sum(counts)
    return [failure for _, failed, _ in states for failure in failed]
