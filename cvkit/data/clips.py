"""The choice of frames for a clip, and datasets of clips."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from cvkit.data.classified import ClassifiedImage
from cvkit.data.files import InputFile
from cvkit.data.given import VideoInput, frames_of, index_of, place_of
from cvkit.data.video import VideoIndex, index_video, read_frames
from cvkit.errors import DataError
from cvkit.structures import Classes, Geometry, Sample, VideoSource

CLIP_SEED = 5
"""Separates the choice of frames from the other random decisions of a sample."""


@dataclass(frozen=True)
class ClipRule:
    """How a clip is taken from a video; stored in the model file.

    Attributes:
        frames: per clip.
        sampling: `clip`: successive frames; `uniform`: frames spread over the whole video.
        stride: between the frames of a clip, in frames of the video.
        fps: frames per second of a clip; 0: use `stride`.
    """

    frames: int
    sampling: str = "clip"
    stride: int = 1
    fps: float = 0.0


def clip_frames(times_ms: np.ndarray, rule: ClipRule, place: float) -> tuple[np.ndarray, bool]:
    """Return the frame numbers of a clip, and whether the video was repeated for it.

    Args:
        times_ms: [F] of the frames.
        rule: of the clip.
        place: 0 is the earliest clip, 1 the latest; for spread frames, the position of each frame
            in its segment.

    Returns:
        [T] int64 numbers from 0 to F - 1.
    """
    count = len(times_ms)
    if rule.sampling == "uniform":
        edges = np.arange(rule.frames) * (count / rule.frames)
        numbers = np.floor(edges + min(place, 1 - 1e-9) * count / rule.frames).astype(np.int64)
        return np.minimum(numbers, count - 1), count < rule.frames
    if not rule.fps:
        span = (rule.frames - 1) * rule.stride + 1
        start = math.floor(place * max(count - span, 0) + 1e-9)
        return (start + np.arange(rule.frames) * rule.stride) % count, span > count
    step = 1000 / rule.fps
    frame = (times_ms[-1] - times_ms[0]) / max(count - 1, 1) or step
    whole = times_ms[-1] - times_ms[0] + frame  # the last frame has a duration too
    length = (rule.frames - 1) * step
    spare = max(times_ms[-1] - times_ms[0] - length, 0.0)
    wanted = (place * spare + np.arange(rule.frames) * step) % whole
    # The frame shown at a time is the last one that started before it.
    numbers = np.searchsorted(times_ms - times_ms[0], wanted + 1e-6, side="right") - 1
    return numbers.astype(np.int64), length > whole


def random_place(count: int, rule: ClipRule, rng: np.random.Generator) -> float:
    """Return the position of a training clip; all first frames are equally likely."""
    if rule.sampling == "uniform" or rule.fps:
        return float(rng.random())
    spare = max(count - (rule.frames - 1) * rule.stride - 1, 0)
    return min(1.0, float(rng.random()) * (spare + 1) / max(spare, 1))


def places(count: int) -> list[float]:
    """Return the positions of the clips of a video: evenly spaced; a single one in the middle."""
    return [0.5] if count == 1 else (np.arange(count) / (count - 1)).tolist()


def part_of(index: VideoIndex, seconds: tuple[float, float] | None, path: Path) -> slice:
    """Return the frames that are shown between two times.

    Raises:
        DataError: there are none.
    """
    if seconds is None:
        return slice(0, len(index))
    low, high = (1000 * second + index.times_ms[0] for second in seconds)
    first, last = np.searchsorted(index.times_ms, (low - 1e-6, high - 1e-6))
    if first == last:
        raise DataError(
            f"{path} has no frame between {seconds[0]:g} and {seconds[1]:g} seconds",
            code="video.part_empty",
        )
    return slice(int(first), int(last))


class ClipTransform(Protocol):
    """A random transform of the frames of a clip, the same for all of them."""

    def __call__(self, frames: np.ndarray, seed: int) -> np.ndarray:
        """Return the transformed THWC clip."""


@dataclass(frozen=True)
class FrameRule:
    """How a frame becomes a square: resize, then crop.

    Attributes:
        image_size: side of the square.
        resize_hw: height and width to which frames are resized; a single number is the shorter
            side.
        crops: 1: the centre; 3: also both ends of the longer side.
        bits: of frames in image files, see `cvkit.data.video.read_frames`.
    """

    image_size: int
    resize_hw: tuple[int, ...]
    crops: int = 1
    bits: int | None = 16

    def resized(self, frame: np.ndarray) -> np.ndarray:
        """Return a resized frame, bilinear without antialiasing, as in torchvision's presets."""
        height, width = frame.shape[:2]
        if len(self.resize_hw) == 2:
            size_hw = self.resize_hw
        else:
            scale = self.resize_hw[0] / min(height, width)
            size_hw = tuple(max(self.image_size, round(side * scale)) for side in (height, width))
        if size_hw == (height, width):
            return frame
        return cv2.resize(frame, size_hw[::-1], interpolation=cv2.INTER_LINEAR)

    def views(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Return the [crops, T, side, side, 3] crops of the frames of a clip."""
        clip = np.stack([self.resized(frame) for frame in frames])
        side, (height, width) = self.image_size, clip.shape[1:3]
        # Rounded as torchvision does.
        middle = (round((height - side) / 2), round((width - side) / 2))
        corners = [middle]
        if self.crops == 3:
            wide = width >= height
            ends = [(middle[0], width - side) if wide else (height - side, middle[1])]
            corners = [(middle[0], 0) if wide else (0, middle[1]), middle, *ends]
        return np.stack([clip[:, y : y + side, x : x + side] for y, x in corners])


@dataclass(frozen=True)
class ClipDataset:
    """Clips of videos with a class each.

    Attributes:
        videos: its content, in order.
        names: of the classes, in index order.
        rule: for the frames of a clip.
        frame_rule: for the preprocessing of frames.
        clips: per video; in training each is a separate sample, otherwise a view of one.
        transform: random training transform; None for evaluation.
        reverse: probability that a training clip is reversed.
    """

    videos: Sequence[ClassifiedImage]
    names: Sequence[str]
    rule: ClipRule
    frame_rule: FrameRule
    clips: int = 1
    transform: ClipTransform | None = None
    reverse: float = 0.0

    def __len__(self) -> int:
        return len(self.videos) * (1 if self.transform is None else self.clips)

    def _video(self, index: int) -> ClassifiedImage:
        return self.videos[index if self.transform is None else index // self.clips]

    def key(self, index: int) -> str:
        """Return the path of a video, relative to the dataset."""
        return self._video(index).key

    def geometry(self, index: int) -> Geometry:
        """Return the size of the views of a video; they all have the same, so none is opened."""
        side = self.frame_rule.image_size
        return Geometry((0, 0), (side, side))

    def file(self, index: int) -> Path:
        """Return the location of the video of a sample."""
        return self._video(index).path

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return a clip of training, or the views of a video.

        Raises:
            DataError: the video cannot be read.
        """
        item = self._video(index)
        truth = Classes(self.names.index(item.label))
        if self.transform is None:
            video = InputFile(item.path, item.key)
            return views_of(video, self.rule, self.frame_rule, self.clips, item.seconds, truth)
        found = index_video(item.path)
        part = part_of(found, item.seconds, item.path)
        rng = np.random.default_rng((CLIP_SEED, seed))
        times = found.times_ms[part]
        numbers, _ = clip_frames(times, self.rule, random_place(len(times), self.rule, rng))
        if rng.random() < self.reverse:
            numbers = numbers[::-1]
        wanted = (numbers + part.start).tolist()
        frames = read_frames(item.path, found, wanted, self.frame_rule.bits)
        clip = self.transform(np.stack(frames), seed)
        return Sample(path=item.key, image=clip, truth=truth, seed=seed)


@dataclass(frozen=True)
class VideoInputs:
    """Videos without labels, for predict; see `ClipDataset`."""

    files: Sequence[VideoInput]
    rule: ClipRule
    frame_rule: FrameRule
    clips: int

    def __len__(self) -> int:
        return len(self.files)

    def key(self, index: int) -> str:
        """Return the path of a video, relative to the inputs."""
        return self.files[index].key

    def geometry(self, index: int) -> Geometry:
        """Return the size of the views of a video; they all have the same, so none is opened."""
        side = self.frame_rule.image_size
        return Geometry((0, 0), (side, side))

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return the views of a video, without randomness.

        Raises:
            DataError: it cannot be read.
        """
        file = self.files[index]
        sample = views_of(file, self.rule, self.frame_rule, self.clips)
        return replace(sample, file=place_of(file))


def views_of(
    video: VideoInput,
    rule: ClipRule,
    frame_rule: FrameRule,
    clips: int,
    seconds: tuple[float, float] | None = None,
    truth: Classes | None = None,
) -> Sample:
    """Return a sample with [V, T, side, side, 3] views of a video, clip by clip.

    Raises:
        DataError: the video cannot be read.
    """
    index = index_of(video)
    part = part_of(index, seconds, place_of(video) or Path(video.key))
    times = index.times_ms[part]
    chosen = [clip_frames(times, rule, place) for place in places(clips)]
    numbers = np.concatenate([found for found, _ in chosen]) + part.start
    frames = frames_of(video, index, numbers.tolist(), frame_rule.bits)
    parts = [frames[n * rule.frames : (n + 1) * rule.frames] for n in range(clips)]
    views = np.concatenate([frame_rule.views(each) for each in parts])
    about = VideoSource(
        frames=len(times),
        fps=index.fps,
        looped=any(looped for _, looped in chosen),
        starts=tuple(float(times[found[0]] - index.times_ms[0]) / 1000 for found, _ in chosen),
        seconds=(float(times[0]) / 1000, float(times[-1]) / 1000),
        header_frames=index.header_frames,
    )
    side = frame_rule.image_size
    geometry = Geometry(index.size_hw, (side, side))
    return Sample(path=video.key, image=views, geometry=geometry, truth=truth, video=about)
