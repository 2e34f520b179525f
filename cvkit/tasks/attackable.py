"""Models as attacks see them, and tasks whose inputs are attacked before they are predicted.

Each task with attacks has a module `cvkit/tasks/TASK/attacked.py` with a class `Attacked`.
"""

from __future__ import annotations

import importlib
import importlib.util
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cvkit import catalog
from cvkit.errors import UsageError
from cvkit.ops.attacks import losses_each, signed_steps, within
from cvkit.ops.seeds import key_seed
from cvkit.options.robust import Attack
from cvkit.structures import Batch
from cvkit.tasks.contract import Task


class Scores(Protocol):
    """A model whose scores have a gradient by the pixels of its input."""

    def logits(self, pixels: Tensor) -> Tensor:
        """Return the [N, K] or [N, K, H, W] logits of inputs in [0, 255], float32."""

    def truth(self, batch: Batch) -> Tensor:
        """Return the [N] or [N, H, W] true classes of a batch; `IGNORE` where there is none."""


def scores_of(task: Any, model: nn.Module) -> Scores:
    """Return a model as attacks see it.

    Args:
        task: that the model was trained for.
        model: the network, in evaluation mode.

    Raises:
        UsageError: the task has no attacks, or the model no gradient.
    """
    name = f"cvkit.tasks.{task.name}.attacked"
    if importlib.util.find_spec(name) is None:
        known = [each for each in catalog.TASKS if _has_attacks(each)]
        raise UsageError(
            f"models for {task.name} are not attacked",
            code="attack.task",
            hint=f"tasks with attacks: {', '.join(known)}",
        )
    if task.gradient_free:
        raise UsageError(
            f"{task.network.arch} has no gradient that an attack could follow",
            code="attack.gradient",
            hint="use a model that was trained in steps",
        )
    made: Scores = importlib.import_module(name).Attacked(task, model)
    return made


def _has_attacks(task: str) -> bool:
    return importlib.util.find_spec(f"cvkit.tasks.{task}.attacked") is not None


def attacked_pixels(
    scores: Scores, pixels: Tensor, truth: Tensor, attack: Attack, seeds: Sequence[int]
) -> Tensor:
    """Return the inputs of a batch after an attack, float32 in [0, 255].

    Least-likely moves towards the class that the model finds least likely (Adversarial Examples in
    the Physical World, 2016, arXiv:1607.02533), the others away from the truth.

    Args:
        scores: the model.
        pixels: [N, 3, ...] in [0, 255].
        truth: see `Scores.truth`.
        attack: which.
        seeds: of the random start of each sample.
    """
    pixels = pixels.float().clone()
    start, sign, target = None, 1.0, truth
    if attack.name == "least-likely":
        with torch.no_grad():
            sign, target = -1.0, scores.logits(pixels).argmin(1)
    elif attack.name == "pgd":
        shape = tuple(pixels.shape[1:])
        start = torch.stack([within(shape, attack.eps, seed) for seed in seeds]).to(pixels.device)
    return signed_steps(
        lambda inputs: sign * losses_each(scores.logits(inputs).float(), target),
        pixels,
        eps=attack.eps,
        steps=attack.steps,
        step=attack.step,
        start=start,
    )


class AttackedTask:
    """A task to evaluate: each batch is attacked before it is predicted.

    Args:
        task: of the model.
        scores: the model.
        attack: which.
        seed: of random starts; with it and its key they depend on nothing else.
    """

    def __init__(
        self, task: Task[Any, Any, Any], scores: Scores, attack: Attack, seed: int
    ) -> None:
        self.task, self.scores, self.attack, self.seed = task, scores, attack, seed

    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Return the results of the attacked samples; see `Task.predict`."""
        assert isinstance(batch.images, Tensor), "samples to evaluate are stacked"
        seeds = [key_seed(self.seed, zlib.crc32(s.path.encode())) for s in batch.samples]
        with torch.inference_mode(False):
            truth = self.scores.truth(batch).clone()
            images = attacked_pixels(self.scores, batch.images, truth, self.attack, seeds)
        return self.task.predict(model, replace(batch, images=images))
