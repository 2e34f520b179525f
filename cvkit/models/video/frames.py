"""Image networks turned into video networks: each frame by itself, or frames as channels."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from cvkit import catalog
from cvkit.errors import UsageError
from cvkit.models.backbones import Backbone
from cvkit.models.classify import network_parts
from cvkit.models.layers import conv_bn_relu, pair
from cvkit.models.trials import on_meta

HIDDEN = 512
"""Width of the hidden layer of late fusion by concatenation."""


def each_frame(net: Callable[[Tensor], Tensor], clips: Tensor) -> Tensor:
    """Return [N, T, ...] what an image network makes of the frames of NCTHW clips."""
    frames = clips.transpose(1, 2)  # [N, T, C, H, W]
    found = net(frames.flatten(0, 1))
    return found.unflatten(0, (-1, frames.shape[1]))  # an exported N would be a constant


class ClipNetwork(nn.Module):
    """An image network, and what is made of it.

    Attributes:
        backbone: of images, under torchvision's names.
    """

    backbone: nn.Module

    def load_images(self, tensors: Mapping[str, Tensor]) -> None:
        """Load a state dict of the image network."""
        names = self.backbone.state_dict()
        self.backbone.load_state_dict({name: tensors[name] for name in names})


class SingleFrame(ClipNetwork):
    """Classifies each frame; a clip's probabilities are the mean of its frames'.

    Source: Large-scale Video Classification with Convolutional Neural Networks, 2014, CVPR.
    """

    def __init__(self, backbone: str, num_classes: int, image_size: int) -> None:
        super().__init__()
        self.backbone, self.head = image_parts(backbone, num_classes, image_size)

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logarithms of the clips' probabilities."""
        scores = self.head(each_frame(self.backbone, clips)).float().softmax(-1)
        return {"out": scores.mean(1).clamp(min=1e-12).log()}


class LateFusion(ClipNetwork):
    """Fuses the features of the frames: their mean, or all of them through two layers.

    Args:
        backbone: key of `catalog.BACKBONES`.
        num_classes: K.
        frames: per clip; used by concatenation only.
        image_size: side of the frames.
        fusion: `pool` or `concat`.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        frames: int,
        image_size: int,
        fusion: str = "pool",
    ) -> None:
        super().__init__()
        self.backbone, head = image_parts(backbone, num_classes, image_size)
        self.head: nn.Module = head
        self.frames = frames if fusion == "concat" else None
        if self.frames:
            wide = frames * head.in_features
            self.head = nn.Sequential(
                nn.Linear(wide, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, num_classes)
            )

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        features = each_frame(self.backbone, clips)  # [N, T, D]
        if self.frames is None:
            return {"out": self.head(features.mean(1))}
        if clips.shape[2] != self.frames:
            raise ValueError(f"got {clips.shape[2]} frames, this network is made for {self.frames}")
        return {"out": self.head(features.flatten(1))}


class EarlyFusion(ClipNetwork):
    """The frames are the channels of one image: those of the first frame, then of the second, ...

    Args:
        backbone: key of `catalog.BACKBONES`.
        num_classes: K.
        frames: per clip.
        image_size: side of the frames.
    """

    def __init__(self, backbone: str, num_classes: int, frames: int, image_size: int) -> None:
        super().__init__()
        self.backbone, self.head = image_parts(backbone, num_classes, image_size)
        self.first = widen_first(self.backbone, frames)

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        return {"out": self.head(self.backbone(clips.transpose(1, 2).flatten(1, 2)))}

    def load_images(self, tensors: Mapping[str, Tensor]) -> None:
        """Load an image network's state dict; frames get equal parts of the first kernels."""
        super().load_images(_widened(tensors, self.backbone, self.first))


class SlowFusion(ClipNetwork):
    """Frames are fused step by step: four at first, then neighbours between the stages.

    Groups of four frames, two apart, enter as channels; after each stage neighbouring groups are
    fused by a 1x1 convolution over two groups, until one is left. If the number of groups is odd,
    the last two pairs share one, and if the number of frames is odd, the last one is repeated, so
    that every frame counts.

    Source: Large-scale Video Classification with Convolutional Neural Networks, 2014, CVPR.

    Args:
        backbone: key of `catalog.BACKBONES`, with maps.
        num_classes: K.
        frames: per clip, at least four.
    """

    EXTENT, STEP = 4, 2
    backbone: Backbone

    def __init__(self, backbone: str, num_classes: int, frames: int) -> None:
        super().__init__()
        if frames < self.EXTENT:
            raise UsageError(
                f"--frames {frames}: slow-fusion needs at least {self.EXTENT}", code="frames.few"
            )
        self.backbone, self.first = self._widened(backbone)
        groups = math.ceil((frames - self.EXTENT) / self.STEP) + 1
        self.merges = nn.ModuleList()
        with on_meta(), torch.no_grad():
            maps = torch.empty(2, 3 * self.EXTENT, 64, 64)
            widths = []
            for piece in self._pieces(self._widened(backbone)[0]):
                maps = piece(maps)
                widths.append(maps.shape[1])
        for width in widths[:-1]:
            if groups > 1:
                self.merges.append(conv_bn_relu(2 * width, width, kernel=1))
                groups = math.ceil(groups / 2)
        self.head = nn.Linear(widths[-1], num_classes)

    def _widened(self, backbone: str) -> tuple[Backbone, str]:
        """Return a backbone whose first convolution takes several frames, and that layer's name."""
        if not catalog.BACKBONES[backbone].channels_first:
            raise _no_maps(backbone, "slow-fusion")
        made = dense_backbone(backbone, "slow-fusion")
        return made, widen_first(made, self.EXTENT)

    @staticmethod
    def _pieces(backbone: Backbone) -> list[nn.Module]:
        """Return the parts of a backbone between which frames are fused."""
        stages, first = backbone.stages(), backbone.unfused
        return [nn.Sequential(*stages[:first]), *stages[first:]]

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Return the [N, K] logits of NCTHW clips."""
        missing = (self.EXTENT - clips.shape[2]) % self.STEP
        if missing:
            clips = torch.cat((clips, clips[:, :, -1:].expand(-1, -1, missing, -1, -1)), 2)
        groups = clips.unfold(2, self.EXTENT, self.STEP)  # [N, C, G, H, W, 4]
        maps = groups.permute(0, 2, 5, 1, 3, 4).flatten(2, 3)  # [N, G, 4 * C, H, W]
        for number, piece in enumerate(self._pieces(self.backbone)):
            if 0 < number <= len(self.merges):
                pairs = _pairs(maps)
                maps = self.merges[number - 1](pairs.flatten(0, 1)).unflatten(
                    0, (-1, pairs.shape[1])
                )
            maps = piece(maps.flatten(0, 1)).unflatten(0, (-1, maps.shape[1]))
        return {"out": self.head(maps.mean((1, 3, 4)))}

    def load_images(self, tensors: Mapping[str, Tensor]) -> None:
        """Load an image network's state dict; frames get equal parts of the first kernels."""
        super().load_images(_widened(tensors, self.backbone, self.first))


def _pairs(maps: Tensor) -> Tensor:
    """Return [N, ceil(G / 2), 2 * C, H, W] neighbours of [N, G, C, H, W] maps, for G > 1 groups."""
    last = maps.shape[1] - 2
    first = torch.tensor([*range(0, last, 2), last], device=maps.device)
    return torch.cat((maps[:, first], maps[:, first + 1]), 2)


def dense_backbone(backbone: str, arch: str) -> Backbone:
    """Return a backbone with maps.

    Raises:
        UsageError: it has no maps.
    """
    entry = catalog.BACKBONES[backbone]
    if not entry.target or entry.whole:
        raise _no_maps(backbone, arch)
    made: Backbone = catalog.resolve(entry.target)(entry.builder)
    return made


def _no_maps(backbone: str, arch: str) -> UsageError:
    return UsageError(
        f"--backbone {backbone} cannot be used with --arch {arch}, which needs feature maps",
        code="backbone.unsupported",
        hint="such as resnet18",
    )


def image_parts(backbone: str, num_classes: int, image_size: int) -> tuple[nn.Module, nn.Linear]:
    """Return an image network without its last layer, and that layer."""
    return network_parts(backbone, num_classes, small=False, image_size=image_size, aux=False)


def widen_first(net: nn.Module, frames: int) -> str:
    """Widen a network's first convolution to the channels of several frames; return its name.

    The new kernels are random, so that frames differ from the first step on.
    """
    name, old = next((n, m) for n, m in net.named_modules() if isinstance(m, nn.Conv2d))
    made = nn.Conv2d(
        old.in_channels * frames,
        old.out_channels,
        pair(old.kernel_size),
        pair(old.stride),
        old.padding if isinstance(old.padding, str) else pair(old.padding),
        bias=old.bias is not None,
    )
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    place, _, last = name.rpartition(".")
    setattr(net.get_submodule(place), last, made)
    return name


def _widened(tensors: Mapping[str, Tensor], net: nn.Module, first: str) -> dict[str, Tensor]:
    """Return an image network's state dict for a network whose first convolution was widened."""
    result = dict(tensors)
    weight = tensors[f"{first}.weight"]
    frames = net.get_parameter(f"{first}.weight").shape[1] // weight.shape[1]
    result[f"{first}.weight"] = weight.repeat(1, frames, 1, 1) / frames
    return result
