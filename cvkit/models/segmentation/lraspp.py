"""Lite reduced ASPP."""

from torch import Tensor, nn

from cvkit.models.backbones import Backbone
from cvkit.models.layers import conv_bn_relu
from cvkit.models.segmentation.base import SegmentationModel
from cvkit.ops.resize import height_width, resize_bilinear

WIDTH = 128
"""Channels of the coarse branch."""


class LRASPPHead(nn.Module):
    """Sum of the scores of a coarse map, weighted by its global average, and of a fine map.

    Source: Searching for MobileNetV3, 2019, arXiv:1905.02244, section 6.4; names and layers are
    torchvision's.
    """

    def __init__(self, low_channels: int, high_channels: int, num_classes: int) -> None:
        super().__init__()
        self.cbr = conv_bn_relu(high_channels, WIDTH, 1)
        self.scale = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Conv2d(high_channels, WIDTH, 1, bias=False), nn.Sigmoid()
        )
        self.low_classifier = nn.Conv2d(low_channels, num_classes, 1)
        self.high_classifier = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        """Return NKHW logits at the size of `low`."""
        features = self.cbr(high) * self.scale(high)
        features = resize_bilinear(features, height_width(low))
        return self.low_classifier(low) + self.high_classifier(features)


class LRASPP(SegmentationModel):
    """LR-ASPP as torchvision builds it, on the map of stride 8 and the coarsest one."""

    def __init__(self, backbone: Backbone, num_classes: int, aux_level: int | None = None) -> None:
        super().__init__(backbone, num_classes, aux_level)
        self.low = backbone.strides.index(8)
        channels = backbone.channels
        self.classifier = LRASPPHead(channels[self.low], channels[-1], num_classes)

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at an eighth of the image's size."""
        return self.classifier(maps[self.low], maps[-1])
