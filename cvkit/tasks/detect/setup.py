"""From flags and folders to everything that a detection run needs, checked first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.catalog import DETECTORS
from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.boxes import BoxData, read_boxes
from cvkit.data.datasets import BoxDataset, ObjectTransform
from cvkit.data.division import WHOLE, Division
from cvkit.data.exclusion import NOTHING, Exclusion, read_exclusion
from cvkit.data.fingerprint import describe_objects
from cvkit.data.formats.contract import TRAINING, DataFlags
from cvkit.data.scan import BoxScan, scan_boxes
from cvkit.dividing import (
    division_of,
    model_division,
    tell_division,
    training_division,
    warn_if_changed,
)
from cvkit.errors import DataError, UsageError, raise_defects
from cvkit.options.detect import DetectingEval, DetectingPredict, TwoStageTrain
from cvkit.structures import ClassList
from cvkit.tasks.checking import about_data, checked, warn_of_leaks
from cvkit.tasks.common import data_place
from cvkit.tasks.detect.image_ids import ImageIds
from cvkit.tasks.detect.inputs import Preprocessing
from cvkit.tasks.saving import chosen_saves
from cvkit.tasks.tiling import Tiling, tiling_for
from cvkit.texts import counted


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


@dataclass(frozen=True, kw_only=True)
class Inference:
    """Settings of evaluation and prediction; the fields are the flags of the same names.

    `save` lists further formats to write; `image_ids` gives ids to predicted images; `tiling`
    comes from `--tiles`.
    """

    overlay: str = "png"
    draw_threshold: float = 0.5
    save: tuple[str, ...] = ()
    image_ids: ImageIds | None = None
    tiling: Tiling | None = None


def inference_for(
    options: DetectingEval | DetectingPredict,
    task: str,
    classes: ClassList,
    preprocessing: Preprocessing,
    arch: str,
) -> Inference:
    """Return the settings that the flags of evaluation or prediction of a task give.

    Args:
        options: of eval or predict.
        task: its name.
        classes: of the model.
        preprocessing: of the images, which gives the size of the tiles of `--tiles auto`.
        arch: key of `catalog.DETECTORS`.

    Raises:
        UsageError: `--save` names an unknown format, or one that cannot hold the classes; `--tiles`
            is malformed, or the network needs external proposals, which are of whole images.
        DataError: `--image-ids` is not a COCO file.
    """
    if options.tiles and DETECTORS[arch].needs_proposals:
        raise UsageError(
            f"--tiles cannot be combined with --arch {arch}, whose proposals are of whole images",
            code="tiles.proposals",
            hint="omit it",
        )
    tiling = tiling_for(options, preprocessing.tile_hw)
    if not isinstance(options, DetectingPredict):
        return Inference(tiling=tiling)
    return Inference(
        tiling=tiling,
        overlay=options.overlay,
        draw_threshold=options.draw_threshold,
        save=chosen_saves(options.save, task, classes),
        image_ids=ImageIds(options.image_ids),
    )


def training_data(options: TwoStageTrain, task: str, report: Reporter, *, masks: bool) -> Splits:
    """Return the checked training and validation splits.

    Args:
        options: of the run.
        task: name of it.
        report: for counts and warnings.
        masks: read the masks of the objects too.

    Raises:
        UsageError: a COCO file without its counterpart.
        DataError: lists every defect.
    """
    files = {options.train_split: options.train_json, options.val_split: options.val_json}
    if options.val_json and not options.train_json:
        raise UsageError("--val-json needs --train-json", code="json.pair", hint="give both files")
    if not options.val_json:
        files = {"": options.train_json}  # which is then divided
    division = training_division(options)
    if options.train_json and options.data == "samples":
        root = options.images or options.train_json.parent
    else:
        root = data_place(options.data, task)
    names = (options.train_split, options.val_split)
    found = checked_splits(
        root,
        options.format,
        names,
        report,
        json_files=files,
        images=options.images,
        masks=masks,
        division=division,
        exclude=read_exclusion(options.exclude),
    )
    tell_division(options, root, found.data.heap, division, found.images, report)
    if options.data == "samples" and not options.train_json:
        report.say("training on the built-in samples (synthetic shapes, not real data)")
    trained = [image.truth for image in found.images[options.train_split]]
    if not any(truth.counted.any() for truth in trained):
        raise DataError(f"{root}: no training image has an object", code="annotations.empty")
    warn_of_leaks(names, found.images, found.scans, report)
    return found


def transform_for(options: TwoStageTrain) -> ObjectTransform:
    """Return the random transform of training images with objects.

    Raises:
        UsageError: the file of `--augment` cannot be read.
    """
    from cvkit.data.transforms.boxes import BoxTransform  # slow to import; training only

    return BoxTransform(options.augment)


def training_set(
    images: Sequence[AnnotatedImage],
    transform: ObjectTransform,
    proposals: Mapping[str, np.ndarray] | None,
    bits: int | None,
) -> BoxDataset:
    """Return a split for training; see `BoxDataset`."""
    from cvkit.data.transforms.boxes import mosaic  # slow to import; training only

    return BoxDataset(images, transform, proposals, mosaic, bits)


def evaluation_split(
    options: DetectingEval, task: str, header: dict[str, Any], report: Reporter, *, masks: bool
) -> Splits:
    """Return the checked split that a trained model is evaluated on.

    Args:
        options: of the command.
        task: see `training_data`.
        header: of the model.
        report: for counts and warnings.
        masks: read the masks of the objects too.

    Raises:
        DataError: lists every defect but unreadable images.
    """
    if options.json_file and options.data is None:
        root = options.images or options.json_file.parent
    else:
        root = data_place(options.data, task)
    division = model_division(options, header)
    file = options.json_file
    asked = options.val_fraction is not None or options.splits is not None
    heap = file and (asked or _was_divided(file, header))
    found = checked_splits(
        root,
        options.format,
        [options.split],
        report,
        json_files={"" if heap else options.split: file},
        images=options.images,
        masks=masks,
        strict=False,
        flags=DataFlags("--data", "choose with --json-file"),
        division=division,
        exclude=read_exclusion(options.exclude),
    )
    tell_division(options, root, found.data.heap, division, found.images, report)
    if not any(scan.defects for scan in found.scans.values()):
        warn_if_changed(root, found.data.heap, _described(found), header, report)
    return found


def _was_divided(file: Path, header: dict) -> bool:
    """Return whether a model was trained on a part of a COCO file of this name."""
    return file.name == header.get("labels", {}).get("divided_file")


def describe_division(options: TwoStageTrain, found: Splits) -> dict[str, Any]:
    """Return what a model file says about how its data were divided."""
    file = {"divided_file": options.train_json.name} if options.train_json else {}
    return division_of(options, found.data.heap) | (file if found.data.heap is not None else {})


def about_training(options: TwoStageTrain, found: Splits) -> dict[str, Any]:
    """Return what a model file says about its training data."""
    built_in = options.data == "samples" and not options.train_json
    name = "samples" if built_in else str(found.root)
    about = about_data(name, found.classes, _described(found))
    return about | {"layout": found.data.layout}


def _described(found: Splits) -> dict[str, list[tuple[str, ...]]]:
    """Return key, hash and annotation of each image, by split; all of them are readable."""
    return {
        name: [
            (image.key, digest, describe_objects(image.truth, found.classes.names))
            for image, digest in zip(images, found.scans[name].hashes, strict=True)
        ]
        for name, images in found.images.items()
    }


def checked_splits(
    root: Path,
    layout: str,
    names: Sequence[str],
    report: Reporter,
    *,
    json_files: dict[str, Path | None] | None = None,
    images: Path | None = None,
    masks: bool = False,
    strict: bool = True,
    flags: DataFlags = TRAINING,
    division: Division = WHOLE,
    exclude: Exclusion = NOTHING,
) -> Splits:
    """Return splits whose annotations and images have all been checked.

    Args:
        root: the dataset.
        layout: of it.
        names: of the splits.
        report: gets counts and warnings.
        json_files: see `read_boxes`.
        images: see `read_boxes`.
        masks: see `read_boxes`.
        strict: an unreadable image is a defect; otherwise it is kept and fails when it is read.
        flags: see `read_boxes`.
        division: see `read_boxes`.
        exclude: see `read_boxes`.

    Raises:
        DataError: lists every defect.
    """
    names = list(dict.fromkeys(names))
    data = read_boxes(
        root,
        layout,
        names,
        json_files=json_files,
        images=images,
        masks=masks,
        flags=flags,
        division=division,
        exclude=exclude,
    )
    scans = {name: checked(scan_boxes, data.splits[name], name, report) for name in names}
    kept = {name: scan.images for name, scan in scans.items()}
    found = [d for scan in scans.values() for d in scan.defects]
    found = [d for d in found if strict or d.code == "image.size_mismatch"]
    raise_defects([*data.defects, *found], str(root))
    for note in dict.fromkeys(data.notes):
        report.warn(note)
    for name in names:
        _tell_split(f"{root} ({data.layout}), {name}", kept[name], report)
        if scans[name].clipped:
            cut = counted(scans[name].clipped, "box", "boxes")
            report.say(f"{name}: {cut} beyond the image, clipped to it")
    classes = data.classes.names
    shown = ", ".join(classes[:12]) + (" ..." if len(classes) > 12 else "")
    report.say(f"classes: {len(classes)} ({shown})")
    return Splits(data, kept, scans, root)


def _tell_split(what: str, images: Sequence[AnnotatedImage], report: Reporter) -> None:
    """Report how many images and objects a split has."""
    objects = sum(len(image.truth) for image in images)
    empty = sum(not len(image.truth) for image in images)
    without = f", {empty} of them without objects" if empty else ""
    count = counted(len(images), "image")
    report.say(f"data: {what}: {count}{without}, {counted(objects, 'object')}")


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
