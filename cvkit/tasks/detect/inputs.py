"""The input size of detectors."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from cvkit import catalog
from cvkit.data.annotated import AnnotatedImage, trainable
from cvkit.errors import UsageError
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD, input_scale
from cvkit.options.detect import Detecting, TwoStageTrain
from cvkit.structures import Batch, Geometry, Instances
from cvkit.tasks.common import parse_image_size, required, truth_of

SCALED_LONGEST = 2048
"""Default maximum of the longer side for inputs that are not scaled to a shorter side."""
SMALL = 1 / 6
"""Objects count as small if nine tenths of them are below this fraction of the image's side."""
SHORTER = 128, 320
"""Range of the default shorter side for networks trained from scratch."""


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network input; stored in the model file.

    Without `min_sizes`, images are scaled by the factor `scale`. 16-bit files use `bits` bits; see
    `cvkit.data.decode.read_image`.
    """

    min_sizes: tuple[int, ...]
    max_size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    scale: float = 1.0
    bits: int | None = 16

    def describe(self) -> str:
        """Return the sizes as text."""
        if self.min_sizes:
            return f"shorter side {', '.join(map(str, self.min_sizes))}, up to {self.max_size}"
        times = "images keep their size" if self.scale == 1 else f"images times {self.scale:.3g}"
        return f"{times}, longer side up to {self.max_size}"

    @property
    def tile_hw(self) -> tuple[int, int]:
        """Size of the tiles that the network sees at the scale of its training images.

        That is the shorter side of its inputs, or, for images scaled by a factor, the largest one
        that they have by default.
        """
        side = self.min_sizes[-1] if self.min_sizes else max(1, round(SHORTER[1] / self.scale))
        return side, side


def parse_sizes(text: str) -> Preprocessing:
    """Return what `--min-size` means.

    Raises:
        UsageError: malformed.
    """
    factor = re.fullmatch(r"x(\d+\.?\d*|\.\d+)", "x1" if text == "native" else text)
    if factor and 0.01 <= float(factor[1]) <= 16:
        return Preprocessing((), SCALED_LONGEST, scale=float(factor[1]))
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 32 <= int(part) <= 4096 for part in parts):
        near = catalog.closest(text, ("auto", "native"))
        raise UsageError(
            f"--min-size {text!r} is neither whole numbers from 32 to 4096 nor a factor",
            code="min_size.syntax",
            hint=f"did you mean {near}?" if near else "such as 480, 640,704,800, native or x0.5",
        )
    shorter = tuple(int(part) for part in parts)
    return Preprocessing(shorter, round(max(shorter) * 5 / 3))


def parse_frame(text: str, crops: bool) -> Preprocessing:
    """Return the preprocessing of `--image-size`: images are scaled to fit, portrait or landscape.

    Args:
        text: the flag.
        crops: whether the inputs are crops, which must be square.

    Raises:
        UsageError: malformed, or not square for crops.
    """
    width, height = parse_image_size(text, 32, 4096)
    if not crops:
        return Preprocessing((min(width, height),), max(width, height))
    if width != height:
        raise UsageError(
            f"--image-size {text!r} is not a square, as the crops of rcnn are",
            code="image_size.square",
            hint=f"such as {min(width, height)}",
        )
    return parse_sizes(str(width))


def input_sizes(
    options: TwoStageTrain, images: Sequence[AnnotatedImage], sizes_hw: Sequence[tuple[int, int]]
) -> Preprocessing:
    """Return the training sizes given by `--image-size`, or by `--min-size` and `--max-size`.

    By default photographs are scaled to a fixed shorter side, because larger photographs have
    larger objects. If all objects are small relative to their images, as under a microscope, a
    larger image shows more of them, not larger ones; all images are then scaled by the same factor.

    Args:
        options: of the run.
        images: of the training split.
        sizes_hw: of all images.
    """
    facts = catalog.DETECTORS[options.arch]
    median = float(np.median([min(size) for size in sizes_hw]))
    flag = "--min-size" if options.image_size == "auto" else "--image-size"
    if options.image_size != "auto":
        found = parse_frame(options.image_size, facts.takes_crops)
    elif options.min_size != "auto":
        found = parse_sizes(options.min_size)
    elif facts.takes_crops:
        found = parse_sizes("112")
    elif facts.least_side:
        found = parse_sizes(str(SHORTER[1]))
    elif _are_small(images):
        side = min(SHORTER[1], max(SHORTER[0], median))
        found = Preprocessing((), SCALED_LONGEST, scale=side / median)
    else:
        side = min(SHORTER[1], max(SHORTER[0], round(median / 32) * 32))
        found = parse_sizes(str(side))
    found = replace(found, max_size=options.max_size or found.max_size)
    if found.min_sizes and found.max_size < max(found.min_sizes):
        raise UsageError(
            f"--max-size {found.max_size} is smaller than --min-size {max(found.min_sizes)}",
            code="max_size.small",
        )
    least = facts.least_side
    if found.min_sizes and min(found.min_sizes) < least:
        raise UsageError(
            f"{flag} {min(found.min_sizes)}: no anchor of --arch {options.arch} fits into an "
            f"input of less than {least} pixels",
            code="min_size.anchors",
            hint=f"such as {SHORTER[1]}",
        )
    return found


def _are_small(images: Sequence[AnnotatedImage]) -> bool:
    """Return whether nearly all objects are small relative to their images."""
    unscaled = Preprocessing((), 2**31)
    shares = np.concatenate(
        [object_sides([image], unscaled) / min(required(image.size_wh)) for image in images]
    )
    return bool(len(shares)) and float(np.percentile(shares, 90)) < SMALL


def object_sides(images: Sequence[AnnotatedImage], preprocessing: Preprocessing) -> np.ndarray:
    """Return the square root of the area of each box, in pixels of the network's input."""
    result = []
    for image in images:
        shorter = (preprocessing.min_sizes or (None,))[-1]
        longest, factor = preprocessing.max_size, preprocessing.scale
        scale = input_scale(required(image.size_wh), shorter, longest, factor)
        counted = image.truth.pick(image.truth.counted)
        result.append(np.sqrt(counted.corner_and_size()[:, 2:].prod(1)) * scale)
    return np.concatenate(result)


def resized(preprocessing: Preprocessing, options: Detecting, arch: str) -> Preprocessing:
    """Return the preprocessing with the input size that the flags give, else that of training.

    Raises:
        UsageError: malformed, or the network sees crops.
    """
    require_one_size(options.image_size, "", {"--min-size": options.min_size})
    flag = "--image-size" if options.image_size else "--min-size"
    if not (options.image_size or options.min_size):
        return preprocessing
    if catalog.DETECTORS[arch].takes_crops:
        raise UsageError(
            f"{flag} has no effect with --arch {arch}, which sees crops", code="min_size.crops"
        )
    if options.image_size:
        found = parse_frame(options.image_size, crops=False)
    else:
        found = parse_sizes(options.min_size)
    kept = {name: getattr(preprocessing, name) for name in ("mean", "std", "bits")}
    return replace(found, **kept)


def require_one_size(image_size: str, default: str, others: dict[str, object]) -> None:
    """Check that the size of the inputs is given in one way.

    Args:
        image_size: the flag.
        default: of it.
        others: other flags for the size; empty or 0 if they were not given.

    Raises:
        UsageError: names both flags.
    """
    for name, value in others.items():
        if image_size != default and value:
            raise UsageError(
                f"--image-size {image_size} and {name} {value} cannot be combined",
                code="image_size.twice",
                hint="--image-size gives width and height, --min-size the shorter side only",
            )


def with_objects(batch: Batch) -> Batch:
    """Return an evaluation batch with the objects that a training loss needs as targets."""
    samples = [
        replace(
            sample,
            boxes=trainable(truth_of(sample, Instances), required(sample.geometry).original_hw),
        )
        for sample in batch.samples
    ]
    return replace(batch, samples=tuple(samples))


def whole(image: np.ndarray) -> tuple[np.ndarray, Geometry]:
    """Return an image unchanged: the network itself resizes it."""
    return image, Geometry(image.shape[:2], image.shape[:2])


def batch_proposals(batch: Batch) -> list[Tensor] | None:
    """Return the [R, 4] proposals of each image on the batch's device; None without any."""
    if batch.samples[0].proposals is None:
        return None
    device = batch.images[0].device
    return [torch.from_numpy(sample.proposals).to(device) for sample in batch.samples]
