"""R-CNN: a classifier over warped crops, linear SVMs on its features, box regressors.

Source: Rich Feature Hierarchies for Accurate Object Detection and Semantic Segmentation, 2013,
arXiv:1311.2524.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.arch_facts import Detector as Facts
from cvkit.models.backbones import network_stages
from cvkit.models.classify import network_parts
from cvkit.models.detection.detectors import Detector, required
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.detection.roi_heads import (
    Candidates,
    Detections,
    RegionRule,
    above_least,
    large_only,
)
from cvkit.models.detection.rpn import UNWEIGHTED
from cvkit.models.specs import DetectorSpec
from cvkit.models.trials import on_meta, strip
from cvkit.ops.boxes import box_iou, clip_boxes, decode_boxes, image_index
from cvkit.ops.matching import match, sample_balanced
from cvkit.ops.resize import height_width
from cvkit.structures import DetectionTargets

CONTEXT = 16 / 227
"""Width of the context on each side of a crop, as a fraction of the crop's side."""
CHUNK = 128
"""Number of crops per forward pass."""
SMALL_SIDE = 32
"""Up to this side of the crops the network gets the small stem."""
GRID = 2
"""Side of the pooled last map that is the input of the box regressors."""
PER_CLASS = 100
"""Number of best regions per class that are passed to NMS."""


def with_context(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Return [R, 2] corners and [R, 2] sizes of boxes with context, in whole pixels.

    The context fills 16 of 227 pixels of a crop on each side.
    """
    scale = 1 / (1 - 2 * CONTEXT)
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = (boxes[:, 2:] - boxes[:, :2]) / 2 * scale
    low, high = (centre - half).round(), (centre + half).round()
    return low, (high - low).clamp(min=1)


def warped_crops(image: Tensor, boxes: Tensor, side: int) -> Tensor:
    """Return [R, C, side, side] crops of a CHW image, warped to squares, with context.

    Pixels outside the image are 0, the mean colour.
    """
    low, size = with_context(boxes)
    steps = (torch.arange(side, device=image.device, dtype=torch.float32) + 0.5) / side
    points = low[:, None] + steps[None, :, None] * size[:, None]  # [R, side, 2]
    limits = torch.tensor(image.shape[-2:][::-1], device=image.device)
    points = 2 * points / limits - 1
    x = points[:, None, :, 0].expand(-1, side, -1)
    y = points[:, :, None, 1].expand(-1, -1, side)
    grid = torch.stack((x, y), -1)
    images = image[None].expand(len(boxes), -1, -1, -1)
    return F.grid_sample(images, grid, mode="bilinear", align_corners=False)


RULE = RegionRule(samples=64, nms=0.3)
"""The region rule of R-CNN."""


class RCNN(Detector):
    """A classifier of external proposals.

    Until its SVMs are fitted, it scores by softmax and does not change the proposed boxes. SVMs and
        regressors are buffers: one file contains all three parts.

    Args:
        backbone: key of `catalog.BACKBONES`; any classification network.
        num_classes: without background.
        transform: only its normalisation is used; its shorter side is the side of the crops.
        rule: how regions are trained and chosen.
    """

    fitted_names = (
        *("fitted", "feature_scale", "grid_scale", "svm_weight", "svm_bias"),
        *("ridge_weight", "ridge_mean"),
    )
    """Buffers that are fitted after training."""

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        transform: DetectionInputs,
        rule: RegionRule = RULE,
    ) -> None:
        super().__init__()
        self.side, self.mean, self.std = transform.min_sizes[-1], transform.mean, transform.std
        self.rule, self.name = rule, backbone
        small = self.side <= SMALL_SIDE
        self.backbone, self.head = network_parts(
            backbone, num_classes + 1, small=small, image_size=self.side, aux=False
        )
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)
        with on_meta():
            probe, _ = network_parts(
                backbone, num_classes + 1, small=small, image_size=self.side, aux=False
            )
            strip(probe)
            feature, grid = _features(probe.eval(), torch.empty(1, 3, self.side, self.side))
        width, cells = feature.shape[1], grid.shape[1]
        self.fitted: Tensor
        self.feature_scale: Tensor
        self.grid_scale: Tensor
        self.svm_weight: Tensor
        self.svm_bias: Tensor
        self.ridge_weight: Tensor
        self.ridge_mean: Tensor
        self.register_buffer("fitted", torch.zeros(()))
        self.register_buffer("feature_scale", torch.ones(()))
        self.register_buffer("grid_scale", torch.ones(()))
        self.register_buffer("svm_weight", torch.zeros(num_classes, width))
        self.register_buffer("svm_bias", torch.zeros(num_classes))
        self.register_buffer("ridge_weight", torch.zeros(num_classes, 4, cells + 1))
        self.register_buffer("ridge_mean", torch.zeros(num_classes, 4))

    def normalized(self, image: Tensor) -> Tensor:
        """Return a CHW image (uint8, or float in [0, 1]), normalised for the network."""
        image = image.float() / 255 if image.dtype == torch.uint8 else image
        mean, std = (
            torch.tensor(v, device=image.device)[:, None, None] for v in (self.mean, self.std)
        )
        return (image - mean) / std

    def losses(self, images: list[Tensor], targets: DetectionTargets) -> dict[str, Tensor]:
        """Return `loss_classifier` of sampled regions."""
        crops, wanted = [], []
        proposals = required(targets.proposals)
        objects = zip(images, proposals, targets.boxes, targets.labels, strict=True)
        for image, *found in objects:
            chosen, labels = self.sample(*found)
            crops.append(warped_crops(self.normalized(image), chosen, self.side))
            wanted.append(labels)
        if not any(map(len, crops)):  # nothing to learn from: all gradients are 0
            total = torch.stack([p.sum() for p in self.parameters()]).sum()
            return {"loss_classifier": 0.0 * total}
        joined = torch.cat(crops).contiguous(memory_format=torch.channels_last)
        logits = self.head(self.backbone(joined)).float()
        return {"loss_classifier": F.cross_entropy(logits, torch.cat(wanted))}

    @torch.no_grad()
    def sample(self, regions: Tensor, boxes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return regions of an image for the loss, a quarter of them objects, and their labels."""
        regions = torch.cat((regions, boxes))
        label = torch.zeros(len(regions), dtype=torch.int64, device=regions.device)
        if len(boxes):
            found = match(box_iou(boxes, regions), self.rule.high, self.rule.high)
            label = torch.where(found >= 0, labels[found.clamp(min=0)], label)
        chosen = sample_balanced(label, self.rule.samples, self.rule.positive_share)
        return regions[chosen], label[chosen]

    def describe(self, image: Tensor, regions: Tensor) -> tuple[Tensor, Tensor]:
        """Return [R, D] features and [R, G] grids of an image's regions, scaled."""
        parts = list(self._chunks(image, regions))
        if not parts:
            return self.svm_weight.new_zeros((0, self.svm_weight.shape[1])), (
                self.ridge_weight.new_zeros((0, self.ridge_weight.shape[2] - 1))
            )
        features, grids = (torch.cat(each).float() for each in zip(*parts, strict=True))
        return features * self.feature_scale, grids * self.grid_scale

    def _chunks(self, image: Tensor, regions: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        image = self.normalized(image)
        for part in regions.split(CHUNK) if len(regions) else ():
            yield _features(self.backbone, warped_crops(image, part, self.side))

    def detect(
        self, images: list[Tensor], proposals: list[Tensor] | None = None
    ) -> list[Detections]:
        """Return the detections of each image, in its own pixels."""
        regions = required(proposals)
        found = [self.describe(*pair) for pair in zip(images, regions, strict=True)]
        fitted, rule = bool(self.fitted), self.rule
        scores = torch.cat([self._scores(features, fitted) for features, _ in found])
        chosen = above_least(scores, image_index(regions), rule)
        joined = torch.cat(regions)
        boxes = joined[chosen.regions]
        if not fitted:
            chosen, boxes = large_only(chosen, boxes, rule)
        passed = _best_of_class(chosen)
        chosen, boxes = chosen.pick(passed), boxes[passed]
        # NMS runs on the proposals; boxes are refined after it.
        best, counts = chosen.suppress(boxes, len(images), rule)
        chosen, boxes = chosen.pick(best), boxes[best]
        parts = [each.split(counts) for each in (boxes, chosen.scores, chosen.labels)]
        results = [Detections(*part) for part in zip(*parts, strict=True)]
        if not fitted:
            return results
        grids = torch.cat([grids for _, grids in found])[chosen.regions].split(counts)
        return [self._refined(*each) for each in zip(results, grids, images, strict=True)]

    def _scores(self, features: Tensor, fitted: bool) -> Tensor:
        """Return [R, K + 1] scores of an image's regions, of softmax or of the SVMs."""
        if not fitted:
            logits = self.head((features / self.feature_scale).to(self.head.weight.dtype))
            return logits.float().softmax(1)
        margins = features @ self.svm_weight.T + self.svm_bias  # [R, K]
        return F.pad(margins.sigmoid(), (1, 0))

    def score_regions(self, images: list[Tensor], regions: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the [R, K + 1] logits or margins of regions, and their softmax or sigmoid.

        SVMs do not score the background, which then is 0.
        """
        pairs = zip(images, regions, strict=True)
        features = torch.cat([self.describe(*pair)[0] for pair in pairs])
        if not bool(self.fitted):
            logits = self.head((features / self.feature_scale).to(self.head.weight.dtype)).float()
            return logits, logits.softmax(1)
        margins = features @ self.svm_weight.T + self.svm_bias
        return F.pad(margins, (1, 0)), self._scores(features, fitted=True)

    def window(self, image: Tensor, region: Tensor) -> tuple[float, float, float, float]:
        """Return the region with its context."""
        low, size = with_context(region[None])
        x1, y1, x2, y2 = torch.cat((low, low + size), 1)[0].tolist()
        return x1, y1, x2, y2

    def _refined(self, found: Detections, grids: Tensor, image: Tensor) -> Detections:
        moved = self.correct(found.boxes, grids, found.labels)
        return replace(found, boxes=clip_boxes(moved, height_width(image)))

    def encode(self, images: list[Tensor]) -> tuple[tuple[int, int], tuple[int, int]]:
        """Run the classifier without its last layer on whole images as crops; see `Detector`."""
        self.backbone(self._whole(images))
        return (self.side, self.side), (self.side, self.side)

    def probe(self, images: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Return whole images as crops, which require a gradient, and their features."""
        inputs = self._whole(images).requires_grad_()
        return inputs, self.backbone(inputs)

    def _whole(self, images: list[Tensor]) -> Tensor:
        """Return whole images as crops."""
        crops = []
        for image in images:
            box = torch.tensor([[0.0, 0.0, image.shape[2], image.shape[1]]], device=image.device)
            crops.append(warped_crops(self.normalized(image), box, self.side))
        return torch.cat(crops)

    @property
    def body(self) -> nn.Module:
        """The classifier without its last layer."""
        return self.backbone

    def stages(self) -> list[nn.Module]:
        """Return the parts of the classifier, from the image to its last map."""
        return network_stages(self.name, self.backbone)

    def pretrained_part(self) -> nn.Module:
        """Return the layers of a published classifier."""
        return self.backbone

    def correct(self, boxes: Tensor, grids: Tensor, labels: Tensor) -> Tensor:
        """Return [D, 4] boxes refined by the regressors of their classes (labels from 1)."""
        ones = torch.cat((grids, grids.new_ones((len(grids), 1))), 1)
        weight = self.ridge_weight[labels - 1]  # [D, 4, G + 1]
        deltas = torch.einsum("dg,dkg->dk", ones, weight) + self.ridge_mean[labels - 1]
        return decode_boxes(deltas, boxes, UNWEIGHTED)[:, 0]


def rcnn(spec: DetectorSpec, num_classes: int, transform: DetectionInputs, facts: Facts) -> RCNN:
    """Return an R-CNN on any classification network."""
    rule = replace(RULE, **spec.region_limits())
    return RCNN(spec.backbone, num_classes, transform, rule)


def _features(backbone: nn.Module, crops: Tensor) -> tuple[Tensor, Tensor]:
    """Return [R, D] features and the [R, G] pooled last map, or the features for lack of one."""
    seen: list[Tensor] = []
    pool = getattr(backbone, "avgpool", None)
    hook = pool.register_forward_pre_hook(lambda _, given: seen.append(given[0])) if pool else None
    try:
        features = backbone(crops)
    finally:
        if hook:
            hook.remove()
    if not seen:
        return features, features
    return features, F.adaptive_avg_pool2d(seen[-1].float(), GRID).flatten(1)


def _best_of_class(found: Candidates) -> Tensor:
    """Return the indices of the best `PER_CLASS` of each image and class, best first in each."""
    order = found.scores.argsort(descending=True, stable=True)
    for key in (found.labels, found.images):
        order = order[key[order].argsort(stable=True)]  # in the end by image, class and score
    labels, images = found.labels[order], found.images[order]
    group = images * (labels.max() + 1 if len(labels) else 1) + labels
    place = torch.arange(len(order), device=order.device) - torch.searchsorted(group, group)
    return order[place < PER_CLASS]
