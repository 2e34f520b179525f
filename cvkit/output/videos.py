"""Videos, also with text, and scores over time."""

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np

from cvkit.errors import MachineError
from cvkit.output.canvas import Canvas
from cvkit.output.curves import write_scores_over_time
from cvkit.output.files import write_csv
from cvkit.output.lettering import fit, text_size, write_text
from cvkit.storage import machine_errors, opencv_name, temporary_beside
from cvkit.structures import ClassList


def write_timeline(
    path: Path, starts: Sequence[float], scores: np.ndarray, classes: ClassList
) -> None:
    """Write a table of the scores of a video's clips, and a plot next to it.

    Args:
        path: of the table; the plot gets the suffix .png.
        starts: start of each clip in seconds.
        scores: [V, K] of the clips.
        classes: names of the K classes.
    """
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    best = scores.argmax(1)
    rows = (
        [start, classes.names[label], *row]
        for start, label, row in zip(
            starts, best.tolist(), scores.astype(float).tolist(), strict=True
        )
    )
    write_csv(path, ["seconds", "label", *classes.names], rows)
    write_scores_over_time(path.with_suffix(".png"), starts, scores, classes.names)


def write_marked_video(
    path: Path, frames: Iterable[np.ndarray], fps: float, lines: Sequence[str]
) -> None:
    """Write an MP4 file with lines of text below the frames, completely or not at all.

    Small videos are enlarged, as images are.

    Args:
        path: of the file.
        frames: HWC RGB uint8, all of one size.
        fps: frames per second.
        lines: from the top.

    Raises:
        MachineError: it cannot be written completely.
    """
    write_video(path, _with_lines(frames, lines), fps)


def _with_lines(frames: Iterable[np.ndarray], lines: Sequence[str]) -> Iterator[np.ndarray]:
    strip = None
    for frame in frames:
        canvas = Canvas(frame)
        if strip is None:
            strip = _strip(lines, canvas.picture.shape[1], canvas.text)
        yield np.vstack([canvas.picture, strip])


def write_video(path: Path, pictures: Iterable[np.ndarray], fps: float) -> None:
    """Write an MP4 file, completely or not at all.

    Args:
        path: of the file.
        pictures: HWC RGB uint8, all of one size; a last row or column that makes a side odd is
            left out.
        fps: pictures per second.

    Raises:
        MachineError: it cannot be written completely.
    """
    temporary = temporary_beside(path, ".tmp.mp4")
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        writer, written = None, 0
        try:
            temporary.touch()  # reports an unusable place, which the encoder would not
            for shown in pictures:
                height, width = (side // 2 * 2 for side in shown.shape[:2])
                if writer is None:
                    code = cv2.VideoWriter.fourcc(*"mp4v")
                    writer = cv2.VideoWriter(opencv_name(temporary), code, fps, (width, height))
                    if not writer.isOpened():
                        raise MachineError(
                            f"cannot write {path}: OpenCV has no encoder for it",
                            code="machine.write",
                        )
                writer.write(np.ascontiguousarray(shown[:height, :width, ::-1]))
                written += 1
            if writer is not None:
                writer.release()
                # The encoder does not report a full disk; the file's index is missing then.
                if _counted_frames(temporary) != written:
                    raise MachineError(
                        f"{path} could not be written completely",
                        code="machine.write",
                        hint="check whether the disk is full, or file sizes are limited",
                    )
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _strip(lines: Sequence[str], width: int, pixels: int) -> np.ndarray:
    """Return an HWC picture of lines of text, as wide as a frame."""
    row = text_size("", pixels)[1] + pixels // 4
    strip = np.full((len(lines) * row + pixels // 2, width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        place = pixels // 2, pixels // 4 + number * row
        write_text(strip, fit(line, pixels, width - pixels), place, pixels)
    return strip


def _counted_frames(path: Path) -> int:
    """Return the number of frames in a video's index; 0 if there is no index."""
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    return int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
