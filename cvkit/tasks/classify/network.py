"""Which network classifies, and how images enter it: what a model file says about itself."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from cvkit import catalog
from cvkit.errors import UsageError
from cvkit.models import classify
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network input; stored in the model file.

    Attributes:
        image_size: side of the square that is cut from the centre.
        resize_size: what the shorter side is resized to before.
        interpolation: `bilinear` or `bicubic`, with antialiasing.
        mean, std: of the pixels in [0, 1].
        bits: of files of 16 bits that hold values; see `cvkit.data.decode.read_image`.
    """

    image_size: int
    resize_size: int
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bits: int | None = 16


@dataclass(frozen=True, kw_only=True)
class Network:
    """Which network; stored in the model file.

    Attributes:
        arch: key of `catalog.ARCHS["classify"]`.
        backbone: key of `catalog.BACKBONES`; None for networks without one.
        small: first layers for small images.
        image_size: side of the images.
        aux: auxiliary heads.
        dropout: rate; None keeps the network's own.
        stochastic_depth: largest rate at which blocks are skipped; None keeps the network's own.
        examples: training images that `knn` keeps.
        neighbors, distance, votes: of `knn`.
    """

    arch: str
    backbone: str | None
    small: bool
    image_size: int
    aux: bool = False
    dropout: float | None = None
    stochastic_depth: float | None = None
    examples: int = 0
    neighbors: int = 5
    distance: str = "l2"
    votes: str = "uniform"

    def flags(self, preprocessing: Preprocessing) -> dict[str, Any]:
        """Return the flags of train that lead to this network and to these inputs."""
        own_head = self.arch in ("knn", "linear")
        stem = "small" if self.small else "auto" if self.backbone is None else "imagenet"
        unaided = catalog.ARCHS["classify"][self.arch].aux_weight and not self.aux
        return {
            "arch": self.arch,
            "backbone": self.backbone if own_head else None,
            "stem": stem,
            "image_size": str(preprocessing.image_size),
            "dropout": self.dropout,
            "stochastic_depth": self.stochastic_depth,
            **({"aux_weight": 0.0} if unaided else {}),
        }

    def build(self, num_classes: int) -> nn.Module:
        """Return the network, freshly initialised.

        Raises:
            UsageError: it has not what is asked for.
        """
        if self.backbone is not None:
            body, head = classify.torchvision_parts(
                self.backbone,
                num_classes,
                small=self.small,
                image_size=self.image_size,
                aux=self.aux,
            )
        else:
            plain = self.arch if self.arch in ("lenet", "mlp") else "pixels"
            body, head = classify.plain_parts(plain, num_classes, self.image_size)
        if self.arch == "knn":
            return classify.NearestNeighbours(
                body,
                head.in_features,
                num_classes,
                examples=self.examples,
                neighbors=self.neighbors,
                distance=self.distance,
                weighted=self.votes == "distance",
            )
        depth = self.stochastic_depth
        if depth is not None and not classify.set_stochastic_depth(body, depth):
            raise UsageError(
                f"--stochastic-depth: {self.arch} has no blocks that can be skipped",
                code="stochastic_depth.unsupported",
                hint="efficientnet, convnext and swin have",
            )
        own = self.dropout is not None and classify.set_dropout(body, self.dropout)
        rate = 0.0 if own or self.dropout is None else self.dropout
        target = catalog.resolve(catalog.ARCHS["classify"][self.arch].target)
        return target(body, head, rate)
