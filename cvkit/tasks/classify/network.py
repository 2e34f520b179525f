"""Network and preprocessing of a classifier, as a model file stores them."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from cvkit import catalog
from cvkit.models.build import build
from cvkit.models.specs import ClassifierSpec
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network input; stored in the model file.

    Attributes:
        image_size: side of the square centre crop.
        resize_size: length of the shorter side before the crop.
        interpolation: `bilinear` or `bicubic`, with antialiasing.
        mean, std: of the pixels in [0, 1].
        bits: number of bits in use in 16-bit files; see `cvkit.data.decode.read_image`.
    """

    image_size: int
    resize_size: int
    interpolation: str = "bilinear"
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bits: int | None = 16


@dataclass(frozen=True, kw_only=True)
class Network(ClassifierSpec):
    """The network and its parameters; stored in the model file."""

    def flags(self, preprocessing: Preprocessing) -> dict[str, Any]:
        """Return the flags of train that lead to this network and to these inputs."""
        entry = catalog.CLASSIFIERS[self.arch]
        stem = "small" if self.small else "auto" if self.backbone is None else "imagenet"
        unaided = entry.aux_weight and not self.aux
        return {
            "arch": self.arch,
            "backbone": self.backbone if entry.takes_backbone else None,
            "stem": stem,
            "image_size": str(preprocessing.image_size),
            "dropout": self.dropout,
            "stochastic_depth": self.stochastic_depth,
            "hidden": ",".join(map(str, self.hidden)),
            **({"aux_weight": 0.0} if unaided else {}),
        }

    def build(self, num_classes: int) -> nn.Module:
        """Return the network, freshly initialised.

        Raises:
            UsageError: the network does not have a requested part.
        """
        return build("classify", self, num_classes)
