"""Attacks on video classification: on the mean probability of the views, as it is predicted."""

import math

import torch
from torch import Tensor, nn

from cvkit.ops.images import standardize
from cvkit.structures import Batch
from cvkit.tasks.common import required
from cvkit.tasks.video.task import CLIPS_AT_ONCE, Video


class Attacked:
    """A clip network; see `cvkit.tasks.attackable.Scores`."""

    def __init__(self, task: Video, model: nn.Module) -> None:
        self.task, self.model = task, model

    def logits(self, pixels: Tensor) -> Tensor:
        """Return the [N, K] logarithms of the mean probabilities of NCVTHW views."""
        made = self.task.preprocessing
        views = standardize(pixels / 255, made.mean, made.std).transpose(1, 2)  # [N, V, C, T, H, W]
        parts = views.flatten(0, 1).split(CLIPS_AT_ONCE)
        logits = torch.cat([self.model(part)["out"] for part in parts])
        logs = logits.unflatten(0, views.shape[:2]).log_softmax(2)
        return logs.logsumexp(1) - math.log(views.shape[1])

    def truth(self, batch: Batch) -> Tensor:
        """Return the [N] classes."""
        return required(batch.labels)
