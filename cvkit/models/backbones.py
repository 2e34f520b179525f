"""Feature extractors from torchvision behind one contract.

A backbone maps NCHW images to a list of maps C1..C5 (fine to coarse; some have no C1) and
exposes `channels` and `strides`, lists of the same length. Its parameters carry torchvision's
own names, so a classification checkpoint loads without renaming.
"""

import functools
from abc import ABC, abstractmethod

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformer

from cvkit.models.layers import init_kaiming

STRIDES = (2, 4, 8, 16, 32)


def torchvision_network(builder: str, **own: object) -> nn.Module:
    """Return a freshly initialised torchvision network on torch's current default device.

    Args:
        builder: function in `torchvision.models`.
        own: its arguments.
    """
    build = getattr(torchvision.models, builder)
    place = torch.empty(0).device
    # RegNet computes its widths with tensors, which have no values on the meta device.
    with torch.device("cpu" if builder.startswith("regnet") else place):
        net = build(weights=None, **own).to(place)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):
            # Some networks have 0.01, for runs of hundreds of epochs; in shorter ones their
            # statistics would lag behind the weights.
            layer.momentum = max(layer.momentum, 0.1)
    return net


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
        net = torchvision_network(builder)
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
    features = torchvision_network(builder, init_weights=False).features
    init_kaiming(features)
    return features


class Stages(Backbone):
    """A torchvision network that is a chain of layers; each map is the last one of its stride.

    Serves DenseNet, MobileNetV2, EfficientNet, ConvNeXt, Swin and RegNet. ConvNeXt and Swin
    begin at stride 4, so they have the four maps C2..C5.

    Source: arXiv:1608.06993, 1801.04381, 1905.11946, 2201.03545, 2103.14030, 2003.13678.

    Args:
        builder: torchvision function name.
        output_stride: what the subclass can be dilated to.
        positions: of the layers in the chain whose maps are returned instead.
    """

    def __init__(
        self, builder: str, output_stride: int = 32, positions: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        net = torchvision_network(builder, **self._own(output_stride))
        for name in CHAINS[hasattr(net, "features")]:
            setattr(self, name, getattr(net, name))
        self._nhwc = isinstance(net, SwinTransformer)
        taps = stride_taps(builder, positions)
        self.taps = [position for position, _, _ in taps]
        self.channels = [channels for _, _, channels in taps]
        self.strides = [min(stride, output_stride) for _, stride, _ in taps]

    def _own(self, output_stride: int) -> dict[str, object]:
        """Return the builder's arguments for an output stride."""
        return {}

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps C1..C5, or C2..C5, of NCHW images."""
        maps = []
        for position, layer in enumerate(chain(self)):
            images = layer(images)
            if position in self.taps:
                maps.append(images.permute(0, 3, 1, 2) if self._nhwc else images)
        return maps


class MobileNetV3(Stages):
    """MobileNetV3's features, dilated to an output stride of 16 where asked.

    Source: Searching for MobileNetV3, 2019, arXiv:1905.02244.
    """

    def _own(self, output_stride: int) -> dict[str, object]:
        return {"dilated": output_stride == 16}


CHAINS = {True: ("features",), False: ("stem", "trunk_output")}
"""Names of the layers before the classifier, for networks with and without `features`."""


def chain(net: nn.Module) -> list[nn.Module]:
    """Return the layers that lead from the images to the last map."""
    if hasattr(net, "features"):
        return list(net.features)
    return [net.stem, *net.trunk_output]


def stride_taps(builder: str, positions: tuple[int, ...] = ()) -> list[tuple[int, int, int]]:
    """Return (position in the chain, stride, channels) of the last map of each stride from 2.

    Args:
        builder: torchvision function name.
        positions: the maps to tell of instead.
    """
    found = _all_maps(builder)
    if positions:
        return [found[position] for position in positions]
    last = {stride: (position, stride, channels) for position, stride, channels in found}
    return [tap for stride, tap in last.items() if stride > 1]


@functools.cache
def _all_maps(builder: str) -> tuple[tuple[int, int, int], ...]:
    """Return (position, stride, channels) of every layer; one command asks several times."""
    side = 64
    with torch.device("meta"), torch.no_grad():
        net = torchvision_network(builder).eval()
        maps = torch.empty(1, 3, side, side)
        found: list[tuple[int, int, int]] = []
        for position, layer in enumerate(chain(net)):
            maps = layer(maps)
            nhwc = isinstance(net, SwinTransformer)
            stride = side // maps.shape[1 if nhwc else 2]
            found.append((position, stride, maps.shape[3 if nhwc else 1]))
    return tuple(found)
