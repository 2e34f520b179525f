"""Windows of large TIFF files, of which only the tiles or strips that they touch are decoded.

The pixels are those of `cvkit.data.decode.read_image`: RGB uint8, the highest 8 of the bits in use.
"""

import io
import logging
import struct
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from cvkit.data.decode import MAX_PIXELS, declared_depth
from cvkit.data.pages import page_of
from cvkit.errors import DataError
from cvkit.ops.tiling import Tile

if TYPE_CHECKING:
    from tifffile import TiffPage

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""First bytes of TIFF files; the last two of those of more than 4 GB."""
MOST = 2**32 - 1
"""Pixels of an image: a run-length code counts them in 32 bits."""
KEPT = 2**27
"""Bytes of decoded tiles or strips that are kept for the next window."""
DEFLATE = (8, 32946)
CODECS = (1, *DEFLATE, 32773)
"""Compressions that are read: none, deflate and PackBits."""
JPEG = 7
FURTHER = (5, JPEG)
"""Compressions that are read with the package imagecodecs: LZW and JPEG."""
DAMAGES = (
    *(ValueError, RuntimeError, OSError, IndexError, TypeError, KeyError, ZeroDivisionError),
    *(zlib.error, struct.error),
)
"""What tifffile and its codecs raise about damaged files."""
ROWS = 1024
"""Rows of an image that are looked at together for its largest value."""


@dataclass(frozen=True)
class TiffFacts:
    """What the header of a TIFF file says about an image in it.

    Attributes:
        size_hw: of the image.
        segment_hw: of a tile or strip.
        wide: whether it has 16 bits.
        declared: largest possible value, if that is given.
    """

    size_hw: tuple[int, int]
    segment_hw: tuple[int, int]
    wide: bool
    declared: Any = None


def tiff_facts(path: Path) -> TiffFacts | None:
    """Return what is known of a TIFF file whose windows can be read; None for any other file.

    Windows can be read of upright images with 1 (grey), 3 (RGB) or 4 (RGB and alpha) channels of 8
    or 16 bits, stored together, and compressed by one of `CODECS`, or of `FURTHER` if imagecodecs
    is installed.

    Raises:
        DataError: `image.too_large`: more than `MOST` pixels, or tiles of more than `MAX_PIXELS`.
    """
    if not _is_tiff(path):
        return None
    try:
        with _page(path) as page:
            facts = _facts(page) if _is_plain(page) else None
    except DAMAGES:
        return None  # it is reported where the file is decoded
    if facts is None:
        return None
    for (height, width), most in ((facts.size_hw, MOST), (facts.segment_hw, MAX_PIXELS)):
        if height * width > most:
            what = "pixels" if most == MOST else "pixels in a tile or strip"
            raise DataError(
                f"{path} has more than {most // 10**6} mega{what} ({width}x{height})",
                code="image.too_large",
                hint="save it in tiles of 256x256 pixels",
            )
    return facts


def _is_tiff(path: Path) -> bool:
    try:
        with open(page_of(path)[0], "rb") as stream:
            return stream.read(4) in MAGIC
    except OSError:
        return False


@contextmanager
def _page(path: Path) -> Iterator["TiffPage"]:
    from tifffile import TiffFile, TiffPage

    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # damage is an error here
    file, number = page_of(path)
    with TiffFile(file, _multifile=False) as opened:
        if number == 0:
            raise IndexError("pages count from 1")
        page = opened.pages[0 if number is None else number - 1]
        assert isinstance(page, TiffPage), "without hints, pages are read completely"
        yield page


def _is_plain(page: "TiffPage") -> bool:
    """Return whether windows of an image can be read; see `tiff_facts`."""
    samples, extra = page.samplesperpixel, tuple(page.extrasamples or ())
    colors = {0: 0, 1: 1, 2: 3, 6: 3}.get(int(page.photometric), 0)
    turned = page.tags.get(274)
    return (
        page.imagedepth == 1
        and min(_facts(page).segment_hw) > 0
        and page.bitspersample in (8, 16)
        and int(page.sampleformat) == 1
        and (samples == 1 or int(page.planarconfig) == 1)
        and int(page.compression) in _codecs()
        and (int(page.photometric) != 6 or int(page.compression) == JPEG)
        and (samples == colors or (colors == 3 and samples == 4 and extra == (2,)))
        and (turned is None or turned.value == 1)
    )


def _codecs() -> tuple[int, ...]:
    return (*CODECS, *FURTHER) if find_spec("imagecodecs") else CODECS


def _facts(page: "TiffPage") -> TiffFacts:
    height = page.tilelength if page.is_tiled else page.rowsperstrip
    width = page.tilewidth if page.is_tiled else page.imagewidth
    declared = page.tags.get(281)
    return TiffFacts(
        size_hw=(page.imagelength, page.imagewidth),
        segment_hw=(min(height, page.imagelength) if not page.is_tiled else height, width),
        wide=page.bitspersample == 16,
        declared=None if declared is None else declared.value,
    )


class TiffWindows:
    """An open TIFF file; threads may read its windows at the same time.

    Args:
        page: of `tifffile`.
        path: for messages.
    """

    def __init__(self, page: "TiffPage", path: Path) -> None:
        self.page, self.path, self.facts = page, path, _facts(page)
        self.kept: OrderedDict[int, np.ndarray] = OrderedDict()
        self.bytes, self.lock = 0, threading.Lock()
        self.more: dict[str, Any] = {}
        if int(page.compression) == JPEG:
            self.more = {"jpegtables": page.jpegtables, "jpegheader": page.jpegheader}

    def values(self, tile: Tile) -> np.ndarray:
        """Return the HWC values of a window as they are stored, uint8 or uint16.

        Raises:
            DataError: `image.corrupt` or `image.truncated`.
        """
        (height, width), whole_w = self.facts.segment_hw, self.facts.size_hw[1]
        across = -(-whole_w // width)
        result: np.ndarray | None = None
        for row in range(tile.y // height, -(-(tile.y + tile.height) // height)):
            for column in range(tile.x // width, -(-(tile.x + tile.width) // width)):
                part = self._segment(row * across + column)
                if result is None:
                    result = np.zeros((*tile.size_hw, part.shape[2]), part.dtype)
                top, left = row * height, column * width
                y1, x1 = max(tile.y, top), max(tile.x, left)
                y2 = min(tile.y + tile.height, top + part.shape[0])
                x2 = min(tile.x + tile.width, left + part.shape[1])
                result[y1 - tile.y : y2 - tile.y, x1 - tile.x : x2 - tile.x] = part[
                    y1 - top : y2 - top, x1 - left : x2 - left
                ]
        assert result is not None, "a window is not empty"
        return result

    def _segment(self, index: int) -> np.ndarray:
        """Return the HWC values of a tile or strip, kept from before if there is room."""
        with self.lock:
            if index in self.kept:
                self.kept.move_to_end(index)
                return self.kept[index]
            part = self._decoded(index)
            self.kept[index] = part
            self.bytes += part.nbytes
            while self.bytes > KEPT and len(self.kept) > 1:
                self.bytes -= self.kept.popitem(last=False)[1].nbytes
            return part

    def _decoded(self, index: int) -> np.ndarray:
        page = self.page
        try:
            start, count = page.dataoffsets[index], page.databytecounts[index]
            data = None
            if count:
                stream = page.parent.filehandle
                stream.seek(start)
                data = stream.read(count)
                if len(data) < count:
                    raise DataError(
                        f"{self.path} is damaged: it is truncated",
                        code="image.truncated",
                        hint="replace it",
                    )
                self._require_bounded(data)
            part, _, shape = page.decode(data, index, **self.more)
        except DAMAGES as error:
            reason = " ".join(str(error).split())[:120]
            raise DataError(
                f"{self.path} is damaged: {reason}", code="image.corrupt", hint="replace it"
            ) from error
        if part is None:  # left out by the writer
            part = np.full(shape, page.nodata, page.dtype)
        return np.asarray(part[0])

    def _require_bounded(self, data: bytes) -> None:
        """Check that compressed data do not claim more pixels than the tile or strip has."""
        height, width = self.facts.segment_hw
        if int(self.page.compression) == JPEG:
            with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
                if image.width * image.height > height * width:
                    raise ValueError("a tile is larger than its size")
        if int(self.page.compression) in DEFLATE:
            most = height * width * self.page.samplesperpixel * self.page.bitspersample // 8
            if len(zlib.decompressobj().decompress(data, most + 1)) > most:
                raise ValueError("a tile is longer than its size")

    def depth(self) -> int:
        """Return how many bits the values need; reads the whole image, some rows at a time."""
        height, width = self.facts.size_hw
        largest = 0
        for y in range(0, height, ROWS):
            rows = self.values(Tile(y, 0, min(ROWS, height - y), width))
            largest = max(largest, int(rows[..., :3].max()))
        return declared_depth(largest, self.facts.declared)


@contextmanager
def open_tiff(path: Path) -> Iterator[TiffWindows]:
    """Yield a file of which `tiff_facts` knows something.

    Raises:
        DataError: `image.unreadable`.
    """
    try:
        with _page(path) as page:
            yield TiffWindows(page, path)
    except OSError as error:
        raise DataError(f"{path} cannot be opened: {error}", code="image.unreadable") from error
