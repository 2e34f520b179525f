"""Necks: from a backbone's maps to those of a detector."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.backbones import Backbone


class Neck(nn.Module, ABC):
    """Contract: `forward(images)` returns one map per entry of `strides`, fine to coarse.

    Attributes:
        body: the backbone.
        channels: of every map.
        strides: of the maps.
        extra: number of maps at the end that are for proposals only.
    """

    body: Backbone
    channels: int
    strides: list[int]
    extra: int

    @abstractmethod
    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of NCHW images."""


def _projection(in_channels: int, out_channels: int, kernel: int, norm: bool) -> nn.Sequential:
    """Return a convolution without activation; with batch norm it has no bias."""
    conv = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=not norm)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, *([nn.BatchNorm2d(out_channels)] if norm else []))


class FeaturePyramid(nn.Module):
    """Top-down pathway with lateral connections.

    Source: Feature Pyramid Networks for Object Detection, 2016, arXiv:1612.03144.

    Args:
        in_channels: of the backbone's maps, fine to coarse.
        out_channels: of every map of the pyramid.
        norm: batch norm after every convolution.
    """

    def __init__(self, in_channels: Sequence[int], out_channels: int, norm: bool = False) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(
            _projection(c, out_channels, 1, norm) for c in in_channels
        )
        self.layer_blocks = nn.ModuleList(
            _projection(out_channels, out_channels, 3, norm) for _ in in_channels
        )

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the pyramid of NCHW maps, followed by its coarsest map at half the size."""
        inner = [block(x) for block, x in zip(self.inner_blocks, maps, strict=True)]
        for level in range(len(maps) - 2, -1, -1):
            size_hw = inner[level].shape[-2:]
            above = F.interpolate(inner[level + 1], size=size_hw, mode="nearest")
            inner[level] = inner[level] + above
        result = [block(x) for block, x in zip(self.layer_blocks, inner, strict=True)]
        return [*result, F.max_pool2d(result[-1], kernel_size=1, stride=2)]


class PyramidBackbone(Neck):
    """A backbone with a feature pyramid on its maps of stride 4 and more.

    Args:
        body: the backbone; its maps with a stride below 4 are not used.
        out_channels: of the pyramid.
        norm: batch norm in the pyramid.
    """

    extra = 1

    def __init__(self, body: Backbone, out_channels: int, norm: bool) -> None:
        super().__init__()
        self.first = next(i for i, stride in enumerate(body.strides) if stride >= 4)
        self.body = body
        self.fpn = FeaturePyramid(body.channels[self.first :], out_channels, norm)
        strides = body.strides[self.first :]
        self.channels, self.strides = out_channels, [*strides, 2 * strides[-1]]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the pyramid's maps of NCHW images."""
        return self.fpn(self.body(images)[self.first :])


class SingleMapBackbone(Neck):
    """A backbone that returns only its last map, as detectors did before the pyramid.

    Args:
        body: the backbone, which ends at stride 16.
    """

    extra = 0

    def __init__(self, body: Backbone) -> None:
        super().__init__()
        self.body = body
        self.channels, self.strides = body.channels[-1], body.strides[-1:]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the map of NCHW images."""
        return self.body(images)[-1:]
