"""Validation after every training epoch."""

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.console import Reporter
from cvkit.engine.evaluate import MeanLoss, Measured, Part, evaluate
from cvkit.engine.ranks import Ranks
from cvkit.engine.runtime import StopSignal
from cvkit.engine.workers import KeptWorkers
from cvkit.errors import DataError
from cvkit.tasks.contract import Dataset, Task

SEEN = 100
"""Maximum number of training samples that are evaluated like the validation samples."""


class Validation:
    """Measures a network on the validation split, and on some of the training samples.

    Args:
        task: the problem.
        data: validation samples, and all training samples, preprocessed as for evaluation; if both
            are the same object, they are evaluated once.
        fabric: device, precision and processes.
        batch_size: of the forward passes.
        workers: decoding processes.
        reporter: for progress.
        stop: asks to stop.
        ranks: the processes that train together.
        kept: the decoding processes between the epochs.
    """

    def __init__(
        self,
        *,
        task: Task,
        data: tuple[Dataset, Dataset],
        fabric: Fabric,
        batch_size: int,
        workers: int,
        reporter: Reporter,
        stop: StopSignal,
        ranks: Ranks,
        kept: KeptWorkers,
    ) -> None:
        self.task, self.fabric, self.reporter, self.ranks = task, fabric, reporter, ranks
        self.batch_size, self.workers, self.kept = batch_size, workers, kept
        self.data, seen = data
        self.seen = None if seen is self.data else Part(seen, min(SEEN, len(self.data)))
        # Several processes agree on when to stop only in training steps, so validation is completed
        # first.
        self.stop = stop if fabric.world_size == 1 else StopSignal()

    def measure(self, network: nn.Module) -> Measured:
        """Return the metrics and the loss of the split, and the metric of the training samples.

        Raises:
            Interrupted: a signal came.
            DataError: an image could not be read.
        """
        if self.ranks.world > 1:  # each has its own batch norms; those of the first are saved
            for buffer in network.buffers():
                torch.distributed.broadcast(buffer, 0)
        loss = MeanLoss()
        metrics = self._metrics(network, self.data, "validation", loss)
        seen = self._metrics(network, self.seen, "training metric") if self.seen else metrics
        return Measured(metrics, loss.compute(), seen[self.task.best])

    def _metrics(
        self, network: nn.Module, data: Dataset, title: str, loss: MeanLoss | None = None
    ) -> dict[str, float | None]:
        metric = self.task.metric()
        with self.reporter.progress(title, len(data)) as advance:
            failures = evaluate(
                self.task,
                network,
                data,
                self.fabric,
                metric=metric,
                batch_size=self.batch_size,
                workers=self.workers,
                stop=self.stop,
                advance=advance,
                loss=loss,
                ranks=self.ranks,
                kept=self.kept,
            )
        if failures:
            raise DataError(failures[0].reason, code=failures[0].code)
        return metric.compute()
