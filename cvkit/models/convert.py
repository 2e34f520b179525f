"""State dicts of torchvision's networks, converted to cvkit's names.

The networks and most names are the same; this module has the differences. The names of other
projects are in `cvkit.models.layouts`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
import torchvision
from torch import Tensor

from cvkit import catalog
from cvkit.catalog import BACKBONES, BUILDERS, nearest
from cvkit.errors import ModelFileError, UsageError
from cvkit.model_files import fits
from cvkit.models.backbones import torchvision_network
from cvkit.models.classify import head_name
from cvkit.models.layouts import detectors, segmenters
from cvkit.models.layouts.names import COMPUTED
from cvkit.models.trials import on_meta
from cvkit.texts import counted

SEGMENTATION = {
    name: arch for arch, entry in catalog.SEGMENTERS.items() for name, _ in entry.torchvision
}
"""From the first part of torchvision's names to cvkit's architectures."""

SEGMENTERS = tuple(
    sorted({*SEGMENTATION.values(), *(each.arch for each in segmenters.LAYOUTS if each.arch)})
)
"""cvkit's architectures that torchvision or another project has."""

DETECTION = {
    name: (arch, backbone)
    for arch, entry in catalog.DETECTORS.items()
    for name, backbone in entry.torchvision
}
"""From torchvision's names of detectors to cvkit's architectures and backbones."""

VIDEO = {
    name: arch for arch, entry in catalog.CLIP_NETWORKS.items() for name, _ in entry.torchvision
}
"""From torchvision's names of video networks to cvkit's architectures."""

TRAINING_ONLY = r"(aux_classifier|aux1|aux2|AuxLogits)\."
"""Parts that a network needs in training only; they are not imported."""

LEGACY = (
    (r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2"),
    (r"^(.*\.mlp)\.linear_1\.", r"\1.0."),
    (r"^(.*\.mlp)\.linear_2\.", r"\1.3."),
    (r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2"),
    (r"^(.*fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    *((rf"^(roi_heads\.mask_head)\.mask_fcn{n}\.", rf"\1.{n - 1}.0.") for n in (1, 2, 3, 4)),
)
"""Names in published files that torchvision has since changed."""


def modern_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under torchvision's current names."""
    result = {}
    for name, tensor in tensors.items():
        for old, new in LEGACY:
            name = re.sub(old, new, name)
        result[name] = tensor
    return result


def named_parts(task: str, arch: str, backbone: str | None) -> tuple[str, str]:
    """Return architecture and backbone from cvkit's names, or from one of torchvision's.

    Args:
        task: key of `catalog.TASKS`.
        arch: such as `resnext50`, `resnext50_32x4d`, `fcn` or `fcn_resnet50`.
        backbone: only with an architecture that needs one.

    Raises:
        UsageError: there is no such network, or torchvision does not have it.
    """
    counterparts = COUNTERPARTS[task]()
    if found := counterparts.find(arch, backbone):
        return found
    if fitting := [b for a, b in counterparts.pairs if a == arch]:  # `arch` names the backbone
        raise UsageError(
            f"torchvision has no network --arch {arch} with --backbone {backbone}",
            code="backbone.unknown",
            hint=nearest(str(backbone), fitting),
        )
    raise UsageError(
        f"torchvision has no network --arch {arch} for --task {task}",
        code="arch.unknown",
        hint=nearest(arch, counterparts.known),
    )


@dataclass(frozen=True)
class Counterparts:
    """The networks of a task that torchvision has too.

    Attributes:
        find: returns architecture and backbone for the values of `--arch` and `--backbone`; None if
            there is no such network.
        known: names for `--arch`.
        pairs: valid combinations of architecture and backbone.
    """

    find: Callable[[str, str | None], tuple[str, str] | None]
    known: Sequence[str]
    pairs: Sequence[tuple[str, str]] = ()


def _detectors(task: str) -> Counterparts:
    known = {name: parts for name, parts in DETECTION.items() if parts[0] in catalog.ARCHS[task]}
    archs = {layout.arch for layout in detectors.LAYOUTS if layout.arch in catalog.ARCHS[task]}
    resnets = [name for name, entry in BACKBONES.items() if entry.single_map == "resnet"]
    pairs = [*known.values(), *((arch, name) for arch in sorted(archs) for name in resnets)]

    def find(arch: str, backbone: str | None) -> tuple[str, str] | None:
        named = known.get(arch)
        return named or next((pair for pair in pairs if pair == (arch, backbone)), None)

    return Counterparts(find, [*known, *sorted(archs)], pairs)


def _classifiers() -> Counterparts:
    def find(arch: str, _: str | None) -> tuple[str, str] | None:
        name = BUILDERS.get(arch, arch)
        return (name, name) if name in BUILDERS.values() else None

    return Counterparts(find, [*BUILDERS, *BUILDERS.values()])


def _clip_networks() -> Counterparts:
    def find(arch: str, _: str | None) -> tuple[str, str] | None:
        name = VIDEO.get(arch, arch)
        return (name, "") if name in VIDEO.values() else None

    return Counterparts(find, list(VIDEO))


def _segmenters() -> Counterparts:
    def find(arch: str, backbone: str | None) -> tuple[str, str] | None:
        first, _, rest = arch.partition("_")
        if backbone is None and first in SEGMENTATION and rest in BACKBONES:
            return SEGMENTATION[first], rest
        if arch in SEGMENTERS and backbone in BACKBONES:
            return arch, backbone
        if arch in SEGMENTERS and backbone is None:
            raise UsageError(
                f"--arch {arch} needs --backbone", code="backbone.missing", hint="such as resnet50"
            )
        return None

    known = torchvision.models.list_models(torchvision.models.segmentation)
    return Counterparts(
        find, [*known, *SEGMENTERS], [(a, b) for a in SEGMENTERS for b in BACKBONES]
    )


COUNTERPARTS: dict[str, Callable[[], Counterparts]] = {
    "classify": _classifiers,
    "segment": _segmenters,
    "detect": partial(_detectors, "detect"),
    "instance": partial(_detectors, "instance"),
    "video": _clip_networks,
}
"""The counterparts of each task."""


def converted(
    task: str, arch: str, backbone: str, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str], int]:
    """Return a state dict under cvkit's names, the names left out, and the number of classes.

    Args:
        task: key of `catalog.TASKS`.
        arch: key of `catalog.ARCHS[task]`.
        backbone: key of `catalog.BACKBONES`.
        tensors: torchvision's state dict.

    Raises:
        ModelFileError: the layer that scores the classes is missing.
    """
    tensors = modern_names(tensors)
    unused = [name for name in tensors if re.match(TRAINING_ONLY, name)]
    kept = {name: tensor for name, tensor in tensors.items() if name not in unused}
    head = catalog.ARCHS[task][arch].scores  # torchvision's name of the layer
    last = head
    if not head:
        with on_meta():
            head, last = head_name(torchvision_network(BACKBONES[backbone].builder)), "head"
        kept = {_classifier_name(name, head): tensor for name, tensor in kept.items()}
    renamed = {re.sub(FEATURES, r"\1features.\2", name): t for name, t in kept.items()}
    if f"{last}.weight" not in renamed:
        raise ModelFileError(
            f"the file has no {head}.weight, the layer of {arch} that scores the classes",
            code="import.keys",
            hint="is it a state dict of this network?",
        )
    return renamed, unused, len(renamed[f"{last}.weight"])


FEATURES = r"^(backbone\.(?:body\.)?)(\d.*)$"
"""Layer names of a network all of whose `features` are torchvision's backbone."""

VIDEO_HEAD = tuple({f"{entry.scores}." for entry in catalog.CLIP_NETWORKS.values()})
"""Prefixes of the layers that score the classes of clips."""


def kinetics_tensors(
    state: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: object
) -> dict[str, Tensor]:
    """Return the tensors of a published video network that do not depend on the number of classes.

    Args:
        state: state dict of the network.
        tensors: of the file.
        path: of it, for messages.

    Raises:
        ModelFileError: a layer is missing or has another shape.
    """
    wanted = [name for name in state if not name.startswith(VIDEO_HEAD)]
    wanted = [name for name in wanted if not name.endswith("num_batches_tracked")]
    wrong = [n for n in wanted if n not in tensors or not fits(tensors[n], state[n])]
    if wrong:
        raise ModelFileError(
            f"{path} does not fit: {counted(len(wrong), 'tensor')} missing or of another shape or "
            f"type, such as {wrong[0]}",
            code="pretrained.mismatch",
            hint="choose the --arch that the file was made for",
        )
    return {name: tensors[name] for name in wanted}


def _classifier_name(name: str, head: str) -> str:
    """Return the name of a classifier's tensor; `head` is torchvision's name of the last layer."""
    if name.startswith(f"{head}."):
        return name.replace(head, "head", 1)
    return f"backbone.{name}"


def require_equal_names(state: Mapping[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a state dict that fits exactly.

    Counters of batch norm and tables that the network computes itself are added.

    Args:
        state: the network's state dict.
        found: to load into it.

    Raises:
        ModelFileError: lists what is missing, unknown or of another shape or type.
    """
    found = dict(found)
    for name, tensor in state.items():
        if name.endswith("num_batches_tracked") and name not in found:
            found[name] = torch.zeros((), dtype=tensor.dtype)  # it has no effect on the result
        elif name.endswith(COMPUTED) and name not in found:
            found[name] = tensor
    missing = [f"missing {name}" for name in state if name not in found]
    unknown = [f"unknown {name}" for name in found if name not in state]
    shapes = [
        f"{name} is {tuple(found[name].shape)}, not {tuple(state[name].shape)}"
        for name in state
        if name in found and found[name].shape != state[name].shape
    ]
    types = [
        f"{name} is {_type(found[name])}, not {_type(state[name])}"
        for name in state
        if name in found and found[name].shape == state[name].shape
        if not fits(found[name], state[name])
    ]
    wrong = missing + unknown + shapes + types
    if wrong:
        shown = "; ".join(wrong[:20]) + (f"; and {len(wrong) - 20} more" if wrong[20:] else "")
        raise ModelFileError(
            f"the tensors do not fit: {shown}",
            code="import.keys",
            hint="is it a state dict of this network?",
        )
    return found


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
