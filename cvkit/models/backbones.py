"""Feature extractors from torchvision behind one contract.

A backbone maps NCHW images to a list of maps C1..C5 (fine to coarse; some have no C1) and
exposes `channels` and `strides`, lists of the same length. Its parameters have torchvision's names,
so a classification checkpoint loads without renaming.
"""

import functools
import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from cvkit.catalog import BACKBONES, BUILDERS, resolve
from cvkit.errors import UsageError
from cvkit.models.layers import init_kaiming
from cvkit.models.recompute import recomputed
from cvkit.models.trials import on_meta, strip

STRIDES = (2, 4, 8, 16, 32)


def torchvision_network(builder: str, **arguments: object) -> Any:
    """Return a freshly initialised torchvision network on torch's current default device.

    Args:
        builder: function in `torchvision.models`.
        arguments: of that function.
    """
    build = getattr(torchvision.models, builder)
    place = torch.empty(0).device
    # Tensors have no values on the meta device.
    with torch.device("cpu" if BACKBONES[BUILDERS[builder]].computed_widths else place):
        net = build(weights=None, **arguments).to(place)
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d) and layer.momentum is not None:
            # Some networks have 0.01, for runs of hundreds of epochs; in shorter runs their
            # statistics would lag behind the weights.
            layer.momentum = max(layer.momentum, 0.1)
    return net


class Backbone(nn.Module, ABC):
    """Contract: `forward(images)` returns one map per entry of `channels` and `strides`."""

    channels: list[int]
    strides: list[int]
    unfused = 1
    """Number of stages at the beginning between which video networks do not fuse frames."""

    def _set_contract(self, channels: list[int], output_stride: int) -> None:
        self.channels = channels
        self.strides = [min(stride, output_stride) for stride in STRIDES]

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps C1..C5 of NCHW images."""

    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """Return its parts from the image to the last map; each part ends with one of the maps.

        Applied one after the other, they are the backbone; every layer belongs to one of them.
        """

    @classmethod
    @abstractmethod
    def divided(cls, net: Any, builder: str) -> list[nn.Module]:
        """Return the same stages of torchvision's complete network, given its builder."""


def pooled(body: Backbone) -> Backbone:
    """Let a backbone return the [N, C] means of its last map instead of its maps.

    It stays what it was otherwise: a wrapper would add to the names of its parameters.

    Args:
        body: changed in place.
    """
    kind = type(body)

    def forward(self: Any, images: Tensor) -> Tensor:
        return self.avgpool(kind.forward(self, images)[-1]).flatten(1)

    body.avgpool = nn.AdaptiveAvgPool2d(1)
    body.__class__ = type(f"Pooled{kind.__name__}", (kind,), {"forward": forward})
    return body


def network_stages(backbone: str, net: nn.Module) -> list[nn.Module]:
    """Return the stages of a network, which may be torchvision's with its classifier.

    Args:
        backbone: its key in `catalog.BACKBONES`.
        net: the network.

    Raises:
        UsageError: it is not divided into stages.
    """
    entry = BACKBONES[backbone]
    if isinstance(net, Backbone):
        return net.stages()
    if not entry.divider:
        raise UsageError(
            f"--trainable-layers: --backbone {backbone} is not divided into stages",
            code="trainable_layers.unsupported",
            hint="omit it, or choose a backbone such as resnet18",
        )
    divider: type[Backbone] = resolve(entry.divider)
    return divider.divided(net, entry.builder)


class ResNet(Backbone):
    """ResNet without its classifier, optionally dilated to an output stride of 8 or 16.

    Source: Deep Residual Learning for Image Recognition, 2015, arXiv:1512.03385; dilation:
    Multi-Scale Context Aggregation by Dilated Convolutions, 2015, arXiv:1511.07122.

    Args:
        builder: torchvision function name, such as `resnet50`.
        output_stride: 8, 16 or 32. The first block of a dilated stage keeps the rate of the
            previous stage, as in the training of torchvision's published weights.
        full_dilation: it has the rate of its stage instead.
        deep_stem: three 3x3 convolutions instead of one of 7x7, as in Bag of Tricks for Image
            Classification, 2018, arXiv:1812.01187 (ResNet-C); named as in timm.
        stride_first: bottlenecks have their stride in the first convolution, as in the authors'
            Caffe models, instead of the second.
    """

    unfused = 2

    def __init__(
        self,
        builder: str,
        output_stride: int = 32,
        *,
        full_dilation: bool = False,
        deep_stem: bool = False,
        stride_first: bool = False,
    ) -> None:
        super().__init__()
        net = torchvision_network(builder)
        if deep_stem:
            net.conv1 = _deep_stem()
        if stride_first:
            _stride_first(net)
        self.conv1, self.bn1, self.relu, self.maxpool = net.conv1, net.bn1, net.relu, net.maxpool
        self.layer1, self.layer2 = net.layer1, net.layer2
        self.layer3, self.layer4 = net.layer3, net.layer4
        rate = 1
        for stage, stride in ((self.layer3, 16), (self.layer4, 32)):
            if stride > output_stride:
                _dilate(stage, first=2 * rate if full_dilation else rate, rest=2 * rate)
                rate *= 2
        width = net.fc.in_features
        self._set_contract([64, width // 8, width // 4, width // 2, width], output_stride)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps C1..C5 of NCHW images; C1..C4 without the last stage."""
        maps = [self.relu(self.bn1(self.conv1(images)))]
        images = self.maxpool(maps[0])
        for layer in self._layers():
            images = layer(images)
            maps.append(images)
        return maps

    def stages(self) -> list[nn.Module]:
        """Return the first convolution, pooling with the first layers, and each further part."""
        return self.divided(self, "")[: len(self.strides)]

    @classmethod
    def divided(cls, net: Any, builder: str) -> list[nn.Module]:
        """Return the same stages of torchvision's complete network."""
        first = nn.Sequential(net.conv1, net.bn1, net.relu)
        second = nn.Sequential(net.maxpool, net.layer1)
        return [first, second, net.layer2, net.layer3, net.layer4]

    def take_last_stage(self) -> nn.Module:
        """Remove the last stage from the backbone and return it."""
        last, self.layer4 = self.layer4, nn.Sequential()
        self.channels, self.strides = self.channels[:-1], self.strides[:-1]
        return last

    def _layers(self) -> list[nn.Module]:
        layers = [self.layer1, self.layer2, self.layer3, self.layer4]
        return layers[: len(self.strides) - 1]


def _deep_stem() -> nn.Sequential:
    """Return ResNet-C's first convolutions; the last one's batch norm follows them."""
    convs = [
        nn.Conv2d(given, width, 3, stride, padding=1, bias=False)
        for given, width, stride in ((3, 32, 2), (32, 32, 1), (32, 64, 1))
    ]
    for conv in convs:
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    first, second, last = convs
    return nn.Sequential(
        *(first, nn.BatchNorm2d(32), nn.ReLU(inplace=True)),
        *(second, nn.BatchNorm2d(32), nn.ReLU(inplace=True)),
        last,
    )


def _stride_first(net: nn.Module) -> None:
    """Move the strides of bottlenecks from their second convolution to the first."""
    for block in net.modules():
        if isinstance(block, Bottleneck):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def _dilate(stage: nn.Sequential, first: int, rest: int) -> None:
    """Turn a stage's stride into dilation: rate `first` in its first block, `rest` after."""
    for position, block in enumerate(stage):
        rate = rest if position else first
        for conv in (m for m in block.modules() if isinstance(m, nn.Conv2d)):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3):
                conv.dilation = conv.padding = (rate, rate)


class VGG(Backbone):
    """The convolutions of a VGG; each map is the output of a pooling layer.

    Source: Very Deep Convolutional Networks for Large-Scale Image Recognition, 2014,
    arXiv:1409.1556.

    Args:
        builder: torchvision function name.
        output_stride: 32; or 16, to leave out the last pooling layer.
    """

    recomputes = False
    """Whether the activations inside its stages are computed again for the gradient."""

    def __init__(self, builder: str, output_stride: int = 32) -> None:
        super().__init__()
        features = vgg_features(builder)
        self.features = features if output_stride == 32 else features[:-1]
        self._set_contract([64, 128, 256, 512, 512], output_stride)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps C1..C5 of NCHW images."""
        maps = []
        for stage in self.stages():
            images = stage(images)
            maps.append(images)
        return maps

    def stages(self) -> list[nn.Module]:
        """Return the layers up to each pooling layer, and those after the last one."""
        stages = self.divided(self, "")
        return [recomputed(stage) for stage in stages] if self.recomputes else stages

    @classmethod
    def divided(cls, net: Any, builder: str) -> list[nn.Module]:
        """Return the same stages of torchvision's complete network."""
        layers = list(net.features)
        ends = [i + 1 for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
        return _divided(layers, ends)


def _divided(layers: Sequence[nn.Module], ends: Iterable[int]) -> list[nn.Module]:
    """Return parts of a chain, each up to an end (exclusive), and the rest after the last end."""
    places = sorted({0, *ends, len(layers)})
    return [nn.Sequential(*layers[a:b]) for a, b in itertools.pairwise(places)]


def vgg_features(builder: str) -> nn.Sequential:
    """Return the convolutional part of a torchvision VGG, freshly initialised."""
    features = torchvision_network(builder, init_weights=False).features
    init_kaiming(features)
    return features


class Chain(Backbone):
    """A torchvision network that is a chain of layers; each map is the last one of its stride.

    For DenseNet, MobileNetV2, EfficientNet, and ConvNeXt, which starts at stride 4 and therefore
    has the four maps C2..C5.

    Source: arXiv:1608.06993, 1801.04381, 1905.11946, 2201.03545.

    Args:
        builder: torchvision function name.
        output_stride: one that the subclass supports.
        positions: of the layers in the chain whose maps are returned instead of the default ones.
    """

    parts: tuple[str, ...] = ("features",)
    """Names of the layers before the classifier."""
    channels_last = False
    """The maps inside are NHWC."""

    def __init__(
        self, builder: str, output_stride: int = 32, positions: tuple[int, ...] = ()
    ) -> None:
        super().__init__()
        net = torchvision_network(builder, **self._arguments(output_stride))
        for name in self.parts:
            setattr(self, name, getattr(net, name))
        taps = self.taps_of(builder, positions)
        self.taps = [position for position, _, _ in taps]
        self.channels = [channels for _, _, channels in taps]
        self.strides = [min(stride, output_stride) for _, stride, _ in taps]

    def _arguments(self, output_stride: int) -> dict[str, object]:
        """Return the builder's arguments for an output stride."""
        return {}

    @classmethod
    def layers(cls, net: Any) -> list[nn.Module]:
        """Return the layers of a network from the images to the last map."""
        return list(net.features)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps C1..C5, or C2..C5, of NCHW images."""
        maps = []
        for position, layer in enumerate(self.layers(self)):
            images = layer(images)
            if position in self.taps:
                maps.append(images.permute(0, 3, 1, 2) if self.channels_last else images)
        return maps

    def stages(self) -> list[nn.Module]:
        """Return the layers up to each of the maps."""
        return _divided(self.layers(self), (tap + 1 for tap in self.taps))

    @classmethod
    def divided(cls, net: Any, builder: str) -> list[nn.Module]:
        """Return the same stages of torchvision's complete network."""
        return _divided(cls.layers(net), (tap + 1 for tap, _, _ in cls.taps_of(builder)))

    @classmethod
    def taps_of(cls, builder: str, positions: tuple[int, ...] = ()) -> list[tuple[int, int, int]]:
        """Return (position in the chain, stride, channels) of the last map of each stride from 2.

        Args:
            builder: torchvision function name.
            positions: the maps to describe instead.
        """
        found = cls._all_maps(builder)
        if positions:
            return [found[position] for position in positions]
        last = {stride: (position, stride, channels) for position, stride, channels in found}
        return [tap for stride, tap in last.items() if stride > 1]

    @classmethod
    @functools.cache
    def _all_maps(cls, builder: str) -> tuple[tuple[int, int, int], ...]:
        """Return (position, stride, channels) of every layer; cached for repeated calls."""
        side = 64
        found: list[tuple[int, int, int]] = []
        with on_meta(), torch.no_grad():
            net = torchvision_network(builder).eval()
            strip(net)
            maps = torch.empty(1, 3, side, side)
            for position, layer in enumerate(cls.layers(net)):
                maps = layer(maps)
                height, channels = (1, 3) if cls.channels_last else (2, 1)
                found.append((position, side // maps.shape[height], maps.shape[channels]))
        return tuple(found)


class Swin(Chain):
    """Swin's features, whose maps are NHWC inside; it starts at stride 4.

    Source: Swin Transformer, 2021, arXiv:2103.14030.
    """

    channels_last = True


class RegNet(Chain):
    """RegNet's stem and stages.

    Source: Designing Network Design Spaces, 2020, arXiv:2003.13678.
    """

    parts = ("stem", "trunk_output")

    @classmethod
    def layers(cls, net: Any) -> list[nn.Module]:
        """Return the layers of a network from the images to the last map."""
        return [net.stem, *net.trunk_output]


class MobileNetV3(Chain):
    """MobileNetV3's features, optionally dilated to an output stride of 16.

    Source: Searching for MobileNetV3, 2019, arXiv:1905.02244.
    """

    def _arguments(self, output_stride: int) -> dict[str, object]:
        return {"dilated": output_stride == 16}
