"""The inputs of predict: images and videos in files or in memory, and frames of videos."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from cvkit.data.decode import header_of, open_image, rgb_pixels, upright_size_hw
from cvkit.data.files import InputFile, is_video
from cvkit.data.pages import file_of, page_of, page_path
from cvkit.data.video import FRAME_MS, VideoIndex, index_readable, index_video, read_frames
from cvkit.data.video_frames import VideoFrame
from cvkit.errors import CvkitWarning, DataError
from cvkit.structures import Sample
from cvkit.texts import counted

ANIMATED = ("PNG", "WEBP")
"""Formats of Pillow whose further pictures are not read."""


@dataclass(frozen=True)
class GivenImage:
    """An image in memory, read by the rules of files.

    Attributes:
        content: an image of Pillow, or HWC RGB uint8.
        key: names it in messages and results.
    """

    content: Image.Image | np.ndarray
    key: str


@dataclass(frozen=True)
class GivenVideo:
    """A video in memory.

    Attributes:
        frames: THWC RGB uint8.
        key: names it in messages and results.
        fps: frames per second.
    """

    frames: np.ndarray
    key: str
    fps: float = 1000 / FRAME_MS

    def index(self) -> VideoIndex:
        """Return what `index_video` returns of a file."""
        count, height, width = self.frames.shape[:3]
        return VideoIndex(1000 / self.fps * np.arange(count), (height, width), count)


ImageInput = InputFile | VideoFrame | GivenImage
VideoInput = InputFile | GivenVideo


def place_of(item: ImageInput | VideoInput) -> Path | None:
    """Return the file of an input; None for one in memory, and for one of several in a file."""
    whole = isinstance(item, InputFile) and file_of(item.path) == item.path
    return item.path if isinstance(item, InputFile) and whole else None


def file_text(item: ImageInput | VideoInput) -> str:
    """Return a text that is the same for two inputs that are one image or video of one file."""
    if isinstance(item, VideoFrame):
        return str(page_path(item.reader.path.resolve(), item.number))
    return str(item.path.resolve()) if isinstance(item, InputFile) else item.key


def placed(sample: Sample, item: ImageInput) -> Sample:
    """Return a sample with the file of its image, or the time of its frame."""
    if isinstance(item, VideoFrame):
        return replace(sample, frame=item.number, time_seconds=item.time_seconds)
    return replace(sample, file=place_of(item))


def pixels_of(item: ImageInput, bits: int | None = 16) -> np.ndarray:
    """Return an image as HWC RGB uint8, upright; see `read_image`."""
    if isinstance(item, VideoFrame):
        return item.pixels()
    if isinstance(item, InputFile):
        return read_picture(item.path, bits)
    if isinstance(item.content, np.ndarray):
        return item.content.copy()
    return rgb_pixels(item.content, Path(item.key), bits)


def read_picture(path: Path, bits: int | None = 16) -> np.ndarray:
    """Return what `read_image` does, and also a frame of a video by its path, `clip.mp4#12`.

    A `CvkitWarning`, shown once, tells that there are animations.

    Raises:
        DataError: see `read_image`, `index_readable` and `read_frames`.
    """
    file, number = page_of(path)
    if number is not None and is_video(file):
        index = index_readable(file)
        if not 1 <= number <= len(index):
            raise no_such_frame(path, index)
        return read_frames(file, index, [number - 1])[0]
    with open_image(path) as opened:
        if opened.format in ANIMATED and getattr(opened, "is_animated", False):
            text = "of animated PNG and WebP files only the first picture is read"
            warnings.warn(text, CvkitWarning, stacklevel=2)
        return rgb_pixels(opened, path, bits)


def no_such_frame(path: Path, index: VideoIndex) -> DataError:
    """Return the error of a frame that a video does not have."""
    return DataError(
        f"{path} does not exist: the video has {counted(len(index), 'frame')}",
        code="inputs.frame",
        hint="the first frame has number 1",
    )


def size_hw_of(item: ImageInput) -> tuple[int, int]:
    """Return height and width of the upright image, without decoding it."""
    if isinstance(item, VideoFrame):
        return item.size_hw
    if isinstance(item, InputFile):
        return upright_size_hw(item.path)
    if isinstance(item.content, np.ndarray):
        height, width = item.content.shape[:2]
        return height, width
    return header_of(item.content)[0]


def index_of(item: VideoInput) -> VideoIndex:
    """Return the index of a video; see `index_video`."""
    return index_video(item.path) if isinstance(item, InputFile) else item.index()


def frames_of(
    item: VideoInput, index: VideoIndex, wanted: Sequence[int], bits: int | None = 16
) -> list[np.ndarray]:
    """Return frames of a video as HWC RGB uint8; see `read_frames`."""
    if isinstance(item, InputFile):
        return read_frames(item.path, index, wanted, bits)
    return [item.frames[number] for number in wanted]
