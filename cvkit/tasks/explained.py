"""What the explanations of several tasks share."""

import importlib
import importlib.util
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from cvkit.errors import DataError, UsageError
from cvkit.ops.images import standardize
from cvkit.tasks.explainable import Explainable, Question, Target


def explainable_of(task: Any, model: nn.Module) -> Explainable:
    """Return the model of a task as explanations see it.

    Args:
        task: that the model was trained for.
        model: the network, in evaluation mode.

    Raises:
        UsageError: the task has no explanations.
    """
    name = f"cvkit.tasks.{task.name}.explained"
    if importlib.util.find_spec(name) is None:
        raise UsageError(
            f"results of {task.name} are not explained",
            code="task.unsupported",
            hint=f"cvkit {task.name} predict shows them",
        )
    made: Explainable = importlib.import_module(name).Explained(task, model)
    return made


def no_target(words: str) -> DataError:
    """Return the error of a result that lacks what is asked for."""
    return DataError(
        f"there is nothing to explain: {words}",
        code="target.absent",
        hint="choose another --target",
    )


def whole_window(pixels: Tensor) -> tuple[float, float, float, float]:
    """Return the window of maps that show the whole input."""
    height, width = pixels.shape[-2:]
    return 0.0, 0.0, float(width), float(height)


def class_question(
    task: Any, network: Callable[[Tensor], Tensor], pixels: Tensor, target: Target
) -> Question:
    """Return the question about the class of an image or a clip.

    Args:
        task: has `classes` and `preprocessing`.
        network: normalised inputs to [B, K] logits.
        pixels: see `Question`.
        target: a class, or the best one.
    """

    def logits(inputs: Tensor) -> Tensor:
        made = task.preprocessing
        return network(standardize(inputs, made.mean, made.std)).float()

    with torch.no_grad():
        best = int(logits(pixels)[0].argmax())
    index = task.classes.names.index(target.name) if target.kind == "class" else best
    name = task.classes.names[index]
    return Question(
        pixels=pixels,
        score=lambda inputs: logits(inputs)[:, index],
        probability=lambda inputs: logits(inputs).softmax(1)[:, index],
        label=name,
        words=name,
        region=None,
        window_xyxy=whole_window(pixels),
    )
