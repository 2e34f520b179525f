"""The one reader of image files: path in, RGB uint8 out, the same for every command.

Conversions, none of which depends on the command:

    EXIF orientation   applied; an unreadable EXIF block is ignored
    grey (L, 1)        the value in all three channels; bilevel becomes 0 and 255
    alpha (LA, RGBA)   composed over white
    palette (P, PA)    looked up, then as alpha if it has transparency
    16-bit grey, RGB   the highest 8 of the bits in use (`bits`): cameras and
                       microscopes store 10, 12 or 14 bits in 16-bit files. PGM and PPM declare
                       their range, and Pillow scales it to all 16 bits
    CMYK, YCbCr, LAB   Pillow's conversion to RGB
    animation          the first frame; another page of a TIFF file by its path, `x.tif#12`
    parquet            the image file in a row of a parquet file, by its path, `x.parquet#12`

Refused with a typed error: over 100 megapixels, truncated, empty, not an image, not a file,
32-bit float. Larger TIFF files are read in windows; see `cvkit.data.windows`.
"""

import contextlib
import functools
import hashlib
import io
import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from cvkit.data.pages import file_of, page_of
from cvkit.data.parquet_files import is_row, stored_image
from cvkit.data.tiff_kinds import unusual_kind
from cvkit.errors import DataError

MAX_PIXELS = 100_000_000
BAND_PIXELS = 4_000_000
"""Pixels that are converted at a time."""
DEPTHS = (8, 10, 12, 14, 16)
"""Possible numbers of bits in use in 16-bit files."""
IMAGE_WIDTH = 256
"""TIFF tag of the width as stored."""
ORIENTATION = 0x0112
"""TIFF tag, and EXIF tag, of how an image is turned."""
MAX_SAMPLE_VALUE = 281
"""TIFF tag that declares the largest possible value."""
NEW_SUBFILE_TYPE, COPIES = 254, 0b101
"""TIFF tag that tells smaller copies and masks from images, and their bits."""
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}
"""Suffixes of image files that are not the names of their formats."""


OF_PILLOW = r"(PIL|cvkit\.data\.decode)\b"
"""Where Python says that warnings about a file come from, such as that of its size."""


def ignore_warnings_of_pillow() -> None:
    """Ignore what is said of files that are read all the same, from here on.

    Threads decode at the same time and share one list of filters, so it cannot be changed for the
    time of one file, as `warnings.catch_warnings` does.
    """
    known = (getattr(module, "pattern", None) for *_, module, _ in warnings.filters)
    if OF_PILLOW not in known:
        warnings.filterwarnings("ignore", module=OF_PILLOW)


def open_image(path: Path) -> Image.Image:
    """Open an image and check its header, without decoding pixels.

    Raises:
        DataError: `image.missing`, `image.not_a_file`, `image.empty`, `image.unreadable`,
            `image.not_an_image` or `image.too_large`; of a row of a parquet file also those of
            `cvkit.data.parquet_files.stored_image`.
    """
    file, page = page_of(path)
    try:
        status = os.stat(file)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is not a regular file", code="image.not_a_file")
        if status.st_size == 0:
            raise DataError(f"{path} is empty (0 bytes)", code="image.empty")
        ignore_warnings_of_pillow()
        inner = stored_image(path) if is_row(path) else None
        if inner == b"":
            raise DataError(f"{path} is empty (0 bytes)", code="image.empty")
        image = Image.open(file if inner is None else io.BytesIO(inner), formats=FORMATS)
        if page is not None and inner is None:
            image.seek(page - 1)
        if getattr(image, "tag_v2", {}).get(ORIENTATION) in (5, 6, 7, 8):
            image.filename = ""  # so that Pillow does not map it, which it does with turned sides
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", code="image.missing") from error
    except EOFError as error:
        raise DataError(f"{path}: {file.name} has no such page", code="image.missing") from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error)) from error
    except UnidentifiedImageError as error:
        raise _unidentified(path) from error
    except (OSError, ValueError, SyntaxError, OverflowError) as error:
        raise DataError(f"{path} cannot be opened: {error}", code="image.unreadable") from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path, f"{image.width}x{image.height}")
    return image


def _unidentified(path: Path) -> DataError:
    """Return the error of a file that Pillow does not open."""
    if not is_row(path) and (kind := unusual_kind(file_of(path))):
        return DataError(
            f"{path} has {kind} pixels, whose range is unknown",
            code="image.depth",
            hint="save it with 8 or 16 bits per channel",
        )
    return DataError(
        f"{path} is not an image in a known format",
        code="image.not_an_image",
        hint=f"known: {', '.join(FORMATS)}",
    )


def _too_large(path: Path, detail: str) -> DataError:
    return DataError(
        f"{path} has more than {MAX_PIXELS // 10**6} megapixels ({detail})",
        code="image.too_large",
        hint="scale it first; detect, instance and segment read larger TIFF files with --tiles",
    )


def is_deep(image: Image.Image) -> bool:
    """Return whether an image that is not decoded yet has several 16-bit channels.

    Pillow reads only their high bytes.
    """
    tiles = image.tile if isinstance(image, ImageFile.ImageFile) else []
    return image.mode in ("RGB", "RGBA", "LA") and ";16" in str([tile[-1] for tile in tiles])


def decode(image: Image.Image, path: Path) -> Image.Image:
    """Decode all pixels of an opened image.

    Raises:
        DataError: `image.truncated` or `image.corrupt`.
    """
    try:
        image.load()
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error)) from error
    except (OSError, ValueError, SyntaxError, IndexError, EOFError, OverflowError) as error:
        truncated = "truncated" in str(error).lower() or "broken data" in str(error).lower()
        code = "image.truncated" if truncated else "image.corrupt"
        raise DataError(f"{path} is damaged: {error}", code=code, hint="replace it") from error
    return image


def read_image(path: Path, bits: int | None = 16) -> np.ndarray:
    """Return an image file as HWC RGB uint8 in [0, 255], upright.

    Args:
        path: of the file.
        bits: number of bits in use in 16-bit files, larger values are clipped; None: as many as the
            values of this file need, one of `DEPTHS`.

    Raises:
        DataError: see `open_image` and `decode`; `image.depth` for pixel formats without a
            documented conversion.
    """
    with open_image(path) as opened:
        return rgb_pixels(opened, path, bits)


def rgb_pixels(image: Image.Image, path: Path, bits: int | None = 16) -> np.ndarray:
    """Return an opened image as `read_image` does; `path` names it in messages."""
    narrow = bits != 16 and _is_wide(image)
    image = decode(image, path)
    if narrow:
        image = _narrowed(image, path, bits)
    return _rgb_array(_upright(image), path)


def _rgb_array(image: Image.Image, path: Path) -> np.ndarray:
    """Return a decoded image as HWC RGB uint8; large ones in bands, without further whole copies.

    Pillow has four bytes for each pixel of any mode, and makes an array by way of `bytes`.
    """
    width, height = image.size
    if width * height <= BAND_PIXELS:
        return np.array(_to_rgb(image, path))  # Pillow's own buffer is read-only
    pixels = np.empty((height, width, 3), np.uint8)
    rows = max(1, BAND_PIXELS // width)
    for top in range(0, height, rows):
        band = image.crop((0, top, width, min(top + rows, height)))
        pixels[top : top + rows] = np.asarray(_to_rgb(band, path))
    return pixels


def needed_bits(path: Path) -> int | None:
    """Return how many bits the values of a 16-bit file need, one of `DEPTHS`.

    Returns:
        None for 8-bit files, and for files whose range Pillow knows.

    Raises:
        DataError: see `read_image`.
    """
    with open_image(path) as image:
        if not _is_wide(image):
            return None
        return _depth(image, _wide_values(decode(image, path), path))


def _is_wide(image: Image.Image) -> bool:
    """Return whether an image that is not decoded yet has 16 bits with an unknown number in use."""
    return image.format != "PPM" and (image.mode.startswith("I") or is_deep(image))


def _depth(image: Image.Image, values: np.ndarray | None) -> int:
    if values is None:
        return 16
    largest = int(values[..., :3].max() if values.ndim == 3 else values.max())
    return declared_depth(largest, getattr(image, "tag_v2", {}).get(MAX_SAMPLE_VALUE))


def declared_depth(largest: int, declared: object) -> int:
    """Return how many bits values need, one of `DEPTHS`.

    Args:
        largest: of the values, which are 16-bit.
        declared: largest possible value by the file's header, if that is given.
    """
    declared = max(declared) if isinstance(declared, tuple) else declared
    if isinstance(declared, int) and largest <= declared < 65535:  # 65535 is also the default
        largest = declared
    return next(depth for depth in DEPTHS if largest < 2**depth)


def _wide_values(image: Image.Image, path: Path) -> np.ndarray | None:
    """Return HW, HW3 or HW4 (RGB, alpha) values in 0..65535; None if only Pillow can read them."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise _unknown_depth(image, path)
        return values
    import cv2  # Pillow keeps only the high byte of several channels

    file, page = page_of(path)
    if page is not None and not is_row(path):
        _, pages = cv2.imreadmulti(str(file), page - 1, 1, flags=cv2.IMREAD_UNCHANGED)
        found = pages[0] if pages else None
    else:
        content = stored_image(path) if is_row(path) else path.read_bytes()
        found = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if found is None or found.dtype != np.uint16 or found.shape[:2] != image.size[::-1]:
        return None
    order = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
    return cv2.cvtColor(found, order[found.shape[2]]) if found.ndim == 3 else found


def _narrowed(image: Image.Image, path: Path, bits: int | None) -> Image.Image:
    """Return a decoded 16-bit image reduced to the 8 highest bits in use."""
    values = _wide_values(image, path)
    if values is None:
        return image
    bits = bits or _depth(image, values)
    made = Image.fromarray(np.minimum(values >> (bits - 8), 255).astype(np.uint8))
    with contextlib.suppress(*DAMAGED_EXIF):  # it does not affect the pixels
        made.getexif()[ORIENTATION] = image.getexif().get(ORIENTATION, 1)
    return made


DAMAGED_EXIF = (
    *(ValueError, SyntaxError, OSError, TypeError, KeyError, EOFError),
    ZeroDivisionError,
)


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(ORIENTATION, 1) in (2, 3, 4, 5, 6, 7, 8):
            return ImageOps.exif_transpose(image)
    except DAMAGED_EXIF:
        return image  # a damaged EXIF block does not affect the pixels
    return image


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise _unknown_depth(image, path)
        return Image.fromarray((values >> 8).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise _unknown_depth(image, path)
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _unknown_depth(image: Image.Image, path: Path) -> DataError:
    return DataError(
        f"{path} has {image.mode} pixels (32 bit), whose range is unknown",
        code="image.depth",
        hint="save it with 8 or 16 bits per channel",
    )


def page_count(path: Path) -> int:
    """Return the number of images in a file.

    Raises:
        DataError: see `open_image`; `image.corrupt` if they cannot be counted.
    """
    with open_image(path) as image:
        try:
            return int(getattr(image, "n_frames", 1))
        except (OSError, ValueError, SyntaxError, EOFError, OverflowError) as error:
            raise DataError(f"{path} is damaged: {error}", code="image.corrupt") from error


def main_pages(path: Path) -> list[int]:
    """Return the numbers, from 1, of the images in a TIFF file that are not copies of others.

    Smaller copies of an image and its transparency mask are marked as such (TIFF 6.0, tag 254).

    Raises:
        DataError: as of `page_count`.
    """
    with open_image(path) as image:
        try:
            if image.format != "TIFF" or getattr(image, "n_frames", 1) == 1:
                return [1]
            found = []
            for number in range(1, getattr(image, "n_frames", 1) + 1):
                image.seek(number - 1)
                if not getattr(image, "tag_v2", {}).get(NEW_SUBFILE_TYPE, 0) & COPIES:
                    found.append(number)
            return found or [1]
        except (*DAMAGED_EXIF, OverflowError) as error:
            raise DataError(f"{path} is damaged: {error}", code="image.corrupt") from error


def pixel_hash(path: Path) -> str:
    """Return a SHA-256 over the pixels of an image as stored.

    Raises:
        DataError: see `open_image` and `decode`.
    """
    with open_image(path) as image:
        pixels = decode(image, path)
        about = f"{pixels.mode} {pixels.size} {image.getpalette()}"
        return hashlib.sha256(about.encode() + pixels.tobytes()).hexdigest()


@functools.lru_cache(maxsize=2**16)
def file_suffix(path: Path) -> str:
    """Return the suffix of a file with this image alone.

    Raises:
        DataError: see `open_image`.
    """
    if not is_row(path):
        return file_of(path).suffix
    with open_image(path) as image:
        name = image.format or ""
    return SUFFIXES.get(name, f".{name.lower()}")


def upright_size_hw(path: Path) -> tuple[int, int]:
    """Return height and width as in the result of `read_image`, from the header alone."""
    return read_header(path)[0]


def read_header(path: Path) -> tuple[tuple[int, int], int]:
    """Return height and width of the upright image, and its EXIF orientation; decodes no pixels.

    Raises:
        DataError: see `open_image`.
    """
    with open_image(path) as image:
        return header_of(image)


def header_of(image: Image.Image) -> tuple[tuple[int, int], int]:
    """Return of an opened image what `read_header` returns of a file."""
    width, height = image.size
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except DAMAGED_EXIF:
        value = 1  # as `_upright` does
    orientation = value if value in range(1, 9) else 1
    stored = getattr(image, "tag_v2", {}).get(IMAGE_WIDTH, width)
    turns = orientation in (5, 6, 7, 8) and width == stored  # of a TIFF file, Pillow turns the size
    return ((width, height) if turns else (height, width)), orientation
