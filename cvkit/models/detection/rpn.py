"""The region proposal network.

Source: Faster R-CNN, 2015, arXiv:1506.01497.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.models.detection.inputs import PaddedBatch
from cvkit.ops.boxes import box_iou, clip_to_images, decode_boxes, encode_boxes, large_enough
from cvkit.ops.matching import BELOW, BETWEEN, match, sample_balanced
from cvkit.ops.resize import height_width
from cvkit.ops.suppression import suppress

UNWEIGHTED = (1.0, 1.0, 1.0, 1.0)
"""Weights of the deltas of proposals."""
BETA = 1 / 9
"""Where the smooth L1 loss of boxes changes from quadratic to linear."""


def cell_anchors(sizes: Sequence[int], ratios: Sequence[float], rounded: bool = True) -> Tensor:
    """Return the [A, 4] anchors around (0, 0): for each ratio (height / width) all sizes.

    Corners are rounded to whole pixels (halves to even), as torchvision's weights expect, unless
    `rounded` is False.
    """
    high = torch.sqrt(torch.tensor(ratios, dtype=torch.float32))
    size = torch.tensor(sizes, dtype=torch.float32)
    widths, heights = (1 / high[:, None] * size).view(-1), (high[:, None] * size).view(-1)
    corners = torch.stack((-widths, -heights, widths, heights), 1) / 2
    return corners.round() if rounded else corners


def cell_anchors_2015() -> Tensor:
    """Return the 9 anchors of the original code: base 16, scales 8, 16, 32, inclusive pixels."""
    rows = []
    for ratio in (0.5, 1.0, 2.0):
        width = torch.tensor(256 / ratio).sqrt().round()
        height = (width * ratio).round()
        for scale in (8, 16, 32):
            half_w, half_h = (width * scale - 1) / 2, (height * scale - 1) / 2
            # The last pixel is included: continuous coordinates end one further.
            rows.append(torch.stack((7.5 - half_w, 7.5 - half_h, 8.5 + half_w, 8.5 + half_h)))
    return torch.stack(rows)


def grid_anchors(
    cells: Sequence[Tensor],
    maps_hw: Sequence[tuple[int, int]],
    image_hw: tuple[int, int],
    strides: Sequence[int] = (),
) -> list[Tensor]:
    """Return for each map its [H * W * A, 4] anchors in image pixels, row by row.

    Anchors are at the multiples of `strides`; without them, of the integer part of image size / map
    size.
    """
    result = []
    for level, (cell, (height, width)) in enumerate(zip(cells, maps_hw, strict=True)):
        down, across = (
            (strides[level],) * 2 if strides else (image_hw[0] // height, image_hw[1] // width)
        )
        y = torch.arange(height, device=cell.device) * down
        x = torch.arange(width, device=cell.device) * across
        y, x = torch.meshgrid(y, x, indexing="ij")
        shifts = torch.stack((x, y, x, y), -1).view(-1, 1, 4)
        result.append((shifts + cell[None]).reshape(-1, 4))
    return result


class RPNHead(nn.Module):
    """One 3x3 convolution (or more) over each map, then objectness and deltas of each anchor.

    Args:
        channels: of the maps.
        anchors: number per position.
        depth: number of 3x3 convolutions.
        middle: their width (default: that of the maps).
    """

    def __init__(
        self, channels: int, anchors: int, depth: int = 1, middle: int | None = None
    ) -> None:
        super().__init__()
        middle = middle or channels
        self.conv = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(middle if i else channels, middle, 3, padding=1), nn.ReLU(True)
                )
                for i in range(depth)
            )
        )
        self.cls_logits = nn.Conv2d(middle, anchors, 1)
        self.bbox_pred = nn.Conv2d(middle, 4 * anchors, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.normal_(layer.weight, std=0.01)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, maps: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return for each map [N, H * W * A] objectness logits and [N, H * W * A, 4] deltas."""
        logits, deltas = [], []
        for each in maps:
            hidden = self.conv(each)
            count = each.shape[0]
            logits.append(self.cls_logits(hidden).permute(0, 2, 3, 1).reshape(count, -1))
            deltas.append(self.bbox_pred(hidden).permute(0, 2, 3, 1).reshape(count, -1, 4))
        return logits, deltas


@dataclass(frozen=True)
class ProposalRule:
    """How proposals are trained and chosen; the defaults are torchvision's.

    Attributes:
        high: smallest IoU of a positive anchor.
        low: IoU below which an anchor is negative.
        samples: anchors per image in the loss.
        positive_share: maximum fraction of positives among them.
        before_nms: number of best anchors per map before NMS, in training and inference.
        after_nms: number of proposals per image after NMS, in training and inference.
        nms: IoU above which the lower of two proposals is dropped.
        min_side: of a proposal, in pixels of the resized image.
        min_score: of a proposal.
        inside_only: ignore anchors that cross the image border in training.
    """

    high: float = 0.7
    low: float = 0.3
    samples: int = 256
    positive_share: float = 0.5
    before_nms: tuple[int, int] = (2000, 1000)
    after_nms: tuple[int, int] = (2000, 1000)
    nms: float = 0.7
    min_side: float = 1e-3
    min_score: float = 0.0
    inside_only: bool = False


class RegionProposals(nn.Module):
    """Turns anchors into proposals by a small network that scores and moves them.

    Args:
        head: the network.
        cells: the anchors around (0, 0) of each map.
        rule: how they are trained and chosen.
        strides: of the anchors; without them, see `grid_anchors`.
    """

    def __init__(
        self,
        head: RPNHead,
        cells: Sequence[Tensor],
        rule: ProposalRule,
        strides: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.head, self.cells, self.rule, self.strides = head, list(cells), rule, strides

    def scored_anchors(
        self, maps: list[Tensor], batch: PaddedBatch
    ) -> tuple[Tensor, list[Tensor], Tensor]:
        """Return the [A, 4] anchors, the [N, A_l] logits of each map, and the [N, A, 4] deltas."""
        logits, deltas = self.head(maps)
        self.cells = [cell.to(maps[0].device) for cell in self.cells]
        sizes = [height_width(each) for each in maps]
        anchors = grid_anchors(self.cells, sizes, height_width(batch.images), self.strides)
        return torch.cat(anchors), [x.float() for x in logits], torch.cat(deltas, 1).float()

    def propose(self, maps: list[Tensor], batch: PaddedBatch) -> list[Tensor]:
        """Return the [R, 4] proposals of each image, best first."""
        return self.choose(*self.scored_anchors(maps, batch), batch.sizes_hw)

    def propose_and_learn(
        self, maps: list[Tensor], batch: PaddedBatch, truths: list[Tensor]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Return the proposals, and the losses by name, against each image's [M, 4] boxes."""
        found = self.scored_anchors(maps, batch)
        return self.choose(*found, batch.sizes_hw), self.losses(*found, batch.sizes_hw, truths)

    @torch.no_grad()
    def choose(
        self,
        anchors: Tensor,
        logits: list[Tensor],
        deltas: Tensor,
        sizes_hw: list[tuple[int, int]],
    ) -> list[Tensor]:
        """Return the proposals of each image: decoded, clipped to it, after NMS."""
        rule, mode = self.rule, 0 if self.training else 1
        picked, levels, offset = [], list[int](), 0
        for number, each in enumerate(logits):
            count = min(rule.before_nms[mode], each.shape[1])
            picked.append(each.topk(count, dim=1).indices + offset)
            levels += [number] * count
            offset += each.shape[1]
        index = torch.cat(picked, 1)  # [N, P]
        scores = torch.cat(logits, 1).gather(1, index).sigmoid()
        image = torch.arange(len(index), device=index.device).repeat_interleave(index.shape[1])
        moves = deltas[image, index.flatten()]  # [N * P, 4]
        boxes = decode_boxes(moves, anchors[index.flatten()], UNWEIGHTED)[:, 0]
        boxes = clip_to_images(boxes, image, sizes_hw)
        useful = large_enough(boxes, rule.min_side) & (scores.flatten() >= rule.min_score)
        kept = torch.where(useful)[0]
        level = torch.tensor(levels, device=anchors.device).repeat(len(index))
        parts = (each[kept] for each in (boxes, scores.flatten(), level, image))
        boxes, *others = parts
        best, counts = suppress(
            boxes, *others, images=len(index), limit=rule.nms, most=rule.after_nms[mode]
        )
        return list(boxes[best].split(counts))

    def losses(
        self,
        anchors: Tensor,
        logits: list[Tensor],
        deltas: Tensor,
        sizes_hw: list[tuple[int, int]],
        truths: list[Tensor],
    ) -> dict[str, Tensor]:
        """Return `loss_objectness` and `loss_rpn_box_reg`, means over the sampled anchors."""
        labels, targets, samples = [], [], []
        for boxes, size_hw in zip(truths, sizes_hw, strict=True):
            label, target = self._targets(anchors, boxes, size_hw)
            labels.append(label)
            targets.append(target)
            samples.append(sample_balanced(label, self.rule.samples, self.rule.positive_share))
        scores, wanted, errors, count = [], [], [], 0
        all_logits = torch.cat(logits, 1)
        for row, chosen in enumerate(samples):
            label = labels[row][chosen]
            scores.append(all_logits[row, chosen])
            wanted.append(label)
            positive = chosen[label == 1]
            target = encode_boxes(targets[row][positive], anchors[positive], UNWEIGHTED)
            errors.append((deltas[row, positive], target))
            count += len(chosen)
        found, target = (torch.cat(parts) for parts in zip(*errors, strict=True))
        box = F.smooth_l1_loss(found, target, beta=BETA, reduction="sum") / max(count, 1)
        # In images smaller than every anchor none may count: hence a sum and not a mean.
        objectness = F.binary_cross_entropy_with_logits(
            torch.cat(scores), torch.cat(wanted), reduction="sum"
        )
        return {"loss_objectness": objectness / max(count, 1), "loss_rpn_box_reg": box}

    def _targets(
        self, anchors: Tensor, boxes: Tensor, size_hw: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return for each anchor 1, 0 or -1 (ignored), and its target box."""
        if len(boxes) == 0:
            label, target = anchors.new_zeros(len(anchors)), torch.zeros_like(anchors)
        else:
            found = match(box_iou(boxes, anchors), self.rule.high, self.rule.low, keep_best=True)
            label = (found >= 0).float()
            label[found == BELOW] = 0.0
            label[found == BETWEEN] = -1.0
            target = boxes[found.clamp(min=0)]
        if self.rule.inside_only:
            height, width = size_hw
            outside = (anchors[:, :2] < 0).any(1) | (anchors[:, 2] > width)
            label[outside | (anchors[:, 3] > height)] = -1.0
        return label, target
