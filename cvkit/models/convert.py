"""State dicts of torchvision's networks, as cvkit's own.

The networks are the same and most names are; what differs is written down here.
"""

import re
from collections.abc import Mapping

import torch
import torchvision
from torch import Tensor

from cvkit.catalog import ARCHS, BACKBONES, nearest
from cvkit.errors import ModelFileError, UsageError
from cvkit.models.backbones import torchvision_network
from cvkit.models.classify import head_name
from cvkit.texts import counted

SEGMENTATION = {"fcn": "fcn", "deeplabv3": "deeplab", "lraspp": "lraspp"}
"""First part of torchvision's names to architectures here."""

SCORES = {"lraspp": "classifier.low_classifier"}
"""Layer that scores the classes, of architectures where it is not `classifier.4`."""

MAPS = {("lraspp", "mobilenet_v3_large"): (4, 16)}
"""Layers of the backbone whose maps torchvision's network reads, where they are not the last ones
of each stride."""

DETECTION = {
    "fasterrcnn_resnet50_fpn": ("faster-rcnn", "resnet50"),
    "fasterrcnn_resnet50_fpn_v2": ("faster-rcnn-v2", "resnet50"),
    "fasterrcnn_mobilenet_v3_large_fpn": ("faster-rcnn", "mobilenet_v3_large"),
    "fasterrcnn_mobilenet_v3_large_320_fpn": ("faster-rcnn", "mobilenet_v3_large"),
    "maskrcnn_resnet50_fpn": ("mask-rcnn", "resnet50"),
    "maskrcnn_resnet50_fpn_v2": ("mask-rcnn-v2", "resnet50"),
}
"""Torchvision's names of detectors to architectures and backbones here."""

VIDEO = {"r2plus1d_18": "r2plus1d", "r3d_18": "r3d", "mc3_18": "mc3", "s3d": "s3d"}
"""Torchvision's names of networks of clips to architectures here."""

TRAINING_ONLY = r"(aux_classifier|aux1|aux2|AuxLogits)\."
"""Parts that a network needs in training only; an imported model leaves them out."""

CENTRED = ("googlenet", "inception_v3")
"""Networks whose published weights were trained on pixels in -1..1 (mean and deviation 0.5)."""

LEGACY = (
    (r"^(.*denselayer\d+\.(?:norm|conv))\.([12]\.)", r"\1\2"),
    (r"^(.*\.mlp)\.linear_1\.", r"\1.0."),
    (r"^(.*\.mlp)\.linear_2\.", r"\1.3."),
    (r"^(rpn\.head\.conv)\.(weight|bias)$", r"\1.0.0.\2"),
    (r"^(.*fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$", r"\1.0.\2"),
    *((rf"^(roi_heads\.mask_head)\.mask_fcn{n}\.", rf"\1.{n - 1}.0.") for n in (1, 2, 3, 4)),
)
"""Names in published files that are older than torchvision's present ones."""


def modern_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors under torchvision's present names."""
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
        UsageError: no such network, or none that torchvision has.
    """
    if task == "classify":
        builders = {entry.builder: name for name, entry in BACKBONES.items() if entry.builder}
        name = builders.get(arch, arch)
        if name in builders.values():
            return name, name
        known = [*builders, *builders.values()]
    elif task in ("detect", "instance"):
        own = {name: parts for name, parts in DETECTION.items() if parts[0] in ARCHS[task]}
        if arch in own or (arch, backbone) in own.values():
            return own.get(arch, (arch, backbone))
        known = list(own)
    elif task == "video":
        if arch in VIDEO or arch in VIDEO.values():
            return VIDEO.get(arch, arch), ""
        known = list(VIDEO)
    else:
        first, _, rest = arch.partition("_")
        if backbone is None and first in SEGMENTATION and rest in BACKBONES:
            return SEGMENTATION[first], rest
        if arch in SEGMENTATION.values() and backbone in BACKBONES:
            return arch, backbone
        if arch in SEGMENTATION.values() and backbone is None:
            raise UsageError(
                f"--arch {arch} needs --backbone", code="backbone.missing", hint="such as resnet50"
            )
        known = torchvision.models.list_models(torchvision.models.segmentation)
    heads = [(own, name) for own in SEGMENTATION.values() for name in BACKBONES]
    pairs = heads if task == "segment" else DETECTION.values()
    if fitting := [own for first, own in pairs if first == arch]:  # then it is the backbone
        raise UsageError(
            f"--backbone {backbone} is not of a network of torchvision with --arch {arch}",
            code="backbone.unknown",
            hint=nearest(str(backbone), fitting),
        )
    raise UsageError(
        f"--arch {arch} is no network of torchvision for --task {task}",
        code="arch.unknown",
        hint=nearest(arch, known),
    )


def converted(
    task: str, arch: str, backbone: str, tensors: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], list[str], int]:
    """Return a state dict under cvkit's names, what was left out, and the number of classes.

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
    if task == "classify":
        with torch.device("meta"):
            head = head_name(torchvision_network(BACKBONES[backbone].builder))
        renamed = {_classifier_name(name, head): tensor for name, tensor in kept.items()}
        last = "head.weight"
    elif task in ("detect", "instance"):
        head = "roi_heads.box_predictor.cls_score"
        chain = r"backbone.body.features.\1" if "mobilenet" in backbone else r"backbone.body.\1"
        renamed = {re.sub(r"^backbone\.body\.(\d.*)$", chain, n): t for n, t in kept.items()}
        last = f"{head}.weight"
    elif task == "video":
        head, renamed = ("classifier.1" if arch == "s3d" else "fc"), kept
        last = f"{head}.weight"
    else:
        head = SCORES.get(arch, "classifier.4")
        chain = r"backbone.features.\1" if backbone.startswith("mobilenet") else r"backbone.\1"
        renamed = {re.sub(r"^backbone\.(\d.*)$", chain, n): t for n, t in kept.items()}
        last = f"{head}.weight"
    if last not in renamed:
        raise ModelFileError(
            f"the file has no {head}.weight, the layer of {arch} that scores the classes",
            code="import.keys",
            hint="is it a state dict of this network?",
        )
    return renamed, unused, len(renamed[last])


VIDEO_HEAD = ("fc.", "classifier.1.")
"""Beginnings of the names of the layers that score the classes of clips."""


def kinetics_tensors(
    own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: object
) -> dict[str, Tensor]:
    """Return the tensors of a published network of clips that another number of classes can use.

    Args:
        own: state dict of the network.
        tensors: of the file.
        path: of it, for messages.

    Raises:
        ModelFileError: a layer is missing or has another shape.
    """
    wanted = [name for name in own if not name.startswith(VIDEO_HEAD)]
    wanted = [name for name in wanted if not name.endswith("num_batches_tracked")]
    wrong = [n for n in wanted if n not in tensors or tensors[n].shape != own[n].shape]
    if wrong:
        raise ModelFileError(
            f"{path} does not fit: {counted(len(wrong), 'tensor')} missing or of another shape, "
            f"such as {wrong[0]}",
            code="pretrained.mismatch",
            hint="choose the --arch that the file was made for",
        )
    return {name: tensors[name] for name in wanted}


def backbone_tensors(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of the backbone under its own names, if they are those of a model.

    A detector's backbone lies deeper; one without a pyramid has the last stage in its box head.
    """
    for places in (("backbone.body.", "roi_heads.box_head."), ("backbone.",)):
        if any(name.startswith(places[0]) for name in tensors):
            return {
                name.removeprefix(place): value
                for place in places
                for name, value in tensors.items()
                if name.startswith(place)
            }
    return tensors


def _classifier_name(name: str, head: str) -> str:
    """Return the name of a classifier's tensor; `head` is torchvision's name of the last layer."""
    if name.startswith(f"{head}."):
        return name.replace(head, "head", 1)
    return f"backbone.{name}"


def require_equal_names(own: Mapping[str, Tensor], found: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a state dict that fits exactly; counters of batch norm are added.

    Args:
        own: the network's state dict.
        found: to load into it.

    Raises:
        ModelFileError: lists what is missing, unknown or of another shape.
    """
    found = dict(found)
    for name, tensor in own.items():
        if name.endswith("num_batches_tracked") and name not in found:
            found[name] = torch.zeros((), dtype=tensor.dtype)  # plays no part in the result
    missing = [f"missing {name}" for name in own if name not in found]
    unknown = [f"unknown {name}" for name in found if name not in own]
    shapes = [
        f"{name} is {tuple(found[name].shape)}, not {tuple(own[name].shape)}"
        for name in own
        if name in found and found[name].shape != own[name].shape
    ]
    wrong = missing + unknown + shapes
    if wrong:
        shown = "; ".join(wrong[:20]) + (f"; and {len(wrong) - 20} more" if wrong[20:] else "")
        raise ModelFileError(
            f"the tensors do not fit: {shown}",
            code="import.keys",
            hint="is it a state dict of this network?",
        )
    return found
