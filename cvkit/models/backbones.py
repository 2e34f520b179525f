"""Feature extractors from torchvision behind one contract.

A backbone maps NCHW images to a list of maps C1..C5 (fine to coarse) and exposes `channels`
and `strides`, lists of the same length. Its parameters carry torchvision's own names, so a
classification checkpoint loads without renaming.
"""

from abc import ABC, abstractmethod

import torchvision
from torch import Tensor, nn

from cvkit.models.layers import init_kaiming

STRIDES = (2, 4, 8, 16, 32)


class Backbone(nn.Module, ABC):
    """Contract: `forward(images)` returns one map per entry of `channels` and `strides`."""

    channels: list[int]
    strides: list[int]

    def _set_contract(self, channels: list[int], output_stride: int) -> None:
        self.channels = channels
        self.strides = [min(stride, output_stride) for stride in STRIDES]

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps C1..C5 of NCHW images."""


class ResNet(Backbone):
    """ResNet without its classifier, dilated to an output stride of 8 or 16 where asked.

    Source: Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385; dilation:
    Multi-Scale Context Aggregation by Dilated Convolutions, 2015, arXiv:1511.07122.

    Args:
        builder: torchvision function name, such as `resnet50`.
        output_stride: 8, 16 or 32.
        uniform_dilation: give the first block of a dilated stage the new rate too. Published
            torchvision weights were trained without it, with the previous stage's rate there.
    """

    def __init__(
        self, builder: str, output_stride: int = 32, uniform_dilation: bool = False
    ) -> None:
        super().__init__()
        net = getattr(torchvision.models, builder)(weights=None)
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2 = net.layer1, net.layer2
        self.layer3, self.layer4 = net.layer3, net.layer4
        rate = 1
        for stage, stride in ((self.layer3, 16), (self.layer4, 32)):
            if stride > output_stride:
                _dilate(stage, first=2 * rate if uniform_dilation else rate, rest=2 * rate)
                rate *= 2
        width = net.fc.in_features
        self._set_contract([64, width // 8, width // 4, width // 2, width], output_stride)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps C1..C5 of NCHW images."""
        c1 = self.relu(self.bn1(self.conv1(images)))
        c2 = self.layer1(self.maxpool(c1))
        c3 = self.layer2(c2)
        c4 = self.layer3(c3)
        return [c1, c2, c3, c4, self.layer4(c4)]


def _dilate(stage: nn.Sequential, first: int, rest: int) -> None:
    """Turn a stage's stride into dilation: rate `first` in its first block, `rest` after."""
    for position, block in enumerate(stage):
        rate = rest if position else first
        for conv in (m for m in block.modules() if isinstance(m, nn.Conv2d)):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (rate, rate)


class VGG(Backbone):
    """VGG-16's convolutions; each map is what comes out of a pooling layer.

    Source: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014,
    arXiv:1409.1556.
    """

    def __init__(self, builder: str, output_stride: int = 32) -> None:
        super().__init__()
        self.features = vgg_features(builder)
        self._set_contract([64, 128, 256, 512, 512], output_stride)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps C1..C5 of NCHW images."""
        maps = []
        for layer in self.features:
            images = layer(images)
            if isinstance(layer, nn.MaxPool2d):
                maps.append(images)
        return maps


def vgg_features(builder: str) -> nn.Sequential:
    """Return the convolutional part of a torchvision VGG, freshly initialised."""
    features = getattr(torchvision.models, builder)(weights=None, init_weights=False).features
    init_kaiming(features)
    return features


class MobileNetV3(Backbone):
    """MobileNetV3's features; each map is the last one of its stride.

    Source: Searching for MobileNetV3, 2019, arXiv:1905.02244.

    Args:
        builder: torchvision function name, such as `mobilenet_v3_large`.
        output_stride: 16 or 32.
    """

    def __init__(self, builder: str, output_stride: int = 32) -> None:
        super().__init__()
        net = getattr(torchvision.models, builder)(weights=None, dilated=output_stride == 16)
        self.features = net.features
        # Blocks flagged `_is_cn` begin a new stride; dilation keeps the flag and drops the stride.
        starts = [i for i, block in enumerate(net.features) if getattr(block, "_is_cn", False)]
        self._taps = [start - 1 for start in starts[-4:]] + [len(net.features) - 1]
        channels = [_out_channels(net.features[tap]) for tap in self._taps]
        self._set_contract(channels, output_stride)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps C1..C5 of NCHW images."""
        maps = []
        for position, layer in enumerate(self.features):
            images = layer(images)
            if position in self._taps:
                maps.append(images)
        return maps


def _out_channels(block: nn.Module) -> int:
    """Return the channels that leave a block, those of its last convolution."""
    return [m for m in block.modules() if isinstance(m, nn.Conv2d)][-1].out_channels
