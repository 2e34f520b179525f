"""From flags and folders to everything that a segmentation run needs, checked first."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.classes import numbered_classes
from cvkit.data.datasets import Transform
from cvkit.data.division import Parts
from cvkit.data.exclusion import read_exclusion
from cvkit.data.formats.recognise import detect_format
from cvkit.data.labelled import LabelledImage, mask_classes, read_pairs
from cvkit.data.masks import BINARY, Drawing, MaskMap, MaskReader, parse_mask_map
from cvkit.data.scan import Scan, scan_pairs
from cvkit.dividing import tell_division, training_division
from cvkit.errors import DataError, UsageError, raise_defects
from cvkit.models.trials import on_meta
from cvkit.ops import inference, losses
from cvkit.options.segment import SegmentEval, SegmentPredict, SegmentTrain, dialects
from cvkit.structures import IGNORE, ClassList
from cvkit.tasks.checking import checked, warn_of_leaks
from cvkit.tasks.common import data_place, parse_image_size, refuse_idle
from cvkit.tasks.saving import chosen_saves
from cvkit.tasks.segment.network import Network, segmenter
from cvkit.tasks.tiling import Tiling, tiling_for
from cvkit.texts import counted


@dataclass(frozen=True)
class Training:
    """Settings of training."""

    loss: dict[str, float]
    weights: Tensor | None
    label_smoothing: float
    aux_weight: float
    transform: Any


@dataclass(frozen=True)
class Inference:
    """Settings of evaluation and prediction; the fields are the flags of the same names.

    `flip` and `scales` come from `--tta`, `dialects` from `--dialect`, `tiling` from `--tiles`;
    `confidence` requests the score of each pixel.
    """

    sliding_window: bool = False
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)
    absent_class: str = "exclude"
    dialects: tuple[str, ...] = ("cvkit",)
    overlay: str = "png"
    confidence: bool = False
    save: tuple[str, ...] = ()
    tiling: Tiling | None = None


def check_flags(options: SegmentTrain) -> tuple[Network, dict[str, float], float]:
    """Return the network, the loss terms and the weight of the auxiliary loss.

    Reads no data, so that a mistake is reported at once.

    Raises:
        UsageError: a flag is malformed, or flags cannot be combined.
    """
    arch = catalog.ARCHS["segment"][options.arch]
    whole = bool(catalog.BACKBONES[options.backbone].whole)
    if options.aux_weight and (whole or not arch.aux_weight):
        raise UsageError(
            f"--aux-weight has no effect with --arch {options.arch} with --backbone "
            f"{options.backbone}",
            code="aux_weight.unsupported",
        )
    if options.batch_size < arch.min_batch:
        raise UsageError(
            f"--batch-size {options.batch_size} is too small for --arch {options.arch}",
            code="batch_size.min",
            hint=f"the batch norm after its pooling needs at least {arch.min_batch}",
        )
    loss = loss_terms(options.loss)
    parse_scale(options.scale)
    training_division(options)
    if options.image_size != "auto":
        image_size(options.image_size, [])
    refuse_idle(options, "segment", options.arch, "unsupported")
    aux_weight = arch.aux_weight if options.aux_weight is None else options.aux_weight
    network = Network(
        arch=options.arch,
        backbone=options.backbone,
        output_stride=options.output_stride,
        aux=bool(aux_weight),
        deconv=options.deconv,
    )
    with on_meta():
        network.build(2)
    return network, loss, aux_weight


def loss_terms(text: str) -> dict[str, float]:
    """Return the weight of each loss in `--loss`.

    Raises:
        UsageError: malformed, or an unknown loss; the hint names the nearest.
    """
    try:
        return losses.parse_loss(text)
    except ValueError as error:
        unknown = [word for word in re.findall(r"[A-Za-z]+", text) if word not in losses.LOSSES]
        hint = catalog.nearest(unknown[0], losses.LOSSES) if unknown else "such as ce+0.5*dice"
        raise UsageError(f"--loss: {error}", code="loss.syntax", hint=hint) from error


def training_data(
    options: SegmentTrain, report: Reporter
) -> tuple[Parts[LabelledImage], MaskReader, ClassList, dict[str, Scan]]:
    """Return the splits, the reader of their masks, the classes, and the results of the check."""
    root = data_place(options.data, "segment")
    layout = detect_format("masks", root, options.format)
    names = dict.fromkeys((options.train_split, options.val_split))
    division = training_division(options)
    excluded = read_exclusion(options.exclude)
    parts = read_pairs(root, layout, list(names), division, excluded)
    splits = parts.splits
    tell_division(options, root, parts.heap, division, splits, report)
    if options.data == "samples":
        report.say(
            f"training on the built-in samples (synthetic shapes, not real data): "
            f"{', '.join(f'{len(pairs)} {name}' for name, pairs in splits.items())} images"
        )
    else:
        counts = ", ".join(
            f"{name}: {counted(len(pairs), 'image')}" for name, pairs in splits.items()
        )
        report.say(f"data: {root} ({layout} layout), {counts}")
    masks = [pair.mask for pairs in splits.values() for pair in pairs]
    classes, colors = mask_classes(root, masks)
    reader = MaskReader(
        num_classes=len(classes) if classes else None,
        colors=colors,
        mask_map=parse_mask_map(options.mask_map) if options.mask_map else MaskMap(),
        ignore_index=options.ignore_index,
    )
    scans = {name: scan_split(pairs, reader, name, report) for name, pairs in splits.items()}
    raise_defects([d for scan in scans.values() for d in scan.defects], str(root))
    for note in parts.notes:
        report.warn(note)
    warn_of_leaks((options.train_split, options.val_split), splits, scans, report)
    largest = max(scan.largest_label for scan in scans.values())
    if _is_binary(options, classes, masks, scans):
        report.say(f"masks of 0 and 255: 255 is read as class 1 (--mask-map {BINARY})")
        reader = replace(reader, mask_map=parse_mask_map(BINARY))
        for scan in scans.values():
            scan.pixels[[1, IGNORE]] = scan.pixels[[IGNORE, 1]]
        largest = 1
    if classes is None:
        classes = numbered_classes(largest + 1) if largest > 0 else None
    if classes is None or len(classes) < 2:
        raise DataError(
            f"{root}: the masks have fewer than 2 classes besides the ignored value "
            f"{options.ignore_index}",
            code="classes.count",
            hint="give each class a value of its own, or use --mask-map",
        )
    if not scans[options.train_split].pixels[: len(classes)].any():
        raise DataError(f"{root}: no training pixel has a label", code="mask.all_ignore")
    report.say(f"classes: {len(classes)} ({', '.join(classes.names)})")
    reader = MaskReader(len(classes), reader.colors, reader.mask_map, reader.ignore_index)
    say_if_recolored(scans, report)
    return parts, reader, classes, scans


def _is_binary(
    options: SegmentTrain,
    classes: ClassList | None,
    masks: Sequence[Path | Drawing],
    scans: dict[str, Scan],
) -> bool:
    """Return whether 255 must be a class: masks have no other value but 0, and no flag says so."""
    if options.mask_map or options.ignore_index != IGNORE:
        return False
    if (classes is not None and len(classes) != 2) or any(isinstance(m, Drawing) for m in masks):
        return False
    pixels = np.sum([scan.pixels for scan in scans.values()], 0)
    return bool(pixels[0] and pixels[IGNORE] and not pixels[1:IGNORE].any())


def described(pairs: Sequence[LabelledImage], scan: Scan) -> list[tuple[str, str, str]]:
    """Return key, hash and hash of the mask of each sample; all of them are readable."""
    keys = [pair.key for pair in pairs]
    return list(zip(keys, scan.hashes, scan.mask_hashes, strict=True))


def say_if_recolored(scans: dict[str, Scan], report: Reporter) -> None:
    """Report how many palette masks are read by their colours."""
    if count := sum(scan.recolored for scan in scans.values()):
        report.say(
            f"masks: {count} are read by their palette colours, because their values are not the "
            "indices of classes.txt"
        )


def scan_split(pairs: list[LabelledImage], reader: MaskReader, name: str, report: Reporter) -> Scan:
    """Check a split with a progress bar; see `scan_pairs`."""
    return checked(lambda items, advance: scan_pairs(items, reader, advance), pairs, name, report)


def parse_scale(text: str) -> tuple[float, float]:
    """Return the smallest and largest random scale of `--scale`.

    Raises:
        UsageError: malformed, or the smallest is larger.
    """
    match = re.fullmatch(r"\s*(\d*\.?\d+)\s*,\s*(\d*\.?\d+)\s*", text)
    if not match or not 0.01 <= float(match[1]) <= float(match[2]) <= 100:
        raise UsageError(
            f"--scale {text!r} is not SMALLEST,LARGEST", code="scale.syntax", hint="such as 0.5,2"
        )
    return float(match[1]), float(match[2])


def image_size(text: str, sizes_hw: list[tuple[int, int] | None]) -> tuple[int, int]:
    """Return the (width, height) that `--image-size` means for images of these sizes.

    Raises:
        UsageError: malformed.
    """
    if text == "auto":
        height, width = (float(np.median(sides)) for sides in zip(*sizes_hw, strict=True))
        scale = min(1.0, 512 / max(height, width))
        sides = [max(32, round(side * scale / 16) * 16) for side in (width, height)]
        return sides[0], sides[1]
    return parse_image_size(text, 16, 8192)


def transform_for(options: SegmentTrain, size_wh: tuple[int, int]) -> Transform:
    """Return the random transform of training images and masks for inputs of this size.

    Raises:
        UsageError: `--scale` is malformed, or the file of `--augment` cannot be read.
    """
    from cvkit.data.transforms.masks import TrainTransform  # slow to import; training only

    return TrainTransform(options.augment, size_wh, options.resize, parse_scale(options.scale))


def require_scales(
    build: Callable[[], nn.Module], size_wh: tuple[int, int], scales: Sequence[float]
) -> None:
    """Check that a network can take the smallest images of `--tta scales`.

    Args:
        build: returns the network.
        size_wh: of its images.
        scales: factors on it.

    Raises:
        UsageError: it cannot.
    """
    if scales == (1.0,):
        return
    width, height = (max(1, round(side * min(scales))) for side in size_wh)
    try:
        with on_meta(), torch.no_grad():
            segmenter(build().eval()).logits(torch.empty(1, 3, height, width))
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"--tta scales: the network cannot take images of {width}x{height}",
            code="tta.scales",
            hint="--tta flip",
        ) from error


def inference_for(
    options: SegmentEval | SegmentPredict, classes: ClassList, image_size_wh: tuple[int, int]
) -> Inference:
    """Return the settings that the flags of evaluation or prediction give.

    Args:
        options: of eval or predict.
        classes: of the model.
        image_size_wh: of the model, which is the size of the tiles of `--tiles auto`.

    Raises:
        UsageError: `--tta` or `--tiles` is malformed, or combined with `--sliding-window`; or
            `--save` names an unknown format, or one that cannot hold the classes.
    """
    flip, scales = parse_tta(options.tta)
    for name in ("tta", "tiles"):
        if options.sliding_window and getattr(options, name):
            raise UsageError(
                f"--sliding-window and --{name} cannot be combined",
                code=f"{name}.window",
                hint="omit one of them",
            )
    tiling = tiling_for(options, image_size_wh[::-1])
    shared = Inference(
        sliding_window=options.sliding_window, flip=flip, scales=scales, tiling=tiling
    )
    if isinstance(options, SegmentPredict):
        save = chosen_saves(options.save, "segment", classes)
        return replace(shared, overlay=options.overlay, confidence=True, save=save)
    named = dialects(options.dialect)
    return replace(shared, absent_class=options.absent_class, dialects=named)


def parse_tta(text: str | None) -> tuple[bool, tuple[float, ...]]:
    """Return whether to flip, and the scales, of `--tta`.

    Raises:
        UsageError: neither flip nor scales.
    """
    parts = set((text or "").replace(" ", "").split(",")) - {""}
    if unknown := sorted(parts - {"flip", "scales"}):
        hint = catalog.nearest(unknown[0], ("flip", "scales"), "flip, scales or flip,scales")
        raise UsageError(f"--tta {text!r} is unknown", code="tta.syntax", hint=hint)
    return "flip" in parts, inference.TTA_SCALES if "scales" in parts else (1.0,)
