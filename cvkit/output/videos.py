"""Videos with words on them, and scores over time."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np

from cvkit.errors import MachineError
from cvkit.output.curves import write_scores_over_time
from cvkit.output.draw import write_tag
from cvkit.output.files import write_csv
from cvkit.storage import machine_errors, opencv_name, temporary_beside
from cvkit.structures import ClassList


def write_timeline(
    path: Path, starts: Sequence[float], scores: np.ndarray, classes: ClassList
) -> None:
    """Write a table of the scores of a video's clips, and a plot beside it.

    Args:
        path: of the table; the plot gets the suffix .png.
        starts: seconds at which each clip begins.
        scores: [V, K] of the clips.
        classes: K of them.
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
    path: Path, frames: Iterable[np.ndarray], fps: float, words: Sequence[str]
) -> None:
    """Write an mp4 with lines of words in its upper left corner, whole or not at all.

    Args:
        path: of the file.
        frames: HWC RGB uint8, all of one size; sides are made even.
        fps: frames a second.
        words: the lines.

    Raises:
        MachineError: it cannot be written, or not whole.
    """
    temporary = temporary_beside(path, ".tmp.mp4")
    with machine_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        writer, written = None, 0
        try:
            temporary.touch()  # says what is wrong with the place; the encoder would not
            for frame in frames:
                height, width = (side // 2 * 2 for side in frame.shape[:2])
                if writer is None:
                    code = cv2.VideoWriter_fourcc(*"mp4v")
                    writer = cv2.VideoWriter(opencv_name(temporary), code, fps, (width, height))
                    if not writer.isOpened():
                        raise MachineError(
                            f"cannot write {path}: OpenCV has no encoder for it",
                            code="machine.write",
                        )
                shown = np.ascontiguousarray(frame[:height, :width, ::-1])
                place = 0
                for text in words:
                    place = write_tag(shown, text, (0, place), (30, 30, 30), below=True)
                writer.write(shown)
                written += 1
            if writer is not None:
                writer.release()
                # The encoder says nothing of a full disk; then the file's index is missing.
                if _counted_frames(temporary) != written:
                    raise MachineError(
                        f"{path} could not be written whole",
                        code="machine.write",
                        hint="is the disk full, or the size of files limited?",
                    )
                os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def _counted_frames(path: Path) -> int:
    """Return the frames that a video's index lists; 0 without one."""
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    return int(video.get(cv2.CAP_PROP_FRAME_COUNT)) if video.isOpened() else 0
