"""Post-fits: parts that are fitted after the last training step, in another pass over the data."""

import json
from typing import Any

import torch

from cvkit.console import number
from cvkit.engine import checkpoint
from cvkit.engine.loader import all_read, in_order, load
from cvkit.engine.train import Trainer
from cvkit.errors import DataError
from cvkit.model_files import read_model
from cvkit.storage import write_file
from cvkit.tasks.contract import Dataset, PostFitting


@torch.no_grad()
def run_post_fits(trainer: Trainer, data: Dataset) -> dict[str, Any] | None:
    """Run the task's post-fits on the kept model, evaluate it and write it again.

    An interrupted post-fit starts again when the run is resumed; the training steps are not
    repeated.

    Args:
        trainer: after its last step.
        data: training samples, preprocessed as for evaluation.

    Returns:
        The metrics of the completed model; None for a task without post-fits.

    Raises:
        Interrupted: a signal came; the model without post-fits has been written.
        DataError: an image could not be read.
    """
    task, model, path = trainer.task, trainer.bare, trainer.run / trainer.settings.model_file
    if not isinstance(task, PostFitting):
        return None
    fits = task.post_fits(model, trainer.settings.seed)
    if not fits:
        return None
    tensors, header = read_model(path)
    model.load_state_dict(tensors)
    model.eval()
    if trainer.fabric.world_size > 1:
        raise DataError("post-fits work with one process only", code="post_fits.devices")
    for title, fit in fits:
        with trainer.reporter.progress(title, len(data)) as advance:
            done = 0
            with load(data, in_order(len(data), 1), trainer.workers) as loaded:
                for items in loaded:
                    trainer.stop.raise_if_set(f"stopped at {title}", f"--resume {trainer.run}")
                    for batch in all_read(items):
                        task.fit_batch(fit, batch.to(trainer.fabric.device))
                        done += 1
                    advance(done, "")
            fit.finish()
        trainer.reporter.say(f"{title}: done")
    metrics = trainer.measure(model).metrics
    name = task.best
    trainer.reporter.say(f"{name} {number(header['metrics'][name])} -> {number(metrics[name])}")
    checkpoint.save_model(path, model.state_dict(), header | {"metrics": metrics})
    write_file(trainer.run / "stages.json", json.dumps(metrics, allow_nan=False) + "\n")
    return metrics
