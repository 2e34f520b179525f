"""Videos: an index of a file's frames, made by decoding it, and frames by their numbers.

The frame count in a header is never trusted: the first use of a file decodes it once and keeps the
    time of every frame in the user's cache, by the file's path, size and modification time.
"""

import contextlib
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

from cvkit.data.decode import MAX_PIXELS, read_image, upright_size_hw
from cvkit.data.frames import frame_bits, frame_files
from cvkit.data.video_ends import damage_at_end
from cvkit.errors import CvkitError, DataError, UsageError
from cvkit.storage import cache_folder, machine_errors, opencv_name, temporary_beside

# A file with any suffix may be a list of other files or URLs; only containers are opened.
os.environ.setdefault(
    "OPENCV_FFMPEG_CAPTURE_OPTIONS",
    "protocol_whitelist;file|format_whitelist;mov,mp4,avi,matroska,webm,mpeg,mpegvideo,mpegts,gif",
)
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # cvkit reports errors itself
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
COUNTED = frozenset({".mp4", ".m4v", ".mov", ".avi"})
"""Containers that store their number of frames; for others the header's count is a guess."""
FRAME_MS = 40.0
"""Time between the frames of a folder, in milliseconds."""
NEAR = 48
"""Distance in frames up to which decoding is used instead of seeking."""
_held: dict[str, "VideoIndex"] = {}
"""Indexes that the cache cannot store, kept while this process and its workers run."""


@dataclass(frozen=True)
class VideoIndex:
    """The index of a video.

    Attributes:
        times_ms: [F] float64, increasing: when each frame is shown.
        size_hw: of the upright frames.
        header_frames: number that the header claims; 0 if none.
        damage: what is missing of the video; "" if it is whole.
    """

    times_ms: np.ndarray
    size_hw: tuple[int, int]
    header_frames: int
    damage: str = ""

    def __len__(self) -> int:
        return len(self.times_ms)

    @property
    def fps(self) -> float:
        """Mean frames per second; 25 for a single frame."""
        span = self.times_ms[-1] - self.times_ms[0]
        return 1000 * (len(self) - 1) / span if span > 0 else 1000 / FRAME_MS


def index_video(path: Path) -> VideoIndex:
    """Return the index of a video file or a folder of frames.

    Raises:
        DataError: `video.unreadable`, `video.zero_frames`, `video.truncated` (more than 1 % of the
            frames that the container declares, or of its bytes, is missing), `image.too_large`.
    """
    index = index_readable(path)
    if index.damage:
        raise damaged(path, index)
    return index


def damaged(path: Path, index: VideoIndex) -> DataError:
    """Return the error that tells what is missing of a video."""
    return DataError(
        f"{path} is damaged: {index.damage}",
        code="video.truncated",
        hint="get a new copy, or convert the readable part",
    )


def index_readable(path: Path) -> VideoIndex:
    """Return what `index_video` does, also of a damaged video: of the frames that can be decoded.

    Raises:
        DataError: `video.unreadable`, `video.zero_frames`, `image.too_large`.
    """
    if path.is_dir():
        frames = frame_files(path)
        if not frames:
            raise DataError(f"{path} contains no frames", code="video.zero_frames")
        times = FRAME_MS * np.arange(len(frames))
        return VideoIndex(times, upright_size_hw(frames[0]), len(frames))
    name = _cache_name(path)
    if name in _held:
        return _held[name]
    with contextlib.suppress(UsageError, OSError, ValueError, KeyError, EOFError, BadZipFile):
        return _kept(cache_folder("videos") / name)  # if it exists and is not damaged
    index = _decode_all(path)
    try:
        _keep(cache_folder("videos") / name, index)
    except CvkitError:  # `warn_of_cache` reports it once
        _held[name] = index
    return index


def _kept(place: Path) -> VideoIndex:
    with np.load(place) as kept:
        height, width, claimed = kept["about"].tolist()
        damage = str(kept["damage"]) if "damage" in kept else ""
        return VideoIndex(kept["times"], (height, width), claimed, damage)


def _decode_all(path: Path) -> VideoIndex:
    video = open_video(path)
    claimed = max(0, int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
    step = 1000 / fps if 0 < (fps := video.get(cv2.CAP_PROP_FPS)) < 1000 else FRAME_MS
    times: list[float] = []
    size_hw = None
    while video.grab():
        if size_hw is None:
            shown, frame = video.retrieve()
            if not shown:
                break
            size_hw = frame.shape[:2]
        time = video.get(cv2.CAP_PROP_POS_MSEC)
        # The last frames of some containers have no time.
        times.append(time if not times or time > times[-1] else times[-1] + step)
    video.release()
    if size_hw is None:
        raise DataError(f"{path} has no frame that can be decoded", code="video.zero_frames")
    lost = claimed - len(times)
    if path.suffix.lower() in COUNTED and lost > 1 and lost > claimed / 100:
        damage = f"{len(times)} of {claimed} frames can be decoded"
    else:
        damage = damage_at_end(path)
    return VideoIndex(np.array(times), size_hw, claimed, damage)


def open_video(path: Path) -> cv2.VideoCapture:
    """Return an opened video whose frames are upright.

    Raises:
        DataError: it cannot be opened, or its frames are too large.
    """
    if not path.is_file():
        reason = "is not a file" if path.exists() else "does not exist"
        raise DataError(f"{path} {reason}", code="video.unreadable")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty", code="video.unreadable", hint="get a new copy")
    video = cv2.VideoCapture(opencv_name(path), cv2.CAP_FFMPEG)
    if not video.isOpened():
        raise DataError(
            f"{path} is not a video that can be decoded",
            code="video.unreadable",
            hint="mp4, avi, mov, mkv, webm, mpeg and gif are supported",
        )
    video.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
    width, height = (video.get(p) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        raise DataError(f"{path} has frames of {width:.0f}x{height:.0f}", code="image.too_large")
    return video


def read_frames(
    path: Path, index: VideoIndex, wanted: Sequence[int], bits: int | None = 16
) -> list[np.ndarray]:
    """Return frames as HWC RGB uint8, upright.

    Args:
        path: a video file or a folder of frames.
        index: of it.
        wanted: frame numbers in any order; may be repeated.
        bits: of frames in image files, see `read_image`; None: as many as the wanted frames need.

    Raises:
        DataError: a frame can no longer be decoded.
    """
    numbers = sorted(set(wanted))
    if path.is_dir():
        files = frame_files(path)
        if bits is None:
            bits = frame_bits([files[number] for number in numbers])
        found = {number: _same_size(read_image(files[number], bits), index) for number in numbers}
    else:
        found = _seek_and_decode(path, index, numbers) or decode_from_start(path, numbers)
    if len(found) < len(numbers):
        missing = next(number for number in numbers if number not in found)
        raise DataError(f"{path}: frame {missing} cannot be decoded", code="video.truncated")
    return [found[number] for number in wanted]


def _same_size(frame: np.ndarray, index: VideoIndex) -> np.ndarray:
    """Return a frame of a folder, resized to the first one's size."""
    if frame.shape[:2] == index.size_hw:
        return frame
    return cv2.resize(frame, index.size_hw[::-1], interpolation=cv2.INTER_AREA)


def decode_from_start(path: Path, numbers: list[int]) -> dict[int, np.ndarray]:
    """Return frames by their numbers (increasing, from 0), without seeking.

    Raises:
        DataError: the video cannot be opened.
    """
    return _decode(open_video(path), 0, numbers)


def _seek_and_decode(path: Path, index: VideoIndex, numbers: list[int]) -> dict[int, np.ndarray]:
    """Return frames decoded from a key frame before the first one; nothing if unsure.

    The position after a seek is determined by the time of the frame there, which must be in the
    index.
    """
    first = numbers[0]
    if first < NEAR:
        return {}
    video = open_video(path)
    video.set(cv2.CAP_PROP_POS_MSEC, index.times_ms[first] - 1)
    if not video.grab():
        return {}
    time = video.get(cv2.CAP_PROP_POS_MSEC)
    here = int(np.argmin(np.abs(index.times_ms - time)))
    if abs(index.times_ms[here] - time) > 0.5 or here > first:
        return {}
    found = _decode(video, here, numbers, grabbed=True)
    return found if len(found) == len(numbers) else {}


def all_frames(path: Path, index: VideoIndex, bits: int | None = 16) -> Iterator[np.ndarray]:
    """Yield every frame of a video as HWC RGB uint8, upright; `bits` as in `read_frames`.

    Raises:
        DataError: it can no longer be read.
    """
    if path.is_dir():
        files = frame_files(path)
        bits = frame_bits(files) if bits is None else bits
        yield from (_same_size(read_image(file, bits), index) for file in files)
        return
    video = open_video(path)
    while video.grab():
        shown, frame = video.retrieve()
        if not shown:
            break
        yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    video.release()


def _decode(
    video: cv2.VideoCapture, here: int, numbers: list[int], grabbed: bool = False
) -> dict[int, np.ndarray]:
    """Return the frames with these numbers; the next one to be decoded is `here`."""
    found: dict[int, np.ndarray] = {}
    wanted = set(numbers)
    for number in range(here, numbers[-1] + 1):
        if not (grabbed or video.grab()):
            break
        grabbed = False
        if number in wanted:
            shown, frame = video.retrieve()
            if not shown:
                break
            found[number] = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    video.release()
    return found


def _cache_name(path: Path) -> str:
    """Return the name of the cache file for the index of a video.

    Raises:
        DataError: there is no such video.
    """
    try:
        about = path.stat()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", code="video.unreadable") from error
    key = f"{path.resolve()}\0{about.st_size}\0{about.st_mtime_ns}"
    return f"{hashlib.sha256(key.encode(errors='surrogateescape')).hexdigest()[:32]}.npz"


def _keep(place: Path, index: VideoIndex) -> None:
    """Write an index to the cache, completely or not at all.

    Raises:
        CvkitError: it cannot be stored there.
    """
    temporary = temporary_beside(place, ".npz")
    with machine_errors(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            about = np.array([*index.size_hw, index.header_frames])
            np.savez(temporary, times=index.times_ms, about=about, damage=index.damage)
            os.replace(temporary, place)
        finally:
            temporary.unlink(missing_ok=True)
