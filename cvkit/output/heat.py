"""Heat maps over images, with a bar that says which colour is which value."""

from collections.abc import Sequence

import cv2
import numpy as np

from cvkit.output.canvas import Canvas
from cvkit.output.lettering import text_size, write_text

PERCENTILE = 99.5
"""Of the values; larger ones have the last colour, so that single pixels do not hide the rest."""


def strength(found: np.ndarray) -> float:
    """Return the value that has the last colour; at least a tiny one, where a map is flat."""
    return float(max(np.percentile(np.abs(found), PERCENTILE), 1e-12))


def heat_colours(signed: bool) -> np.ndarray:
    """Return [256, 3] RGB uint8: dark to bright; for signed maps blue, white, red."""
    if not signed:
        ramp = np.arange(256, dtype=np.uint8)[:, None]
        return cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1]
    place = np.linspace(-1, 1, 256)[:, None]
    ends = np.where(place < 0, (33.0, 102.0, 172.0), (178.0, 24.0, 43.0))
    return np.rint(255 + np.abs(place) * (ends - 255)).astype(np.uint8)


def draw_heat(
    image: np.ndarray, found: np.ndarray, *, signed: bool, most: float | None = None
) -> np.ndarray:
    """Return an image in grey with a map over it, and a bar of its colours at the right.

    Args:
        image: HWC RGB uint8.
        found: HW values.
        signed: whether values below 0 mean something.
        most: value of the last colour; None: that of `strength`.

    Returns:
        HWC RGB uint8: the image, enlarged if it is small, and the bar.
    """
    most = strength(found) if most is None else most
    canvas = Canvas(image)
    height, width = canvas.picture.shape[:2]
    scaled = np.clip(found.astype(np.float32) / most, -1 if signed else 0, 1)
    scaled = cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)
    index = np.rint(255 * ((scaled + 1) / 2 if signed else scaled)).astype(np.uint8)
    table = heat_colours(signed)
    grey = cv2.cvtColor(cv2.cvtColor(canvas.picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    share = (0.25 + 0.65 * np.abs(scaled))[..., None]  # also the lowest colour tints the image
    painted = np.rint((1 - share) * grey + share * table[index]).astype(np.uint8)
    return np.hstack([painted, _bar(height, canvas.text, most, table, signed)])


def _bar(height: int, text: int, most: float, table: np.ndarray, signed: bool) -> np.ndarray:
    """Return a bar of colours with the values of its ends, as high as a picture."""
    low = -most if signed else 0.0
    words = {0.0: f"{most:.2g}", 1.0: f"{low:.2g}"} | ({0.5: "0"} if signed else {})
    wide = max(text_size(word, text)[0] for word in words.values())
    bar = np.full((height, 3 * text + wide, 3), 255, np.uint8)
    gap, line = text // 2, text_size("", text)[1]
    rows = np.rint(np.linspace(255, 0, height - 2 * gap)).astype(int)
    bar[gap : height - gap, gap : gap + text] = table[rows][:, None]
    for share, word in words.items():
        top = gap + share * (height - 2 * gap - line)
        write_text(bar, word, (gap + text + text // 2, round(top)), text)
    return bar


def draw_filmstrip(pictures: Sequence[np.ndarray], most: int = 8) -> np.ndarray:
    """Return pictures of one size side by side, evenly spaced ones if there are many.

    Args:
        pictures: HWC RGB uint8, at least one.
        most: number of pictures shown.
    """
    places = np.linspace(0, len(pictures) - 1, min(most, len(pictures))).round().astype(int)
    height = pictures[0].shape[0]
    line = np.full((height, max(2, height // 60), 3), 255, np.uint8)
    parts = [part for place in places for part in (line, pictures[place])][1:]
    return np.hstack(parts)
