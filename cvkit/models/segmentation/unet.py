"""U-Net.

Source: U-Net: Convolutional Networks for Biomedical Image Segmentation, 2015,
arXiv:1505.04597.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.backbones import Backbone
from cvkit.models.layers import conv_bn_relu, init_kaiming
from cvkit.models.segmentation.base import SegmentationModel


class UNet(SegmentationModel):
    """U-Net decoder over any backbone.

    Five blocks of 256, 128, 64, 32 and 16 channels; each upsamples by nearest neighbour to the size
    of the next finer map (the last one to the image's), concatenates that map and convolves twice.
    If a backbone has no map of stride 2, that block only upsamples.
    """

    widths = (256, 128, 64, 32, 16)

    def __init__(self, backbone: Backbone, num_classes: int, aux_level: int | None = None) -> None:
        super().__init__(backbone, num_classes, aux_level)
        skips = backbone.channels[-2::-1]  # [C4, C3, C2, C1]
        skips += [0] * (len(self.widths) - len(skips))
        inputs = [backbone.channels[-1], *self.widths[:-1]]
        self.blocks = nn.ModuleList(
            nn.Sequential(conv_bn_relu(given + skip, width), conv_bn_relu(width, width))
            for given, skip, width in zip(inputs, skips, self.widths, strict=True)
        )
        self.head = nn.Conv2d(self.widths[-1], num_classes, 3, padding=1)
        init_kaiming(self.blocks)

    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits at the image's size."""
        decoded = maps[-1]
        skips = maps[-2::-1]
        for position, block in enumerate(self.blocks):
            skip = skips[position] if position < len(skips) else None
            stride = 2 ** (len(self.blocks) - 1 - position)
            target_hw = tuple(-(-side // stride) for side in size_hw)
            target_hw = target_hw if skip is None else skip.shape[-2:]
            if decoded.shape[-2:] != target_hw:
                decoded = F.interpolate(decoded, size=target_hw, mode="nearest")
            decoded = block(decoded if skip is None else torch.cat([decoded, skip], 1))
        return self.head(decoded)


class ClassicUNet(nn.Module):
    """The 2015 network: four levels of 64 to 1024 channels, in one of two forms.

    With `valid_padding` it is the original: convolutions without padding or batch norm,
        centre-cropped skips, and images mirrored at their border so that any size works (the
        paper's overlap-tile strategy). Without it, it is the usual modern form with same padding
        and batch norm, and images are mirrored up to a multiple of 16.
    """

    widths = (64, 128, 256, 512, 1024)

    def __init__(self, num_classes: int, in_channels: int = 3, valid_padding: bool = True) -> None:
        super().__init__()
        self.valid_padding = valid_padding
        widths = self.widths
        self.down = nn.ModuleList(
            self._double_conv(given, width)
            for given, width in zip((in_channels, *widths[:-1]), widths, strict=True)
        )
        self.dropout = nn.Dropout(0.5)
        self.enlarge = nn.ModuleList(
            nn.ConvTranspose2d(width, width // 2, 2, stride=2) for width in widths[:0:-1]
        )
        self.up = nn.ModuleList(self._double_conv(w, w // 2) for w in widths[:0:-1])
        self.head = nn.Conv2d(widths[0], num_classes, 1)
        init_kaiming(self)

    def _double_conv(self, in_channels: int, width: int) -> nn.Sequential:
        if not self.valid_padding:
            return nn.Sequential(*conv_bn_relu(in_channels, width), *conv_bn_relu(width, width))
        first, second = nn.Conv2d(in_channels, width, 3), nn.Conv2d(width, width, 3)
        return nn.Sequential(first, nn.ReLU(inplace=True), second, nn.ReLU(inplace=True))

    def tile(self, images: Tensor) -> Tensor:
        """Return the logits of one tile; with valid padding 572x572 becomes 388x388."""
        maps, skips = images, []
        for level, block in enumerate(self.down):
            maps = block(F.max_pool2d(maps, 2) if level else maps)
            skips.append(maps)
        maps = self.dropout(skips.pop())
        for enlarge, block in zip(self.enlarge, self.up, strict=True):
            maps = enlarge(maps)
            skip = _centre(skips.pop(), maps.shape[-2:])
            maps = block(torch.cat([skip, maps], 1))
        return self.head(maps)

    def logits(self, images: Tensor) -> Tensor:
        """Return the class logits of NCHW normalised images, at their size."""
        height, width = images.shape[-2:]
        if self.valid_padding:
            # A bottom of k pixels needs 16k + 60 pixels of input and gives 16k - 124 of output,
            # which lie 92 pixels inside the input.
            sides = [16 * -(-(side + 124) // 16) + 60 for side in (height, width)]
            return self.tile(mirror_pad(images, 92, sides))[..., :height, :width]
        sides = [16 * -(-side // 16) for side in (height, width)]
        return self.tile(mirror_pad(images, 0, sides))[..., :height, :width]

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the logits under the name `out`."""
        return {"out": self.logits(images)}


def _centre(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    top, left = ((have - want) // 2 for have, want in zip(maps.shape[-2:], size_hw, strict=True))
    return maps[..., top : top + size_hw[0], left : left + size_hw[1]]


def mirror_pad(images: Tensor, before: int, size_hw: list[int]) -> Tensor:
    """Extend NCHW images to `size_hw` by mirroring, `before` pixels at the top and left.

    Unlike reflection in torch, it mirrors repeatedly if needed, so small images work too.
    """
    rows, columns = (
        _mirror_index(have, before, want).to(images.device)
        for have, want in zip(images.shape[-2:], size_hw, strict=True)
    )
    return images.index_select(-2, rows).index_select(-1, columns)


def _mirror_index(have: int, before: int, want: int) -> Tensor:
    """Return the source position of each of `want` positions of a mirrored axis."""
    period = max(2 * have - 2, 1)
    position = (torch.arange(want) - before).remainder(period)
    return torch.minimum(position, period - position) if have > 1 else position
