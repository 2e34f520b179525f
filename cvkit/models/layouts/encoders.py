"""The backbone inside the tensors of a file, whichever program wrote it.

Programs put prefixes before the backbone's names and store other parts beside it: the projection
head and the momentum copy of self-supervised training, the decoder of a segmentation network.

Sources of the prefixes: MoCo, 2019, arXiv:1911.05722 (`encoder_q`, `encoder_k`, `queue`); MoCo v3,
2021, arXiv:2104.02057 (`base_encoder`, `momentum_encoder`); SwAV, 2020, arXiv:2006.09882
(`projection_head`, `prototypes`); DINO, 2021, arXiv:2104.14294 (`teacher`, `backbone`, `head`);
VISSL (`_feature_blocks`).
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from cvkit.models.layouts.names import renamed
from cvkit.models.layouts.timm import torchvision_names
from cvkit.models.state_files import StateFile
from cvkit.texts import counted

ANCHORS = (
    *(r"layer1\.0\.conv1", r"4\.0\.conv1", r"features\.0(?:\.0)?", r"features\.conv0"),
    *(r"patch_embed\.proj", r"stem\.(?:0|conv)", r"conv_stem", r"conv_proj", r"conv1\.(?:0|conv)"),
    r"Conv2d_1a_3x3\.conv",
)
"""Layers that only one place of a network has, one for each family of backbones."""
CONTRASTIVE = {
    "encoder_q.": "MoCo",
    "base_encoder.": "MoCo v3",
    "online_encoder.": "BYOL",
    "_feature_blocks.": "VISSL",
}
"""Last part of the prefix of a backbone whose classification layer is a projection head."""
PARTS = (
    (r"(?:.*\.)?(?:encoder_k|momentum_encoder|target_encoder)\..*", "momentum copy"),
    (r"(?:.*\.)?queue(?:_ptr)?", "queue of keys"),
    (r"(?:.*\.)?(?:projection_head|projector|prototypes|predictor)\..*", "projection head"),
    (r"(?:.*\.)?(?:head\.(?:mlp|last_layer)|fc\.\d+|heads\.\d+)\..*", "projection head"),
    (r"(?:.*\.)?(?:decoder|segmentation_head|decode_head|auxiliary_head)\..*", "decoder"),
    (r"(?:.*\.)?n_averaged", "counter of the average"),
)
"""Parts that are not of the backbone, by the form of their names."""
NUMBERED = (
    (r"0\.(.*)", r"conv1.\1"),
    (r"1\.(.*)", r"bn1.\1"),
    *((rf"{n}\.(.*)", rf"layer{n - 3}.\1") for n in (4, 5, 6, 7)),
)
"""Names of a ResNet whose children are a sequence (Barlow Twins, lightly)."""
CLASSIFIER = r"(?:fc|head|heads|classifier)\..*"


@dataclass(frozen=True)
class Encoder:
    """The backbone in a file.

    Attributes:
        tensors: under torchvision's names; with the layer that scores the classes, if there is one.
        names: whose names were recognised, "" for torchvision's.
        left: number of the other tensors, by what they are.
    """

    tensors: dict[str, Tensor]
    names: str = ""
    left: Mapping[str, int] = field(default_factory=dict)

    @property
    def about(self) -> str:
        """One line on what was recognised and left out; "" if there is nothing to say."""
        parts = [f"names of {self.names}"] if self.names else []
        if self.left:
            kinds = (f"{what} ({counted(n, 'tensor')})" for what, n in sorted(self.left.items()))
            parts.append(f"left out: {', '.join(kinds)}")
        return "; ".join(parts)


def encoder_of(file: StateFile) -> Encoder:
    """Return the backbone in the tensors of a file."""
    tensors = file.tensors
    if places := _detector_places(tensors):
        return Encoder(
            {
                name.removeprefix(place): tensor
                for place in places
                for name, tensor in tensors.items()
                if name.startswith(place)
            }
        )
    prefix = _prefix(tensors)
    inside = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    left = Counter(dict(file.left))
    left.update(_kind(name) for name in tensors if not name.startswith(prefix))
    source = next((who for end, who in CONTRASTIVE.items() if prefix.endswith(end)), "")
    if "prototypes.weight" in inside:
        source = "SwAV"
    kept = {}
    for name, tensor in inside.items():
        if what := _part(name):
            left[what] += 1
        elif source and re.fullmatch(CLASSIFIER, name):
            left["projection head"] += 1
        else:
            kept[name] = tensor
    if "4.0.conv1.weight" in kept:
        kept = renamed(kept, NUMBERED)
    kept, family = torchvision_names(kept)
    return Encoder(kept, " in ".join(filter(None, (family, source))), dict(left))


def _detector_places(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return the prefixes of a detector's backbone, whose last stage may be in the box head."""
    nested = ("backbone.body.", "roi_heads.box_head.")
    return nested if any(name.startswith(nested[0]) for name in tensors) else ()


def _prefix(tensors: Mapping[str, Tensor]) -> str:
    """Return what is before the backbone's names; the first contrastive one, else the shortest."""
    pattern = re.compile(rf"((?:.*\.)?)(?:{'|'.join(ANCHORS)})\.weight")
    found = {match[1] for name in tensors if (match := pattern.fullmatch(name))}
    for end in CONTRASTIVE:
        if chosen := [prefix for prefix in found if prefix.endswith(end)]:
            return min(chosen, key=len)
    if found:
        return min(found, key=lambda prefix: (_is_copy(prefix), len(prefix)))
    return "backbone." if any(name.startswith("backbone.") for name in tensors) else ""


def _is_copy(prefix: str) -> bool:
    return bool(_part(f"{prefix}x"))


def _part(name: str) -> str:
    return next((what for pattern, what in PARTS if re.fullmatch(pattern, name)), "")


def _kind(name: str) -> str:
    """Return what a tensor outside of the backbone is."""
    if found := _part(name):
        return found
    return "head" if re.fullmatch(rf"(?:.*\.)?{CLASSIFIER}", name) else "other parts"
