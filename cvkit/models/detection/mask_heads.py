"""Mask heads: a small network that predicts a mask for each region.

Source: Mask R-CNN, 2017, arXiv:1703.06870.
"""

from collections import OrderedDict
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.detection.box_heads import BoxHead
from cvkit.models.detection.roi_heads import (
    Detections,
    RoIFeatures,
    RoIHeads,
    SampledRegions,
)
from cvkit.models.layers import conv_bn_relu
from cvkit.ops.mask_pasting import mask_targets
from cvkit.structures import DetectionTargets, MaskLayers

WIDTH = 256
"""Default number of channels of the mask branch."""


class MaskHead(nn.Sequential):
    """Four 3x3 convolutions.

    Args:
        channels: of input and output.
        norm: batch norm instead of biases, as in torchvision's second version.
    """

    def __init__(self, channels: int, norm: bool) -> None:
        def layer() -> nn.Sequential:
            if norm:
                return conv_bn_relu(channels, channels)
            conv = nn.Conv2d(channels, channels, 3, padding=1)
            return nn.Sequential(conv, nn.ReLU(inplace=True))

        super().__init__(*(layer() for _ in range(4)))
        for each in self.modules():
            if isinstance(each, nn.Conv2d):
                nn.init.kaiming_normal_(each.weight, mode="fan_out", nonlinearity="relu")
                if each.bias is not None:
                    nn.init.zeros_(each.bias)


class MaskPredictor(nn.Sequential):
    """Upsamples by 2, then predicts mask logits for every class, including the background."""

    def __init__(self, channels: int, middle: int, num_classes: int) -> None:
        layers = {
            "conv5_mask": nn.ConvTranspose2d(channels, middle, 2, 2),
            "relu": nn.ReLU(inplace=True),
            "mask_fcn_logits": nn.Conv2d(middle, num_classes + 1, 1),
        }
        super().__init__(OrderedDict(layers))
        for name, parameter in self.named_parameters():
            if name.endswith("weight"):
                nn.init.kaiming_normal_(parameter, mode="fan_out", nonlinearity="relu")


def mask_branch(
    channels: int, box_head: BoxHead, num_classes: int, norm: bool
) -> tuple[nn.Module, MaskPredictor]:
    """Return the mask head and the mask predictor.

    Args:
        channels: of the maps.
        box_head: if it is the backbone's last stage, both branches share it.
        num_classes: without background.
        norm: see `MaskHead`.
    """
    if box_head.mask_channels is not None:
        return nn.Sequential(), MaskPredictor(box_head.mask_channels, WIDTH, num_classes)
    return MaskHead(channels, norm), MaskPredictor(channels, channels, num_classes)


class MaskRoIHeads(RoIHeads):
    """Classifies regions, refines their boxes and predicts the masks of the detections.

    Args:
        boxes: heads whose parts are used; if the box head is the last stage of the backbone, the
            mask branch starts with it.
        mask_features: cuts out the input of the mask head.
        mask_head: from [R, C, side, side] to the input of the predictor.
        mask_predictor: to [R, K + 1, grid, grid] logits.
    """

    def __init__(
        self,
        boxes: RoIHeads,
        mask_features: RoIFeatures,
        mask_head: nn.Module,
        mask_predictor: MaskPredictor,
    ) -> None:
        super().__init__(boxes.features, boxes.box_head, boxes.box_predictor, boxes.rule)
        self.mask_features = mask_features
        self.mask_head, self.mask_predictor = mask_head, mask_predictor

    def mask_logits(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """Return [R, K + 1, grid, grid] logits of the [R_i, 4] boxes of each image."""
        grids = self.box_head.before_masks(self.mask_features(maps, boxes))
        return self.mask_predictor(self.mask_head(grids)).float()

    def losses(
        self,
        maps: list[Tensor],
        regions: list[Tensor],
        targets: DetectionTargets,
        sizes_hw: list[tuple[int, int]],
    ) -> dict[str, Tensor]:
        """Return the two losses of `RoIHeads` and `loss_mask`.

        Args:
            maps: see `RoIHeads.losses`.
            regions: see `RoIHeads.losses`.
            targets: see `RoIHeads.losses`; their masks are in the pixels of the original images.
            sizes_hw: see `RoIHeads.losses`.

        Raises:
            ValueError: the targets have no masks.
        """
        if targets.masks is None:
            raise ValueError("Mask R-CNN needs masks to train on")
        samples = self.samples(regions, targets)
        losses = self.box_losses(maps, samples)
        return losses | {"loss_mask": self.mask_loss(maps, samples, targets.masks, sizes_hw)}

    def mask_loss(
        self,
        maps: list[Tensor],
        samples: list[SampledRegions],
        masks: list[MaskLayers],
        sizes_hw: list[tuple[int, int]],
    ) -> Tensor:
        """Return the mean binary cross-entropy of positive regions' masks, each for its own class.

        The targets are the covered fractions of cells, not rounded.
        """
        positive = [torch.where(each.labels > 0)[0] for each in samples]
        regions = [each.regions[place] for each, place in zip(samples, positive, strict=True)]
        logits = self.mask_logits(maps, regions)
        if not len(logits):
            return 0.0 * logits.sum()
        label = torch.cat([s.labels[place] for s, place in zip(samples, positive, strict=True)])
        chosen = logits[torch.arange(len(label), device=label.device), label]  # [P, grid, grid]
        targets = [
            mask_targets(
                layers,
                sample.objects[place].cpu().numpy(),
                sample.regions[place].float().cpu().numpy(),
                size_hw,
                logits.shape[-1],
            )
            for layers, sample, place, size_hw in zip(
                masks, samples, positive, sizes_hw, strict=True
            )
        ]
        wanted = torch.cat([torch.from_numpy(target) for target in targets]).to(chosen)
        return F.binary_cross_entropy_with_logits(chosen, wanted)

    def detect(
        self, maps: list[Tensor], proposals: list[Tensor], sizes_hw: list[tuple[int, int]]
    ) -> list[Detections]:
        """Return the detections of each image with their mask grids."""
        found = super().detect(maps, proposals, sizes_hw)
        logits = self.mask_logits(maps, [each.boxes for each in found])
        label = torch.cat([each.labels for each in found])
        chosen = logits[torch.arange(len(label), device=label.device), label].sigmoid()
        parts = chosen.split([len(each.labels) for each in found])
        return [replace(each, grids=part) for each, part in zip(found, parts, strict=True)]
