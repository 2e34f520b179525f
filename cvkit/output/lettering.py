"""Text in pictures, in any script: in DejaVu Sans or a system font."""

import bisect
import itertools
import math
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

DARK, LIGHT = (20, 20, 20), (255, 255, 255)
PLAIN = (("\0", "\u02e9"), ("\u0380", "\u0525"), ("…", "…"))
"""Character ranges that DejaVu Sans covers completely: Latin, Greek and Cyrillic."""


def text_size(text: str, pixels: int) -> tuple[int, int]:
    """Return width and height of a line; the height depends on the size only."""
    height, width = _coverage(text, pixels).shape
    return width, height


def fit(text: str, pixels: int, room: int) -> str:
    """Return the text, shortened in the middle to at most `room` pixels."""
    text = one_line(text)

    def short(kept: int) -> str:
        if kept == len(text):
            return text
        return f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"

    most = min(len(text), room)  # no letter is narrower than a pixel
    too_many = bisect.bisect_right(
        range(most + 1), room, key=lambda kept: text_size(short(kept), pixels)[0]
    )
    return short(max(0, too_many - 1))


def one_line(text: str) -> str:
    """Return text with single spaces for white space, and codes for unprintable characters."""
    shown = (char if char.isprintable() else _code(char) for char in " ".join(text.split()))
    return "".join(shown)


def _code(char: str) -> str:
    return char.encode("unicode_escape").decode()


def write_text(
    picture: np.ndarray,
    text: str,
    left_top: tuple[int, int],
    pixels: int,
    ink: tuple[int, int, int] = DARK,
) -> None:
    """Write a line into a picture; parts outside are cut off.

    Args:
        picture: HWC uint8, changed in place.
        text: in any script.
        left_top: of the line, in pixels.
        pixels: font size, about one and a half times the height of a capital letter.
        ink: in the order of the picture's channels.
    """
    mask, (left, top) = _coverage(text, pixels), left_top
    mask = mask[max(0, -top) :, max(0, -left) :]
    place = picture[max(0, top) :, max(0, left) :][: len(mask), : mask.shape[1]]
    share = mask[: len(place), : place.shape[1], None] / 255
    place[:] = np.rint(place + (np.array(ink) - place) * share)


@lru_cache(4096)
def _coverage(text: str, pixels: int) -> np.ndarray:
    """Return [H, W] uint8, the coverage of each pixel by the letters of a line."""
    fonts = [(_font(path, pixels), part) for path, part in _parts(one_line(text))]
    above, below = _font(_dejavu(), pixels).getmetrics()
    width = math.ceil(sum(font.getlength(part) for font, part in fonts))
    image = Image.new("L", (width + 2, above + below))  # letters may extend beyond their boxes
    pen, x = ImageDraw.Draw(image), 1.0
    for font, part in fonts:
        pen.text((x, above), part, 255, font, anchor="ls")
        x += font.getlength(part)
    return np.asarray(image)


def _parts(text: str) -> list[tuple[str, str]]:
    """Return parts of a line, each with the file of a font that has its letters."""
    if all(any(first <= char <= last for first, last in PLAIN) for char in text):
        return [(_dejavu(), text)]
    shown = [(_font_with(char), char) for char in text]
    coded = [(path or _dejavu(), char if path else _code(char)) for path, char in shown]
    groups = itertools.groupby(coded, lambda pair: pair[0])
    return [(path, "".join(char for _, char in pairs)) for path, pairs in groups]


@lru_cache(4096)
def _font_with(char: str) -> str | None:
    """Return the file of a font that has a letter: DejaVu, else a system font, else None."""
    from matplotlib.font_manager import findSystemFonts  # slow to import; for rare letters only
    from matplotlib.ft2font import FT2Font

    for path in (_dejavu(), *sorted(findSystemFonts())):
        try:
            if FT2Font(path).get_char_index(ord(char)):
                return path
        except RuntimeError:  # a font that FreeType cannot read
            continue
    return None


@lru_cache(1)
def _dejavu() -> str:
    """Return the file of DejaVu Sans in matplotlib's package, without importing matplotlib."""
    spec = find_spec("matplotlib")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("matplotlib, which contains the font, is not installed")
    return str(Path(spec.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf")


@lru_cache(256)
def _font(path: str, pixels: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, pixels)
