"""Builds the detector that a model file describes from its parts."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from cvkit import catalog
from cvkit.arch_facts import Detector as Facts
from cvkit.errors import UsageError
from cvkit.models.backbones import VGG, ResNet
from cvkit.models.detection.box_heads import (
    BoxHead,
    BoxPredictor,
    ConvFCHead,
    LastStageHead,
    TwoMLPHead,
    VGGHead,
)
from cvkit.models.detection.detectors import Detector, FasterRCNN, FastRCNN
from cvkit.models.detection.fpn import Neck, PyramidBackbone, SingleMapBackbone
from cvkit.models.detection.inputs import DetectionInputs, DetectorPreprocessing
from cvkit.models.detection.mask_heads import MaskRoIHeads, mask_branch
from cvkit.models.detection.roi_heads import RegionRule, RoIFeatures, RoIHeads
from cvkit.models.detection.rpn import (
    ProposalRule,
    RegionProposals,
    RPNHead,
    cell_anchors,
    cell_anchors_2015,
)
from cvkit.models.specs import DetectorSpec

SIZES = (32, 64, 128, 256, 512)
"""Default sides of the anchors in pixels of the resized image; one per map, fine to coarse."""
RATIOS = (0.5, 1.0, 2.0)
NO_EPSILON = 1e-30
"""Replaces an epsilon of 0, which PyTorch 2.11 refuses; it changes no variance above 1e-22."""
MASK_SIDE = 14
"""Side of the mask branch's input grids, in cells."""


def build_detector(
    spec: DetectorSpec, num_classes: int, preprocessing: DetectorPreprocessing
) -> Detector:
    """Return a freshly initialised detector.

    Args:
        spec: of the detector.
        num_classes: without background.
        preprocessing: of the images.

    Raises:
        UsageError: a name is unknown, or these parts cannot be combined.
    """
    facts = catalog.known_entry(catalog.DETECTORS, spec.arch, "arch")
    transform = DetectionInputs(
        tuple(preprocessing.min_sizes),
        preprocessing.max_size,
        tuple(preprocessing.mean),
        tuple(preprocessing.std),
        preprocessing.scale,
    )
    detector: Detector = catalog.resolve(facts.target)(spec, num_classes, transform, facts)
    return detector


@dataclass(frozen=True)
class Front:
    """The parts of a detector before its heads.

    Attributes:
        neck: produces the maps.
        head: applied to the regions cut out of the maps.
        side: of the regions' grids, in cells.
    """

    neck: Neck
    head: BoxHead
    side: int


def pyramid(spec: DetectorSpec, facts: Facts) -> Front:
    """Return a backbone with a feature pyramid, and a new box head."""
    entry = catalog.BACKBONES[spec.backbone]
    changes: dict[str, Any] = {"positions": spec.positions} if spec.positions else {}
    if spec.stride_first:
        changes["stride_first"] = True
    body = catalog.resolve(entry.target)(entry.builder, **changes)
    neck = PyramidBackbone(body, spec.width, norm=facts.version == 2)
    head = ConvFCHead if facts.version == 2 else TwoMLPHead
    return Front(neck, head(spec.width, 7, 4 * spec.width), 7)


def single_map(spec: DetectorSpec, facts: Facts) -> Front:
    """Return a backbone with one map of stride 16, and the head made of its last layers.

    Raises:
        UsageError: this backbone cannot be divided in this way.
    """
    entry = catalog.BACKBONES[spec.backbone]
    if not entry.single_map:
        raise UsageError(
            f"--neck c4 needs a VGG or ResNet, not --backbone {spec.backbone}",
            code="neck.unsupported",
            hint="--neck fpn",
        )
    return SINGLE_MAP[entry.single_map](entry.builder)


def _resnet_single_map(builder: str) -> Front:
    body = ResNet(builder)
    width = body.channels[-1]
    stage = body.take_last_stage()
    return Front(SingleMapBackbone(body), LastStageHead(stage, width), 14)


def _vgg_single_map(builder: str) -> Front:
    body = VGG(builder, output_stride=16)
    return Front(SingleMapBackbone(body), VGGHead(builder), 7)


SINGLE_MAP: dict[str, Callable[[str], Front]] = {
    "resnet": _resnet_single_map,
    "vgg": _vgg_single_map,
}
"""The division of backbone families at stride 16."""

NECKS: dict[str, Callable[[DetectorSpec, Facts], Front]] = {"fpn": pyramid, "c4": single_map}
"""The builders for the values of `DetectorSpec.neck`."""

PAPER = RegionRule(samples=128, beta=1.0, nms=0.3)
"""The proposal rule of the 2015 papers' code."""


def two_stage(
    spec: DetectorSpec, num_classes: int, transform: DetectionInputs, facts: Facts
) -> Detector:
    """Return a Fast, Faster or Mask R-CNN on the neck that the spec names."""
    front = NECKS[spec.neck](spec, facts)
    _set_epsilon(front.neck.body, spec.eps)
    rule = RegionRule()
    if facts.needs_proposals:
        rule = replace(PAPER, samples=facts.roi_samples, low=0.1)
    rule = replace(rule, **spec.region_limits())
    kind = "aligned" if spec.aligned else spec.roi
    heads = _region_heads(front, num_classes, rule, kind, gaussian=facts.needs_proposals)
    if facts.masks:
        norm, channels = facts.version == 2, front.neck.channels
        branch = mask_branch(channels, front.head, num_classes, norm)
        features = RoIFeatures(_used_strides(front.neck), MASK_SIDE, kind)
        heads = MaskRoIHeads(heads, features, *branch)
    if facts.needs_proposals:
        return FastRCNN(transform, front.neck, heads)
    cells = _cells(front.neck, spec)
    head = RPNHead(front.neck.channels, len(cells[0]), depth=facts.version)
    limits = ProposalRule(**spec.proposal_limits())
    strides = front.neck.strides if spec.aligned else ()
    proposals = RegionProposals(head, cells, limits, strides)
    return FasterRCNN(transform, front.neck, proposals, heads)


def faster_rcnn_2015(
    spec: DetectorSpec, num_classes: int, transform: DetectionInputs, facts: Facts
) -> Detector:
    """Return a Faster R-CNN with the anchors, limits and initialisation of the paper's code."""
    front = single_map(spec, facts)
    _set_epsilon(front.neck.body, spec.eps)
    rule = replace(PAPER, **spec.region_limits())
    heads = _region_heads(front, num_classes, rule, "pool", gaussian=True)
    cells = [cell_anchors_2015()]
    head = RPNHead(front.neck.channels, len(cells[0]), middle=512)
    limits = ProposalRule(
        before_nms=(12000, 6000), after_nms=(2000, 300), min_side=16.0, inside_only=True
    )
    limits = replace(limits, **spec.proposal_limits())
    return FasterRCNN(transform, front.neck, RegionProposals(head, cells, limits), heads)


def _region_heads(
    front: Front, num_classes: int, rule: RegionRule, roi: str, *, gaussian: bool
) -> RoIHeads:
    predictor = BoxPredictor(front.head.width, num_classes, gaussian=gaussian)
    features = RoIFeatures(_used_strides(front.neck), front.side, roi)
    return RoIHeads(features, front.head, predictor, rule)


def _used_strides(neck: Neck) -> list[int]:
    """Return the strides of the maps that regions are cut out of."""
    return neck.strides[: len(neck.strides) - neck.extra]


def _cells(neck: Neck, spec: DetectorSpec) -> list[Tensor]:
    """Return the anchors around (0, 0) of each map."""
    sides = [side * spec.smallest // SIZES[0] for side in SIZES]
    if len(neck.strides) == 1 or spec.all_sizes:
        return [cell_anchors(sides, RATIOS) for _ in neck.strides]
    return [
        cell_anchors([sides[0] * stride // 4], RATIOS, rounded=not spec.aligned)
        for stride in neck.strides
    ]


def _set_epsilon(body: nn.Module, eps: float | None) -> None:
    for layer in body.modules() if eps is not None else ():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = eps or NO_EPSILON
