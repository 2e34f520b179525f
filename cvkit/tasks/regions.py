"""The true pixels of classes in images, from a dataset of boxes or masks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage, upright
from cvkit.data.files import InputFile
from cvkit.data.formats.recognise import clear_task
from cvkit.data.given import place_of
from cvkit.data.labelled import LabelledImage
from cvkit.data.video_frames import VideoFrame
from cvkit.errors import DataError, UsageError
from cvkit.ops.rle import decode_parts
from cvkit.options.tree import task_options
from cvkit.structures import Instances, Sample
from cvkit.tasks.contract import Task
from cvkit.tasks.explainable import Regions
from cvkit.tasks.labelled import labelled_class
from cvkit.texts import counted

WITH_REGIONS = ("segment", "detect", "instance")
"""Tasks whose datasets have boxes or masks."""


def _task_of(place: Path, model: str, report: Reporter) -> str:
    """Return the task as whose data a dataset is read: its only one, or that of the model.

    Masks of an unclear dataset are those of classes for a model without regions.
    """
    try:
        return clear_task(place, "auto", report.say)
    except UsageError as error:
        if error.code != "task.unclear":
            raise
        return model if model in WITH_REGIONS else WITH_REGIONS[0]


def read_regions(
    place: Path, inputs: Sequence[InputFile | VideoFrame], model: Task, report: Reporter
) -> Regions:
    """Return what gives the true regions of the inputs that are images of a dataset.

    Args:
        place: the dataset.
        inputs: of the command.
        model: the task of the model.
        report: for warnings.

    Raises:
        UsageError: a dataset without boxes and masks, or without the inputs.
        DataError: the dataset cannot be read, or has none of the classes.
    """
    task, names = _task_of(place, model.name, report), model.classes.names
    data: Any = labelled_class(task).read(
        task_options(task, "train")(data=str(place), quiet=report.quiet), ()
    )
    for note in data.notes:
        report.warn(note)
    items = {data.path(item).resolve(): item for items in data.splits.values() for item in items}
    if not all(isinstance(item, AnnotatedImage | LabelledImage) for item in items.values()):
        raise UsageError(
            f"--truth {place} has neither boxes nor masks",
            code="truth.regions",
            hint="give a dataset for segment, detect or instance",
        )
    files = [path for each in inputs if (path := place_of(cast(InputFile, each)))]
    known = sum(path.resolve() in items for path in files)
    if not known:
        raise UsageError(
            f"--truth {place} has none of the inputs",
            code="truth.inputs",
            hint="give images of that dataset as inputs",
        )
    if not {*names} & {*data.classes.names}:
        raise DataError(
            f"--truth {place} has none of the model's classes, such as {names[0]!r}",
            code="truth.classes",
            hint=f"its classes are {', '.join(data.classes.names[:8])}",
        )
    if known < len(inputs):
        report.warn(f"--truth has {counted(known, 'image')} of {counted(len(inputs), 'input')}")

    def region(sample: Sample, name: str) -> np.ndarray | None:
        item = items.get(sample.file.resolve()) if sample.file else None
        if item is None or name not in data.classes.names:
            return None
        index = data.classes.names.index(name)
        if isinstance(item, LabelledImage):
            return cast(np.ndarray, data.reader.read(item.mask) == index)
        original_hw = sample.geometry.original_hw if sample.geometry else (0, 0)
        return _objects(upright(item).truth, index + 1, original_hw)

    return region


def _objects(truth: Instances, label: int, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the pixels of the objects of a class: of their masks, or of their boxes."""
    region = np.zeros(size_hw, bool)
    chosen = truth.pick(truth.labels == label)
    if chosen.masks is not None:
        for part, (y, x) in decode_parts(chosen.coded_masks()):
            region[y : y + part.shape[0], x : x + part.shape[1]] |= part
        return region
    for x1, y1, x2, y2 in chosen.boxes.round().astype(int).tolist():
        region[max(0, y1) : y2, max(0, x1) : x2] = True
    return region
