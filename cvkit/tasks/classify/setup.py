"""From flags and folders to everything that a classification run needs, checked first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.classified import Collection, read_collection
from cvkit.data.datasets import ImageTransform
from cvkit.data.exclusion import read_exclusion
from cvkit.data.scan import ImageScan, scan_images
from cvkit.dividing import tell_division, training_division
from cvkit.errors import UsageError, raise_defects
from cvkit.models.trials import try_out
from cvkit.models.weights import has_small_stem
from cvkit.options.classify import ClassifyEval, ClassifyPredict, ClassifyTrain
from cvkit.output.names import class_words
from cvkit.structures import ClassList
from cvkit.tasks.checking import checked, warn_of_leaks
from cvkit.tasks.classed import SMALL_IMAGE, parse_side, require_examples, warn_of_gaps
from cvkit.tasks.classify.network import Network, Preprocessing
from cvkit.tasks.common import data_place, refuse_idle
from cvkit.tasks.normalisation import pretrained_statistics
from cvkit.tasks.saving import chosen_saves
from cvkit.texts import counted


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Settings of evaluation and prediction; most fields are the flags of the same names.

    `flip` and `ten_crop` come from `--tta`; `shelves` are the class folders of
    `--save sorted`.
    """

    flip: bool = False
    ten_crop: bool = False
    top_k: int = 5
    save: tuple[str, ...] = ()
    embeddings: Path | None = None
    shelves: tuple[str, ...] = ()


def inference_for(options: ClassifyEval | ClassifyPredict, classes: ClassList) -> Inference:
    """Return the settings that the flags of evaluation or prediction give.

    Raises:
        UsageError: `--tta` or `--save` is malformed, or `--embeddings` cannot be written.
    """
    flip, ten_crop = parse_tta(options.tta)
    if not isinstance(options, ClassifyPredict):
        return Inference(flip=flip, ten_crop=ten_crop)
    check_embeddings(options)
    return Inference(
        flip=flip,
        ten_crop=ten_crop,
        top_k=min(options.top_k, len(classes)),
        save=chosen_saves(options.save, "classify", classes),
        embeddings=options.embeddings,
        shelves=class_words(classes.names),
    )


def chosen_parts(options: ClassifyTrain) -> tuple[str, str | None]:
    """Return the architecture and the backbone that `--arch` and `--backbone` select.

    Raises:
        UsageError: they contradict each other.
    """
    arch, backbone = options.arch, options.backbone
    if arch is not None and catalog.CLASSIFIERS[arch].takes_backbone:
        return arch, backbone
    if arch is None:
        name = backbone or "resnet18"
        return name, name
    if arch in catalog.BACKBONES:
        if backbone not in (None, arch):
            raise UsageError(
                f"--arch {arch} and --backbone {backbone} cannot be combined",
                code="backbone.unsupported",
                hint="give --backbone with --arch knn or linear, or without --arch",
            )
        return arch, arch
    if backbone is not None:
        raise UsageError(
            f"--arch {arch} has no --backbone", code="backbone.unsupported", hint="omit it"
        )
    return arch, None


def check_flags(options: ClassifyTrain) -> None:
    """Check what can be checked without data.

    Raises:
        UsageError: flags that cannot be combined.
    """
    arch, backbone = chosen_parts(options)
    if options.stem == "small" and not (
        backbone is not None and catalog.BACKBONES[backbone].small_stem
    ):
        known = [n for n, e in catalog.BACKBONES.items() if e.small_stem]
        raise UsageError(
            f"--stem small is not available for {arch}",
            code="stem.unsupported",
            hint=", ".join(known),
        )
    if options.loss != "ce" and options.label_smoothing:
        raise UsageError(
            f"--label-smoothing has no effect with --loss {options.loss}",
            code="label_smoothing.unsupported",
        )
    if options.aux_weight and not catalog.ARCHS["classify"][arch].aux_weight:
        raise UsageError(
            f"--aux-weight has no effect with --arch {arch}", code="aux_weight.unsupported"
        )
    if "devices" in catalog.idle_flags("classify", arch) and options.devices * options.nodes > 1:
        raise UsageError(f"--arch {arch} works with one process only", code="devices.unsupported")
    refuse_idle(options, "classify", arch, "unsupported")
    parse_widths(options.hidden)
    if options.image_size != "auto":
        parse_side(options.image_size)
    training_division(options)


def preprocessing_for(options: ClassifyTrain, sizes_hw: Sequence[tuple[int, int]]) -> Preprocessing:
    """Return the preprocessing for training images of these sizes.

    `--image-size auto` keeps small images as they are and crops larger ones to seven eighths, at
    most 224 pixels; networks on the pixels take 32.
    """
    short = float(np.median([min(size) for size in sizes_hw]))
    _, backbone = chosen_parts(options)
    if options.image_size != "auto":
        side = parse_side(options.image_size)
    elif backbone is None:
        side = 32
    elif short <= SMALL_IMAGE:
        side = max(16, round(short))
    else:
        side = min(224, max(32, round(short * 7 / 8 / 16) * 16))
    resize = side if side <= SMALL_IMAGE else round(side * 8 / 7)
    builder = catalog.BACKBONES[backbone].builder if backbone else ""
    statistics = pretrained_statistics(options, builder)
    return Preprocessing(image_size=side, resize_size=resize, **statistics)


def transform_for(options: ClassifyTrain, side: int) -> ImageTransform:
    """Return the random transform of training images for inputs of `side` pixels.

    Raises:
        UsageError: the file of `--augment` cannot be read.
    """
    from cvkit.data.transforms.classes import ClassifyTransform  # slow to import; training only

    return ClassifyTransform(options.augment, side, options.erasing)


def network_for(options: ClassifyTrain, side: int, examples: int, num_classes: int) -> Network:
    """Return the network of a run, after a trial with images of its size.

    Raises:
        UsageError: the network cannot take images of this size.
    """
    arch, backbone = chosen_parts(options)
    small = wants_small_stem(options, backbone, side)
    usual_weight = catalog.ARCHS["classify"][arch].aux_weight
    network = Network(
        arch=arch,
        backbone=backbone,
        small=small,
        image_size=side,
        aux=bool(usual_weight) and options.aux_weight != 0,
        dropout=options.dropout,
        stochastic_depth=options.stochastic_depth,
        examples=examples if catalog.CLASSIFIERS[arch].gradient_free else 0,
        neighbors=options.neighbors,
        distance=options.distance,
        votes=options.votes,
        hidden=parse_widths(options.hidden),
    )
    try:
        try_out(lambda: network.build(num_classes), (2, 3, side, side))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(
            f"--arch {arch} cannot take images of {side}x{side} pixels: {reason}",
            code="image_size.unsupported",
            hint="try a larger --image-size",
        ) from error
    return network


def wants_small_stem(options: ClassifyTrain, backbone: str | None, side: int) -> bool:
    """Return whether a network gets first layers for small images.

    Args:
        options: of the run.
        backbone: of the network, if any.
        side: of the images.
    """
    if options.stem != "auto" or backbone is None or not catalog.BACKBONES[backbone].small_stem:
        return options.stem == "small"
    source = options.pretrained
    return side <= SMALL_IMAGE if source is None else has_small_stem(source)


def training_data(
    options: ClassifyTrain, report: Reporter
) -> tuple[Collection, dict[str, ImageScan]]:
    """Return the images of both splits, and the results of their checks.

    Raises:
        DataError: lists every defect.
    """
    place = data_place(options.data, "classify")
    names = (options.train_split, options.val_split)
    division = training_division(options)
    data = read_collection(
        *(place, options.format, names, division),
        exclude=read_exclusion(options.exclude),
    )
    tell_division(options, place, data.heap, division, data.splits, report)
    splits = data.splits.items()
    counts = ", ".join(f"{name}: {counted(len(images), 'image')}" for name, images in splits)
    if options.data == "samples":
        report.say(f"training on the built-in samples (one synthetic shape per image), {counts}")
    else:
        report.say(f"data: {place} ({data.layout} layout), {counts}")
    require_examples(data, options.train_split, place)
    scans = {
        name: checked(scan_images, images, name, report) for name, images in data.splits.items()
    }
    raise_defects([d for scan in scans.values() for d in scan.defects], str(place))
    warn_of_leaks(names, data.splits, scans, report)
    warn_of_gaps(data, options.val_split, report)
    report.say(f"classes: {len(data.names)} ({', '.join(data.names[:30])})")
    return data, scans


def parse_widths(text: str) -> tuple[int, ...]:
    """Return the widths of `--hidden`.

    Raises:
        UsageError: not one to eight numbers from 1 to 65536.
    """
    parts = [part.strip() for part in text.split(",")]
    widths = tuple(int(part) for part in parts if part.isdecimal() and len(part) < 6)
    if len(widths) != len(parts) or len(parts) > 8 or not all(1 <= w <= 2**16 for w in widths):
        raise UsageError(
            f"--hidden {text!r} is not a list of widths",
            code="hidden.syntax",
            hint="one to eight numbers from 1 to 65536, such as 512,256",
        )
    return widths


def parse_tta(text: str | None) -> tuple[bool, bool]:
    """Return whether to flip, and whether to average ten crops, of `--tta`.

    Raises:
        UsageError: neither of them.
    """
    parts = set((text or "").replace(" ", "").split(",")) - {""}
    if unknown := sorted(parts - {"flip", "ten-crop"}):
        hint = catalog.nearest(unknown[0], ("flip", "ten-crop"))
        raise UsageError(f"--tta {text!r} is unknown", code="tta.syntax", hint=hint)
    return "flip" in parts, "ten-crop" in parts


def check_embeddings(options: ClassifyPredict) -> None:
    """Check that `--embeddings` can be written, before any work is done.

    Raises:
        UsageError: another suffix, no such folder, or a file that must not be replaced.
    """
    path = options.embeddings
    if path is None:
        return
    if path.suffix != ".npz":
        raise UsageError(f"--embeddings {path} does not end in .npz", code="embeddings.suffix")
    if not path.parent.is_dir():
        raise UsageError(
            f"--embeddings {path}: {path.parent} is not a folder", code="embeddings.folder"
        )
    if path.exists() and not (options.overwrite or options.resume):
        raise UsageError(
            f"--embeddings {path} exists", code="embeddings.exists", hint="--overwrite replaces it"
        )
