"""The one reader of image files: path in, RGB uint8 out, the same for every command.

Conversions, none of which depends on the command:

    EXIF orientation   applied; an unreadable EXIF block is ignored
    grey (L, 1)        the value in all three channels; bilevel becomes 0 and 255
    alpha (LA, RGBA)   composed over white
    palette (P, PA)    looked up, then as alpha if it has transparency
    16-bit grey        the high byte (value // 256), so that 256 levels stay
    16-bit RGB         the high byte, as Pillow reads it
    CMYK, YCbCr, LAB   Pillow's conversion to RGB
    animation          the first frame

Refused with a typed error: over 100 megapixels, truncated, empty, not an image, not a file,
32-bit float.
"""

import os
import stat
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cvkit.errors import DataError

MAX_PIXELS = 100_000_000
FORMATS = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM")


def open_image(path: Path) -> Image.Image:
    """Open an image and check its header; no pixel is decoded yet.

    Raises:
        DataError: `image.missing`, `image.not_a_file`, `image.empty`, `image.unreadable`,
            `image.not_an_image` or `image.too_large`.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path} is not a regular file", code="image.not_a_file")
        if status.st_size == 0:
            raise DataError(f"{path} is empty (0 bytes)", code="image.empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's own, lower size warning
            image = Image.open(path, formats=FORMATS)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", code="image.missing") from error
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error)) from error
    except UnidentifiedImageError as error:
        raise DataError(
            f"{path} is not an image of a known format",
            code="image.not_an_image",
            hint=f"known: {', '.join(FORMATS)}",
        ) from error
    except (OSError, ValueError, SyntaxError, OverflowError) as error:
        raise DataError(f"{path} cannot be opened: {error}", code="image.unreadable") from error
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path, f"{image.width}x{image.height}")
    return image


def _too_large(path: Path, detail: str) -> DataError:
    return DataError(
        f"{path} has more than {MAX_PIXELS // 10**6} megapixels ({detail})",
        code="image.too_large",
        hint="scale or tile it first",
    )


def decode(image: Image.Image, path: Path) -> Image.Image:
    """Decode all pixels of an opened image.

    Raises:
        DataError: `image.truncated` or `image.corrupt`.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image.load()
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error)) from error
    except (OSError, ValueError, SyntaxError, IndexError, EOFError, OverflowError) as error:
        truncated = "truncated" in str(error).lower() or "broken data" in str(error).lower()
        code = "image.truncated" if truncated else "image.corrupt"
        raise DataError(f"{path} is damaged: {error}", code=code, hint="replace it") from error
    return image


def read_image(path: Path) -> np.ndarray:
    """Return an image file as HWC RGB uint8 in [0, 255], upright.

    Raises:
        DataError: see `open_image` and `decode`; `image.depth` for pixel formats without a
            documented conversion.
    """
    with open_image(path) as opened:
        image = _upright(decode(opened, path))
        return np.array(_to_rgb(image, path))  # a copy: Pillow's own buffer is read-only


def _upright(image: Image.Image) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.getexif().get(0x0112, 1) in (2, 3, 4, 5, 6, 7, 8):
                return ImageOps.exif_transpose(image)
    except (ValueError, SyntaxError, OSError, TypeError, KeyError, EOFError, ZeroDivisionError):
        return image  # a damaged EXIF block says nothing about the pixels
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
        f"{path} has {image.mode} pixels (32 bit), whose range is not known",
        code="image.depth",
        hint="save it with 8 or 16 bits a channel",
    )


def exif_orientation(path: Path) -> int:
    """Return EXIF's number of how an image is turned: 1 to 8, 1 where it says nothing."""
    return read_header(path)[1]


def upright_size_hw(path: Path) -> tuple[int, int]:
    """Return height and width as `read_image` would give them, from the header alone."""
    return read_header(path)[0]


def read_header(path: Path) -> tuple[tuple[int, int], int]:
    """Return height and width of the upright image, and EXIF's number; decodes no pixel.

    Raises:
        DataError: see `open_image`.
    """
    with open_image(path) as image:
        width, height = image.size
        try:
            value = image.getexif().get(0x0112, 1)
        except (ValueError, SyntaxError, OSError, TypeError, KeyError, EOFError, ZeroDivisionError):
            value = 1  # as `_upright` does
    orientation = value if value in range(1, 9) else 1
    return ((width, height) if orientation in (5, 6, 7, 8) else (height, width)), orientation
