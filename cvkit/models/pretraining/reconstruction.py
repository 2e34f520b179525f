"""Pretraining by what was taken out of an image: its colours, or a part of it."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.pretraining.base import Body, Outcome, PretextNetwork, PretextSpec, standardized
from cvkit.ops.colours import rgb_to_lab

WIDTH = 128
"""Channels of a decoder."""
COLOUR_STRIDE = 4
"""Stride at which colours are predicted; they vary more slowly than brightness."""
LARGEST_AB = 110.0
"""Largest value of a and b in sRGB, about."""


def decoder(body: Body, channels: int, stride: int) -> nn.Sequential:
    """Return the layers from the last map of a backbone to channels at a stride.

    There are no connections around the last map, so everything must pass through it.
    """
    steps: list[nn.Module] = [nn.Conv2d(body.channels, WIDTH, 1)]
    for _ in range(max(0, round(math.log2(body.stride / stride)))):
        conv = nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False)
        steps += [nn.Upsample(scale_factor=2), conv, nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
    return nn.Sequential(*steps, nn.Conv2d(WIDTH, channels, 3, padding=1))


def explained(found: Tensor, target: Tensor, where: Tensor | None = None) -> Outcome:
    """Return the mean squared error, and the part of the squares that is explained.

    Args:
        found: NCHW.
        target: NCHW.
        where: N1HW, 1 for the pixels that count; None: all.
    """
    where = torch.ones_like(target[:, :1]) if where is None else where
    error = (where * (found.float() - target).square()).sum((1, 2, 3))  # [N]
    whole = (where * target.square()).sum((1, 2, 3))
    count = where.sum() * target.shape[1]
    return Outcome(error.sum() / count, torch.stack([whole - error, whole], 1))


class Colorization(PretextNetwork):
    """Colours from brightness: a and b of CIE L*a*b* from L, with squared error.

    Source: Colorful Image Colorization, 2016, arXiv:1603.08511 (its variant with L2 loss).
    """

    def __init__(self, body: Body, spec: PretextSpec) -> None:
        super().__init__()
        self.backbone, self.decoder = body.net, decoder(body, 2, COLOUR_STRIDE)

    def forward(self, pixels: Tensor) -> Outcome:
        """Return loss and score of N3HW pixels."""
        lab = rgb_to_lab(pixels)
        grey = (lab[:, :1] / 100).expand(-1, 3, -1, -1)
        found = self.decoder(self.backbone(standardized(grey))[-1])  # [N, 2, h, w]
        target = F.adaptive_avg_pool2d(lab[:, 1:] / LARGEST_AB, found.shape[-2:])
        return explained(found, target)


class Inpainting(PretextNetwork):
    """Context encoder: the pixels of a hidden square, with squared error (without a critic).

    Source: Context Encoders: Feature Learning by Inpainting, 2016, arXiv:1604.07379.
    """

    def __init__(self, body: Body, spec: PretextSpec) -> None:
        super().__init__()
        self.backbone, self.decoder, self.hole = body.net, decoder(body, 3, 1), spec.hole

    def forward(self, pixels: Tensor) -> Outcome:
        """Return loss and score of N3HW pixels."""
        target = standardized(pixels)
        hidden = self._hidden(pixels)
        found = self.decoder(self.backbone(target * (1 - hidden))[-1])
        found = F.interpolate(found, target.shape[-2:], mode="bilinear", align_corners=False)
        return explained(found, target, hidden)

    def _hidden(self, pixels: Tensor) -> Tensor:
        """Return N1HW, 1 in the hidden square: at a random place in training, else the centre."""
        count, _, height, width = pixels.shape
        high, wide = (max(1, round(self.hole * side)) for side in (height, width))
        hidden = pixels.new_zeros(count, 1, height, width)
        for image in hidden:
            top, left = (height - high) // 2, (width - wide) // 2
            if self.training:
                top = int(torch.randint(height - high + 1, ()))
                left = int(torch.randint(width - wide + 1, ()))
            image[:, top : top + high, left : left + wide] = 1
        return hidden
