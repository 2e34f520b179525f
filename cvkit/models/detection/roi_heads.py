"""The second stage: features of each region, a box head, classes and refined boxes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import batched_nms

from cvkit.models.detection.box_heads import BoxHead
from cvkit.models.detection.rpn import BETA
from cvkit.ops import roi
from cvkit.ops.boxes import box_iou, clip_boxes, decode_boxes, encode_boxes, large_enough
from cvkit.ops.matching import BELOW, BETWEEN, match, sample_balanced
from cvkit.structures import DetectionTargets

WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Weights of the deltas of classified boxes: the inverse of their typical standard deviations."""


@dataclass(frozen=True)
class Detections:
    """The boxes of one image: [D, 4] boxes, [D] scores in decreasing order, [D] labels from 1.

    `grids` [D, side, side] are their mask probabilities, for networks with masks.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    grids: Tensor | None = None


class RoIFeatures(nn.Module):
    """Cuts a grid of features for each box out of the map that suits its size.

    Args:
        strides: of the maps, fine to coarse.
        side: of the grid, in cells.
        kind: `align` or `pool`.
    """

    def __init__(self, strides: list[int], side: int, kind: str) -> None:
        super().__init__()
        self.strides, self.side, self.kind = strides, side, kind

    def forward(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """Return [R, C, side, side] grids for the [R_i, 4] boxes of each image, in order."""
        joined = torch.cat(boxes)
        counts = torch.tensor([len(each) for each in boxes], device=joined.device)
        image = torch.repeat_interleave(torch.arange(len(boxes), device=joined.device), counts)
        if len(maps) == 1:
            return self._cut(maps[0], joined, image, self.strides[0])
        low, high = (stride.bit_length() - 1 for stride in (self.strides[0], self.strides[-1]))
        level = roi.pyramid_level(joined, low, high)
        shape = (len(joined), maps[0].shape[1], self.side, self.side)
        result = torch.zeros(shape, dtype=maps[0].dtype, device=joined.device)
        for number, (each, stride) in enumerate(zip(maps, self.strides, strict=True)):
            here = torch.where(level == number)[0]
            if len(here):
                result[here] = self._cut(each, joined[here], image[here], stride).to(result.dtype)
        return result

    def _cut(self, maps: Tensor, boxes: Tensor, image: Tensor, stride: int) -> Tensor:
        scale = 1 / stride
        if self.kind == "pool":
            return roi.roi_pool(maps, boxes, image, side=self.side, scale=scale)
        return roi.roi_align(maps, boxes, image, side=self.side, scale=scale, samples=2)


@dataclass(frozen=True)
class RegionRule:
    """How regions are trained and turned into detections; the defaults are torchvision's.

    Attributes:
        high: smallest IoU of a region that belongs to an object.
        low: smallest IoU of a background region, which is below `high`.
        samples: regions per image in the loss.
        positive_share: maximum fraction of positives among them.
        beta: where the smooth L1 loss becomes linear.
        min_score: smallest score of a detection (exclusive).
        nms: IoU above which the lower of two detections of a class is dropped.
        max_detections: per image.
        min_side: of a detection, in pixels of the resized image.
    """

    high: float = 0.5
    low: float = 0.0
    samples: int = 512
    positive_share: float = 0.25
    beta: float = BETA
    min_score: float = 0.05
    nms: float = 0.5
    max_detections: int = 100
    min_side: float = 1e-2


@dataclass(frozen=True)
class SampledRegions:
    """Regions of an image in the loss, with their target labels and boxes.

    `objects` are the indices of the true objects of positive regions.
    """

    regions: Tensor
    labels: Tensor
    truths: Tensor
    objects: Tensor


class RoIHeads(nn.Module):
    """Classifies regions and refines their boxes, separately for each class.

    Args:
        features: cuts out the input of the head.
        box_head: from [R, C, side, side] to [R, D].
        box_predictor: from [R, D] to [R, K + 1] logits and [R, 4 * (K + 1)] deltas.
        rule: how regions are trained and chosen.
    """

    def __init__(
        self,
        features: RoIFeatures,
        box_head: BoxHead,
        box_predictor: nn.Module,
        rule: RegionRule,
    ) -> None:
        super().__init__()
        self.features, self.rule = features, rule
        self.box_head, self.box_predictor = box_head, box_predictor

    def score(self, maps: list[Tensor], regions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return [R, K + 1] logits and [R, 4 * (K + 1)] deltas of all regions."""
        logits, deltas = self.box_predictor(self.box_head(self.features(maps, regions)))
        return logits.float(), deltas.float()

    def losses(
        self,
        maps: list[Tensor],
        regions: list[Tensor],
        targets: DetectionTargets,
        sizes_hw: list[tuple[int, int]],
    ) -> dict[str, Tensor]:
        """Return `loss_classifier` and `loss_box_reg`, means over the sampled regions.

        Args:
            maps: of the batch.
            regions: [R, 4] of each image.
            targets: boxes in the pixels of the resized images.
            sizes_hw: of the resized images.
        """
        return self.box_losses(maps, self.samples(regions, targets))

    def samples(self, regions: list[Tensor], targets: DetectionTargets) -> list[SampledRegions]:
        """Return the regions for the loss of each image."""
        images = zip(regions, targets.boxes, targets.labels, strict=True)
        return [self.sample(*image) for image in images]

    def box_losses(self, maps: list[Tensor], samples: list[SampledRegions]) -> dict[str, Tensor]:
        """Return `loss_classifier` and `loss_box_reg` of sampled regions."""
        logits, deltas = self.score(maps, [each.regions for each in samples])
        label = torch.cat([each.labels for each in samples])
        positive = torch.where(label > 0)[0]
        truths, regions = (
            torch.cat([getattr(each, name) for each in samples]) for name in ("truths", "regions")
        )
        target = encode_boxes(truths[positive], regions[positive], WEIGHTS)
        found = deltas.unflatten(1, (-1, 4))[positive, label[positive]]  # [P, 4]
        box = F.smooth_l1_loss(found, target, beta=self.rule.beta, reduction="sum")
        # Images without objects and proposals have no regions; a mean over nothing would be NaN.
        return {
            "loss_classifier": F.cross_entropy(logits, label) if len(label) else logits.sum(),
            "loss_box_reg": box / max(label.numel(), 1),
        }

    @torch.no_grad()
    def sample(self, proposals: Tensor, boxes: Tensor, labels: Tensor) -> SampledRegions:
        """Sample regions of an image for the loss, from the proposals and the true boxes."""
        regions = torch.cat((proposals, boxes.to(proposals)))
        if len(boxes) == 0:
            label = torch.zeros(len(regions), dtype=torch.int64, device=regions.device)
            truths, found = torch.zeros_like(regions), label
        else:
            iou = box_iou(boxes, regions)
            found = match(iou, self.rule.high, self.rule.high)
            truths, label = boxes[found.clamp(min=0)], labels[found.clamp(min=0)].clone()
            label[found == BELOW] = 0
            if self.rule.low > 0:
                label[(label == 0) & (iou.max(0).values < self.rule.low)] = BETWEEN
        chosen = sample_balanced(label, self.rule.samples, self.rule.positive_share)
        parts = (regions, label, truths, found.clamp(min=0))
        return SampledRegions(*(part[chosen] for part in parts))

    def detect(
        self, maps: list[Tensor], proposals: list[Tensor], sizes_hw: list[tuple[int, int]]
    ) -> list[Detections]:
        """Return the detections of each image, in the pixels of the resized images."""
        logits, deltas = self.score(maps, proposals)
        counts = [len(each) for each in proposals]
        joined = torch.cat(proposals)
        boxes = decode_boxes(deltas, joined, WEIGHTS)  # [R, K + 1, 4]
        scores = F.softmax(logits, -1)
        parts = zip(boxes.split(counts), scores.split(counts), sizes_hw, strict=True)
        return [choose_detections(clip_boxes(b, hw), s, self.rule) for b, s, hw in parts]


def choose_detections(
    boxes: Tensor,
    scores: Tensor,
    rule: RegionRule,
    nms: Callable[[Tensor, Tensor, Tensor, float], Tensor] = batched_nms,
) -> Detections:
    """Return the detections of one image: above the minimum score, after NMS per class.

    Args:
        boxes: [R, K + 1, 4] clipped to the image; class 0 is background.
        scores: [R, K + 1].
        rule: the limits.
        nms: non-maximum suppression, which returns indices, best first.
    """
    count, classes = scores.shape
    labels = torch.arange(1, classes, device=scores.device).repeat(count)
    boxes, scores = boxes[:, 1:].reshape(-1, 4), scores[:, 1:].reshape(-1)
    keep = torch.where(scores > rule.min_score)[0]
    keep = keep[large_enough(boxes[keep], rule.min_side)]
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    best = nms(boxes, scores, labels, rule.nms)[: rule.max_detections]
    return Detections(boxes[best], scores[best], labels[best])
