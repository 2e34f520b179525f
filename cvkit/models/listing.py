"""The content of `cvkit models`: architectures and backbones with the sizes of their networks."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cvkit import catalog
from cvkit.models.build import build
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.specs import ClassifierSpec, ClipSpec, DetectorSpec, SegmenterSpec
from cvkit.models.trials import on_meta, strip
from cvkit.models.weights import published_preset, published_versions
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD

Row = dict[str, Any]


def complexity(model: nn.Module, image_hw: tuple[int, int]) -> tuple[int, float]:
    """Return parameters and GMACs of a model that was built on the meta device, and strip it.

    GMACs are 10^9 multiplications of one forward pass over one image of the given size, the
    auxiliary head included. Afterwards the model skips the layers that `strip` names.
    """
    return _complexity(model, torch.empty(1, 3, *image_hw, device="meta"))


def _complexity(model: nn.Module, inputs: Tensor) -> tuple[int, float]:
    strip(model)  # none of these is counted
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(inputs)
    return sum(p.numel() for p in model.parameters()), counter.get_total_flops() / 2e9


def list_archs(tasks: list[str]) -> list[Row]:
    """Return name, size and description of each architecture.

    Segmentation: 21 classes, 512x512, each on ResNet-50, then the historic complete networks.
    Classification: 1000 classes, at the image size of the published weights, and 10 classes,
    32x32 for networks without any. Detection and instance segmentation: 90 classes on ResNet-50
        (2015: VGG-16); the number of multiplications depends on the regions of an image. Video: 400
        classes, clips of 16 frames of 112x112 (S3D: 224x224), on ResNet-18.
    """
    return [row for task in tasks for row in LISTERS.get(task, partial(_list_unmeasured, task))()]


def _list_unmeasured(task: str) -> list[Row]:
    """Return the architectures of a task without saying how large they are."""
    return [
        {"task": task, "arch": arch, "backbone": None, "about": entry.about}
        | {"parameters": None, "gmacs": None}
        for arch, entry in catalog.ARCHS[task].items()
    ]


def _list_segmenters() -> list[Row]:
    rows = []
    pairs = [(arch, entry.listed_on) for arch, entry in catalog.SEGMENTERS.items()]
    pairs += [(a, n) for n, b in catalog.BACKBONES.items() for a in b.whole]
    for arch, backbone in pairs:
        spec = SegmenterSpec(arch, backbone, output_stride=None, aux=True, deconv=False)
        with on_meta():
            model = build("segment", spec, 21)
        whole = catalog.BACKBONES[backbone].whole
        about = (catalog.BACKBONES[backbone] if whole else catalog.SEGMENTERS[arch]).about
        row = {"task": "segment", "arch": arch, "backbone": backbone, "about": about}
        rows.append(row | _size(model, 512))
    return rows


def _list_detectors(task: str) -> list[Row]:
    rows = []
    inputs = DetectionInputs((224,), 224, IMAGENET_MEAN, IMAGENET_STD)
    for arch in catalog.ARCHS[task]:
        entry = catalog.DETECTORS[arch]
        with on_meta():
            model = build(task, DetectorSpec(arch, entry.listed_on), 90, inputs)
        row = {"task": task, "arch": arch, "backbone": entry.listed_on, "about": entry.about}
        parameters = sum(p.numel() for p in model.parameters())
        rows.append(row | {"parameters": parameters, "gmacs": None})
    return rows


def _list_clip_networks() -> list[Row]:
    rows = []
    for arch, entry in catalog.CLIP_NETWORKS.items():
        backbone, side = entry.listed_on or None, entry.side
        with on_meta():
            spec = ClipSpec(arch=arch, backbone=backbone, frames=16, image_size=side)
            model = build("video", spec, 400)
        row: Row = {"task": "video", "arch": arch, "backbone": backbone}
        parameters, gmacs = _complexity(model, torch.empty(1, 3, 16, side, side, device="meta"))
        row |= {"parameters": parameters, "about": entry.about}
        rows.append(row | {"gmacs": round(gmacs, 3)})
    return rows


def _list_classifiers() -> list[Row]:
    rows = []
    for arch, entry in catalog.CLASSIFIERS.items():
        row = {"task": "classify", "arch": arch, "backbone": None, "about": entry.about}
        if entry.takes_backbone:
            rows.append(row | {"parameters": None, "gmacs": None})
            continue
        published = arch in catalog.BACKBONES
        ours = published and not catalog.BACKBONES[arch].builder
        side = 224 if ours else published_preset(arch).crop_size[0] if published else 32
        spec = ClassifierSpec(
            arch=arch,
            backbone=arch if published else None,
            small=False,
            image_size=side,
            aux=bool(entry.aux_weight),
        )
        with on_meta():
            model = build("classify", spec, 1000 if published else 10)
        rows.append(row | _size(model, side))
    return rows


LISTERS: dict[str, Callable[[], list[Row]]] = {
    "classify": _list_classifiers,
    "segment": _list_segmenters,
    "detect": partial(_list_detectors, "detect"),
    "instance": partial(_list_detectors, "instance"),
    "video": _list_clip_networks,
}
"""The function that lists the architectures of each task with their sizes."""


def _size(model: nn.Module, side: int) -> Row:
    parameters, gmacs = complexity(model, (side, side))
    return {"parameters": parameters, "gmacs": round(gmacs, 3)}


def list_backbones() -> list[Row]:
    """Return name, size (224x224), output strides and published weights of each backbone."""
    rows = []
    for name, entry in catalog.BACKBONES.items():
        if entry.whole or not entry.target:
            continue
        with on_meta():
            model = catalog.resolve(entry.target)(entry.builder)
        row: Row = {"backbone": name} | _size(model, 224)
        row |= {"output_strides": list(entry.output_strides)}
        rows.append(row | {"weights": published_versions(entry.builder)})
    return rows
