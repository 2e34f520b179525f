"""Videos whose frames were predicted as images: a record of each, and a copy with the results."""

import contextlib
import json
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from cvkit.data.unfolding import Film
from cvkit.data.video_frames import FrameReader
from cvkit.engine.journal import Lines
from cvkit.engine.processes import cores
from cvkit.errors import DataError
from cvkit.options.saves import MARKED
from cvkit.output.names import output_names
from cvkit.output.records import read_lines
from cvkit.output.videos import write_video
from cvkit.storage import write_file
from cvkit.structures import Failure, Sample

VIDEOS = "videos.jsonl"
"""Name of the file with a line per video."""

Marker = Callable[[np.ndarray, dict[str, Any] | None], np.ndarray]
"""Draws the result in a line of `predictions.jsonl` on its frame, without one nothing.

The pictures (HWC RGB uint8) of all frames of a video have one size.
"""


@runtime_checkable
class Markable(Protocol):
    """A task that can draw its results from the files that it has written."""

    def marker(self, labels: Collection[str], folder: Path) -> Marker:
        """Return what draws on the frames of a video.

        Args:
            labels: the classes in all its results.
            folder: of the results.
        """


def has_overlay(overlay: str, saves: Collection[str], sample: Sample) -> bool:
    """Return whether a result gets a picture of its own.

    Args:
        overlay: `--overlay`.
        saves: values of `--save`; `MARKED` shows the results of frames in their video instead.
        sample: that was predicted.
    """
    return overlay != "none" and not (sample.frame is not None and MARKED in saves)


@dataclass
class _Results:
    """The results of the frames of a video.

    Attributes:
        places: start and length in bytes of the line of each frame, by its key.
        labels: classes in any of them.
    """

    places: dict[str, tuple[int, int]] = field(default_factory=dict)
    labels: set[str] = field(default_factory=set)


def record_videos(
    task: object,
    films: Sequence[Film],
    folder: Path,
    *,
    marked: bool,
    on_frame: Callable[[int], None] = lambda done: None,
) -> list[Failure]:
    """Write `videos.jsonl`: a line for each video of which frames were predicted.

    It tells `frames` that can be decoded, `header_frames` that the file claims, `fps`, `seconds` of
    the first and the last one, how many of them were `used` and how many of these `predicted`.
    Videos of earlier commands in the folder keep their lines.

    Args:
        task: of the results.
        films: the videos.
        folder: of the results.
        marked: also write `videos/NAME.mp4`, the used frames with their results, as long as the
            video. What is complete from an earlier command is kept.
        on_frame: called for each frame that is written, with how many are done.

    Returns:
        The videos that can no longer be read.
    """
    known = _known(folder)
    found, failures = _results_of(films, folder), []
    kept = {path: line["name"] for path, line in known.items()}
    names = output_names([film.file.key for film in films], kept)
    done = 0
    for film in films:
        key, results = film.file.key, found[film.file.key]
        line = _record(film, names[key], len(results.places))
        if marked and isinstance(task, Markable):
            video = f"videos/{names[key]}.mp4"
            if known.get(key) != line | {"video": video} or not (folder / video).is_file():
                try:
                    mark = task.marker(results.labels, folder)
                    pictures = _pictures(film, results, folder, mark)
                    write_video(folder / video, _told(pictures, done, on_frame), film.fps)
                except DataError as error:
                    failures.append(Failure(key, error.code, str(error)))
                    continue
            line |= {"video": video}
        done += len(film.frames)
        known[key] = line
        write_file(folder / VIDEOS, "".join(f"{json.dumps(each)}\n" for each in known.values()))
    if failures:
        with contextlib.closing(Lines(folder, "predictions.jsonl", "failures.jsonl")) as lines:
            for failure in failures:
                lines.failure(failure)
    return failures


def _record(film: Film, name: str, predicted: int) -> dict[str, Any]:
    index = film.index
    return {
        "path": film.file.key,
        "name": name,
        "frames": len(index),
        "header_frames": index.header_frames,
        "fps": index.fps,
        "seconds": [float(index.times_ms[0]) / 1000, float(index.times_ms[-1]) / 1000],
        "used": len(film.frames),
        "predicted": predicted,
    }


def _known(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the lines of `videos.jsonl` by the paths of the videos."""
    if not (folder / VIDEOS).is_file():
        return {}
    return {line["path"]: line for line in read_lines(folder, VIDEOS)}


def _results_of(films: Sequence[Film], folder: Path) -> dict[str, _Results]:
    """Return the results of each video by its key, in one pass over all lines."""
    found = {film.file.key: _Results() for film in films}
    used = {frame.key: film.file.key for film in films for frame in film.frames}
    start = 0
    with (folder / "predictions.jsonl").open("rb") as stream:
        for text in stream:
            if b'"frame": ' in text and (line := json.loads(text))["path"] in used:
                results = found[used[line["path"]]]
                results.places[line["path"]] = start, len(text)
                results.labels |= set(line["labels"])
            start += len(text)
    return found


def _told(
    pictures: Iterator[np.ndarray], done: int, on_frame: Callable[[int], None]
) -> Iterator[np.ndarray]:
    for number, picture in enumerate(pictures, done + 1):
        yield picture
        on_frame(number)


def _pictures(film: Film, results: _Results, folder: Path, mark: Marker) -> Iterator[np.ndarray]:
    """Yield the frames with their results, which threads draw."""
    reader = FrameReader(film.file.path, [frame.number - 1 for frame in film.frames])
    waiting: deque[Future[np.ndarray]] = deque()
    with (
        (folder / "predictions.jsonl").open("rb") as stream,
        ThreadPoolExecutor(cores(), "draw") as pool,
    ):
        for frame in film.frames:
            line = None
            if frame.key in results.places:
                start, length = results.places[frame.key]
                stream.seek(start)
                line = json.loads(stream.read(length))
            waiting.append(pool.submit(mark, reader.read(frame.number - 1), line))
            if len(waiting) > cores():
                yield waiting.popleft().result()
        yield from (job.result() for job in waiting)
