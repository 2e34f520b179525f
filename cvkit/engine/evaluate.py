"""The evaluation loop: results against truths."""

import contextlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.console import Advance
from cvkit.engine.inference import InOrder, Placed, one_by_one, read_ahead
from cvkit.engine.loader import in_order, load
from cvkit.engine.processes import Layout
from cvkit.engine.ranks import Ranks
from cvkit.engine.runtime import StopSignal
from cvkit.engine.shares import Share, share_of
from cvkit.engine.workers import KeptWorkers
from cvkit.errors import TrainingDiverged
from cvkit.ops.seeds import key_seed
from cvkit.structures import Batch, Failure, Sample
from cvkit.tasks.contract import Dataset, Metric, Task

OnImage = Callable[[str, Any], None]
"""Called with the path of a sample and what `Metric.update` returned for it."""
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
    ranks: Ranks | None = None,
    kept: KeptWorkers | None = None,
) -> list[Failure]:
    """Predict every sample once and fill the metric; return the samples that failed.

    `loss`, for a task made for training, accumulates the mean loss of all samples.

    Several processes share the samples and end up with the metric of all of them. `on_image` is
    called in the first one, in the order of the dataset.

    Raises:
        Interrupted: a signal came; the metric is incomplete.
        TrainingDiverged: the requested loss is not finite.
        CvkitError: another process has failed or ended.
    """
    model.eval()
    ranks = ranks or Ranks(Layout(), stop)
    share = (share_of if loss is None else _in_turns)(ranks, data, batch_size)
    counted = _Counted(metric, on_image, alone=ranks.world == 1)
    order: InOrder[tuple[Sample, Any] | Failure] = InOrder(share.places)
    done = 0
    with _batches(share, data, batch_size, (workers, kept), fabric, loss) as batches:
        for places, item in batches:
            stop.raise_if_set("evaluation interrupted", "run the same command again")
            ranks.raise_if_failed()
            if isinstance(item, Failure):
                order.put(places[0], item)
            else:
                with fabric.autocast():
                    item = item.to(fabric.device)
                    seed = key_seed(LOSS_SEED, done, fabric.global_rank)
                    results = _results(task, model, item, loss, seed)
                if loss is None or loss.finite:
                    for place, sample, result in zip(places, item.samples, results, strict=True):
                        failed = isinstance(result, Failure)  # when it was read in tiles
                        order.put(place, result if failed else (sample, result))
                elif ranks.world == 1:
                    raise _diverged()  # all processes must get here before one may raise
            counted.add(order.take_placed())
            done += len(places)
            advance(min(done * ranks.world, len(data)), "")
    if ranks.world > 1:
        _together(ranks, counted, on_image, loss)
        if loss and not loss.finite:
            raise _diverged()
    return [failure for _, failure in counted.failures]


class _Counted:
    """What was counted in this process.

    Attributes:
        metric: of the samples.
        updated: place, path and outcome of each sample that the metric was updated with, for the
            first of several processes.
        failures: places, and what could not be read.
    """

    def __init__(self, metric: Metric, on_image: OnImage | None, alone: bool) -> None:
        self.metric, self.on_image, self.alone = metric, on_image, alone
        self.updated: list[tuple[int, str, Any]] = []
        self.failures: list[tuple[int, Failure]] = []

    def add(self, entries: Iterable[tuple[int, tuple[Sample, Any] | Failure]]) -> None:
        """Add results, in order."""
        for place, entry in entries:
            if isinstance(entry, Failure):
                self.failures.append((place, entry))
                continue
            sample, result = entry
            outcome = self.metric.update(result, sample.truth)
            if not self.alone:
                self.updated.append((place, sample.path, outcome if self.on_image else None))
            elif self.on_image:
                self.on_image(sample.path, outcome)


def _in_turns(ranks: Ranks, data: Dataset, batch_size: int) -> Share:
    """Return every n-th sample, in order; a loss is the mean of a batch, so it depends on them."""
    keys = in_order(len(data), batch_size, ranks.layout.rank, ranks.world)
    return Share([[place for place, _ in batch] for batch in keys])


@contextlib.contextmanager
def _batches(
    share: Share,
    data: Dataset,
    batch_size: int,
    workers: tuple[int, KeptWorkers | None],
    fabric: Fabric,
    loss: MeanLoss | None,
) -> Iterator[Iterator[Placed]]:
    """Yield the batches of one process; with a loss, samples stay in order."""
    if loss is not None:
        with load(data, share.keys, *workers) as loaded:
            yield one_by_one(loaded, share.places)
    else:
        with read_ahead(data, share.keys, workers[0], fabric.device, kept=workers[1]) as loaded:
            yield share.placed(loaded, batch_size, data)


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
    ranks: Ranks, counted: _Counted, on_image: OnImage | None, loss: MeanLoss | None
) -> None:
    """Merge the counts of all processes into those of this process."""
    sums = (loss.total, loss.count) if loss else (0.0, 0)
    places = [place for place, *_ in counted.updated]
    gathered = ranks.gather((counted.metric.state(), places, counted.failures, sums))
    states, every_place, failures, every_sum = zip(*gathered, strict=True)
    counted.metric.merge(states, every_place)
    counted.failures = sorted(itertools.chain(*failures), key=lambda pair: pair[0])
    if loss:
        loss.total, loss.count = (sum(part) for part in zip(*every_sum, strict=True))
    if on_image:
        updated = itertools.chain(*ranks.gather_first(counted.updated))
        for _, path, outcome in sorted(updated, key=lambda entry: entry[0]):
            on_image(path, outcome)
