"""Training without gradients: the model gets the training images once and keeps them."""

import json
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.console import Reporter, number
from cvkit.engine import checkpoint
from cvkit.engine.evaluate import evaluate
from cvkit.engine.loader import all_read, in_order, load
from cvkit.engine.progress import Progress
from cvkit.engine.runtime import StopSignal
from cvkit.errors import DataError
from cvkit.storage import write_file
from cvkit.tasks.contract import Dataset, Memorising, Task


def memorise(
    task: Task,
    model: nn.Module,
    data: tuple[Dataset, Dataset],
    *,
    path: Path,
    header: dict[str, Any],
    fabric: Fabric,
    batch_size: int,
    workers: int,
    reporter: Reporter,
    stop: StopSignal,
) -> Progress:
    """Pass the training split to the model, evaluate it on the validation split and write it.

    The model is written to `path`, its metrics next to it.

    Raises:
        Interrupted: a signal came; nothing is written, because a restart takes no time.
        DataError: an image could not be read.
    """
    if not isinstance(task, Memorising):
        raise TypeError(f"{task.name} keeps no samples")
    model = fabric.to_device(model).eval()
    with reporter.progress("memorising", len(data[0])) as advance, torch.inference_mode():
        done = 0
        with load(data[0], in_order(len(data[0]), batch_size), workers) as loaded:
            for items in loaded:
                stop.raise_if_set("stopped", "run the same command again")
                for batch in all_read(items):
                    with fabric.autocast():
                        task.memorise(model, batch.to(fabric.device))
                    done += len(batch)
                advance(done, "")
    metric = task.metric()
    with reporter.progress("validation", len(data[1])) as advance:
        failures = evaluate(
            task,
            model,
            data[1],
            fabric,
            metric=metric,
            batch_size=batch_size,
            workers=workers,
            stop=stop,
            advance=advance,
        )
    if failures:
        raise DataError(failures[0].reason, code=failures[0].code)
    metrics = metric.compute()
    progress = Progress(epoch=1, best=metrics[task.best], best_epoch=1, improved=1)
    progress.history.append({"epoch": 1, "step": 0} | metrics)
    header = {**header, "metrics": metrics, "training": {"epoch": 1, "step": 0}}
    checkpoint.save_model(path, model.state_dict(), header)
    write_file(path.with_name("metrics.jsonl"), json.dumps(progress.history[0]) + "\n")
    reporter.say(f"{task.best} {number(metrics[task.best])}")
    return progress
