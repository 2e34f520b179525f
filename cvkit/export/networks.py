"""Exported files behind the methods of networks, so that a task can predict with them."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cvkit.export.forms import Normalisation
from cvkit.export.served import ServedFile
from cvkit.models.detection.roi_heads import Detections

WHOLE = 1e-2
"""How far a pixel value may be from a whole number that normalising it has changed."""


class Served(nn.Module):
    """A file in the place of a network.

    Args:
        file: that computes.
        scale: normalisation of the inputs, which is undone: a file takes pixel values.
    """

    def __init__(self, file: ServedFile, scale: Normalisation) -> None:
        super().__init__()
        self.file, self.scale = file, scale

    def pixels(self, images: Tensor) -> Tensor:
        """Return the pixel values from 0 to 255 of NCHW or NCTHW normalised images."""
        shape = (1, -1, *[1] * (images.ndim - 2))
        mean, std = (torch.tensor(v).view(shape) for v in (self.scale.mean, self.scale.std))
        found = (images.float() * std + mean) * 255
        whole = found.round()
        return torch.where((found - whole).abs() < WHOLE, whole, found)


class ServedClassifier(Served):
    """A classifier."""

    def scored(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the [N, K] class probabilities and [N, D] features of NCHW normalised images."""
        found = self.file.run((self.pixels(images),))
        return found["probabilities"], found["features"]


class ServedSegmenter(Served):
    """A segmentation network."""

    def logits(self, images: Tensor) -> Tensor:
        """Return the class logits of NCHW normalised images, at their size."""
        return self.file.run((self.pixels(images),))["logits"]


class ServedClipNetwork(Served):
    """A video network."""

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logarithms of the probabilities of NCTHW normalised clips."""
        found = self.file.run((self.pixels(clips),))["probabilities"]
        return {"out": found.clamp(min=torch.finfo(found.dtype).tiny).log()}


class ServedDetector(Served):
    """A detector of boxes, or of boxes and masks."""

    def detect(
        self, images: list[Tensor], proposals: list[Tensor] | None = None
    ) -> list[Detections]:
        """Return the detections of each CHW uint8 image, in its pixels."""
        found = [self.file.run((image.float(),)) for image in images]
        return [
            Detections(
                each["boxes"], each["scores"], each["labels"], each.get("mask_probabilities")
            )
            for each in found
        ]


SERVED: Mapping[str, type[Served]] = {
    "classify": ServedClassifier,
    "segment": ServedSegmenter,
    "detect": ServedDetector,
    "instance": ServedDetector,
    "video": ServedClipNetwork,
}
"""What stands for the networks of each task."""
