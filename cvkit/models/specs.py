"""Descriptions of networks: stored in model files, and the input of `cvkit.models.build`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

HIDDEN = (512, 512)
"""Widths of the hidden layers of `mlp`, if none are given."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSpec:
    """An image classifier.

    Attributes:
        arch: key of `catalog.CLASSIFIERS`.
        backbone: key of `catalog.BACKBONES`; None for networks without one.
        small: first layers for small images.
        image_size: side of the images.
        aux: auxiliary heads.
        dropout: rate; None: the network's default.
        stochastic_depth: largest rate at which blocks are skipped; None: the network's default.
        examples: training images that `knn` keeps.
        neighbors, distance, votes: of `knn`.
        hidden: widths of the hidden layers of `mlp`, from the pixels to the classes.
    """

    arch: str
    backbone: str | None
    small: bool
    image_size: int
    aux: bool = False
    dropout: float | None = None
    stochastic_depth: float | None = None
    examples: int = 0
    neighbors: int = 5
    distance: str = "l2"
    votes: str = "uniform"
    hidden: Sequence[int] = HIDDEN


@dataclass(frozen=True)
class SegmenterSpec:
    """A network that segments images.

    Attributes:
        arch: key of `catalog.SEGMENTERS`.
        backbone: key of `catalog.BACKBONES`.
        output_stride: of the backbone; None: the architecture's default.
        aux: add the auxiliary head if the architecture has one.
        deconv: transposed convolutions instead of interpolation, for the FCNs with skips.
        rates: of the atrous convolutions of DeepLab; None: those of the output stride.
        positions: layers of the backbone whose maps are used; None: the last of each stride.
        form: of the architecture in another project, a key of `Segmenter.forms`; "": cvkit's.
        deep_stem: of a ResNet, see `cvkit.models.backbones.ResNet`.
    """

    arch: str
    backbone: str
    output_stride: int | None
    aux: bool
    deconv: bool
    rates: Sequence[int] | None = None
    positions: Sequence[int] | None = None
    form: str = ""
    deep_stem: bool = False


@dataclass(frozen=True)
class DetectorSpec:
    """A detector of boxes, or of boxes and masks. None means the architecture's default.

    Attributes:
        arch: key of `catalog.DETECTORS`.
        backbone: key of `catalog.BACKBONES`.
        neck: `fpn`, or `c4` for a single map of stride 16.
        roi: `align` or `pool`.
        width: channels of the pyramid; its box head is four times as wide.
        smallest: side of the smallest anchors, in pixels of the resized image.
        positions: layers of a chain whose maps are used, instead of the last of each stride.
        all_sizes: anchors of all sizes on every map.
        eps: of the batch norms of the backbone, 0 for none; None: the network's default.
        aligned: RoI Align is shifted by half a pixel and takes as many samples as a cell has
            pixels, and anchors are not rounded, as in detectron2 and mmdetection.
        stride_first: of a ResNet, see `cvkit.models.backbones.ResNet`.
        roi_samples: regions per image in the loss.
        min_score: smallest score of a detection (exclusive).
        nms: IoU above which the lower of two detections of a class is dropped.
        max_detections: per image.
        min_proposal_score: smallest score of a proposal.
        before_nms: number of best anchors per map before NMS, in training and inference.
        after_nms: number of proposals per image after NMS, in training and inference.
    """

    arch: str
    backbone: str
    neck: str = "fpn"
    roi: str = "align"
    width: int = 256
    smallest: int = 32
    positions: tuple[int, ...] = ()
    all_sizes: bool = False
    eps: float | None = None
    aligned: bool = False
    stride_first: bool = False
    roi_samples: int | None = None
    min_score: float | None = None
    nms: float | None = None
    max_detections: int | None = None
    min_proposal_score: float | None = None
    before_nms: tuple[int, int] | None = None
    after_nms: tuple[int, int] | None = None

    def region_limits(self) -> dict[str, Any]:
        """Return the fields of `RegionRule` that differ from the architecture's defaults."""
        return self._given(REGION_LIMITS)

    def proposal_limits(self) -> dict[str, Any]:
        """Return the fields of `ProposalRule` that differ from the architecture's defaults."""
        return self._given(PROPOSAL_LIMITS)

    def _given(self, names: Mapping[str, str]) -> dict[str, Any]:
        values = {name: getattr(self, field) for name, field in names.items()}
        return {name: value for name, value in values.items() if value is not None}


REGION_LIMITS = {
    "samples": "roi_samples",
    "min_score": "min_score",
    "nms": "nms",
    "max_detections": "max_detections",
}
"""Fields of `RegionRule` by fields of `DetectorSpec`."""
PROPOSAL_LIMITS = {
    "min_score": "min_proposal_score",
    "before_nms": "before_nms",
    "after_nms": "after_nms",
}
"""Fields of `ProposalRule` by fields of `DetectorSpec`."""
_GROUPS = {"regions": REGION_LIMITS, "proposals": PROPOSAL_LIMITS}


def detector_fields(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `DetectorSpec` in a model file's header.

    Files of earlier versions have all but `arch` and `backbone` under the key `own`, with those of
    `RegionRule` and `ProposalRule` in a separate dictionary.

    Raises:
        TypeError: an unknown field; `DetectorSpec` raises it for a missing one.
    """
    found = {name: value for name, value in content.items() if name != "own"}
    for name, value in dict(content.get("own") or {}).items():
        if name in _GROUPS:
            found |= {_GROUPS[name][inner]: each for inner, each in value.items()}
        else:
            found[name] = value
    return {name: tuple(v) if isinstance(v, list) else v for name, v in found.items()}


@dataclass(frozen=True, kw_only=True)
class ClipSpec:
    """A video network. Each architecture uses some of the fields.

    Attributes:
        arch: key of `catalog.CLIP_NETWORKS`.
        backbone: key of `catalog.BACKBONES`; None for networks without one.
        frames: per clip.
        image_size: side of the frames.
        fusion: `pool` or `concat`, of late fusion.
        cell: `lstm`, `gru` or `rnn`.
        hidden: width of a recurrent state, or of tokens.
        bidirectional: also read the frames backwards.
        dropout: rate; None: the network's default.
        heads: of the attention over frames.
        depth: its number of blocks.
        positions: its positions, `sine` or `learned`.
    """

    arch: str
    backbone: str | None
    frames: int
    image_size: int
    fusion: str = "pool"
    cell: str = "lstm"
    hidden: int = 256
    bidirectional: bool = False
    dropout: float | None = None
    heads: int = 4
    depth: int = 2
    positions: str = "sine"


class Spec(Protocol):
    """What the dataclasses above have in common."""

    @property
    def arch(self) -> str:
        """Key of the task's table in `catalog.ARCHS`."""
