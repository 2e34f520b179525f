"""Detectors from an image of any size to boxes in its pixels.

The network's stages are written without decisions that depend on values, which a file cannot hold:
numbers of regions stay tensors. The weights are the network's; the proof compares the rest.
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import nms, roi_align, roi_pool

from cvkit import catalog
from cvkit.export.forms import SIZE, Form, Normalisation, Sums
from cvkit.models.detection.detectors import FasterRCNN, TwoStageDetector
from cvkit.models.detection.inputs import DIVISOR, DetectionInputs
from cvkit.models.detection.mask_heads import MaskRoIHeads
from cvkit.models.detection.roi_heads import WEIGHTS, RegionRule, RoIFeatures
from cvkit.models.detection.rpn import UNWEIGHTED, RegionProposals, grid_anchors
from cvkit.ops.boxes import decode_boxes
from cvkit.ops.mask_pasting import paste_masks
from cvkit.ops.resize import height_width
from cvkit.ops.rle import decode
from cvkit.ops.roi import pyramid_level
from cvkit.structures import Batch
from cvkit.tasks.contract import Task
from cvkit.texts import counted

PIXELS, SCORES = 100.0, 1.0
"""Units of the errors of boxes and scores: 1e-4 of them are 0.01 pixels and 1e-4."""
MOVED = 4000
"""Coordinates up to which `batched_nms` moves boxes on CPUs, which rounds them."""
NEAR = 1.0
"""Largest distance in pixels of two boxes that are taken for the same, or twice the tolerance."""


class DetectForm(Form):
    """An [3, H, W] image to the boxes [D, 4], scores [D] and labels [D] from 1 of its objects."""

    inputs = ("image",)
    outputs: ClassVar[tuple[str, ...]] = ("boxes", "scores", "labels")
    axes: ClassVar[Mapping[str, Mapping[int, str]]] = {
        "image": {1: "height", 2: "width"},
        "boxes": {0: "objects"},
        "scores": {0: "objects"},
        "labels": {0: "objects"},
    }
    dynamic = (SIZE,)
    varies = True
    stacks = False

    def __init__(self, network: nn.Module, scale: Normalisation) -> None:
        super().__init__(network, scale)
        self.detector = cast(TwoStageDetector, self.network)

    @classmethod
    def refusal(cls, task: Task[Any, Any, Any], name: str) -> str:
        """Return why a format cannot hold a detector; empty if it can."""
        facts = catalog.DETECTORS[task.network.arch]
        if facts.takes_crops:
            return "its network sees crops of regions that another program finds"
        if facts.needs_proposals:
            return "its regions come from selective search, which is no network"
        if name in ("torch-export",):
            return "the number of its regions follows from values; use --format onnx"
        return ""

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs."""
        boxes, scores, labels, *_ = self.detections(image)
        return boxes, scores, labels

    def detections(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, list[Tensor]]:
        """Return boxes in pixels of the image, scores, labels, boxes of the input, and maps."""
        network = cast(FasterRCNN, self.detector)
        resized = resized_input(self.normalized(image[None]), network.transform)
        maps = network.backbone(padded(resized))
        padded_hw = height_width(padded(resized))
        size_hw = height_width(resized)
        regions = proposals(network.rpn, maps, padded_hw, size_hw)
        heads, useful = network.roi_heads, maps[: len(maps) - network.backbone.extra]
        grids = region_features(heads.features, useful, regions)
        logits, deltas = heads.box_predictor(heads.box_head(grids))
        boxes = clipped(decode_boxes(deltas.float(), regions, WEIGHTS), size_hw)
        found = chosen(boxes, F.softmax(logits.float(), -1), heads.rule)
        factors = [_ratio(old, new) for old, new in zip(height_width(image), size_hw, strict=True)]
        y, x = factors
        return found[0] * torch.stack((x, y, x, y)), found[1], found[2], found[0], useful

    @staticmethod
    def expected(
        network: nn.Module, scale: Normalisation, inputs: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Return boxes, scores and labels, and for masks their grids."""
        (found,) = cast(TwoStageDetector, network).detect([inputs[0].to(torch.uint8)])
        result = {"boxes": found.boxes, "scores": found.scores, "labels": found.labels}
        if found.grids is not None:
            result["mask_probabilities"] = found.grids
        rule: RegionRule = cast(TwoStageDetector, network).roi_heads.rule
        result["limits"] = torch.tensor([rule.min_score, float(rule.max_detections)])
        return result

    def samples(self, batch: Batch) -> Iterator[tuple[Tensor, ...]]:
        """Yield each image of a batch."""
        for image in batch.images:
            yield (image.float().contiguous(),)

    def differences(
        self, found: Sums, outputs: dict[str, Tensor], expected: dict[str, Tensor]
    ) -> None:
        """Compare detections: each with the nearest one of its class.

        One may be missing if its score is as near to the smallest possible one as scores may
        differ.
        """
        pairs, lost = matched(outputs, expected, found.tolerance)
        for mine, other in pairs:
            box = (outputs["boxes"][other] - expected["boxes"][mine]).abs().max()
            found.grow("boxes", float(box), PIXELS)
            score = (outputs["scores"][other] - expected["scores"][mine]).abs()
            found.grow("scores", float(score), SCORES)
        if not pairs:
            found.grow("boxes", 0.0, PIXELS)
        if lost:
            total = len(expected["boxes"]) + len(outputs["boxes"])
            found.remark(f"{lost} of {counted(total, 'detection')} have no counterpart")
        self.differences_of_masks(found, outputs, expected, pairs)

    def differences_of_masks(
        self,
        found: Sums,
        outputs: dict[str, Tensor],
        expected: dict[str, Tensor],
        pairs: list[tuple[int, int]],
    ) -> None:
        """Do nothing: boxes have no masks."""


class InstanceForm(DetectForm):
    """The same with masks [D, H, W] uint8, and their probabilities [D, side, side] in the boxes."""

    outputs = ("boxes", "scores", "labels", "mask_probabilities", "masks")
    axes: ClassVar[Mapping[str, Mapping[int, str]]] = {
        **DetectForm.axes,
        "mask_probabilities": {0: "objects"},
        "masks": {0: "objects", 1: "height", 2: "width"},
    }

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs."""
        boxes, scores, labels, inside, maps = self.detections(image)
        heads = cast(MaskRoIHeads, self.detector.roi_heads)
        grids = heads.box_head.before_masks(region_features(heads.mask_features, maps, inside))
        logits = heads.mask_predictor(heads.mask_head(grids)).float()
        shape = (-1, 1, logits.shape[-2], logits.shape[-1])
        own_class = logits.gather(1, labels[:, None, None, None].expand(shape))[:, 0]
        probabilities = own_class.sigmoid()
        masks = pasted(probabilities, boxes, height_width(image))
        return boxes, scores, labels, probabilities, masks

    def differences_of_masks(
        self,
        found: Sums,
        outputs: dict[str, Tensor],
        expected: dict[str, Tensor],
        pairs: list[tuple[int, int]],
    ) -> None:
        """Compare the probabilities of masks, and the pixels with those of cvkit's own pasting."""
        if not pairs:
            return
        mine, others = (torch.tensor(each) for each in zip(*pairs, strict=True))
        grids = expected["mask_probabilities"][mine], outputs["mask_probabilities"][others]
        found.grow("mask_probabilities", float((grids[0] - grids[1]).abs().max()), SCORES)
        masks = outputs["masks"]
        size_hw = (int(masks.shape[1]), int(masks.shape[2]))
        coded = paste_masks(grids[0], expected["boxes"][mine], size_hw)
        for wanted, other in zip(decode(coded), others.tolist(), strict=True):
            differ = int((torch.from_numpy(wanted).bool() != masks[other].bool()).sum())
            if differ > max(1, 10 * found.tolerance * wanted.sum()):
                found.remark(f"{differ} of {counted(int(wanted.sum()), 'pixel')} of a mask differ")


def resized_input(images: Tensor, rule: DetectionInputs) -> Tensor:
    """Return NCHW images at the scale of `DetectionInputs`, with the arithmetic of float64."""
    sides = [side_of(images, axis).double() for axis in (-2, -1)]
    short, long = torch.minimum(*sides), torch.maximum(*sides)
    wanted = (
        _over(rule.min_sizes[-1], short) if rule.min_sizes else _over(rule.scale, 1 + 0 * short)
    )
    scale = torch.minimum(wanted, _over(rule.max_size, long))
    scale = torch.maximum(scale, _over(1 + 1e-6, short))
    size_hw: Any = tuple(torch.floor(side * scale).long() for side in sides)  # as traced sizes are
    return F.interpolate(images, size=size_hw, mode="bilinear", align_corners=False)


def _over(number: float, side: Tensor) -> Tensor:
    """Return number / side in float64; torch divides a number by the reciprocal, rounded twice."""
    return torch.tensor(number, dtype=torch.float64) / side


def side_of(tensor: Tensor, axis: int) -> Tensor:
    """Return the size of an axis as a tensor, which a file computes anew for each input."""
    return torch._shape_as_tensor(tensor)[axis]


def padded(images: Tensor) -> Tensor:
    """Return NCHW images padded with zeros to multiples of `DIVISOR`."""
    height, width = (-side % DIVISOR for side in height_width(images))
    return F.pad(images, (0, width, 0, height))


def _ratio(old: int, new: int) -> Tensor:
    """Return old / new of two sizes as float32."""
    return torch.as_tensor(old).float() / torch.as_tensor(new).float()


def clipped(boxes: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return [..., 4] boxes clipped to an image."""
    height, width = (torch.as_tensor(side).to(boxes.dtype) for side in size_hw)
    limits = torch.stack((width, height, width, height))
    return torch.minimum(boxes.clamp(min=0), limits)


def proposals(
    rpn: RegionProposals,
    maps: list[Tensor],
    padded_hw: tuple[int, int],
    size_hw: tuple[int, int],
) -> Tensor:
    """Return the [R, 4] proposals of one image, best first; see `RegionProposals.choose`."""
    logits, deltas = rpn.head(maps)
    anchors = grid_anchors(rpn.cells, [height_width(each) for each in maps], padded_hw)
    boxes, scores, levels = [], [], []
    for number, (score, delta, anchor) in enumerate(zip(logits, deltas, anchors, strict=True)):
        limit = torch.tensor(rpn.rule.before_nms[1])
        count: Any = torch.minimum(limit, side_of(score, 1))
        best, index = score[0].float().topk(count)
        boxes.append(decode_boxes(delta[0].float()[index], anchor[index], UNWEIGHTED)[:, 0])
        scores.append(best.sigmoid())
        levels.append(torch.full_like(index, number))
    box, score, level = clipped(torch.cat(boxes), size_hw), torch.cat(scores), torch.cat(levels)
    sides = box[:, 2:] - box[:, :2]
    keep = torch.where((sides >= rpn.rule.min_side).all(1) & (score >= rpn.rule.min_score))[0]
    box, score, level = box[keep], score[keep], level[keep]
    apart = distance(box) * (4 * side_of(box, 0) <= MOVED).to(box.dtype)
    kept = []
    for number in range(len(maps)):
        here = torch.where(level == number)[0]
        kept.append(here[nms(box[here] + number * apart, score[here], rpn.rule.nms)])
    found = torch.cat(kept)
    best = score[found].argsort(descending=True)[: rpn.rule.after_nms[1]]
    return box[found[best]]


def distance(boxes: Tensor) -> Tensor:
    """Return how far `batched_nms` moves the boxes of two groups apart."""
    return torch.cat((boxes.reshape(-1), boxes.new_zeros(1))).max() + 1


def region_features(features: RoIFeatures, maps: list[Tensor], boxes: Tensor) -> Tensor:
    """Return [R, C, side, side] grids of the boxes of one image; see `RoIFeatures`."""
    if len(maps) == 1:
        return _cut(features, maps[0], boxes, features.strides[0])
    low, high = (stride.bit_length() - 1 for stride in (features.strides[0], features.strides[-1]))
    level = pyramid_level(boxes, low, high)
    places, grids = [], []
    for number, (each, stride) in enumerate(zip(maps, features.strides, strict=True)):
        here = torch.where(level == number)[0]
        places.append(here)
        grids.append(_cut(features, each, boxes[here], stride))
    return torch.cat(grids)[torch.cat(places).argsort()]


def _cut(features: RoIFeatures, maps: Tensor, boxes: Tensor, stride: int) -> Tensor:
    rois = torch.cat((torch.zeros_like(boxes[:, :1]), boxes), 1)
    side = (features.side, features.side)
    if features.kind == "pool":
        return roi_pool(maps.float(), rois, side, 1 / stride)
    return roi_align(maps.float(), rois, side, 1 / stride, 2, False)


def chosen(boxes: Tensor, scores: Tensor, rule: RegionRule) -> tuple[Tensor, Tensor, Tensor]:
    """Return boxes, scores and labels of the detections; see `choose_detections`."""
    labels = torch.arange(1, scores.shape[1])[None].expand_as(scores[:, 1:]).reshape(-1)
    box, score = boxes[:, 1:].reshape(-1, 4), scores[:, 1:].reshape(-1)
    sides = box[:, 2:] - box[:, :2]
    keep = torch.where((score > rule.min_score) & (sides >= rule.min_side).all(1))[0]
    box, score, labels = box[keep], score[keep], labels[keep]
    moved = box + (labels.to(box.dtype) * distance(box))[:, None]
    best = nms(moved, score, rule.nms)[: rule.max_detections]
    return box[best], score[best], labels[best]


def pasted(grids: Tensor, boxes: Tensor, size_hw: tuple[int, int], limit: float = 0.5) -> Tensor:
    """Return [D, H, W] uint8 masks of [D, side, side] probabilities; see `paste_masks`.

    Bilinear interpolation is a product with one matrix per axis, which is zero outside the box.
    """
    side = grids.shape[-1]
    edged = F.pad(grids, (1, 1, 1, 1))
    centre = (boxes[:, :2] + boxes[:, 2:]) * 0.5
    half = (boxes[:, 2:] - boxes[:, :2]) * 0.5 * ((side + 2) / side)
    low, high = (centre - half).to(torch.int64), (centre + half).to(torch.int64)
    height, width = size_hw
    rows = _weights(low[:, 1], high[:, 1], torch.arange(height), side + 2)
    columns = _weights(low[:, 0], high[:, 0], torch.arange(width), side + 2)
    return (rows @ edged @ columns.transpose(1, 2) > limit).to(torch.uint8)


def _weights(low: Tensor, high: Tensor, places: Tensor, cells: int) -> Tensor:
    """Return the [D, places, cells] weights of a grid's cells in each pixel of an axis."""
    size = (high - low + 1).clamp(min=1)[:, None]
    offset = (places[None] - low[:, None]).float() + 0.5
    point = (offset * (cells / size.float()) - 0.5).clamp(min=0, max=cells - 1)
    near = 1 - (point[..., None] - torch.arange(cells)).abs()
    inside = (places[None] >= low[:, None]) & (places[None] < low[:, None] + size)
    return near.clamp(min=0) * inside[..., None].to(near.dtype)


def matched(
    outputs: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float
) -> tuple[list[tuple[int, int]], int]:
    """Return the pairs of equal detections, and the number of those without a counterpart."""
    rest, pairs, lost = set(range(len(outputs["boxes"]))), [], 0
    smallest, most = expected["limits"].tolist()
    full = len(expected["boxes"]) >= most
    floor = float(expected["scores"].min()) if full else smallest
    margin, near = 10 * tolerance, max(NEAR, 2 * PIXELS * tolerance)
    for mine, (box, label) in enumerate(zip(expected["boxes"], expected["labels"], strict=True)):
        distances = {
            other: float((outputs["boxes"][other] - box).abs().max())
            for other in rest
            if int(outputs["labels"][other]) == int(label)
        }
        other = min(distances, key=distances.__getitem__, default=-1)
        if other >= 0 and distances[other] <= near:
            pairs.append((mine, other))
            rest.remove(other)
        elif float(expected["scores"][mine]) > floor + margin:
            lost += 1
    lost += sum(float(outputs["scores"][other]) > floor + margin for other in rest)
    return pairs, lost
