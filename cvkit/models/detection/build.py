"""From names and numbers to detectors."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from torch import nn

from cvkit import catalog
from cvkit.errors import UsageError
from cvkit.models.backbones import ResNet, Stages, chain, vgg_features
from cvkit.models.detection.box_heads import (
    BoxPredictor,
    ConvFCHead,
    LastStageHead,
    TwoMLPHead,
    VGGHead,
)
from cvkit.models.detection.detectors import Detector, FasterRCNN, FastRCNN
from cvkit.models.detection.fpn import PyramidBackbone, SingleMapBackbone
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.detection.mask_heads import MaskRoIHeads, mask_branch
from cvkit.models.detection.roi_heads import RegionRule, RoIFeatures, RoIHeads
from cvkit.models.detection.rpn import (
    ProposalRule,
    RegionProposals,
    RPNHead,
    cell_anchors,
    cell_anchors_2015,
)

SIZES = (32, 64, 128, 256, 512)
"""Usual sides of the anchors in pixels of the resized image; one a map, fine to coarse."""
RATIOS = (0.5, 1.0, 2.0)
NO_EPSILON = 1e-30
"""Stands for an epsilon of 0, which PyTorch 2.11 refuses; it changes no variance above 1e-22."""


def build_detector(
    backbone: str,
    num_classes: int,
    transform: DetectionInputs,
    *,
    neck: str = "fpn",
    roi: str = "align",
    width: int = 256,
    version: int = 1,
    historic: bool = False,
    own_proposals: bool = True,
    masks: bool = False,
    smallest: int = 32,
    positions: Sequence[int] = (),
    all_sizes: bool = False,
    eps: float | None = None,
    proposals: Mapping[str, object] | None = None,
    regions: Mapping[str, object] | None = None,
) -> Detector:
    """Return a freshly initialised Fast, Faster or Mask R-CNN.

    Args:
        backbone: key of `catalog.BACKBONES`.
        num_classes: without background.
        transform: makes the padded batch.
        neck: `fpn`, or `c4` for the one map of stride 16.
        roi: `align` or `pool`.
        width: channels of the pyramid; its box head is four times as wide.
        version: 2 has batch norm in the pyramid, two convolutions in the proposal network and
            four in the box head.
        historic: the anchors, limits and initialisation of the paper's own code.
        masks: Mask R-CNN: a mask for every detection.
        smallest: side of the smallest anchors, in pixels of the resized image.
        own_proposals: Faster R-CNN; else Fast R-CNN, which gets its regions from elsewhere.
        positions: layers of a chain whose maps are used, instead of the last of each stride.
        all_sizes: anchors of all sizes on every map.
        eps: of the batch norms of the backbone, 0 for none; None keeps the network's own.
        proposals: fields of `ProposalRule` that differ from the architecture's own.
        regions: fields of `RegionRule` that differ.

    Raises:
        UsageError: these parts do not go together.
    """
    make = _pyramid if neck == "fpn" else _single
    features, head, side = make(backbone, width, version, tuple(positions))
    for layer in features.body.modules() if eps is not None else ():
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = eps or NO_EPSILON
    used = features.strides[: len(features.strides) - features.extra]
    rule = _region_rule(historic, own_proposals, regions or {})
    predictor = BoxPredictor(head.width, num_classes, gaussian=historic or not own_proposals)
    heads = RoIHeads(RoIFeatures(used, side, roi), head, predictor, rule)
    if masks:
        branch = mask_branch(features.channels, head, num_classes, norm=version == 2)
        heads = MaskRoIHeads(heads, RoIFeatures(used, 14, roi), *branch)
    if not own_proposals:
        return FastRCNN(transform, features, heads)
    anchors = [size * smallest // SIZES[0] for size in SIZES]
    rpn = _proposal_network(features, anchors, historic, version, all_sizes, proposals or {})
    return FasterRCNN(transform, features, rpn, heads)


def _region_rule(historic: bool, own_proposals: bool, own: Mapping[str, object]) -> RegionRule:
    rule: dict[str, object] = {}
    if historic or not own_proposals:  # what the papers' own code does
        rule = {"samples": 128, "beta": 1.0, "nms": 0.3}
    if not own_proposals:
        rule |= {"samples": 64, "low": 0.1}
    return RegionRule(**(rule | dict(own)))


def _proposal_network(
    features: nn.Module,
    anchors: Sequence[int],
    historic: bool,
    version: int,
    all_sizes: bool,
    own: Mapping[str, object],
) -> RegionProposals:
    rule: dict[str, object] = {}
    if historic:
        cells = [cell_anchors_2015()]
        rule = {"before_nms": (12000, 6000), "after_nms": (2000, 300), "inside_only": True}
        rule["min_side"] = 16.0
    elif len(features.strides) == 1 or all_sizes:
        cells = [cell_anchors(anchors, RATIOS) for _ in features.strides]
    else:
        sizes = [anchors[0] * stride // 4 for stride in features.strides]
        cells = [cell_anchors([size], RATIOS) for size in sizes]
    head = RPNHead(
        features.channels, len(cells[0]), depth=version, middle=512 if historic else None
    )
    return RegionProposals(head, cells, ProposalRule(**(rule | dict(own))))


def _pyramid(
    backbone: str, width: int, version: int, positions: tuple[int, ...]
) -> tuple[nn.Module, nn.Module, int]:
    """Return a backbone with a pyramid, its box head, and the side of its grids."""
    entry = catalog.BACKBONES[backbone]
    own = {"positions": positions} if positions else {}
    body = catalog.resolve(entry.target)(entry.builder, **own)
    features = PyramidBackbone(body, width, norm=version == 2)
    head = (ConvFCHead if version == 2 else TwoMLPHead)(width, 7, 4 * width)
    return features, head, 7


def _single(
    backbone: str, width: int, version: int, positions: tuple[int, ...]
) -> tuple[nn.Module, nn.Module, int]:
    """Return a backbone with one map of stride 16, the head that its last layers make, a side.

    Raises:
        UsageError: this backbone has no such division.
    """
    entry = catalog.BACKBONES[backbone]
    if entry.builder.startswith("vgg"):
        trunk = nn.Sequential(OrderedDict(features=vgg_features(entry.builder)[:-1]))
        return SingleMapBackbone(trunk, 512), VGGHead(entry.builder), 7
    if entry.target.endswith(":ResNet"):
        net = ResNet(entry.builder)
        stage, width = net.layer4, net.channels[-1]
        names = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
        trunk = nn.Sequential(OrderedDict((name, getattr(net, name)) for name in names))
        return SingleMapBackbone(trunk, net.channels[-2]), LastStageHead(stage, width), 14
    raise UsageError(
        f"--neck c4 needs a VGG or ResNet, not --backbone {backbone}",
        code="neck.unsupported",
        hint="--neck fpn",
    )


def pretrained_part(model: Detector) -> nn.Module:
    """Return a module with the detector's own layers under the names of the classifier's file."""
    part = nn.Module()
    for holder in (model.backbone.body, model.roi_heads.box_head):
        if holder is model.backbone.body or isinstance(holder, VGGHead | LastStageHead):
            for name, child in holder.named_children():
                part.add_module(name, child)
    return part


def stages(body: nn.Module) -> list[nn.Module]:
    """Return the parts of a backbone from the image on, for `--trainable-layers`."""
    if hasattr(body, "layer1"):
        names = ("conv1", "layer1", "layer2", "layer3", "layer4")
        parts = [getattr(body, name) for name in names if hasattr(body, name)]
        return [nn.ModuleList([parts[0], body.bn1]), *parts[1:]]
    if isinstance(body, Stages):
        layers, ends = chain(body), [tap + 1 for tap in body.taps]
    else:
        layers = list(body.features)
        ends = [i + 1 for i, layer in enumerate(layers) if isinstance(layer, nn.MaxPool2d)]
    starts, ends = [0, *ends], [*ends, len(layers)]
    return [nn.ModuleList(layers[a:b]) for a, b in zip(starts, ends, strict=True) if b > a]
