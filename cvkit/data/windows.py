"""Images that are read tile by tile: windows of TIFF files, and other images decoded once."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from cvkit.data.files import InputFile
from cvkit.data.given import GivenImage, ImageInput, pixels_of, place_of, placed, size_hw_of
from cvkit.data.tiff_files import TiffFacts, open_tiff, tiff_facts
from cvkit.data.video_frames import VideoFrame
from cvkit.errors import DataError
from cvkit.ops.tiling import Tile
from cvkit.structures import Geometry, Sample

BAND = 2**24
"""Pixels of an image that are reduced together."""
UNREAD = np.zeros((1, 1, 3), np.uint8)
"""Stands for the pixels of a sample that is read in tiles."""

ReadTile = Callable[[Tile], np.ndarray]
"""Returns a tile as HWC RGB uint8."""


@dataclass(frozen=True)
class Windows:
    """An image of which tiles can be read.

    Attributes:
        item: the image.
        size_hw: of the upright image.
        bits: see `cvkit.data.decode.read_image`.
        tiff: of a TIFF file whose windows are read; other images are decoded as a whole.
    """

    item: ImageInput
    size_hw: tuple[int, int]
    bits: int | None = 16
    tiff: TiffFacts | None = None

    @contextmanager
    def opened(self) -> Iterator[ReadTile]:
        """Yield what reads tiles; the pixels of an image that is decoded are in memory meanwhile.

        Raises:
            DataError: it cannot be read; the reader raises it, too.
        """
        if self.tiff is None or not isinstance(self.item, InputFile):
            whole = pixels_of(self.item, self.bits)
            yield lambda tile: whole[tile.rows, tile.columns]
            return
        with open_tiff(self.item.path) as image:
            bits = self.bits
            if self.tiff.wide and bits is None:
                bits = image.depth()
            yield lambda tile: _as_rgb(image.values(tile), bits or 16)

    def whole(self) -> np.ndarray:
        """Return all pixels, HWC RGB uint8.

        Raises:
            DataError: they cannot be read.
        """
        with self.opened() as read:
            return read(Tile(0, 0, *self.size_hw))

    def reduced(self, longest: int) -> tuple[np.ndarray, int]:
        """Return the image (HWC RGB uint8) reduced by a whole factor, and the factor.

        Each pixel is the mean of a square; an incomplete one at the end of a side is left out.

        Args:
            longest: maximum longer side.

        Raises:
            DataError: it cannot be read.
        """
        height, width = self.size_hw
        factor = -(-max(height, width) // longest)
        result = np.zeros((max(1, height // factor), max(1, width // factor), 3), np.uint8)
        rows = max(1, BAND // (width * factor))
        with self.opened() as read:
            for first in range(0, len(result), rows):
                count = min(rows, len(result) - first)
                y, high = first * factor, min(count * factor, height - first * factor)
                band = read(Tile(y, 0, high, min(width, result.shape[1] * factor)))
                target = (result.shape[1], count)
                result[first : first + count] = cv2.resize(
                    band, target, interpolation=cv2.INTER_AREA
                )
        return result, factor


def _as_rgb(values: np.ndarray, bits: int) -> np.ndarray:
    """Return HWC values of 1, 3 or 4 (with alpha) channels as RGB uint8, as `read_image` does."""
    if values.dtype == np.uint16:
        values = np.minimum(values >> (bits - 8), 255).astype(np.uint8)
    if values.shape[2] == 4:
        from PIL import Image

        image = Image.fromarray(np.ascontiguousarray(values))
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, image).convert("RGB"))
    return values if values.shape[2] == 3 else np.repeat(values, 3, 2)


def windows_of(item: ImageInput, bits: int | None = 16) -> Windows:
    """Return an image as one of which tiles can be read; decodes nothing.

    Raises:
        DataError: see `cvkit.data.decode.open_image`; `image.too_large` for a TIFF file whose
            windows cannot be read as well.
    """
    facts = tiff_facts(item.path) if isinstance(item, InputFile) else None
    if facts is not None:
        return Windows(item, facts.size_hw, bits, facts)
    try:
        return Windows(item, size_hw_of(item), bits)
    except DataError as error:
        if error.code != "image.too_large":
            raise
        raise DataError(
            str(error),
            code=error.code,
            hint="save it as a TIFF file with tiles, which is read in windows: upright, 8 or 16 "
            "bits, grey or RGB, with deflate, PackBits or no compression; with LZW or JPEG after "
            "pip install 'cvkit[tiff]'",
        ) from error


class Wrapped(Protocol):
    """A dataset of images."""

    @property
    def bits(self) -> int | None:
        """See `cvkit.data.decode.read_image`."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def key(self, index: int) -> str:
        """Return the path of a sample."""

    def geometry(self, index: int) -> Geometry:
        """Return the size of a sample."""

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return a sample."""


def _without_label(index: int, size_hw: tuple[int, int]) -> None:
    """Return the label of an input of predict."""


@dataclass(frozen=True)
class TiledImages:
    """A dataset whose images are read in tiles, unless they fit into one.

    Attributes:
        inner: the dataset, whose samples those that fit are.
        items: its images, in order.
        tile_hw: size of a tile.
        truth: returns the label of an image, by its index and its size.
    """

    inner: Wrapped
    items: Sequence[ImageInput]
    tile_hw: tuple[int, int]
    truth: Callable[[int, tuple[int, int]], object] = _without_label

    def __len__(self) -> int:
        return len(self.items)

    @property
    def sequential(self) -> bool:
        """See `ImageSource.sequential`."""
        return any(isinstance(item, VideoFrame) for item in self.items)

    def key(self, index: int) -> str:
        """Return the path of a sample."""
        return self.inner.key(index)

    def file(self, index: int) -> Path:
        """Return the location of the image of a sample."""
        place = place_of(self.items[index])
        assert place is not None, "only samples of a dataset are asked for, which are files"
        return place

    def geometry(self, index: int) -> Geometry:
        """Return the size of a sample, from the header of its file.

        Raises:
            DataError: it is unusable.
        """
        windows = windows_of(self.items[index], self.inner.bits)
        if self._fits(windows.size_hw):
            return self.inner.geometry(index)
        return Geometry(windows.size_hw, (1, 1))

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return one sample; the pixels of one that is read in tiles are still in its file.

        Raises:
            DataError: its header or its label cannot be read.
        """
        item = self.items[index]
        windows = windows_of(item, self.inner.bits)
        if self._fits(windows.size_hw):
            return self.inner.read(index, seed)
        if isinstance(item, VideoFrame):  # its decoder goes on
            windows = replace(windows, item=GivenImage(item.pixels(), item.key))
        sample = Sample(
            path=self.key(index),
            image=UNREAD,
            geometry=Geometry(windows.size_hw, (1, 1)),
            truth=self.truth(index, windows.size_hw),
            windows=windows,
        )
        return placed(sample, item)

    def _fits(self, size_hw: tuple[int, int]) -> bool:
        return size_hw[0] <= self.tile_hw[0] and size_hw[1] <= self.tile_hw[1]
