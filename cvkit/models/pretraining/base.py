"""The contract of the networks of pretraining, and the backbone that they train."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cvkit import catalog
from cvkit.catalog import BACKBONES
from cvkit.models.backbones import Backbone
from cvkit.models.classify import network_parts
from cvkit.models.stems import SMALL
from cvkit.models.trials import on_meta
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD, standardize
from cvkit.pretext_table import PRETEXTS


@dataclass(frozen=True, kw_only=True)
class PretextSpec:
    """A network of self-supervised pretraining; stored in the model file.

    Attributes:
        arch: the method, a key of `PRETEXTS`.
        backbone: key of `catalog.BACKBONES`.
        small: first layers for small images.
        image_size: side of the images.
        temperature: of the contrastive methods.
        projection: number of features that they compare.
        queue: number of features that MoCo keeps.
        key_momentum: of the encoder of its keys.
        permutations: number of orders of the tiles.
        hole: side of the hidden square, as a fraction of the image's.
    """

    arch: str
    backbone: str
    small: bool
    image_size: int
    temperature: float
    projection: int
    queue: int
    key_momentum: float
    permutations: int
    hole: float


@dataclass(frozen=True)
class Body:
    """A backbone with the sizes of what it returns.

    Attributes:
        net: NCHW images to [N, C] features, or to maps.
        channels: C, of the features or the last map.
        stride: of the last map; 0 without maps.
    """

    net: nn.Module
    channels: int
    stride: int = 0


class Outcome(NamedTuple):
    """What a network of pretraining makes of a batch.

    Attributes:
        loss: the mean loss.
        score: [N, 2] numerator and denominator of each image's part in the score.
    """

    loss: Tensor
    score: Tensor


class PretextNetwork(nn.Module, ABC):
    """A backbone, and what is trained by it.

    Attributes:
        backbone: the part that is kept.
    """

    backbone: nn.Module

    @abstractmethod
    def forward(self, pixels: Tensor) -> Outcome:
        """Return loss and score of N3HW pixels in [0, 1], or N3VHW with V views of each image."""

    def begin(self) -> None:
        """Take note of the first weights, once they are drawn or loaded."""


def standardized(pixels: Tensor) -> Tensor:
    """Return pixels in [0, 1] as backbones want them."""
    return standardize(pixels, IMAGENET_MEAN, IMAGENET_STD)


def scored(right: Tensor) -> Tensor:
    """Return [N, 2] parts of the score from [N, Q] bool answers to the questions about an image."""
    right = right.float()
    return torch.stack([right.sum(1), torch.full_like(right[:, 0], right.shape[1])], 1)


def build_body(spec: PretextSpec) -> Body:
    """Return the freshly initialised backbone of a method."""
    entry = BACKBONES[spec.backbone]
    if not PRETEXTS[spec.arch].needs_maps:
        net, head = network_parts(
            spec.backbone, 2, small=spec.small, image_size=spec.image_size, aux=False
        )
        return Body(net, head.in_features)
    with on_meta():
        twin = _with_maps(spec)
        last = twin(torch.empty(2, 3, spec.image_size, spec.image_size))[-1]
    del twin
    assert entry.target, "`cvkit.tasks.pretrain` refuses networks without maps"
    return Body(_with_maps(spec), last.shape[1], spec.image_size // last.shape[2])


def _with_maps(spec: PretextSpec) -> Backbone:
    entry = BACKBONES[spec.backbone]
    body: Backbone = catalog.resolve(entry.target)(entry.builder)
    if spec.small:
        SMALL[entry.small_stem](body)
    return body


def build_pretext(spec: PretextSpec) -> PretextNetwork:
    """Return a freshly initialised network of pretraining."""
    network: PretextNetwork = catalog.resolve(PRETEXTS[spec.arch].target)(build_body(spec), spec)
    return network
