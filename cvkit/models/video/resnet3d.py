"""Residual networks over space and time; parameters have torchvision's names.

Source: A Closer Look at Spatiotemporal Convolutions for Action Recognition, 2017,
arXiv:1711.11248.
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from cvkit.models.layers import Conv3d

STRIDES = (1, 2, 2, 2)
Conv = Callable[[int, int, int, int], nn.Module]
"""Called with input and output channels, channels in the middle, and the stride."""


def _full(channels: int, out: int, _: int, stride: int) -> nn.Module:
    return Conv3d(channels, out, 3, stride, 1, bias=False)


def _flat(channels: int, out: int, _: int, stride: int) -> nn.Module:
    return Conv3d(channels, out, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False)


def _split(channels: int, out: int, middle: int, stride: int) -> nn.Module:
    return nn.Sequential(
        Conv3d(channels, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
        nn.BatchNorm3d(middle),
        nn.ReLU(inplace=True),
        Conv3d(middle, out, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
    )


KINDS: dict[str, tuple[Conv, ...]] = {
    "r3d": (_full,) * 4,
    "mc3": (_full, _flat, _flat, _flat),
    "r2plus1d": (_split,) * 4,
}
"""Convolutions of the four stages."""


class Block(nn.Module):
    """Two convolutions and a shortcut.

    Args:
        channels: of the input.
        out: of the output.
        conv: makes the convolutions.
        stride: of the first one.
        middle: channels in the middle of split convolutions.
    """

    def __init__(self, channels: int, out: int, conv: Conv, stride: int, middle: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            conv(channels, out, middle, stride), nn.BatchNorm3d(out), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(conv(out, out, middle, 1), nn.BatchNorm3d(out))
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or channels != out:
            steps = (1, stride, stride) if conv is _flat else stride
            self.downsample = nn.Sequential(
                Conv3d(channels, out, 1, steps, bias=False), nn.BatchNorm3d(out)
            )

    def forward(self, clips: Tensor) -> Tensor:
        """Return the sum of the shortcut and the convolutions, rectified."""
        shortcut = clips if self.downsample is None else self.downsample(clips)
        return self.relu(self.conv2(self.conv1(clips)) + shortcut)


class VideoResNet(nn.Module):
    """R3D, MC3 or R(2+1)D.

    Args:
        num_classes: K.
        kind: key of `KINDS`.
        width: channels of the first stage; each further stage has twice as many.
        blocks: per stage.
    """

    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    def __init__(
        self,
        num_classes: int,
        *,
        kind: str,
        width: int = 64,
        blocks: Sequence[int] = (2, 2, 2, 2),
    ) -> None:
        super().__init__()
        self.stem = _stem(kind, width)
        channels = width
        for number, (conv, stride, count) in enumerate(
            zip(KINDS[kind], STRIDES, blocks, strict=True)
        ):
            out = width * 2**number
            stage = []
            for place in range(count):
                # Both convolutions of a block have the middle width of the first one, as in
                # torchvision.
                middle = _middle(channels, out)
                stage.append(Block(channels, out, conv, stride if place == 0 else 1, middle))
                channels = out
            setattr(self, f"layer{number + 1}", nn.Sequential(*stage))
        self.avgpool = nn.AdaptiveAvgPool3d(1)
        self.fc = nn.Linear(channels, num_classes)
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.fc.weight, 0, 0.01)
        nn.init.zeros_(self.fc.bias)

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        maps = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(clips)))))
        return {"out": self.fc(self.avgpool(maps).flatten(1))}


def _middle(channels: int, out: int) -> int:
    """Return the middle width that gives a split convolution the parameters of a full one."""
    return (channels * out * 27) // (channels * 9 + 3 * out)


def _stem(kind: str, width: int) -> nn.Sequential:
    if KINDS[kind][0] is _split:
        middle = 45 * width // 64
        return nn.Sequential(
            Conv3d(3, middle, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
            nn.BatchNorm3d(middle),
            nn.ReLU(inplace=True),
            Conv3d(middle, width, (3, 1, 1), 1, (1, 0, 0), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        )
    return nn.Sequential(
        Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )
