"""Attacks on image classification: on the logits of the image as it is, not mirrored or cropped."""

from torch import Tensor, nn

from cvkit.ops.images import standardize
from cvkit.structures import Batch
from cvkit.tasks.classify.task import Classify
from cvkit.tasks.common import required


class Attacked:
    """A classifier; see `cvkit.tasks.attackable.Scores`."""

    def __init__(self, task: Classify, model: nn.Module) -> None:
        self.task, self.model = task, model

    def logits(self, pixels: Tensor) -> Tensor:
        """Return [N, K] logits."""
        made = self.task.preprocessing
        logits: Tensor = self.model(standardize(pixels / 255, made.mean, made.std))["out"]
        return logits

    def truth(self, batch: Batch) -> Tensor:
        """Return the [N] classes."""
        return required(batch.labels)
