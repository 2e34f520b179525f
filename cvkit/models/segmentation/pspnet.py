"""PSPNet."""

import torch
from torch import Tensor, nn

from cvkit.models.backbones import Backbone
from cvkit.models.layers import conv_bn_relu
from cvkit.models.segmentation.base import SegmentationModel
from cvkit.ops.resize import height_width, resize_bilinear


class PyramidPooling(nn.Module):
    """Averages over 1x1, 2x2, 3x3 and 6x6 bins, concatenated with their input map."""

    def __init__(self, in_channels: int, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        width = in_channels // len(bins)
        self.branches = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), *conv_bn_relu(in_channels, width, 1))
            for size in bins
        )
        self.out_channels = in_channels + width * len(bins)

    def forward(self, maps: Tensor) -> Tensor:
        """Return NCHW `maps` with the pooled context appended as channels."""
        size_hw = height_width(maps)
        pooled = [resize_bilinear(branch(maps), size_hw) for branch in self.branches]
        return torch.cat([maps, *pooled], 1)


class PSPNet(SegmentationModel):
    """Pyramid scene parsing on a dilated backbone.

    Upsamples with `align_corners=False`, so that any image size works; the authors' code uses True
    and needs sides of 8n + 1.

    Source: Pyramid Scene Parsing Network, 2016, arXiv:1612.01105.
    """

    def __init__(self, backbone: Backbone, num_classes: int, aux_level: int | None = None) -> None:
        super().__init__(backbone, num_classes, aux_level)
        self.pyramid = PyramidPooling(backbone.channels[-1])
        width = backbone.channels[-1] // 4
        self.classifier = nn.Sequential(
            *conv_bn_relu(self.pyramid.out_channels, width),
            nn.Dropout2d(0.1),
            nn.Conv2d(width, num_classes, 1),
        )

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at the stride of the coarsest map."""
        return self.classifier(self.pyramid(maps[-1]))
