"""Which detector: its parts, rates and frozen layers."""

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage
from cvkit.errors import CvkitWarning, UsageError
from cvkit.models.detection.build import pretrained_part, stages
from cvkit.models.detection.detectors import Detector, rest_batch_norms
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.models.weights import load_pretrained
from cvkit.options.detect import DetectTrain, TwoStageTrain
from cvkit.tasks.common import smallest_batch
from cvkit.tasks.detect.inputs import (
    Preprocessing,
    object_sides,
    parse_frame,
    parse_sizes,
    require_one_size,
)

FIXED_ANCHORS = ("faster-rcnn-2015", "fast-rcnn", "rcnn")
"""Architectures that have no anchors, or those of their paper."""


@dataclass(frozen=True)
class Network:
    """Which network; stored in the model file. `own` holds further arguments of its builder."""

    arch: str
    backbone: str
    own: Mapping[str, Any] = field(default_factory=dict)

    @property
    def needs_proposals(self) -> bool:
        """Whether it looks at regions that others propose."""
        return self.arch in ("fast-rcnn", "rcnn")

    def flags(self, preprocessing: Preprocessing) -> dict[str, Any]:
        """Return the flags of train that lead to this network and to these inputs."""
        sizes = ",".join(map(str, preprocessing.min_sizes)) or f"x{preprocessing.scale!r}"
        flags = {"arch": self.arch, "backbone": self.backbone, "min_size": sizes}
        flags["max_size"] = preprocessing.max_size
        names = {"neck": "neck", "roi": "roi", "width": "channels"}
        flags |= {flag: self.own[name] for name, flag in names.items() if name in self.own}
        if self.arch not in FIXED_ANCHORS:
            flags["anchor_size"] = self.own.get("smallest", 32)
        return flags

    def build(self, num_classes: int, preprocessing: Preprocessing) -> nn.Module:
        """Return the network, freshly initialised.

        Args:
            num_classes: without background.
            preprocessing: of the images.

        Raises:
            UsageError: its parts do not go together.
        """
        entry = catalog.DETECTORS[self.arch]
        transform = DetectionInputs(
            tuple(preprocessing.min_sizes),
            preprocessing.max_size,
            tuple(preprocessing.mean),
            tuple(preprocessing.std),
            preprocessing.scale,
        )
        own = dict(entry.own) | dict(self.own)
        return catalog.resolve(entry.target)(self.backbone, num_classes, transform, **own)


RECIPE = {
    "faster-rcnn": (0.02, 16),
    "mask-rcnn": (0.02, 16),
    "fast-rcnn": (0.001, 2),
    "rcnn": (0.001, 2),
}
"""Learning rate of SGD and images a step in each architecture's own recipe."""
SCRATCH_RATE = 1e-4
"""Learning rate of AdamW for each image of a step, for networks that begin at random."""


def recipe(options: TwoStageTrain) -> dict[str, Any]:
    """Return optimizer, schedule, learning rate and weight decay where flags leave them open.

    Published backbones are trained on by SGD, as the papers do, with their rate scaled to the
    images of a step. From random weights AdamW gets much further in as many epochs.
    """
    images = options.batch_size * options.accumulate * options.devices
    optimizer, schedule = options.optimizer, options.schedule
    if optimizer == "auto":
        optimizer = "sgd" if options.pretrained or options.weights else "adamw"
    if schedule == "auto":
        schedule = "step" if optimizer == "sgd" else "poly"
    rate, decay = catalog.OPTIMIZERS[optimizer]
    if optimizer == "sgd":
        family = next(name for name in RECIPE if options.arch.startswith(name))
        rate = RECIPE[family][0] * images / RECIPE[family][1]
    elif optimizer == "adamw":
        rate = SCRATCH_RATE * images
    return {"optimizer": optimizer, "schedule": schedule, "lr": rate, "weight_decay": decay}


def check_flags(options: TwoStageTrain) -> Network:
    """Return the network; reads no data, so that a mistake is told at once.

    Raises:
        UsageError: flags that do not go together.
    """
    entry = catalog.BACKBONES[options.backbone]
    if options.arch != "rcnn" and not entry.target:
        raise UsageError(
            f"--backbone {options.backbone} has no maps at several strides, which --arch "
            f"{options.arch} needs",
            code="backbone.unsupported",
            hint=f"known: {', '.join(catalog.backbones_of('detect'))}",
        )
    own: dict[str, Any] = {}
    if options.arch not in ("faster-rcnn-2015", "rcnn"):
        pool = options.roi == "pool" or (options.roi == "auto" and options.arch == "fast-rcnn")
        own = {"neck": options.neck, "roi": "pool" if pool else "align"}
        own["width"] = options.channels
    _refuse_what_means_nothing(options, fixed=not own)
    named = "" if options.min_size == "auto" else options.min_size
    others = {"--min-size": named, "--max-size": options.max_size}
    require_one_size(options.image_size, "auto", others)
    if options.image_size != "auto":
        parse_frame(options.image_size, options.arch == "rcnn")
    elif options.min_size != "auto":
        sizes = parse_sizes(options.min_size)
        if options.arch == "rcnn" and not sizes.min_sizes:
            raise UsageError(
                f"--min-size {options.min_size} has no meaning for --arch rcnn",
                code="min_size.native",
            )
    return Network(options.arch, options.backbone, own)


def _refuse_what_means_nothing(options: TwoStageTrain, fixed: bool) -> None:
    """Check flags that an architecture would not look at.

    Args:
        options: of the run.
        fixed: its neck and regions are as they are.

    Raises:
        UsageError: names the first one.
    """
    head = options.head if isinstance(options, DetectTrain) else "svm"
    given = {
        "label-smoothing": bool(options.label_smoothing),
        "head": head != "svm" and options.arch != "rcnn",
        "anchor-size": bool(options.anchor_size) and (fixed or options.arch == "fast-rcnn"),
        "neck": fixed and options.neck != "fpn",
        "roi": fixed and options.roi != "auto",
        "channels": fixed and options.channels != 256,
    }
    for name, wrong in given.items():
        if wrong:
            raise UsageError(
                f"--{name} has no meaning for --arch {options.arch}", code=f"{name}.unsupported"
            )
    if options.neck == "c4" and options.channels != 256 and not options.resume:
        raise UsageError(
            "--channels has no meaning for --neck c4, which has no pyramid",
            code="channels.unsupported",
        )


def with_samples(network: Network, options: TwoStageTrain, preprocessing: Preprocessing) -> Network:
    """Return the network with the number of regions that `--roi-samples` means."""
    if options.arch == "rcnn" or (options.arch == "fast-rcnn" and not options.roi_samples):
        return network
    count = options.roi_samples or (512 if max(preprocessing.min_sizes, default=0) >= 600 else 128)
    return replace(network, own=dict(network.own) | {"regions": {"samples": count}})


def with_anchors(
    network: Network,
    options: TwoStageTrain,
    preprocessing: Preprocessing,
    images: Sequence[AnnotatedImage],
) -> Network:
    """Return the network with the smallest anchors that `--anchor-size` means for training data.

    An object that is much smaller than all anchors is matched by chance only.
    """
    if options.arch in FIXED_ANCHORS:
        return network
    size = options.anchor_size
    if not size:
        small = float(np.percentile(object_sides(images, preprocessing), 20))
        size = next((each for each in (32, 16) if small >= each), 8)
    return network if size == 32 else replace(network, own=dict(network.own) | {"smallest": size})


def load_backbone(
    model: nn.Module, network: Network, options: TwoStageTrain, report: Reporter
) -> None:
    """Load the backbone weights that `--pretrained` names, or say that there are none.

    Raises:
        ModelFileError: the weights are missing, damaged or do not fit.
    """
    if options.pretrained is None:
        report.say("backbone weights: none, trained from scratch")
        return
    part = model.backbone if network.arch == "rcnn" else pretrained_part(model)
    source, offline = options.pretrained, options.offline
    line = load_pretrained(part, network.backbone, source, offline=offline, say=report.say)
    report.say(line)


def smallest_batch_of(build: Callable[[], nn.Module], preprocessing: Preprocessing) -> int:
    """Return how many images a training batch needs: 2 if the last map may be a single pixel.

    Args:
        build: returns the network.
        preprocessing: of the images; those of a factor are taken to be large enough.
    """
    with torch.device("meta"):
        fed_with_crops = not isinstance(build(), Detector)
    if fed_with_crops or not preprocessing.min_sizes:
        return 1
    side = math.ceil(min(preprocessing.min_sizes) / 32) * 32  # images are padded to whole strides
    return smallest_batch(lambda: build().backbone, (3, side, side))


def freeze_backbone(model: nn.Module, options: TwoStageTrain) -> None:
    """Switch off what `--freeze-bn` and `--trainable-layers` say.

    Raises:
        UsageError: `--trainable-layers` is more than the backbone has.
    """
    body = getattr(model.backbone, "body", model.backbone)
    if options.freeze_bn:
        if not any(isinstance(layer, nn.BatchNorm2d) for layer in body.modules()):
            name = options.backbone
            message = f"--freeze-bn has no effect: the backbone {name} has no batch norms"
            warnings.warn(message, CvkitWarning, stacklevel=2)
        rest_batch_norms(body)
    wanted = options.trainable_layers
    if wanted is None:
        return
    parts = stages(body)
    if wanted > len(parts):
        raise UsageError(
            f"--trainable-layers {wanted}: the backbone has {len(parts)}",
            code="trainable_layers.range",
        )
    for part in parts[: len(parts) - wanted]:
        part.requires_grad_(False)
