"""Tiles that cover an image, and the weights by which what is computed in them is blended."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tile:
    """A rectangle of an image, in pixels.

    Attributes:
        y: its first row.
        x: its first column.
        height: number of rows.
        width: number of columns.
    """

    y: int
    x: int
    height: int
    width: int

    @property
    def size_hw(self) -> tuple[int, int]:
        """Height and width."""
        return self.height, self.width

    @property
    def xyxy(self) -> tuple[int, int, int, int]:
        """x1, y1, x2, y2, as of a box."""
        return self.x, self.y, self.x + self.width, self.y + self.height

    @property
    def rows(self) -> slice:
        """Of the image."""
        return slice(self.y, self.y + self.height)

    @property
    def columns(self) -> slice:
        """Of the image."""
        return slice(self.x, self.x + self.width)


@dataclass(frozen=True)
class Grid:
    """Tiles of one size that cover an image, row by row.

    Attributes:
        ys: first rows, ascending.
        xs: first columns, ascending.
        tile_hw: size of the tiles; no side is longer than the image's.
        size_hw: of the image.
    """

    ys: list[int]
    xs: list[int]
    tile_hw: tuple[int, int]
    size_hw: tuple[int, int]

    @property
    def tiles(self) -> list[Tile]:
        """All tiles."""
        return [Tile(y, x, *self.tile_hw) for y in self.ys for x in self.xs]

    def weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the weights of the rows and the columns of the tiles; see `blend_weights`."""
        (height, width), (whole_h, whole_w) = self.tile_hw, self.size_hw
        return blend_weights(self.ys, height, whole_h), blend_weights(self.xs, width, whole_w)


def grid_of(size_hw: tuple[int, int], tile_hw: tuple[int, int], overlap: float) -> Grid:
    """Return the tiles that cover an image.

    The first tiles begin and the last ones end at the borders of the image; the others are evenly
    spaced, so that neighbours overlap by `overlap` of their side at least.

    Args:
        size_hw: of the image.
        tile_hw: of a tile; a side of the image that is shorter is covered by one tile.
        overlap: in (0, 1).
    """
    sides = [min(have, want) for have, want in zip(size_hw, tile_hw, strict=True)]
    ys, xs = (_starts(have, want, overlap) for have, want in zip(size_hw, sides, strict=True))
    return Grid(ys, xs, (sides[0], sides[1]), size_hw)


def _starts(have: int, want: int, overlap: float) -> list[int]:
    if have <= want:
        return [0]
    gaps = -(-(have - want) // max(1, int(want * (1 - overlap))))
    return [round(place * (have - want) / gaps) for place in range(gaps + 1)]


def blend_weights(starts: Sequence[int], want: int, have: int) -> np.ndarray:
    """Return the [T, want] float32 weights of the pixels of tiles along one axis.

    The weight rises evenly from the ends of a tile to its middle, and is divided by the sum over
    all tiles, so that the weights of a pixel add up to 1; where one tile is alone, its weight is 1.

    Args:
        starts: [T] of the tiles.
        want: their length.
        have: length of the axis, all of which they cover.
    """
    places = np.arange(want) + 0.5
    tent = np.minimum(places, want - places)
    total = np.zeros(have)
    for start in starts:
        total[start : start + want] += tent
    rows = [tent / total[start : start + want] for start in starts]
    return np.stack(rows).astype(np.float32)
