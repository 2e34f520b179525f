"""From flags and folders to everything that a pretraining needs, checked first."""

from collections.abc import Sequence
from pathlib import Path

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.data.classified import ClassifiedImage
from cvkit.data.datasets import ImageTransform
from cvkit.data.division import content_hashes, draw_shares
from cvkit.data.exclusion import read_exclusion
from cvkit.data.files import walk_images
from cvkit.data.formats.recognise import image_tasks
from cvkit.data.roots import roots_of
from cvkit.data.scan import ImageScan, scan_images
from cvkit.errors import DataError, UsageError, raise_defects
from cvkit.models.pretraining.puzzles import tile_side
from cvkit.models.trials import try_out
from cvkit.options.classify import ClassifyTrain
from cvkit.options.described import differs
from cvkit.options.pretrain import Pretrain
from cvkit.options.tree import task_options
from cvkit.pretext_table import PRETEXTS
from cvkit.tasks.checking import checked
from cvkit.tasks.classed import parse_side
from cvkit.tasks.classify import setup as classify
from cvkit.tasks.common import data_place
from cvkit.tasks.labelled import labelled_class
from cvkit.tasks.pretrain.network import Network, Preprocessing
from cvkit.texts import counted

NOUN = "images"
"""What the samples of a dataset must be."""


def check_flags(options: Pretrain) -> None:
    """Check what can be checked without data.

    Raises:
        UsageError: flags that cannot be combined.
    """
    row = PRETEXTS[options.method]
    every = frozenset[str]().union(*(each.flags for each in PRETEXTS.values()))
    for name in sorted(every - row.flags):
        if differs(options, name):
            shown = name.replace("_", "-")
            users = [method for method, each in PRETEXTS.items() if name in each.flags]
            raise UsageError(
                f"--{shown} has no effect with --method {options.method}",
                code=f"{shown}.idle",
                hint=f"it belongs to {' and '.join(users)}",
            )
    if row.views > 1 and options.augment == "none":
        raise UsageError(
            f"--augment none: --method {options.method} compares two views of an image, which "
            "would be equal",
            code="augment.views",
            hint="--augment views",
        )
    if row.together and options.devices * options.nodes > 1:
        raise UsageError(
            f"--method {options.method} works with one process only",
            code="devices.unsupported",
            hint="use --devices 1",
        )
    if row.needs_maps and not catalog.BACKBONES[options.arch].target:
        raise UsageError(
            f"--method {options.method} needs the maps of a backbone, and {options.arch} has none",
            code="arch.maps",
            hint=f"known: {', '.join(catalog.backbones_with_maps())}",
        )
    if "queue" in row.flags and options.queue < options.batch_size:
        raise UsageError(
            f"--queue {options.queue} is smaller than --batch-size {options.batch_size}",
            code="queue.small",
            hint=f"--queue {8 * options.batch_size}",
        )
    if not 0 < options.val_fraction < 1:
        raise UsageError(
            f"--val-fraction {options.val_fraction:g} leaves a split empty",
            code="split",
            hint="a number between 0 and 1, such as 0.1",
        )
    if options.image_size != "auto":
        parse_side(options.image_size)
    classify.check_flags(as_classify(options))


def as_classify(options: Pretrain) -> ClassifyTrain:
    """Return the flags of a classifier with the same images and the same backbone."""
    names = ("image_size", "stem", "arch", "pretrained", "resume", "seed")
    return ClassifyTrain(**{name: getattr(options, name) for name in names})


def training_images(
    options: Pretrain, report: Reporter
) -> tuple[dict[str, list[ClassifiedImage]], dict[str, ImageScan]]:
    """Return the images of both splits, and the results of their checks.

    Raises:
        DataError: lists every defect.
    """
    place = data_place(options.data, "classify")
    images, what = _images(options, place, report)
    hashes = content_hashes([image.path for image in images])
    held_out = draw_shares([()] * len(images), hashes, options.val_fraction, options.seed)
    pairs = list(zip(images, held_out, strict=True))
    splits = {
        options.train_split: [image for image, out in pairs if not out],
        Pretrain.val_split: [image for image, out in pairs if out],
    }
    splits, notes = read_exclusion(options.exclude).kept(splits)
    for note in notes:
        report.warn(note)
    report.say(
        f"data: {place} ({what}), labels are not used; {options.train_split}: "
        f"{counted(len(splits[options.train_split]), 'image')}, {Pretrain.val_split}: "
        f"{len(splits[Pretrain.val_split])}"
    )
    if empty := [name for name, found in splits.items() if not found]:
        raise DataError(
            f"{place} has {counted(len(images), 'image')}, which leaves {empty[0]!r} empty",
            code="data.too_small",
            hint="more images",
        )
    scans = {name: checked(scan_images, found, name, report) for name, found in splits.items()}
    raise_defects([d for scan in scans.values() for d in scan.defects], str(place))
    return splits, scans


def _images(options: Pretrain, place: Path, report: Reporter) -> tuple[list[ClassifiedImage], str]:
    """Return the images that are used, each once, and how they were found."""
    task = None if options.format == "images" else _task(options, place, report)
    if task is None:
        found = [image for root in roots_of(place) for image in _walked(root)]
        return found, "folder of images"
    kind = task_options(task, "train")
    train = kind(data=options.data, format=options.format)  # type: ignore[call-arg]
    reader = labelled_class(task)
    try:
        data = reader.read(train, [options.train_split])
    except DataError as error:
        if error.code != "split.missing" or differs(options, "train_split"):
            raise
        data = reader.read(train, ["all"])
    (items,) = data.splits.values()
    once = dict.fromkeys((data.key(item), data.path(item)) for item in items)
    found = [ClassifiedImage(key, path, "") for key, path in once]
    (split,) = data.splits
    return found, f"{data.layout} layout, split {split!r}"


def _task(options: Pretrain, place: Path, report: Reporter) -> str | None:
    """Return the task whose data a dataset is; None for a folder of images.

    Raises:
        UsageError: it is of videos, or there are several of different kinds.
    """
    if options.data == "samples":
        return "classify"
    task, *others = sorted(image_tasks(place, options.format))
    if others:
        raise UsageError(
            f"{place}: the datasets are of different kinds",
            code="data.kinds",
            hint="pretrain on one of them, or give --format images and folders without test images",
        )
    if task and labelled_class(task).noun != NOUN:
        raise UsageError(
            f"{place} has videos, and pretraining needs images",
            code="data.videos",
            hint="write their frames into a folder",
        )
    return task or None


def _walked(root: Path) -> list[ClassifiedImage]:
    """Return all images of a folder.

    Raises:
        DataError: it is no folder, or has none.
    """
    if not root.is_dir():
        raise DataError(
            f"--data {root} is not a folder", code="data.missing", hint="check the path"
        )
    paths = list(walk_images(root))
    if not paths:
        raise DataError(f"--data {root} has no images", code="data.images", hint="check the path")
    return [ClassifiedImage(path.relative_to(root).as_posix(), path, "") for path in paths]


def preprocessing_for(options: Pretrain, sizes_hw: Sequence[tuple[int, int]]) -> Preprocessing:
    """Return the preprocessing for images of these sizes; `auto` as in classify."""
    return classify.preprocessing_for(as_classify(options), sizes_hw)


def transform_for(options: Pretrain, side: int) -> ImageTransform:
    """Return what makes a random view.

    Raises:
        UsageError: the file of `--augment` cannot be read.
    """
    from cvkit.data.transforms.views import ViewTransform  # slow to import; training only

    automatic = "views" if PRETEXTS[options.method].views > 1 else "light"
    return ViewTransform(automatic if options.augment == "auto" else options.augment, side)


def network_for(options: Pretrain, side: int) -> Network:
    """Return the network of a run, after a trial of its backbone.

    Raises:
        UsageError: it cannot take images of this size.
    """
    row = PRETEXTS[options.method]
    network = Network(
        arch=options.method,
        backbone=options.arch,
        small=classify.wants_small_stem(as_classify(options), options.arch, side),
        image_size=side,
        temperature=row.temperature if options.temperature is None else options.temperature,
        projection=options.projection,
        queue=options.queue,
        key_momentum=options.key_momentum,
        permutations=options.permutations,
        hole=options.hole,
    )
    seen = tile_side(side) if "permutations" in row.flags else side
    try:
        try_out(lambda: network.body(), (2, 3, seen, seen))
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(
            f"--arch {options.arch} cannot take images of {seen}x{seen} pixels: {reason}",
            code="image_size.unsupported",
            hint="try a larger --image-size",
        ) from error
    return network
