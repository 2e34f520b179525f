"""The detector of a run: its parts, learning rate and frozen layers."""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import nn

from cvkit import catalog
from cvkit.arch_facts import Detector as Facts
from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage
from cvkit.errors import CvkitWarning, UsageError
from cvkit.models.build import build
from cvkit.models.detection.build import PAPER
from cvkit.models.detection.detectors import Detector, TwoStageDetector, rest_batch_norms
from cvkit.models.detection.roi_heads import RegionRule
from cvkit.models.specs import PROPOSAL_LIMITS, DetectorSpec, detector_fields
from cvkit.models.trials import on_meta
from cvkit.models.weights import load_pretrained
from cvkit.options.detect import TwoStageTrain
from cvkit.tasks.common import refuse_idle, smallest_batch
from cvkit.tasks.detect.inputs import (
    Preprocessing,
    object_sides,
    parse_frame,
    parse_sizes,
    require_one_size,
)


@dataclass(frozen=True)
class Network(DetectorSpec):
    """The network and its parameters; stored in the model file."""

    @classmethod
    def from_file(cls, **content: Any) -> "Network":
        """Return the network that a model file describes, also one of an earlier version."""
        return cls(**detector_fields(content))

    @property
    def facts(self) -> Facts:
        """The facts about its architecture in the catalog."""
        return catalog.DETECTORS[self.arch]

    @property
    def needs_proposals(self) -> bool:
        """Whether it needs external proposals."""
        return self.facts.needs_proposals

    @property
    def detection_nms(self) -> float:
        """IoU above which it drops the lower of two detections of a class."""
        if self.nms is not None:
            return self.nms
        return (PAPER if self.facts.fixed_parts else RegionRule()).nms

    def adopted(self, made: "Network") -> "Network":
        """Return the network with the numbers of another one for which there is no flag."""
        names: tuple[str, ...] = ("positions", "all_sizes", "eps", "aligned", "stride_first")
        names += tuple(PROPOSAL_LIMITS.values())
        kept = {name: getattr(made, name) for name in names}
        if self.roi_samples is None:
            kept["roi_samples"] = made.roi_samples
        return replace(self, **kept)

    def reported(self) -> dict[str, Any]:
        """Return the numbers that differ from those of the architecture, for reports."""
        chosen = () if self.facts.fixed_parts else ("neck", "roi", "width")
        found = {name: getattr(self, name) for name in chosen}
        for name in ("smallest", "positions", "all_sizes", "eps", "aligned", "stride_first"):
            if getattr(self, name) != type(self).__dataclass_fields__[name].default:
                found[name] = getattr(self, name)
        limits = {"regions": self.region_limits(), "proposals": self.proposal_limits()}
        return found | {name: values for name, values in limits.items() if values}

    def flags(self, preprocessing: Preprocessing) -> dict[str, Any]:
        """Return the flags of train that lead to this network and to these inputs."""
        sizes = ",".join(map(str, preprocessing.min_sizes)) or f"x{preprocessing.scale!r}"
        flags: dict[str, Any] = {"arch": self.arch, "backbone": self.backbone}
        flags |= {"min_size": sizes, "max_size": preprocessing.max_size}
        if not self.facts.fixed_parts:
            flags |= {"neck": self.neck, "roi": self.roi, "channels": self.width}
        if not self.facts.fixed_anchors:
            flags["anchor_size"] = self.smallest
        return flags

    def build(self, num_classes: int, preprocessing: Preprocessing) -> nn.Module:
        """Return the network, freshly initialised.

        Args:
            num_classes: without background.
            preprocessing: of the images.

        Raises:
            UsageError: its parts cannot be combined.
        """
        return build("detect", self, num_classes, preprocessing)


SCRATCH_RATE = 1e-4
"""Learning rate of AdamW per image in a step, for networks trained from scratch."""


def recipe(options: TwoStageTrain) -> dict[str, Any]:
    """Return the optimizer, schedule, learning rate and weight decay that the flags leave open.

    Published backbones are trained further with SGD, as in the papers, with the rate scaled to the
    number of images per step. From random weights AdamW gets much further in the same number of
    epochs.
    """
    images = options.batch_size * options.accumulate * options.devices * options.nodes
    optimizer, schedule = options.optimizer, options.schedule
    if optimizer == "auto":
        optimizer = "sgd" if options.pretrained or options.weights else "adamw"
    if schedule == "auto":
        schedule = "step" if optimizer == "sgd" else "poly"
    rate, decay = catalog.OPTIMIZERS[optimizer]
    if optimizer == "sgd":
        published = catalog.DETECTORS[options.arch].recipe
        rate = published.lr * images / published.images
    elif optimizer == "adamw":
        rate = SCRATCH_RATE * images
    return {"optimizer": optimizer, "schedule": schedule, "lr": rate, "weight_decay": decay}


def check_flags(options: TwoStageTrain, task: str) -> Network:
    """Return the network; reads no data, so that a mistake is reported at once.

    Args:
        options: of the run.
        task: key of `catalog.ARCHS`.

    Raises:
        UsageError: flags that cannot be combined.
    """
    entry = catalog.BACKBONES[options.backbone]
    facts = catalog.DETECTORS[options.arch]
    if not facts.takes_crops and not entry.target:
        raise UsageError(
            f"--backbone {options.backbone} has no maps at several strides, which --arch "
            f"{options.arch} needs",
            code="backbone.unsupported",
            hint=f"known: {', '.join(catalog.backbones_with_maps())}",
        )
    network = Network(options.arch, options.backbone)
    if not facts.fixed_parts:
        pool = options.roi == "pool" or (options.roi == "auto" and facts.pools)
        roi = "pool" if pool else "align"
        network = replace(network, neck=options.neck, roi=roi, width=options.channels)
    _refuse_what_means_nothing(options, task)
    named = "" if options.min_size == "auto" else options.min_size
    others = {"--min-size": named, "--max-size": options.max_size}
    require_one_size(options.image_size, "auto", others)
    if options.image_size != "auto":
        parse_frame(options.image_size, facts.takes_crops)
    elif options.min_size != "auto":
        sizes = parse_sizes(options.min_size)
        if facts.takes_crops and not sizes.min_sizes:
            raise UsageError(
                f"--min-size {options.min_size} has no effect with --arch {options.arch}",
                code="min_size.native",
            )
    return network


def _refuse_what_means_nothing(options: TwoStageTrain, task: str) -> None:
    """Refuse flags without effect on an architecture.

    Args:
        options: of the run.
        task: key of `catalog.ARCHS`.

    Raises:
        UsageError: names the first one.
    """
    if options.label_smoothing:
        raise UsageError(
            f"--label-smoothing has no effect with --arch {options.arch}",
            code="label-smoothing.unsupported",
        )
    refuse_idle(options, task, options.arch, "unsupported", but={"proposals"})
    if options.neck == "c4" and options.channels != 256 and not options.resume:
        raise UsageError(
            "--channels has no effect with --neck c4, which has no pyramid",
            code="channels.unsupported",
        )


def with_samples(network: Network, options: TwoStageTrain, preprocessing: Preprocessing) -> Network:
    """Return the network with the number of regions given by `--roi-samples`."""
    facts = network.facts
    if facts.takes_crops or (facts.roi_samples and not options.roi_samples):
        return network
    count = options.roi_samples or (512 if max(preprocessing.min_sizes, default=0) >= 600 else 128)
    return replace(network, roi_samples=count)


def with_anchors(
    network: Network,
    options: TwoStageTrain,
    preprocessing: Preprocessing,
    images: Sequence[AnnotatedImage],
) -> Network:
    """Return the network with the smallest anchors given by `--anchor-size` and the training data.

    An object that is much smaller than all anchors is matched by chance only.
    """
    if network.facts.fixed_anchors:
        return network
    size = options.anchor_size
    if not size:
        small = float(np.percentile(object_sides(images, preprocessing), 20))
        size = next((each for each in (32, 16) if small >= each), 8)
    return replace(network, smallest=size)


def load_backbone(
    model: Detector, network: Network, options: TwoStageTrain, report: Reporter
) -> None:
    """Load the backbone weights that `--pretrained` names, or say that there are none.

    Raises:
        ModelFileError: the weights are missing, damaged or do not fit.
    """
    if options.pretrained is None:
        report.say("backbone weights: none, training from scratch")
        return
    source, offline = options.pretrained, options.offline
    part = model.pretrained_part()
    line = load_pretrained(part, network.backbone, source, offline=offline, say=report.say)
    report.say(line)


def smallest_batch_of(build: Callable[[], nn.Module], preprocessing: Preprocessing) -> int:
    """Return how many images a training batch needs: 2 if the last map may be a single pixel.

    Args:
        build: returns the network.
        preprocessing: of the images; images scaled by a factor are assumed to be large enough.
    """
    with on_meta():
        model = build()
    if not isinstance(model, TwoStageDetector) or not preprocessing.min_sizes:
        return 1
    side = math.ceil(min(preprocessing.min_sizes) / 32) * 32  # images are padded to whole strides
    return smallest_batch(lambda: model.backbone, (3, side, side))


def freeze_backbone(model: Detector, options: TwoStageTrain) -> None:
    """Freeze the layers given by `--freeze-bn` and `--trainable-layers`.

    Raises:
        UsageError: `--trainable-layers` exceeds the number of stages, or there are none.
    """
    if options.freeze_bn:
        if not any(isinstance(layer, nn.BatchNorm2d) for layer in model.body.modules()):
            name = options.backbone
            message = f"--freeze-bn has no effect: the backbone {name} has no batch norms"
            warnings.warn(message, CvkitWarning, stacklevel=2)
        rest_batch_norms(model.body)
    wanted = options.trainable_layers
    if wanted is None:
        return
    parts = model.stages()
    if wanted > len(parts):
        raise UsageError(
            f"--trainable-layers {wanted}: the backbone has {len(parts)} stages",
            code="trainable_layers.range",
        )
    for part in parts[: len(parts) - wanted]:
        part.requires_grad_(False)
