"""Explanations of semantic segmentation: the mean logit of a class over a region."""

import numpy as np
import torch
from torch import Tensor, nn

from cvkit.data.classes import without_background
from cvkit.ops.images import standardize
from cvkit.structures import Batch
from cvkit.tasks.common import required
from cvkit.tasks.explainable import Question, Seen, Target
from cvkit.tasks.explained import no_target, whole_window
from cvkit.tasks.segment.network import segmenter
from cvkit.tasks.segment.task import Segment


class Explained:
    """A segmentation network; the score is the mean logit of a class over a region.

    The region is where the class is predicted, or one point. It stays the same while the input is
    changed. The best class is the largest one that is not the background.
    """

    targets = ("top1", "class", "point")

    def __init__(self, task: Segment, model: nn.Module) -> None:
        self.task, self.model = task, model
        self.mapped: nn.Module = model
        self.body: nn.Module = getattr(model, "backbone", model)

    def _logits(self, pixels: Tensor) -> Tensor:
        made = self.task.preprocessing
        return segmenter(self.model).logits(standardize(pixels, made.mean, made.std)).float()

    def ask(self, batch: Batch, target: Target) -> Question:
        """Return the question about a class, or about a point.

        Raises:
            DataError: the class is not predicted, or the point is outside.
        """
        assert not isinstance(batch.images, list), "images to predict are stacked"
        pixels = batch.images.float().contiguous() / 255
        with torch.no_grad():
            labels = self._logits(pixels)[0].argmax(0)
        if target.kind == "point":
            index, region = self._at(labels, batch, target)
            place = f" at {target.point_xy[0]:g},{target.point_xy[1]:g}"
        else:
            index, place = self._chosen(labels, target), ""
            region = labels == index
        if not region.any():
            raise no_target(f"no pixel is predicted as {self.task.classes.names[index]!r}")
        weights = region / region.sum()

        def mean(maps: Tensor) -> Tensor:
            return (maps[:, index] * weights).sum((1, 2))

        name = self.task.classes.names[index]
        return Question(
            pixels=pixels,
            score=lambda inputs: mean(self._logits(inputs)),
            probability=lambda inputs: mean(self._logits(inputs).softmax(1)),
            label=name,
            words=f"{name}{place}",
            region=region.cpu().numpy(),
            window_xyxy=whole_window(pixels),
        )

    def _chosen(self, labels: Tensor, target: Target) -> int:
        names = self.task.classes.names
        if target.kind == "class":
            return names.index(target.name)
        counts = np.bincount(labels.flatten().cpu().numpy(), minlength=len(names))
        front = set(without_background(names, tuple))
        shown = [n for n in counts.argsort()[::-1].tolist() if names[n] in front and counts[n]]
        return shown[0] if shown else int(counts.argmax())

    def _at(self, labels: Tensor, batch: Batch, target: Target) -> tuple[int, Tensor]:
        """Return the class at a point of the original image, and the region of its pixel."""
        original_hw = required(batch.samples[0].geometry).original_hw
        places = []
        for value, length, size in zip(
            target.point_xy[::-1], original_hw, labels.shape, strict=True
        ):
            if not 0 <= value < length:
                raise no_target(
                    f"the point is outside of the image, which has "
                    f"{original_hw[1]}x{original_hw[0]} pixels"
                )
            places.append(int(value / length * size))
        region = torch.zeros_like(labels, dtype=torch.bool)
        region[places[0], places[1]] = True
        return int(labels[places[0], places[1]]), region

    def encode(self, batch: Batch) -> Seen:
        """Run the network on a batch of images."""
        assert not isinstance(batch.images, list), "images to predict are stacked"
        self._logits(batch.images.float() / 255)
        return Seen((1, *batch.images.shape[-2:]))
