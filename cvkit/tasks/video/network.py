"""Network and preprocessing of a video classifier, as a model file stores them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, cast

import torchvision
from torch import Tensor, nn

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.clips import ClipRule, FrameRule
from cvkit.errors import UsageError
from cvkit.models.build import build
from cvkit.models.classify import network_parts
from cvkit.models.convert import VIDEO, kinetics_tensors
from cvkit.models.specs import ClipSpec
from cvkit.models.state_files import read_state_dict
from cvkit.models.trials import try_out
from cvkit.models.weights import fetched, find_model, load_pretrained
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD
from cvkit.options.video import VideoTrain
from cvkit.tasks.classed import SMALL_IMAGE, parse_side
from cvkit.tasks.common import refuse_idle
from cvkit.tasks.normalisation import pretrained_statistics
from cvkit.texts import counted


@dataclass(frozen=True)
class Preprocessing:
    """How a video becomes clips; stored in the model file.

    Attributes:
        image_size: side of the square crop of each frame.
        resize_hw: see `FrameRule`.
        frames, sampling, stride, fps: see `ClipRule`.
        clips, crops: views of a video.
        mean, std: of the pixels in [0, 1].
        bits: number of bits in use in 16-bit frames; see `cvkit.data.decode.read_image`.
    """

    image_size: int
    resize_hw: tuple[int, ...]
    frames: int
    sampling: str
    stride: int = 1
    fps: float = 0.0
    clips: int = 1
    crops: int = 1
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    bits: int | None = 16

    @property
    def clip_rule(self) -> ClipRule:
        """Which frames make a clip."""
        return ClipRule(self.frames, self.sampling, self.stride, self.fps)

    @property
    def frame_rule(self) -> FrameRule:
        """How frames enter the network."""
        return FrameRule(self.image_size, tuple(self.resize_hw), self.crops, self.bits)


@dataclass(frozen=True, kw_only=True)
class Network(ClipSpec):
    """The network and its parameters, as a model file stores them; an architecture uses some."""

    def flags(self, preprocessing: Preprocessing) -> dict[str, Any]:
        """Return the flags of train that lead to this network and to these inputs."""
        flags = {name: value for name, value in asdict(self).items() if value is not None}
        flags |= {name: getattr(preprocessing, name) for name in ("sampling", "stride", "fps")}
        flags["views"] = f"{preprocessing.clips}x{preprocessing.crops}"
        return flags | {"image_size": str(preprocessing.image_size)}

    def build(self, num_classes: int) -> nn.Module:
        """Return the network, freshly initialised.

        Raises:
            UsageError: its parts cannot be combined.
        """
        return build("video", self, num_classes)


def preprocessing_for(options: VideoTrain, sizes_hw: Sequence[tuple[int, int]]) -> Preprocessing:
    """Return how training videos of these sizes enter the network.

    `--image-size auto` keeps small frames as they are and cuts seven eighths from larger ones, at
    most 112 pixels.
    """
    short = sorted(min(size) for size in sizes_hw)[len(sizes_hw) // 2]
    if options.image_size != "auto":
        side = parse_side(options.image_size)
    elif short <= SMALL_IMAGE:
        side = max(16, short)
    else:
        side = min(112, max(32, round(short * 7 / 8 / 16) * 16))
    statistics = pretrained_statistics(options, _builder(options))
    sampling = options.sampling
    if sampling == "auto":
        sampling = "uniform" if catalog.CLIP_NETWORKS[options.arch].spreads_frames else "clip"
    clips, crops = parse_views(options.views)
    return Preprocessing(
        image_size=side,
        resize_hw=(side if side <= SMALL_IMAGE else round(side * 8 / 7),),
        frames=options.frames,
        sampling=sampling,
        stride=options.stride,
        fps=options.fps,
        clips=clips,
        crops=crops,
        **statistics,
    )


def _builder(options: VideoTrain) -> str:
    """Return torchvision's function for the network of `--pretrained`; empty if there is none."""
    entry = catalog.CLIP_NETWORKS[options.arch]
    if name := options.backbone if entry.takes_backbone else entry.inflates:
        return catalog.BACKBONES[name].builder
    return next((builder for builder, arch in VIDEO.items() if arch == options.arch), "")


def parse_views(text: str) -> tuple[int, int]:
    """Return clips and crops that `--views` means.

    Raises:
        UsageError: malformed.
    """
    clips, cross, crops = text.lower().partition("x")
    if clips.isdecimal() and 1 <= int(clips) <= 100 and (crops in ("1", "3") or not cross):
        return int(clips), int(crops or 1)
    raise UsageError(
        f"--views {text!r} is not CLIPSxCROPS", code="views.syntax", hint="such as 5x1 or 10x3"
    )


def network_for(options: VideoTrain, preprocessing: Preprocessing, num_classes: int) -> Network:
    """Return the network of a run, tried with clips of its size.

    Raises:
        UsageError: flags without effect on it, or clips that it cannot take.
    """
    arch = options.arch
    refuse_idle(options, "video", arch, "unused")
    side, frames = preprocessing.image_size, preprocessing.frames
    network = Network(
        arch=arch,
        backbone=options.backbone if catalog.CLIP_NETWORKS[arch].takes_backbone else None,
        frames=frames,
        image_size=side,
        fusion=options.fusion,
        cell=options.cell,
        hidden=options.hidden,
        bidirectional=options.bidirectional,
        dropout=options.dropout,
        heads=options.heads,
        depth=options.depth,
        positions=options.positions,
    )
    try:
        try_out(lambda: network.build(num_classes), (2, 3, frames, side, side))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(
            f"--arch {arch} cannot take clips of {frames} frames of {side}x{side}: {reason}",
            code="image_size.unsupported",
            hint="try a larger --image-size, or other --frames",
        ) from error
    return network


class MadeOfImages(Protocol):
    """A video network that is made of an image network."""

    def load_images(self, tensors: dict[str, Tensor]) -> None:
        """Load the weights of that network."""


def load_backbone(
    model: nn.Module, network: Network, options: VideoTrain, report: Reporter
) -> None:
    """Load the weights that `--pretrained` names, or say that there are none.

    Raises:
        UsageError: nothing is published for this network.
        ModelFileError: the weights are missing, damaged or do not fit.
    """
    source = options.pretrained
    if source is None:
        report.say("initial weights: none, training from scratch")
        return
    imagenet = source.partition(":")[0] == "imagenet"
    if source == "kinetics" or (network.arch in VIDEO.values() and not imagenet):
        report.say(_load_kinetics(model, network, options, report))
        return
    facts = catalog.CLIP_NETWORKS[network.arch]
    if not facts.made_of_images:
        raise UsageError(
            f"--pretrained {source}: --arch {network.arch} is not built on an image network",
            code="pretrained.unsupported",
            hint="kinetics" if network.arch in VIDEO.values() else "train from scratch",
        )
    name = network.backbone or facts.inflates
    entry = catalog.BACKBONES[name]
    if facts.needs_maps:
        plain = catalog.resolve(entry.target)(entry.builder)
    else:
        side = network.image_size
        plain, _ = network_parts(name, 1, small=False, image_size=side, aux=False)
    line = load_pretrained(plain, name, source, offline=options.offline, say=report.say)
    cast(MadeOfImages, model).load_images(plain.state_dict())
    report.say(line)


def _load_kinetics(
    model: nn.Module, network: Network, options: VideoTrain, report: Reporter
) -> str:
    """Load a video network's published weights, or a file of them, except for the last layer."""
    source = options.pretrained or "kinetics"
    builder = next((b for b, arch in VIDEO.items() if arch == network.arch), None)
    if builder is None:
        raise UsageError(
            f"--pretrained kinetics: nothing is published for --arch {network.arch}",
            code="pretrained.unsupported",
            hint=", ".join(VIDEO.values()),
        )
    if source == "kinetics":
        entry = torchvision.models.get_model_weights(builder).DEFAULT
        path = fetched(entry, options.offline, report.say)
    else:
        path = find_model(source, flag="--pretrained")
    tensors = kinetics_tensors(model.state_dict(), read_state_dict(path), path)
    model.load_state_dict(tensors, strict=False)
    count = counted(len(tensors), "tensor")
    return f"initial weights: {options.pretrained} ({path.name}, {count})"
