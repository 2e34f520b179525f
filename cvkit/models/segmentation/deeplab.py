"""DeepLabV3 and DeepLabV3+."""

import torch
from torch import Tensor, nn

from cvkit.models.backbones import Backbone
from cvkit.models.layers import conv_bn_relu
from cvkit.models.segmentation.base import SegmentationModel
from cvkit.ops.resize import height_width, resize_bilinear

RATES = {8: (12, 24, 36), 16: (6, 12, 18), 32: (3, 6, 9)}
"""Atrous rates by output stride; they span the same part of the image."""


class ImagePooling(nn.Sequential):
    """Global average pooling, 1x1 convolution, and resizing to the size of the map."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *conv_bn_relu(in_channels, out_channels, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Return NCHW pooled context at the size of `maps`."""
        pooled = super().forward(maps)  # [N, C, 1, 1]
        return resize_bilinear(pooled, height_width(maps))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3 and image pooling, joined by 1x1.

    Source: Rethinking Atrous Convolution for Semantic Image Segmentation, 2017,
    arXiv:1706.05587.
    """

    def __init__(self, in_channels: int, rates: tuple[int, ...], width: int = 256) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            [
                conv_bn_relu(in_channels, width, 1),
                *(conv_bn_relu(in_channels, width, 3, rate) for rate in rates),
                ImagePooling(in_channels, width),
            ]
        )
        joined = conv_bn_relu(len(self.convs) * width, width, 1)
        self.project = nn.Sequential(*joined, nn.Dropout(0.5))

    def forward(self, maps: Tensor) -> Tensor:
        """Return NCHW features of `width` channels at the size of `maps`."""
        return self.project(torch.cat([conv(maps) for conv in self.convs], 1))


class DeepLabV3(SegmentationModel):
    """DeepLabV3 as torchvision builds it: ASPP, one more 3x3, 1x1; no multi-grid.

    Args:
        backbone: its coarsest map is used.
        num_classes: channels of the logits.
        aux_level: as in `SegmentationModel`.
        rates: of the atrous convolutions; None takes those of the backbone's stride.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        aux_level: int | None = None,
        *,
        rates: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(backbone, num_classes, aux_level)
        self.classifier = nn.Sequential(
            ASPP(backbone.channels[-1], rates or RATES[backbone.strides[-1]]),
            *conv_bn_relu(256, 256),
            nn.Conv2d(256, num_classes, 1),
        )

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at the stride of the coarsest map."""
        return self.classifier(maps[-1])


class DeepLabV3Plus(SegmentationModel):
    """DeepLabV3+: a small decoder combines ASPP features with the low-level map C2.

    Source: Encoder-Decoder with Atrous Separable Convolution for Semantic Image Segmentation,
    2018, arXiv:1802.02611.
    """

    def __init__(self, backbone: Backbone, num_classes: int, aux_level: int | None = None) -> None:
        super().__init__(backbone, num_classes, aux_level)
        self.aspp = ASPP(backbone.channels[-1], RATES[backbone.strides[-1]])
        self.low = backbone.strides.index(4)
        self.low_level = conv_bn_relu(backbone.channels[self.low], 48, 1)
        self.classifier = nn.Sequential(
            conv_bn_relu(256 + 48, 256), conv_bn_relu(256, 256), nn.Conv2d(256, num_classes, 1)
        )

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at a quarter of the image's size."""
        fine = self.low_level(maps[self.low])
        coarse = resize_bilinear(self.aspp(maps[-1]), fine.shape[-2:])
        return self.classifier(torch.cat([coarse, fine], 1))
