"""The inputs of predict: files, and for image tasks the frames of videos and pages of files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cvkit.errors import UsageError
from cvkit.options.base import Predict
from cvkit.options.saves import MARKED, parse_saves
from cvkit.texts import counted

if TYPE_CHECKING:
    from cvkit.console import Reporter
    from cvkit.data.unfolding import Unfolded
    from cvkit.engine.ranks import Ranks
    from cvkit.structures import Failure
    from cvkit.tasks.contract import Task

IMAGES = 3
"""Dimensions of the inputs of an image task."""


def find_inputs(
    options: Predict,
    task: Task,
    without: Sequence[Path],
    report: Reporter,
    root: Path | None = None,
) -> Unfolded:
    """Return what a command predicts, and what cannot be opened.

    Args:
        options: of the command.
        task: of the model.
        without: folders that are never searched.
        report: for progress.
        root: folder that contains all inputs, and that they are named after, if one is given.

    Raises:
        UsageError: there is no input, one elsewhere, or a flag about videos and no video.
        DataError: a folder cannot be read, and there is nothing else.
    """
    from cvkit.data.files import is_video, list_inputs, walk_media
    from cvkit.data.unfolding import Unfolded, unfold

    lost: list[Failure] = []
    _tell_unread(options.inputs, report)
    if task.dimensions != IMAGES:
        return Unfolded(list_inputs(options.inputs, without, task.walk, lost, root), [], lost)
    files = list_inputs(options.inputs, without, walk_media, lost, root)
    with report.progress("reading videos", sum(is_video(file.path) for file in files)) as advance:
        found = unfold(files, getattr(options, "fps", 0.0), lambda done: advance(done, ""))
    found.failures[:0] = lost
    if not (found.films or any(is_video(Path(each.path)) for each in found.failures)):
        _refuse_idle(options, task.name)
    return found


def _tell_unread(inputs: Sequence[str], report: Reporter) -> None:
    """Warn of files in the given folders that look like inputs and are not read."""
    from cvkit.data.files import unread_in

    for text in inputs:
        if Path(text).is_dir() and (note := unread_in(Path(text))):
            report.warn(note)


def saves_videos(options: Predict, task_name: str) -> bool:
    """Return whether the command writes videos with results."""
    return MARKED in parse_saves(getattr(options, "save", ""), task_name)


def _refuse_idle(options: Predict, task_name: str) -> None:
    """Refuse flags about videos where there are none.

    Raises:
        UsageError: names the flag.
    """
    asked = "save" in options.given and saves_videos(options, task_name)
    idle = {"fps": bool(getattr(options, "fps", 0)), "save": asked}
    for name, text in (("fps", "--fps"), ("save", "--save video")):
        if idle[name]:
            raise UsageError(
                f"{text} has no effect: there is no video among the inputs",
                code=f"{name}.idle",
                hint="omit it",
            )


def count_inputs(found: Unfolded, noun: str) -> str:
    """Return in words how many inputs there are; `noun` names them, in the plural."""
    frames = sum(len(film.frames) for film in found.films)
    others = len(found.images) - frames
    words = [counted(others, noun.removesuffix("s"))] if others or not frames else []
    if frames:
        words.append(f"{counted(frames, 'frame')} of {counted(len(found.films), 'video')}")
    return " and ".join(words)


def write_videos(
    options: Predict, task: Task, found: Unfolded, folder: Path, report: Reporter, ranks: Ranks
) -> int:
    """Write the record of the videos, and the videos that the command asks for.

    Returns:
        How many videos can no longer be read.

    Raises:
        Interrupted: a signal came.
    """
    from cvkit.engine.predict import CONTINUE, INTERRUPTED
    from cvkit.tasks.marked import record_videos

    if not found.films:
        return 0
    marked = saves_videos(options, task.name)
    total = sum(len(film.frames) for film in found.films)
    with report.progress("writing videos", total) as advance:

        def on_frame(done: int) -> None:
            advance(done, "")
            ranks.stop.raise_if_set(INTERRUPTED, CONTINUE)

        return len(record_videos(task, found.films, folder, marked=marked, on_frame=on_frame))
