"""The second stage: features of each region, a box head, classes and refined boxes."""

from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.detection.box_heads import BoxHead
from cvkit.models.detection.rpn import BETA
from cvkit.ops import roi
from cvkit.ops.boxes import (
    box_iou,
    clip_to_images,
    decode_boxes,
    encode_boxes,
    image_index,
    large_enough,
)
from cvkit.ops.matching import BELOW, BETWEEN, match, sample_balanced
from cvkit.ops.suppression import suppress
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


def on_cpu(found: list[Detections]) -> list[Detections]:
    """Return the detections of a batch on the CPU, in float32; they are moved together."""
    counts = [len(each.labels) for each in found]
    columns = [
        torch.cat((each.boxes, each.scores[:, None], each.labels[:, None]), 1) for each in found
    ]
    rows = torch.cat(columns).float().cpu()  # labels are exact up to 2^24
    parts = (rows[:, :4], rows[:, 4], rows[:, 5].long())
    moved = [Detections(*each) for each in zip(*(p.split(counts) for p in parts), strict=True)]
    grids = [each.grids for each in found if each.grids is not None]
    if not grids:
        return moved
    split = torch.cat(grids).float().cpu().split(counts)
    return [replace(each, grids=part) for each, part in zip(moved, split, strict=True)]


class RoIFeatures(nn.Module):
    """Cuts a grid of features for each box out of the map that suits its size.

    Args:
        strides: of the maps, fine to coarse.
        side: of the grid, in cells.
        kind: `align`, `pool`, or `aligned` for `roi.roi_align_adaptive`.
    """

    def __init__(self, strides: list[int], side: int, kind: str) -> None:
        super().__init__()
        self.strides, self.side, self.kind = strides, side, kind

    def forward(self, maps: list[Tensor], boxes: list[Tensor]) -> Tensor:
        """Return [R, C, side, side] grids for the [R_i, 4] boxes of each image, in order."""
        joined = torch.cat(boxes)
        image = image_index(boxes)
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
        if self.kind == "aligned":
            return roi.roi_align_adaptive(maps, boxes, image, side=self.side, scale=scale)
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
        image = image_index(proposals)
        found = above_least(F.softmax(logits, -1), image, self.rule)
        moves = deltas.unflatten(1, (-1, 4))[found.regions, found.labels]  # [C, 4]
        boxes = decode_boxes(moves, torch.cat(proposals)[found.regions], WEIGHTS)[:, 0]
        boxes = clip_to_images(boxes, found.images, sizes_hw)
        found, boxes = large_only(found, boxes, self.rule)
        best, counts = found.suppress(boxes, len(proposals), self.rule)
        parts = (each[best].split(counts) for each in (boxes, found.scores, found.labels))
        return [Detections(*part) for part in zip(*parts, strict=True)]


@dataclass(frozen=True)
class Candidates:
    """The pairs of a region and a class from which the detections of a batch are chosen.

    Attributes:
        regions: [C] places among the regions of all images.
        labels: [C] from 1.
        scores: [C].
        images: [C] number of each region's image.
    """

    regions: Tensor
    labels: Tensor
    scores: Tensor
    images: Tensor

    def pick(self, chosen: Tensor) -> Self:
        """Return some of them, by their indices."""
        parts = (self.regions, self.labels, self.scores, self.images)
        return type(self)(*(part[chosen] for part in parts))

    def suppress(self, boxes: Tensor, images: int, rule: RegionRule) -> tuple[Tensor, list[int]]:
        """Return which of them are detections, and how many of each image; see `ops.suppress`."""
        return suppress(
            boxes,
            self.scores,
            self.labels,
            self.images,
            images=images,
            limit=rule.nms,
            most=rule.max_detections,
        )


def above_least(scores: Tensor, image: Tensor, rule: RegionRule) -> Candidates:
    """Return the pairs above the minimum score.

    Args:
        scores: [R, K + 1] of the regions of all images; class 0 is background.
        image: [R] number of each region's image.
        rule: the limits.
    """
    region, kind = torch.where(scores[:, 1:] > rule.min_score)
    return Candidates(region, kind + 1, scores[region, kind + 1], image[region])


def large_only(found: Candidates, boxes: Tensor, rule: RegionRule) -> tuple[Candidates, Tensor]:
    """Return the candidates whose [C, 4] boxes are not too small, and their boxes."""
    large = torch.where(large_enough(boxes, rule.min_side))[0]
    return found.pick(large), boxes[large]
