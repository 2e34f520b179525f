"""Architectures in the forms in which other projects build them, for their trained weights.

The forms differ from cvkit's in widths, in the number of layers and in how maps are resized.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.backbones import Backbone
from cvkit.models.layers import conv_bn_relu
from cvkit.models.segmentation.base import SegmentationModel
from cvkit.models.segmentation.deeplab import DeepLabV3, ImagePooling
from cvkit.ops.resize import height_width, resize_bilinear

RATES = (12, 24, 36)
"""Atrous rates of all these forms."""


def resize_corners(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return NCHW maps resized bilinearly with the centres of corner pixels aligned."""
    return F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=True)


class CornerModel(SegmentationModel):
    """A network whose logits are resized with aligned corners (segmentation_models.pytorch)."""

    def logits(self, images: Tensor) -> Tensor:
        """Return the class logits of NCHW normalised images, at their size."""
        size_hw = height_width(images)
        return resize_corners(self.decode(self.backbone(images), size_hw), size_hw)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits under the name `out`."""
        return {"out": self.logits(images)}


class CornerDeepLabV3(CornerModel, DeepLabV3):
    """DeepLabV3 of segmentation_models.pytorch."""

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        aux_level: int | None = None,
        *,
        rates: tuple[int, ...] = RATES,
    ) -> None:
        super().__init__(backbone, num_classes, None, rates=rates)


def separable(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    """Return a 3x3 convolution per channel and a 1x1 one, then batch norm and ReLU."""
    depthwise = nn.Conv2d(
        *(in_channels, in_channels, 3),
        padding=dilation,
        dilation=dilation,
        groups=in_channels,
        bias=False,
    )
    return nn.Sequential(depthwise, *conv_bn_relu(in_channels, out_channels, 1))


class CornerDeepLabV3Plus(CornerModel):
    """DeepLabV3+ of segmentation_models.pytorch, with separable convolutions."""

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        aux_level: int | None = None,
        *,
        rates: tuple[int, ...] = RATES,
    ) -> None:
        super().__init__(backbone, num_classes, None)
        channels, width = backbone.channels[-1], 256
        self.low = backbone.strides.index(4)
        self.branches = nn.ModuleList(
            [
                conv_bn_relu(channels, width, 1),
                *(separable(channels, width, rate) for rate in rates),
                ImagePooling(channels, width),
            ]
        )
        project = conv_bn_relu(len(self.branches) * width, width, 1)
        self.project = nn.Sequential(*project, nn.Dropout(0.5), separable(width, width))
        self.low_level = conv_bn_relu(backbone.channels[self.low], 48, 1)
        self.classifier = nn.Sequential(
            separable(48 + width, width), nn.Conv2d(width, num_classes, 1)
        )

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at a quarter of the image's size."""
        joined = torch.cat([branch(maps[-1]) for branch in self.branches], 1)
        fine = self.low_level(maps[self.low])
        coarse = resize_corners(self.project(joined), height_width(fine))
        return self.classifier(torch.cat([coarse, fine], 1))


class CornerPSPNet(CornerModel):
    """PSPNet of segmentation_models.pytorch, on the map of stride 8; its 1x1 bin has no norm."""

    bins = (1, 2, 3, 6)

    def __init__(self, backbone: Backbone, num_classes: int, aux_level: int | None = None) -> None:
        super().__init__(backbone, num_classes, None)
        self.level = backbone.strides.index(8)
        channels = backbone.channels[self.level]
        width = channels // len(self.bins)
        one = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(inplace=True))
        more = (conv_bn_relu(channels, width, 1) for _ in self.bins[1:])
        self.branches = nn.ModuleList([one, *more])
        self.joined = conv_bn_relu(channels + width * len(self.bins), 512, 1)
        self.classifier = nn.Sequential(
            nn.Dropout2d(0.2), nn.Conv2d(512, num_classes, 3, padding=1)
        )

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at an eighth of the image's size."""
        used = maps[self.level]
        pooled = [
            resize_corners(branch(F.adaptive_avg_pool2d(used, bins)), height_width(used))
            for bins, branch in zip(self.bins, self.branches, strict=True)
        ]
        return self.classifier(self.joined(torch.cat([*pooled, used], 1)))


class FCNOfTwo(SegmentationModel):
    """mmsegmentation's FCN: two 3x3 convolutions, and a third one on their input and output."""

    def __init__(self, backbone: Backbone, num_classes: int, aux_level: int | None = None) -> None:
        super().__init__(backbone, num_classes, aux_level)
        channels = backbone.channels[-1]
        width = channels // 4
        self.convs = nn.Sequential(conv_bn_relu(channels, width), conv_bn_relu(width, width))
        self.joined = conv_bn_relu(channels + width, width)
        self.classifier = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(width, num_classes, 1))

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at the stride of the coarsest map."""
        features = torch.cat([maps[-1], self.convs(maps[-1])], 1)
        return self.classifier(self.joined(features))


def _separated(in_channels: int, out_channels: int, dilation: int = 1) -> nn.Sequential:
    """Return mmsegmentation's separable convolution: a batch norm and ReLU after both parts."""
    depthwise, *pointwise = separable(in_channels, out_channels, dilation)
    return nn.Sequential(
        *(depthwise, nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)), *pointwise
    )


class WideDeepLabV3(SegmentationModel):
    """mmsegmentation's DeepLabV3: the branches are a quarter of the map's width, joined by 3x3."""

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        aux_level: int | None = None,
        *,
        rates: Sequence[int] = RATES,
    ) -> None:
        super().__init__(backbone, num_classes, aux_level)
        channels = backbone.channels[-1]
        width = self.width = channels // 4
        self.branches = nn.ModuleList(
            [
                ImagePooling(channels, width),
                conv_bn_relu(channels, width, 1),
                *(self.dilated(channels, width, rate) for rate in rates),
            ]
        )
        self.joined = self.dilated(len(self.branches) * width, width, 1)
        self.classifier = nn.Sequential(nn.Dropout2d(0.1), nn.Conv2d(width, num_classes, 1))

    @staticmethod
    def dilated(in_channels: int, out_channels: int, rate: int) -> nn.Sequential:
        """Return the 3x3 convolution of a branch."""
        return conv_bn_relu(in_channels, out_channels, 3, rate)

    def context(self, maps: Tensor) -> Tensor:
        """Return the joined branches of the coarsest map."""
        return self.joined(torch.cat([branch(maps) for branch in self.branches], 1))

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at the stride of the coarsest map."""
        return self.classifier(self.context(maps[-1]))


class WideDeepLabV3Plus(WideDeepLabV3):
    """mmsegmentation's DeepLabV3+: the same with separable convolutions and the map C2."""

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        aux_level: int | None = None,
        *,
        rates: Sequence[int] = RATES,
    ) -> None:
        super().__init__(backbone, num_classes, aux_level, rates=rates)
        self.low = backbone.strides.index(4)
        self.low_level = conv_bn_relu(backbone.channels[self.low], 48, 1)
        self.refined = nn.Sequential(
            _separated(self.width + 48, self.width), _separated(self.width, self.width)
        )

    @staticmethod
    def dilated(in_channels: int, out_channels: int, rate: int) -> nn.Sequential:
        """Return the separable convolution of a branch."""
        return _separated(in_channels, out_channels, rate)

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at a quarter of the image's size."""
        fine = self.low_level(maps[self.low])
        coarse = resize_bilinear(self.context(maps[-1]), height_width(fine))
        return self.classifier(self.refined(torch.cat([coarse, fine], 1)))
