"""Fast and Faster R-CNN: inputs, maps, regions, detections."""

from abc import ABC, abstractmethod
from dataclasses import replace

from torch import Tensor, nn

from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.detection.roi_heads import Detections, RoIHeads
from cvkit.models.detection.rpn import RegionProposals
from cvkit.ops.boxes import scale_boxes
from cvkit.structures import MaskLayers


class Detector(nn.Module, ABC):
    """Two stages: regions of the image, then a class and a better box for each.

    Calling it gives the losses, so that several processes can share the gradients; `detect`
    gives the detections. Images are CHW, uint8 or float in [0, 1], of any size; boxes and
    proposals are in their pixels.

    Args:
        transform: makes the padded batch.
        backbone: a neck of `cvkit.models.detection.fpn`.
        roi_heads: the second stage.
    """

    def __init__(
        self, transform: DetectionInputs, backbone: nn.Module, roi_heads: RoIHeads
    ) -> None:
        super().__init__()
        self.transform, self.backbone, self.roi_heads = transform, backbone, roi_heads

    def forward(
        self,
        images: list[Tensor],
        boxes: list[Tensor],
        labels: list[Tensor],
        proposals: list[Tensor] | None = None,
        masks: list[MaskLayers] | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses by torchvision's names.

        Args:
            images: of the batch.
            boxes: [M, 4] objects of each image; M may be 0.
            labels: [M] their classes, from 1.
            proposals: [R, 4] of each image, for a network without its own.
            masks: of the objects, for a network that learns them.
        """
        return self.losses(images, boxes, labels, proposals, masks)

    @abstractmethod
    def losses(
        self,
        images: list[Tensor],
        boxes: list[Tensor],
        labels: list[Tensor],
        proposals: list[Tensor] | None = None,
        masks: list[MaskLayers] | None = None,
    ) -> dict[str, Tensor]:
        """Return the losses by name; see `forward`."""

    @abstractmethod
    def detect(
        self, images: list[Tensor], proposals: list[Tensor] | None = None
    ) -> list[Detections]:
        """Return the detections of each image, in its own pixels."""

    def probe(self, images: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the backbone's input, which gathers a gradient, and its finest map."""
        inputs = self.transform(images).images.requires_grad_()
        return inputs, self.backbone(inputs)[0]

    def _original(self, found: list[Detections], batch: object) -> list[Detections]:
        sizes = zip(found, batch.sizes_hw, batch.original_hw, strict=True)
        return [replace(each, boxes=scale_boxes(each.boxes, *hw)) for each, *hw in sizes]


class FasterRCNN(Detector):
    """A detector that proposes its own regions; with masks it is Mask R-CNN.

    Source: Faster R-CNN, 2015, arXiv:1506.01497; Mask R-CNN, 2017, arXiv:1703.06870.

    Args:
        transform: see `Detector`.
        backbone: see `Detector`.
        rpn: the first stage.
        roi_heads: the second stage.
    """

    def __init__(
        self,
        transform: DetectionInputs,
        backbone: nn.Module,
        rpn: RegionProposals,
        roi_heads: RoIHeads,
    ) -> None:
        super().__init__(transform, backbone, roi_heads)
        self.rpn = rpn

    def losses(
        self,
        images: list[Tensor],
        boxes: list[Tensor],
        labels: list[Tensor],
        proposals: list[Tensor] | None = None,
        masks: list[MaskLayers] | None = None,
    ) -> dict[str, Tensor]:
        """Return the four losses, five with masks; see `Detector.forward`."""
        batch = self.transform(images)
        boxes = self.transform.boxes(batch, boxes)
        maps = self.backbone(batch.images)
        regions, losses = self.rpn.propose_and_learn(maps, batch, boxes)
        useful = maps[: len(maps) - self.backbone.extra]
        own = {} if masks is None else {"masks": masks, "sizes_hw": batch.sizes_hw}
        return self.roi_heads.losses(useful, regions, boxes, labels, **own) | losses

    def detect(
        self, images: list[Tensor], proposals: list[Tensor] | None = None
    ) -> list[Detections]:
        """Return the detections of each image, in its own pixels."""
        batch = self.transform(images)
        maps = self.backbone(batch.images)
        regions = self.rpn.propose(maps, batch)
        useful = maps[: len(maps) - self.backbone.extra]
        return self._original(self.roi_heads.detect(useful, regions, batch.sizes_hw), batch)


class FastRCNN(Detector):
    """A detector of regions that others propose.

    Source: Fast R-CNN, 2015, arXiv:1504.08083.
    """

    def losses(
        self,
        images: list[Tensor],
        boxes: list[Tensor],
        labels: list[Tensor],
        proposals: list[Tensor] | None = None,
        masks: list[MaskLayers] | None = None,
    ) -> dict[str, Tensor]:
        """Return the two losses; see `Detector.forward`."""
        batch = self.transform(images)
        boxes, regions = (self.transform.boxes(batch, each) for each in (boxes, proposals))
        maps = self._maps(batch.images)
        losses = self.roi_heads.losses(maps, regions, boxes, labels)
        # A level that no region belongs to gets a gradient too, of zeros.
        losses["loss_box_reg"] = losses["loss_box_reg"] + 0.0 * sum(each.mean() for each in maps)
        return losses

    def detect(
        self, images: list[Tensor], proposals: list[Tensor] | None = None
    ) -> list[Detections]:
        """Return the detections of each image, in its own pixels."""
        batch = self.transform(images)
        regions = self.transform.boxes(batch, proposals)
        found = self.roi_heads.detect(self._maps(batch.images), regions, batch.sizes_hw)
        return self._original(found, batch)

    def _maps(self, images: Tensor) -> list[Tensor]:
        maps = self.backbone(images)
        return maps[: len(maps) - self.backbone.extra]


def rest_batch_norms(model: nn.Module) -> None:
    """Make every batch norm of a module a fixed affine map: it neither trains nor follows."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.requires_grad_(False)
            layer.bias.requires_grad_(False)
