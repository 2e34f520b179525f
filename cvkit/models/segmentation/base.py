"""The common base of segmentation networks."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from cvkit.models.backbones import Backbone
from cvkit.models.layers import fcn_head
from cvkit.ops.resize import height_width, resize_bilinear


class SegmentationModel(nn.Module, ABC):
    """A backbone, a decoder and, optionally, an auxiliary head for training.

    Args:
        backbone: produces the maps that `decode` uses.
        num_classes: channels of the logits.
        aux_level: index of the backbone map that feeds the auxiliary head; None: no auxiliary head.
    """

    def __init__(self, backbone: Backbone, num_classes: int, aux_level: int | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.aux_level = aux_level
        if aux_level is not None:
            self.aux_classifier = fcn_head(backbone.channels[aux_level], num_classes)

    @abstractmethod
    def decode(self, maps: list[Tensor], size_hw: tuple[int, int]) -> Tensor:
        """Return logits from backbone maps, at any stride; `size_hw` is the image's size."""

    def logits(self, images: Tensor) -> Tensor:
        """Return the class logits of NCHW normalised images, at their size."""
        size_hw = height_width(images)
        return resize_bilinear(self.decode(self.backbone(images), size_hw), size_hw)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return all logits by name, `out` and, with an auxiliary head, `aux`."""
        size_hw = height_width(images)
        maps = self.backbone(images)
        outputs = {"out": resize_bilinear(self.decode(maps, size_hw), size_hw)}
        if self.aux_level is not None:
            outputs["aux"] = resize_bilinear(self.aux_classifier(maps[self.aux_level]), size_hw)
        return outputs
