"""Attacks on semantic segmentation: on the mean loss of the pixels with a label."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.ops.images import standardize
from cvkit.structures import Batch, SegMap
from cvkit.tasks.common import truth_of
from cvkit.tasks.segment.network import segmenter
from cvkit.tasks.segment.task import Segment


class Attacked:
    """A segmentation network; see `cvkit.tasks.attackable.Scores`."""

    def __init__(self, task: Segment, model: nn.Module) -> None:
        self.task, self.model = task, model

    def logits(self, pixels: Tensor) -> Tensor:
        """Return [N, K, H, W] logits."""
        made = self.task.preprocessing
        return segmenter(self.model).logits(standardize(pixels / 255, made.mean, made.std))

    def truth(self, batch: Batch) -> Tensor:
        """Return the [N, H, W] classes, in the pixels of the network's input."""
        assert isinstance(batch.images, Tensor), "samples to evaluate are stacked"
        size_hw = batch.images.shape[-2:]
        labels = [torch.from_numpy(truth_of(each, SegMap).labels) for each in batch.samples]
        found = [F.interpolate(each[None, None], size_hw, mode="nearest-exact") for each in labels]
        return torch.cat(found)[:, 0].long().to(batch.images.device)
