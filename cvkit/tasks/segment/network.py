"""Network and preprocessing of a segmentation model, as a model file stores them."""

from dataclasses import dataclass
from typing import Any, Protocol, cast

from torch import Tensor, nn

from cvkit import catalog
from cvkit.models.build import build
from cvkit.models.specs import SegmenterSpec
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD


class Segmenter(Protocol):
    """What every segmentation network offers."""

    def logits(self, images: Tensor) -> Tensor:
        """Return the class logits of NCHW normalised images, at their size."""


def segmenter(model: nn.Module) -> Segmenter:
    """Return a network, typed as a `Segmenter`."""
    return cast(Segmenter, model)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network input; stored in the model file.

    16-bit files use `bits` bits; see `cvkit.data.decode.read_image`.
    """

    image_size_wh: tuple[int, int]
    resize: str
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bits: int | None = 16


@dataclass(frozen=True)
class Network(SegmenterSpec):
    """The network and its parameters; stored in the model file."""

    def flags(self, preprocessing: Preprocessing) -> dict[str, Any]:
        """Return the flags of train that lead to this network and to these inputs."""
        width, height = preprocessing.image_size_wh
        unaided = catalog.SEGMENTERS[self.arch].aux_weight and not self.aux
        return {
            "arch": self.arch,
            "backbone": self.backbone,
            "output_stride": self.output_stride,
            "deconv": self.deconv,
            "image_size": f"{width}x{height}",
            "resize": "native" if preprocessing.resize == "native" else "fit",
            **({"aux_weight": 0.0} if unaided else {}),
        }

    def build(self, num_classes: int) -> nn.Module:
        """Return the network, freshly initialised.

        Raises:
            UsageError: its parts cannot be combined.
        """
        return build("segment", self, num_classes)
