"""Fast and Faster R-CNN: inputs, maps, regions, detections."""

from abc import ABC, abstractmethod
from dataclasses import replace

from torch import Tensor, nn

from cvkit.errors import UsageError
from cvkit.models.detection.fpn import Neck
from cvkit.models.detection.inputs import DetectionInputs, PaddedBatch
from cvkit.models.detection.roi_heads import Detections, RoIHeads
from cvkit.models.detection.rpn import RegionProposals
from cvkit.ops.boxes import scale_boxes
from cvkit.ops.resize import height_width
from cvkit.structures import DetectionTargets


class Detector(nn.Module, ABC):
    """Contract: regions of the image, then a class and a refined box for each.

    Calling it returns the losses, so that several processes can share the gradients; `detect`
    returns the detections. Images are CHW, uint8 or float in [0, 1], of any size; boxes and
    proposals are in pixels of these images.
    """

    fitted_names: tuple[str, ...] = ()
    """Tensors that are fitted after training."""

    def forward(self, images: list[Tensor], targets: DetectionTargets) -> dict[str, Tensor]:
        """Return the losses by torchvision's names."""
        return self.losses(images, targets)

    @abstractmethod
    def losses(self, images: list[Tensor], targets: DetectionTargets) -> dict[str, Tensor]:
        """Return the losses by torchvision's names."""

    @abstractmethod
    def detect(
        self, images: list[Tensor], proposals: list[Tensor] | None = None
    ) -> list[Detections]:
        """Return the detections of each image, in its own pixels."""

    def score_regions(self, images: list[Tensor], regions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the [R, K + 1] logits and probabilities of given regions, with a gradient.

        Class 0 is the background.

        Raises:
            UsageError: the detector scores no regions.
        """
        raise UsageError(
            "this detector does not score regions, so its results cannot be explained",
            code="explain.unsupported",
        )

    def window(self, image: Tensor, region: Tensor) -> tuple[float, float, float, float]:
        """Return the part of an image, in its pixels, that the maps for a region show.

        It is larger than the image where that is padded.
        """
        height, width = image.shape[-2:]
        return 0.0, 0.0, float(width), float(height)

    def encode(self, images: list[Tensor]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Run `features` on images of one size.

        Returns:
            Height and width of its input, and of the images in it, which padding may follow.

        Raises:
            UsageError: the detector does not tell.
        """
        raise UsageError(
            "this detector does not run its backbone alone, so its layers cannot be watched",
            code="features.unsupported",
        )

    @abstractmethod
    def probe(self, images: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the backbone's input, which requires a gradient, and one of its outputs."""

    @property
    @abstractmethod
    def body(self) -> nn.Module:
        """The backbone."""

    @property
    def features(self) -> nn.Module:
        """The backbone, with its neck if it has one."""
        return self.body

    @abstractmethod
    def stages(self) -> list[nn.Module]:
        """Return the parts of the backbone, from the image to the last map.

        Raises:
            UsageError: it is not divided into stages.
        """

    @abstractmethod
    def pretrained_part(self) -> nn.Module:
        """Return a module with the layers of a published classifier, under its names."""


class TwoStageDetector(Detector):
    """A detector that cuts its regions out of the maps of the whole image.

    Args:
        transform: makes the padded batch.
        backbone: produces the maps.
        roi_heads: the second stage.
    """

    def __init__(self, transform: DetectionInputs, backbone: Neck, roi_heads: RoIHeads) -> None:
        super().__init__()
        self.transform, self.backbone, self.roi_heads = transform, backbone, roi_heads

    def score_regions(self, images: list[Tensor], regions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return what the second stage makes of regions: [R, K + 1] logits and their softmax."""
        batch = self.transform(images)
        maps = self._for_regions(self.backbone(batch.images))
        logits, _ = self.roi_heads.score(maps, self.transform.boxes(batch, regions))
        return logits, logits.softmax(1)

    def window(self, image: Tensor, region: Tensor) -> tuple[float, float, float, float]:
        """Return the whole image with its padding."""
        batch = self.transform([image])
        sides = zip(batch.images.shape[-2:], batch.sizes_hw[0], batch.original_hw[0], strict=True)
        height, width = (padded / resized * original for padded, resized, original in sides)
        return 0.0, 0.0, width, height

    def encode(self, images: list[Tensor]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Run the backbone with its neck on images of one size; see `Detector`."""
        batch = self.transform(images)
        self.backbone(batch.images)
        return height_width(batch.images), batch.sizes_hw[0]

    def probe(self, images: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the backbone's input, which requires a gradient, and its finest map."""
        inputs = self.transform(images).images.requires_grad_()
        return inputs, self.backbone(inputs)[0]

    @property
    def body(self) -> nn.Module:
        """The backbone, without its neck."""
        return self.backbone.body

    @property
    def features(self) -> nn.Module:
        """The backbone with its neck."""
        return self.backbone

    def stages(self) -> list[nn.Module]:
        """Return the parts of the backbone, from the image to its last map."""
        return self.backbone.body.stages()

    def pretrained_part(self) -> nn.Module:
        """Return a module with the layers of a published classifier, under its names."""
        part, head = nn.Module(), self.roi_heads.box_head
        for holder in (self.body, head) if head.from_backbone else (self.body,):
            for name, child in holder.named_children():
                part.add_module(name, child)
        return part

    def _for_regions(self, maps: list[Tensor]) -> list[Tensor]:
        """Return the maps that regions are cut out of."""
        return maps[: len(maps) - self.backbone.extra]

    def _detections(
        self, batch: PaddedBatch, maps: list[Tensor], regions: list[Tensor]
    ) -> list[Detections]:
        """Return the detections in the pixels of the original images."""
        found = self.roi_heads.detect(self._for_regions(maps), regions, batch.sizes_hw)
        sizes = zip(found, batch.sizes_hw, batch.original_hw, strict=True)
        return [replace(each, boxes=scale_boxes(each.boxes, *hw)) for each, *hw in sizes]


class FasterRCNN(TwoStageDetector):
    """A detector that proposes its own regions; with masks it is Mask R-CNN.

    Source: Faster R-CNN, 2015, arXiv:1506.01497; Mask R-CNN, 2017, arXiv:1703.06870.

    Args:
        transform: see `TwoStageDetector`.
        backbone: see `TwoStageDetector`.
        rpn: the first stage.
        roi_heads: the second stage.
    """

    def __init__(
        self,
        transform: DetectionInputs,
        backbone: Neck,
        rpn: RegionProposals,
        roi_heads: RoIHeads,
    ) -> None:
        super().__init__(transform, backbone, roi_heads)
        self.rpn = rpn

    def losses(self, images: list[Tensor], targets: DetectionTargets) -> dict[str, Tensor]:
        """Return the four losses, five with masks."""
        batch = self.transform(images)
        boxes = self.transform.boxes(batch, targets.boxes)
        targets = replace(targets, boxes=boxes)
        maps = self.backbone(batch.images)
        regions, losses = self.rpn.propose_and_learn(maps, batch, boxes)
        useful = self._for_regions(maps)
        return self.roi_heads.losses(useful, regions, targets, batch.sizes_hw) | losses

    def detect(
        self, images: list[Tensor], proposals: list[Tensor] | None = None
    ) -> list[Detections]:
        """Return the detections of each image, in its own pixels."""
        batch = self.transform(images)
        maps = self.backbone(batch.images)
        return self._detections(batch, maps, self.rpn.propose(maps, batch))


class FastRCNN(TwoStageDetector):
    """A detector that needs external proposals.

    Source: Fast R-CNN, 2015, arXiv:1504.08083.
    """

    def losses(self, images: list[Tensor], targets: DetectionTargets) -> dict[str, Tensor]:
        """Return the two losses."""
        batch = self.transform(images)
        regions = self._resized(batch, targets.proposals)
        targets = replace(targets, boxes=self.transform.boxes(batch, targets.boxes))
        maps = self._for_regions(self.backbone(batch.images))
        losses = self.roi_heads.losses(maps, regions, targets, batch.sizes_hw)
        # A level without regions gets a gradient too, of zeros.
        losses["loss_box_reg"] = losses["loss_box_reg"] + 0.0 * sum(each.mean() for each in maps)
        return losses

    def detect(
        self, images: list[Tensor], proposals: list[Tensor] | None = None
    ) -> list[Detections]:
        """Return the detections of each image, in its own pixels."""
        batch = self.transform(images)
        regions = self._resized(batch, proposals)
        return self._detections(batch, self.backbone(batch.images), regions)

    def _resized(self, batch: PaddedBatch, proposals: list[Tensor] | None) -> list[Tensor]:
        """Return the proposals in the pixels of the resized images."""
        return self.transform.boxes(batch, required(proposals))


def required(proposals: list[Tensor] | None) -> list[Tensor]:
    """Return the proposals, which this detector needs.

    Raises:
        ValueError: there are none.
    """
    if proposals is None:
        raise ValueError("this detector does not propose its own regions")
    return proposals


def rest_batch_norms(model: nn.Module) -> None:
    """Freeze every batch norm of a module, its weights and its running statistics."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.requires_grad_(False)
            layer.bias.requires_grad_(False)
