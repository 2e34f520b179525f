"""The task of a model, from its name or its file."""

from pathlib import Path

from cvkit import catalog, published
from cvkit.errors import ModelFileError, UsageError
from cvkit.export.formats import format_of
from cvkit.model_files import read_header
from cvkit.models.weights import find_model
from cvkit.tasks.trained import exported_header, is_here


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
