"""The classes of inputs, from a dataset with one class per image or video."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from cvkit.console import Reporter
from cvkit.data.files import InputFile
from cvkit.data.given import place_of
from cvkit.data.video_frames import VideoFrame
from cvkit.errors import UsageError
from cvkit.options.tree import task_options
from cvkit.tasks.contract import Task
from cvkit.tasks.labelled import labelled_class
from cvkit.texts import counted

IMAGES, VIDEOS = "classify", "video"
"""Tasks whose datasets have one class per image, or per video."""
FILE_DIMENSIONS = 3
"""Dimensions of the inputs of an image task."""


def read_labels(
    place: Path, inputs: Sequence[InputFile | VideoFrame], model: Task, report: Reporter
) -> list[str | None]:
    """Return the class of each input; None for one that is not in the dataset.

    Args:
        place: the dataset.
        inputs: of the command.
        model: the task of the model, which says whether they are images or videos.
        report: for warnings.

    Raises:
        UsageError: a dataset without the inputs.
        DataError: it cannot be read.
    """
    task = IMAGES if model.dimensions == FILE_DIMENSIONS else VIDEOS
    options = task_options(task, "train")(data=str(place), quiet=report.quiet)
    data: Any = labelled_class(task).read(options, ())
    for note in data.notes:
        report.warn(note)
    classes = {
        data.path(item).resolve(): next(iter(data.class_names(item)))
        for items in data.splits.values()
        for item in items
    }
    files = [place_of(cast(InputFile, each)) for each in inputs]
    found = [None if path is None else classes.get(path.resolve()) for path in files]
    known = sum(name is not None for name in found)
    if not known:
        raise UsageError(
            f"--truth {place} has none of the inputs",
            code="truth.inputs",
            hint="give files of that dataset as inputs",
        )
    if known < len(inputs):
        report.warn(f"--truth has {counted(known, 'input')} of {len(inputs)}")
    return found
