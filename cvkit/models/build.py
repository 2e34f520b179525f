"""From names in the catalog to networks, and how large they are."""

import inspect
from collections.abc import Sequence
from functools import partial

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cvkit import catalog
from cvkit.backbone_table import BackboneEntry
from cvkit.errors import UsageError
from cvkit.models.classify import Classifier, plain_parts, torchvision_parts
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.weights import published_preset, published_versions
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD


def _lookup(table: dict, name: str, what: str) -> object:
    """Return `table[name]`.

    Raises:
        UsageError: the name is not in the table; the hint names the closest one.
    """
    if name not in table:
        raise UsageError(
            f"unknown {what} {name!r}", code=f"{what}.unknown", hint=catalog.nearest(name, table)
        )
    return table[name]


def _choose_stride(arch: catalog.Arch, backbone: BackboneEntry, wanted: int | None = None) -> int:
    """Return the stride to build a backbone with: as asked, or the arch's own where it can.

    Raises:
        UsageError: `wanted` was asked for and this backbone cannot be dilated to it.
    """
    possible = backbone.output_strides
    if wanted is None:
        return min(possible, key=lambda stride: (abs(stride - arch.output_stride), stride))
    if wanted not in possible:
        raise UsageError(
            f"--output-stride {wanted} is not possible with this backbone",
            code="output_stride.unsupported",
            hint=f"it has {', '.join(map(str, possible))}",
        )
    return wanted


def build_model(
    task: str,
    arch: str,
    backbone: str,
    num_classes: int,
    *,
    output_stride: int | None = None,
    aux: bool = True,
    deconv: bool = False,
    rates: Sequence[int] | None = None,
    positions: Sequence[int] | None = None,
) -> nn.Module:
    """Return a freshly initialised network.

    Args:
        task: key of `catalog.ARCHS`.
        arch: key of `catalog.ARCHS[task]`.
        backbone: key of `catalog.BACKBONES`.
        num_classes: channels of the logits.
        output_stride: of the backbone; None takes the architecture's own.
        aux: add the auxiliary head where the architecture has one.
        deconv: transposed convolutions instead of interpolation, for the FCNs with skips.
        rates: of the atrous convolutions of DeepLab; None takes those of the output stride.
        positions: layers of the backbone whose maps are read; None takes the last of each stride.

    Raises:
        UsageError: a name is unknown, or these parts do not go together.
    """
    head = _lookup(catalog.ARCHS[task], arch, "arch")
    body = _lookup(catalog.BACKBONES, backbone, "backbone")
    network_class, own = catalog.resolve(head.target), dict(head.own)
    if deconv:
        if "deconv" not in inspect.signature(network_class).parameters:
            raise UsageError(
                f"--deconv has no meaning for --arch {arch}",
                code="deconv.unsupported",
                hint="it belongs to fcn-32s, fcn-16s and fcn-8s",
            )
        own["deconv"] = True
    if rates is not None:
        own["rates"] = tuple(rates)
    if body.whole:
        return _whole_network(arch, backbone, body, num_classes, own)
    stride = _choose_stride(head, body, output_stride)
    if not body.target:
        raise UsageError(
            f"--backbone {backbone} has no maps at several strides, which --arch {arch} needs",
            code="backbone.unsupported",
        )
    taps = {} if positions is None else {"positions": tuple(positions)}
    features = catalog.resolve(body.target)(body.builder, output_stride=stride, **taps)
    aux_level = body.aux_level if aux and head.aux_weight else None
    return network_class(features, num_classes, aux_level, **own)


def _whole_network(
    arch: str, backbone: str, body: BackboneEntry, num_classes: int, own: dict
) -> nn.Module:
    if arch not in body.whole:
        raise UsageError(
            f"--backbone {backbone} is a whole network and does not serve --arch {arch}",
            code="backbone.unsupported",
            hint=f"it goes with {', '.join(body.whole)}",
        )
    own.pop("deconv", None)  # the historic FCN has no other way of upsampling
    return catalog.resolve(body.target)(num_classes, **own, **dict(body.own))


def build_video(arch: str, backbone: str | None, num_classes: int, **own: object) -> nn.Module:
    """Return a freshly initialised network of clips.

    Args:
        arch: key of `catalog.ARCHS["video"]`.
        backbone: key of `catalog.BACKBONES`; networks that are one piece do not look at it.
        num_classes: K.
        own: further arguments; each network takes those that it knows.

    Raises:
        UsageError: these parts do not go together.
    """
    entry = catalog.ARCHS["video"][arch]
    network = catalog.resolve(entry.target)
    known = inspect.signature(network).parameters
    given = {"backbone": backbone} | own
    taken = {name: value for name, value in given.items() if name in known and value is not None}
    return network(num_classes=num_classes, **(taken | dict(entry.own)))


def complexity(model: nn.Module, image_hw: tuple[int, int]) -> tuple[int, float]:
    """Return parameters and GMACs of a model that was built on the meta device.

    GMACs are 10^9 multiplications of one forward pass over one image of the given size, the
    auxiliary head included.
    """
    images = torch.empty(1, 3, *image_hw, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(images)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() / 2e9


def list_archs(tasks: list[str]) -> list[dict]:
    """Return name, size and description of each architecture.

    Segmentation: 21 classes, 512x512, each on ResNet-50, then the historic whole networks.
    Classification: 1000 classes, at the image size of the published weights, and 10 classes,
    32x32 for what has none. Detection and instances: 90 classes on ResNet-50 (2015: VGG-16); how
    many multiplications an image needs depends on its regions. Video: 400 classes, clips of 16
    frames of 112x112 (S3D: 224x224), on ResNet-18.
    """
    own = {
        "classify": _list_classifiers,
        "detect": partial(_list_detectors, "detect"),
        "instance": partial(_list_detectors, "instance"),
        "video": _list_videos,
    }
    return [row for task in tasks for row in own.get(task, partial(_list_heads, task))()]


def _list_heads(task: str) -> list[dict]:
    rows = []
    pairs = [(arch, "resnet50") for arch in catalog.ARCHS[task]]
    pairs += [(a, n) for n, b in catalog.BACKBONES.items() for a in b.whole]
    for arch, backbone in pairs:
        with torch.device("meta"):
            model = build_model(task, arch, backbone, 21)
        whole = catalog.BACKBONES[backbone].whole
        about = (catalog.BACKBONES[backbone] if whole else catalog.ARCHS[task][arch]).about
        row = {"task": task, "arch": arch, "backbone": backbone, "about": about}
        rows.append(row | _size(model, 512))
    return rows


def _list_detectors(task: str) -> list[dict]:
    rows = []
    for arch, entry in catalog.ARCHS[task].items():
        backbone = "vgg16" if arch.endswith("2015") else "resnet50"
        with torch.device("meta"):
            transform = DetectionInputs((224,), 224, IMAGENET_MEAN, IMAGENET_STD)
            model = catalog.resolve(entry.target)(backbone, 90, transform, **dict(entry.own))
        row = {"task": task, "arch": arch, "backbone": backbone, "about": entry.about}
        parameters = sum(p.numel() for p in model.parameters())
        rows.append(row | {"parameters": parameters, "gmacs": None})
    return rows


def _list_videos() -> list[dict]:
    rows = []
    for arch, entry in catalog.ARCHS["video"].items():
        side, shared = (224 if arch == "s3d" else 112), arch in catalog.FRAME_ARCHS
        with torch.device("meta"):
            model = build_video(arch, "resnet18", 400, frames=16, image_size=side)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.eval()(torch.empty(1, 3, 16, side, side, device="meta"))
        row = {"task": "video", "arch": arch, "backbone": "resnet18" if shared else None}
        row |= {"parameters": sum(p.numel() for p in model.parameters()), "about": entry.about}
        rows.append(row | {"gmacs": round(counter.get_total_flops() / 2e9, 3)})
    return rows


def _list_classifiers() -> list[dict]:
    rows = []
    for arch, entry in catalog.ARCHS["classify"].items():
        row = {"task": "classify", "arch": arch, "backbone": None, "about": entry.about}
        if arch in ("knn", "linear"):
            rows.append(row | {"parameters": None, "gmacs": None})
            continue
        with torch.device("meta"):
            side = 32
            if arch in catalog.BACKBONES:
                side = published_preset(arch).crop_size[0]
                aux = bool(entry.aux_weight)
                parts = torchvision_parts(arch, 1000, small=False, image_size=side, aux=aux)
            else:
                parts = plain_parts(arch, 10, side)
            model = Classifier(*parts)
        rows.append(row | _size(model, side))
    return rows


def _size(model: nn.Module, side: int) -> dict:
    parameters, gmacs = complexity(model, (side, side))
    return {"parameters": parameters, "gmacs": round(gmacs, 3)}


def list_backbones() -> list[dict]:
    """Return name, size (224x224), output strides and published weights of each backbone."""
    rows = []
    for name, entry in catalog.BACKBONES.items():
        if entry.whole or not entry.target:
            continue
        with torch.device("meta"):
            model = catalog.resolve(entry.target)(entry.builder)
        row = {"backbone": name} | _size(model, 224)
        row |= {"output_strides": list(entry.output_strides)}
        rows.append(row | {"weights": published_versions(entry.builder)})
    return rows
