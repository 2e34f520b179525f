"""From flags and folders to what a detection run needs, everything checked first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from cvkit import catalog
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.boxes import BoxData, read_boxes
from cvkit.data.scan import BoxScan, raise_defects, scan_boxes
from cvkit.engine.report import Reporter
from cvkit.errors import DataError, UsageError
from cvkit.models.detection.inputs import DetectionInputs
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD
from cvkit.options.detect import DetectTrain
from cvkit.structures import ClassList
from cvkit.tasks.image_task import data_place


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes a network input; stored in the model file."""

    min_sizes: tuple[int, ...]
    max_size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


@dataclass(frozen=True)
class Network:
    """Which network; stored in the model file. `own` holds further arguments of its builder."""

    arch: str
    backbone: str
    own: Mapping[str, Any] = field(default_factory=dict)

    def build(self, num_classes: int, preprocessing: Preprocessing) -> nn.Module:
        """Return the network, freshly initialised.

        Args:
            num_classes: without background.
            preprocessing: of the images.

        Raises:
            UsageError: its parts do not go together.
        """
        entry = catalog.ARCHS["detect"][self.arch]
        transform = DetectionInputs(
            tuple(preprocessing.min_sizes),
            preprocessing.max_size,
            tuple(preprocessing.mean),
            tuple(preprocessing.std),
        )
        own = dict(entry.own) | dict(self.own)
        return catalog.resolve(entry.target)(self.backbone, num_classes, transform, **own)


RECIPE = {"faster-rcnn": (0.02, 16), "fast-rcnn": (0.001, 2), "rcnn": (0.001, 1)}
"""Learning rate and images a step of each architecture's own recipe, for SGD."""


def default_rate(options: DetectTrain) -> tuple[float, float] | None:
    """Return learning rate and weight decay for SGD, scaled to the batch; None for others."""
    if options.optimizer != "sgd":
        return None
    family = next(name for name in RECIPE if options.arch.startswith(name))
    rate, images = RECIPE[family]
    return rate * options.batch_size * options.accumulate * options.devices / images, 1e-4


def check_flags(options: DetectTrain) -> Network:
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
    if options.arch in ("faster-rcnn", "faster-rcnn-v2", "fast-rcnn"):
        pool = options.roi == "pool" or (options.roi == "auto" and options.arch == "fast-rcnn")
        own = {"neck": options.neck, "roi": "pool" if pool else "align"}
        if options.label_smoothing:
            raise UsageError(
                "--label-smoothing has no meaning for detectors", code="label_smoothing.unsupported"
            )
    if options.min_size != "auto":
        parse_sizes(options.min_size)
    return Network(options.arch, options.backbone, own)


def parse_sizes(text: str) -> tuple[int, ...]:
    """Return the shorter sides that `--min-size` means.

    Raises:
        UsageError: malformed.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and 32 <= int(part) <= 4096 for part in parts):
        raise UsageError(
            f"--min-size {text!r} is not whole numbers from 32 to 4096",
            code="min_size.syntax",
            hint="such as 480, or 640,704,800",
        )
    return tuple(int(part) for part in parts)


def input_sizes(options: DetectTrain, sizes_hw: Sequence[tuple[int, int]]) -> Preprocessing:
    """Return the sizes that `--min-size` and `--max-size` mean for images of these sizes."""
    if options.min_size == "auto":
        median = float(np.median([min(size) for size in sizes_hw]))
        shorter = (int(min(320, max(128, round(median / 32) * 32))),)
    else:
        shorter = parse_sizes(options.min_size)
    longest = options.max_size or round(max(shorter) * 5 / 3)
    if longest < max(shorter):
        raise UsageError(
            f"--max-size {longest} is smaller than --min-size {max(shorter)}", code="max_size.small"
        )
    return Preprocessing(shorter, longest)


def with_samples(network: Network, options: DetectTrain, preprocessing: Preprocessing) -> Network:
    """Return the network with the number of regions that `--roi-samples` means."""
    if options.arch == "rcnn" or (options.arch == "fast-rcnn" and not options.roi_samples):
        return network
    count = options.roi_samples or (512 if max(preprocessing.min_sizes) >= 600 else 128)
    return replace(network, own=dict(network.own) | {"regions": {"samples": count}})


@dataclass(frozen=True)
class Splits:
    """Checked splits: images with boxes in upright pixels, and what the check found."""

    data: BoxData
    images: dict[str, list[AnnotatedImage]]
    scans: dict[str, BoxScan]
    root: Path

    @property
    def classes(self) -> ClassList:
        """The classes of the data."""
        return self.data.classes


def training_data(options: DetectTrain, report: Reporter) -> Splits:
    """Return the checked training and validation splits.

    Raises:
        UsageError: a COCO file without its counterpart.
        DataError: lists every defect.
    """
    files = {options.train_split: options.train_json, options.val_split: options.val_json}
    if any(files.values()) and not all(files.values()):
        raise UsageError(
            "--train-json and --val-json go together", code="json.pair", hint="name both files"
        )
    if options.train_json and options.data == "samples":
        root = options.images or options.train_json.parent
    else:
        root = data_place(options.data, "detect")
    names = (options.train_split, options.val_split)
    found = checked_splits(
        root, options.format, names, report, json_files=files, images=options.images
    )
    if options.data == "samples" and not options.train_json:
        report.say("training on the built-in samples (synthetic shapes, not real data)")
    trained = [image.truth for image in found.images[options.train_split]]
    if not any((~truth.crowd & ~truth.difficult).any() for truth in trained):
        raise DataError(f"{root}: no training image has an object", code="annotations.empty")
    return found


def checked_splits(
    root: Path,
    layout: str,
    names: Sequence[str],
    report: Reporter,
    *,
    json_files: dict[str, Path | None] | None = None,
    images: Path | None = None,
    strict: bool = True,
) -> Splits:
    """Return splits whose annotations and images were all looked at.

    Args:
        root: the dataset.
        layout: of it.
        names: of the splits.
        report: gets counts and warnings.
        json_files: see `read_boxes`.
        images: see `read_boxes`.
        strict: an unreadable image is a defect; else it stays, to fail when it is read.

    Raises:
        DataError: lists every defect.
    """
    data = read_boxes(root, layout, names, json_files=json_files, images=images)
    scans, kept = {}, {}
    for name in names:
        with report.progress(f"checking {name}", len(data.splits[name])) as advance:
            scans[name] = scan_boxes(data.splits[name], advance)
        kept[name] = scans[name].images
    found = [d for scan in scans.values() for d in scan.defects]
    if not strict:
        found = [d for d in found if d.code == "image.size_mismatch"]
    raise_defects([*data.defects, *found], str(root))
    for note in data.notes:
        report.warn(note)
    for name in names:
        objects = sum(len(image.truth) for image in kept[name])
        empty = sum(not len(image.truth) for image in kept[name])
        without = f", {empty} of them without objects" if empty else ""
        report.say(
            f"data: {root} ({data.layout}), {name}: {len(kept[name])} images{without}, "
            f"{objects} objects"
        )
        if scans[name].clipped:
            report.say(f"{name}: {scans[name].clipped} boxes reach beyond their image; cut to it")
    classes = data.classes.names
    shown = ", ".join(classes[:12]) + (" ..." if len(classes) > 12 else "")
    report.say(f"classes: {len(classes)} ({shown})")
    return Splits(data, kept, scans, root)


def class_table(data: ClassList, model: ClassList) -> dict[int, int]:
    """Return the model's label of each label of the data; classes are matched by name.

    Raises:
        DataError: the data have classes that the model does not know.
    """
    unknown = [name for name in data.names if name not in model.names]
    if unknown:
        shown = ", ".join(unknown[:8]) + (" ..." if len(unknown) > 8 else "")
        raise DataError(
            f"the model does not know {len(unknown)} of the dataset's classes: {shown}",
            code="classes.differ",
            hint=f"it knows {', '.join(model.names[:8])}" + (" ..." if len(model) > 8 else ""),
        )
    return {place: model.names.index(name) + 1 for place, name in enumerate(data.names, 1)}


SAVES = ("yolo", "voc", "csv")


def parse_save(text: str) -> tuple[str, ...]:
    """Return the further kinds of files that `--save` names.

    Raises:
        UsageError: an unknown kind.
    """
    kinds = tuple(part.strip() for part in text.split(",") if part.strip())
    for kind in kinds:
        if kind not in SAVES:
            raise UsageError(
                f"--save {kind!r} is unknown", code="save.unknown", hint=", ".join(SAVES)
            )
    return kinds
