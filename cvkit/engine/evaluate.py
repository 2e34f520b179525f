"""The evaluation loop: results against truths."""

from collections.abc import Callable
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.engine.loader import in_order, load
from cvkit.engine.report import Advance
from cvkit.engine.runtime import StopSignal
from cvkit.engine.task import Dataset, Metric, Task
from cvkit.structures import Failure, Sample

OnImage = Callable[[Sample, Any], None]
"""Called with a sample and what `Metric.update` returned for it."""


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
) -> list[Failure]:
    """Predict every sample once and fill the metric; return the samples that failed.

    Each process takes every n-th sample and ends up with the metric of all of them; `on_image`
    sees the own samples only.

    Raises:
        Interrupted: a signal came; the metric is incomplete.
    """
    model.eval()
    failures: list[Failure] = []
    world = fabric.world_size
    if world > 1:  # each process has batch norms of its own; those of the first one are saved
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)
    batches = in_order(len(data), batch_size, fabric.global_rank, world)
    done = 0
    with load(data, batches, workers) as loaded:
        for items in loaded:
            stop.raise_if_set("evaluation interrupted", "run the same command again")
            for item in items:
                if isinstance(item, Failure):
                    failures.append(item)
                    done += 1
                    continue
                with fabric.autocast():
                    results = task.predict(model, item.to(fabric.device))
                for sample, result in zip(item.samples, results, strict=True):
                    own = metric.update(result, sample.truth)
                    if on_image:
                        on_image(sample, own)
                done += len(item)
            advance(min(done * world, len(data)), "")
    if world > 1:
        states: list[Any] = [None] * world
        torch.distributed.all_gather_object(states, (metric.state(), failures))
        metric.merge([state for state, _ in states])
        failures = [failure for _, own in states for failure in own]
    return failures
