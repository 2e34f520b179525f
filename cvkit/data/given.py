"""Images and videos that are in memory already, as inputs of predict."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from cvkit.data.decode import header_of, read_image, rgb_pixels, upright_size_hw
from cvkit.data.files import InputFile
from cvkit.data.video import FRAME_MS, VideoIndex, index_video, read_frames


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


ImageInput = InputFile | GivenImage
VideoInput = InputFile | GivenVideo


def place_of(item: ImageInput | VideoInput) -> Path | None:
    """Return where an input is stored; None for one in memory."""
    return item.path if isinstance(item, InputFile) else None


def pixels_of(item: ImageInput, bits: int | None = 16) -> np.ndarray:
    """Return an image as HWC RGB uint8, upright; see `read_image`."""
    if isinstance(item, InputFile):
        return read_image(item.path, bits)
    if isinstance(item.content, np.ndarray):
        return item.content.copy()
    return rgb_pixels(item.content, Path(item.key), bits)


def size_hw_of(item: ImageInput) -> tuple[int, int]:
    """Return height and width of the upright image, without decoding it."""
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
