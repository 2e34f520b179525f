"""Label plates with the names of objects, placed where they cover as little as possible."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from cvkit.output.lettering import DARK, LIGHT, fit, text_size, write_text

Rectangle = tuple[int, int, int, int]
"""x1, y1, x2, y2 in pixels, x2 and y2 exclusive."""


class Part(NamedTuple):
    """The part of the grid of `Covers` that an object covers: [h, w] bool, and its corner."""

    seen: np.ndarray
    top: int
    left: int

    def within(self, x1: int, y1: int, x2: int, y2: int) -> int:
        """Return how many pixels of it a rectangle covers."""
        rows = slice(max(0, y1 - self.top), max(0, y2 - self.top))
        columns = slice(max(0, x1 - self.left), max(0, x2 - self.left))
        return int(self.seen[rows, columns].sum())


class Covers:
    """The number of objects on each pixel of an image; large images are subsampled.

    Args:
        size_hw: of the image.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        self.step = max(1, max(size_hw) // 1000)
        self.grid = np.zeros([-(-side // self.step) for side in size_hw], np.uint16)

    def add_box(self, box: Sequence[float]) -> Part:
        """Add a box x1, y1, x2, y2 in pixels; return its part of the grid."""
        x1, y1, x2, y2 = (max(0, -(-round(float(v)) // self.step)) for v in box)
        place = self.grid[y1:y2, x1:x2]
        place += 1
        return Part(np.broadcast_to(True, place.shape), y1, x1)

    def add_part(self, part: np.ndarray, corner_yx: tuple[int, int]) -> Part:
        """Add a mask, [h, w] bool, with its corner; return its part of the grid."""
        y, x = corner_yx
        seen = part[-y % self.step :: self.step, -x % self.step :: self.step].copy()
        top, left = -(-y // self.step), -(-x // self.step)
        place = self.grid[top:, left:]
        place[: seen.shape[0], : seen.shape[1]] += seen
        return Part(seen, top, left)


class Plates:
    """Places for the plates of one picture.

    Args:
        picture: HWC uint8, changed in place.
        pixels: size of the text.
        covers: the objects of the image, at any scale.
    """

    def __init__(self, picture: np.ndarray, pixels: int, covers: Covers) -> None:
        self.picture, self.pixels = picture, pixels
        self.taken: list[Rectangle] = []
        height, width = picture.shape[:2]
        rows, columns = covers.grid.shape
        self._scale = np.array(2 * (columns / width, rows / height))
        self._sums = cv2.integral(covers.grid.astype(np.float32), sdepth=cv2.CV_64F)

    def size(self, text: str) -> tuple[int, int]:
        """Return width and height of a plate."""
        width, height = text_size(text, self.pixels)
        return width + self.pixels // 2, height

    def place(self, text: str, box: Sequence[int], part: Part) -> tuple[Rectangle, bool, bool]:
        """Return the best place of an object's plate, and what it covers.

        Places above, below, beside and inside the object are tried in this order; the first one
        that covers least is taken. Other plates count most, then other objects, then the object
        itself.

        Args:
            text: on the plate; it fits into the picture.
            box: x1, y1, x2, y2 of the object, in pixels of the picture.
            part: of the grid that the object covers.

        Returns:
            The place, whether it covers another plate, and whether it covers an object.
        """
        (wide, high), (x1, y1, x2, y2) = self.size(text), box
        corners = [(x1, y1 - high), (x2 - wide, y1 - high), (x1, y2), (x2 - wide, y2)]
        corners += [(x2, y1), (x1 - wide, y1), (x2, y2 - high), (x1 - wide, y2 - high)]
        corners += [(x1, y1), (x2 - wide, y1), (x1, y2 - high), (x2 - wide, y2 - high)]
        height, width = self.picture.shape[:2]
        inside = np.clip(corners, 0, (max(0, width - wide), max(0, height - high)))
        tried = np.concatenate([inside, np.minimum(inside + (wide, high), (width, height))], 1)
        others = np.array(self.taken).reshape(-1, 4)
        plates = _overlaps(tried, others).sum(1)
        cells = self._cells(tried)
        objects = self._covered(cells)
        itself = np.array([part.within(*cell) for cell in cells.tolist()])
        # Covering the object itself counts half as much as covering another one.
        best = int(np.lexsort((objects - itself / 2, plates))[0])  # the first of equal ones
        left, top, right, bottom = tried[best].tolist()
        return (left, top, right, bottom), bool(plates[best]), bool(objects[best])

    def draw(self, text: str, where: Rectangle, color: Sequence[int]) -> None:
        """Draw a plate, and remember its place."""
        self.taken.append(where)
        x1, y1, x2, y2 = where
        self.picture[y1:y2, x1:x2] = color
        write_text(self.picture, text, (x1 + self.pixels // 4, y1), self.pixels, ink_on(color))

    def fit(self, text: str) -> str:
        """Return text shortened to fit on a plate inside the picture."""
        return fit(text, self.pixels, self.picture.shape[1] - self.pixels // 2)

    def _cells(self, rectangles: np.ndarray) -> np.ndarray:
        """Return the [N, 4] places in the grid of [N, 4] rectangles of the picture."""
        places = rectangles * self._scale
        return np.concatenate([np.floor(places[:, :2]), np.ceil(places[:, 2:])], 1).astype(int)

    def _covered(self, cells: np.ndarray) -> np.ndarray:
        """Return how many pixels of objects each of [N, 4] places in the grid covers."""
        x1, y1, x2, y2 = cells.T
        sums = self._sums
        return sums[y2, x2] - sums[y1, x2] - sums[y2, x1] + sums[y1, x1]


def ink_on(color: Sequence[int]) -> tuple[int, int, int]:
    """Return a dark or light text colour that is readable on a background colour."""
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return DARK if bright > 140 else LIGHT


def _overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return [N, M] areas that [N, 4] and [M, 4] rectangles share."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.clip(high - low, 0, None).prod(2)
