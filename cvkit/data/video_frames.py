"""Frames of videos as images of their own: `clip.mp4#12` is the twelfth frame of `clip.mp4`.

The frames of a video are decoded once, in order, whichever threads ask for them: a video is not
searched for each of its frames.
"""

import os
import threading
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from cvkit.data.pages import page_path
from cvkit.data.video import VideoIndex, decode_from_start, open_video
from cvkit.errors import DataError

AHEAD = max(16, 2 * (os.cpu_count() or 1))
"""Decoded frames that wait for threads that ask for them late."""
RECENT_BYTES = 2**26
"""Bytes of the frames that each video keeps after they were read, as they may be drawn on."""
OPEN = 4
"""Videos that are open at the same time; one that is needed again is decoded from its start."""
_opened: list["FrameReader"] = []
_opening = threading.Lock()


class FrameReader:
    """Reads frames of a video whose numbers increase, by one decoder for all threads.

    It never seeks, as what some decoders return after that depends on where they began: a frame
    has the same pixels in a prediction that is resumed at it. Frames that are asked for again cost
    a pass from the start.

    Args:
        path: of the video.
        numbers: of the frames that may be asked for, from 0, increasing.
    """

    def __init__(self, path: Path, numbers: Sequence[int]) -> None:
        self.path, self.numbers = path, numbers
        self._lock = threading.Lock()
        self._video: cv2.VideoCapture | None = None
        self._next = 0
        self._ready: dict[int, np.ndarray] = {}
        self._recent: dict[int, np.ndarray] = {}

    def __reduce__(self) -> tuple[type["FrameReader"], tuple[Path, Sequence[int]]]:
        return FrameReader, (self.path, self.numbers)

    def read(self, number: int) -> np.ndarray:
        """Return a frame as HWC RGB uint8, upright.

        Raises:
            DataError: it cannot be decoded.
        """
        with self._lock:
            found = self._ready.pop(number, None)
            if found is None and number in self._recent:
                return self._recent[number].copy()
            if found is None and number < self._next:
                if number >= self._first_kept():  # another thread needs the decoder where it is
                    return self._alone(number)
                self._release()
            if found is None:
                found = self._decode(number)
            if self._next > self.numbers[-1] and not self._ready:
                self._release()
            self._recent[number] = found
            while len(self._recent) * found.nbytes > RECENT_BYTES:
                del self._recent[next(iter(self._recent))]
        return found.copy()

    def recent(self, number: int) -> np.ndarray | None:
        """Return a frame if it is one of the last that were read."""
        with self._lock:
            found = self._recent.get(number)
        return None if found is None else found.copy()

    def close_if_idle(self) -> None:
        """Close the file unless it is being read; the next frame is decoded from its start."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._release()
            self._recent.clear()
            with _opening:
                if self in _opened:
                    _opened.remove(self)
        finally:
            self._lock.release()

    def _first_kept(self) -> int:
        """Return the number from which on frames are as close as threads are to each other."""
        place = bisect_left(self.numbers, self._next)
        return self.numbers[max(0, place - AHEAD)]

    def _alone(self, number: int) -> np.ndarray:
        found = decode_from_start(self.path, [number])
        if number not in found:
            raise self._lost(number)
        return found[number]

    def _decode(self, number: int) -> np.ndarray:
        """Return a frame that the decoder has not reached, and keep those shortly before it."""
        video = self._video or self._open()
        place = bisect_left(self.numbers, number)
        kept = set(self.numbers[max(0, place - AHEAD) : place])
        while self._next <= number:
            if not video.grab():
                break
            self._next += 1
            here = self._next - 1
            if here != number and here not in kept:
                continue
            shown, frame = video.retrieve()
            if not shown:
                break
            rgb = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
            if here == number:
                return rgb
            self._ready[here] = rgb
            while len(self._ready) > AHEAD:
                del self._ready[next(iter(self._ready))]
        raise self._lost(number)

    def _lost(self, number: int) -> DataError:
        path = page_path(self.path, number + 1)
        return DataError(f"{path} cannot be decoded", code="video.truncated")

    def _open(self) -> cv2.VideoCapture:
        with _opening:
            others = [reader for reader in _opened if reader is not self]
            oldest = others[: max(0, len(others) + 1 - OPEN)]
            _opened[:] = [*others, self]
        for reader in oldest:
            reader.close_if_idle()
        self._video, self._next = open_video(self.path), 0
        return self._video

    def _release(self) -> None:
        if self._video is not None:
            self._video.release()
        self._video, self._next = None, 0
        self._ready.clear()


@dataclass(frozen=True, slots=True)
class VideoFrame:
    """A frame of a video as an image.

    Attributes:
        reader: of the video.
        key: its path in the results.
        number: of the frame in the video, from 1.
        time_seconds: when it is shown.
        size_hw: height and width.
    """

    reader: FrameReader
    key: str
    number: int
    time_seconds: float
    size_hw: tuple[int, int]

    @property
    def path(self) -> Path:
        """Location of the video, and number of the frame."""
        return page_path(self.reader.path, self.number)

    def pixels(self) -> np.ndarray:
        """Return it as HWC RGB uint8, upright.

        Raises:
            DataError: it cannot be decoded.
        """
        return self.reader.read(self.number - 1)


def frames_at(index: VideoIndex, fps: float | None) -> np.ndarray:
    """Return the numbers, from 0, of the frames of a video to use.

    At `fps` per second of the video these are the frames that are shown at 0, 1 / `fps`,
    2 / `fps`, ... seconds after its first one, each of them once: the last frame that began
    before. None: all frames.
    """
    if not fps:
        return np.arange(len(index))
    times = (index.times_ms - index.times_ms[0]) / 1000
    wanted = np.arange(int(times[-1] * fps + 1e-6) + 1) / fps
    return np.unique(np.searchsorted(times, wanted + 1e-6, side="right") - 1)
