"""Trained models as Python objects."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from cvkit import catalog, published
from cvkit.data.files import InputFile
from cvkit.engine.loader import in_order, load
from cvkit.errors import DataError, ModelFileError, UsageError
from cvkit.export.formats import format_of
from cvkit.model_files import read_header
from cvkit.models.weights import find_model
from cvkit.options.base import Predict
from cvkit.structures import Failure
from cvkit.tasks.engine_choice import use_engine
from cvkit.tasks.trained import Trained, exported_header, is_here, load_trained


class Predictor:
    """Predicts images; made by `cvkit.load`."""

    def __init__(self, trained: Trained, batch_size: int) -> None:
        self._trained, self._batch_size = trained, batch_size

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in index order."""
        return self._trained.task.classes.names

    @torch.inference_mode()
    def predict(self, images: Iterable[str | Path]) -> list[Any]:
        """Return one result per image file, in the pixels of the original image.

        Raises:
            DataError: names the first file that could not be read.
            UsageError: one path instead of several.
        """
        if isinstance(images, str | bytes | Path):
            raise UsageError(
                f"predict({images!r}): a list of paths is expected",
                code="inputs.type",
                hint=f"predict([{images!r}])",
            )
        trained = self._trained
        files = [InputFile(Path(image), str(image)) for image in images]
        results = []
        data = trained.task.source(files)
        with load(data, in_order(len(files), self._batch_size), workers=0) as loaded:
            for item in itertools.chain.from_iterable(loaded):
                if isinstance(item, Failure):
                    raise DataError(item.reason, code=item.code)
                with trained.fabric.autocast():
                    results += trained.task.predict(trained.model, item.to(trained.fabric.device))
        return results


def load_predictor(weights: str, task: str, options: Predict) -> Predictor:
    """Return a predictor of a task that `task_of` knows; see `cvkit.load`."""
    trained = load_trained(weights, options, task)
    use_engine(options.engine, trained, None, options.batch_size)  # how many come is not known
    return Predictor(trained, options.batch_size)


def task_of(weights: str, task: object = None) -> str:
    """Return the task of a model: as given, by its published name, or by its file.

    Raises:
        UsageError: an unknown task, or models of several tasks have the name.
        ModelFileError: the file is missing, damaged, or for an unknown task.
    """
    if task is None:
        task = _named_task(weights)
        if task not in catalog.TASKS:
            raise ModelFileError(
                f"{weights} is a model for an unknown task, {task!r}",
                code="model.task",
                hint=catalog.nearest(str(task), catalog.TASKS),
            )
    if task not in catalog.TASKS:
        raise UsageError(
            f"task={task!r} is not a task",
            code="task.unknown",
            hint=catalog.nearest(str(task), catalog.TASKS),
        )
    return str(task)


def _named_task(weights: str) -> object:
    """Return the task of a published name or a file."""
    if format_of(Path(weights)) is not None:
        return exported_header(Path(weights))[0].get("task")
    family = weights.partition(":")[0]
    tasks = [task for task in published.PUBLISHED if family in published.families(task)]
    if not tasks or is_here(weights):
        return read_header(find_model(weights)).get("task")
    if len(tasks) > 1:
        raise UsageError(
            f"{weights} is published for several tasks",
            code="weights.task",
            hint=" or ".join(f"task={task!r}" for task in tasks),
        )
    return tasks[0]
