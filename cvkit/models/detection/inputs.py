"""From images of any size to one padded batch, and back."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.ops.boxes import scale_boxes
from cvkit.ops.images import input_scale
from cvkit.ops.resize import height_width

DIVISOR = 32
"""Sides of a batch are padded to multiples of this, the coarsest stride of the maps."""


@dataclass(frozen=True)
class PaddedBatch:
    """A batch of padded images.

    Attributes:
        images: [N, 3, H, W] normalised; padded with 0 (the mean colour).
        sizes_hw: sizes of the resized images.
        original_hw: their sizes before resizing.
    """

    images: Tensor
    sizes_hw: list[tuple[int, int]]
    original_hw: list[tuple[int, int]]


class DetectorPreprocessing(Protocol):
    """A model file's description of a detector's inputs; see `DetectionInputs`."""

    @property
    def min_sizes(self) -> tuple[int, ...]:
        """Shorter sides."""

    @property
    def max_size(self) -> int:
        """Limit of the longer side."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Of the pixels in [0, 1]."""

    @property
    def std(self) -> tuple[float, ...]:
        """Of the pixels in [0, 1]."""

    @property
    def scale(self) -> float:
        """Scale factor of images without `min_sizes`."""


class DetectionInputs(nn.Module):
    """Normalise, resize and pad images, in this order, as torchvision's detectors do.

    Args:
        min_sizes: of the shorter side; in training one of them at random, else the last. Empty:
            images are scaled by `scale`.
        max_size: limit of the longer side.
        mean: of the pixels in [0, 1].
        std: of the pixels in [0, 1].
        scale: factor for images without `min_sizes`.
    """

    def __init__(
        self,
        min_sizes: tuple[int, ...],
        max_size: int,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.min_sizes, self.max_size, self.scale = min_sizes, max_size, scale
        self.mean, self.std = mean, std

    def forward(self, images: list[Tensor]) -> PaddedBatch:
        """Return the batch of CHW images: uint8, or float in [0, 1]."""
        resized = [self._resize(self._normalize(image)) for image in images]
        sizes = [height_width(image) for image in resized]
        height, width = (-(-max(sides) // DIVISOR) * DIVISOR for sides in zip(*sizes, strict=True))
        canvas = resized[0].new_zeros((len(resized), 3, height, width))
        for number, image in enumerate(resized):  # so that images may have a gradient
            canvas[number, :, : image.shape[1], : image.shape[2]].copy_(image)
        return PaddedBatch(canvas, sizes, [height_width(image) for image in images])

    def _normalize(self, image: Tensor) -> Tensor:
        if image.dtype == torch.uint8:
            image = image.float() / 255
        mean, std = (
            torch.tensor(v, dtype=image.dtype, device=image.device)[:, None, None]
            for v in (self.mean, self.std)
        )
        return (image - mean) / std

    def _resize(self, image: Tensor) -> Tensor:
        wanted = self.min_sizes[-1] if self.min_sizes else None
        if self.training and len(self.min_sizes) > 1:
            draw = torch.empty(1).uniform_(0.0, float(len(self.min_sizes)))
            wanted = self.min_sizes[int(draw.item())]
        scale = input_scale(height_width(image), wanted, self.max_size, self.scale)
        if scale == 1.0:
            return image
        return F.interpolate(
            image[None],
            scale_factor=scale,
            mode="bilinear",
            recompute_scale_factor=True,
            align_corners=False,
        )[0]

    @staticmethod
    def boxes(batch: PaddedBatch, boxes: list[Tensor]) -> list[Tensor]:
        """Return boxes of the original images in the pixels of the resized ones."""
        sizes = zip(boxes, batch.original_hw, batch.sizes_hw, strict=True)
        return [scale_boxes(each, old, new) for each, old, new in sizes]
