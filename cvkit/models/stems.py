"""First layers for small images.

Torchvision's networks downsample an image by 4 before their first stage, because they expect 224
pixels. Images of 32 pixels, such as CIFAR's, would end as one pixel; a small stem omits the first
two reductions by 2 (or, for patches, uses smaller ones).
"""

from collections.abc import Callable
from typing import Any

from torch import nn


def _resnet(net: Any) -> None:
    """3x3 without stride and without max-pooling, as the ResNet paper does on CIFAR."""
    net.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    net.maxpool = nn.Identity()


def _densenet(net: Any) -> None:
    """3x3 without stride and without max-pooling, as the DenseNet paper does on CIFAR."""
    net.features.conv0 = nn.Conv2d(3, net.features.conv0.out_channels, 3, padding=1, bias=False)
    nn.init.kaiming_normal_(net.features.conv0.weight)
    net.features.pool0 = nn.Identity()


def _strides(net: nn.Module) -> None:
    """Remove the stride from the first two places with stride 2."""
    places: list[tuple[int, ...]] = []
    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
            place = tuple(name.split(".")[:2])  # a shortcut has the stride of its block
            if place not in places and len(places) == 2:
                return
            places += [] if place in places else [place]
            layer.stride = (1, 1)


def _patch(net: Any) -> None:
    """Patches of 2 instead of 4 pixels."""
    old = net.features[0][0]
    net.features[0][0] = nn.Conv2d(3, old.out_channels, 2, stride=2)
    nn.init.trunc_normal_(net.features[0][0].weight, std=0.02)
    nn.init.zeros_(net.features[0][0].bias)


def _vit(net: Any) -> None:
    """Patches of 4 pixels; the network must have been built for this number of patches."""
    width = net.conv_proj.out_channels
    net.image_size, net.patch_size = net.image_size * SMALL_PATCH // net.patch_size, SMALL_PATCH
    net.conv_proj = nn.Conv2d(3, width, SMALL_PATCH, stride=SMALL_PATCH)
    nn.init.trunc_normal_(net.conv_proj.weight, std=(1 / (3 * SMALL_PATCH**2)) ** 0.5)
    nn.init.zeros_(net.conv_proj.bias)


SMALL_PATCH = 4
"""Side of the patches of a vision transformer with a small stem, in pixels."""

SMALL: dict[str, Callable[[Any], None]] = {
    "resnet": _resnet,
    "densenet": _densenet,
    "strides": _strides,
    "patch": _patch,
    "vit": _vit,
}
