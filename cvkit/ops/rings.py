"""Outlines of masks along the edges of pixels. Does not import torch."""

from collections.abc import Iterator

import cv2
import numpy as np

RIGHT, DOWN, LEFT, UP = range(4)
STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Step (y, x) of each direction."""


def rings(mask: np.ndarray) -> list[np.ndarray]:
    """Return the closed outlines of a mask, of parts and of holes, along the edges of pixels.

    Filled by the even-odd rule they give the mask again. Only corners are listed, the first one
    once; the mask is on the right-hand side (y points down).

    Args:
        mask: [h, w] bool.

    Returns:
        [P, 2] int64 x, y of the corners of each.
    """
    padded = np.pad(np.asarray(mask, bool), 1)
    inside = padded[1:-1, 1:-1]
    starts: dict[tuple[int, int], list[int]] = {}
    sides = (
        (RIGHT, inside & ~padded[:-2, 1:-1], (0, 0)),  # the upper side of a pixel, and so on
        (DOWN, inside & ~padded[1:-1, 2:], (0, 1)),
        (LEFT, inside & ~padded[2:, 1:-1], (1, 1)),
        (UP, inside & ~padded[1:-1, :-2], (1, 0)),
    )
    for direction, found, (down, right) in sides:
        for y, x in np.argwhere(found).tolist():
            starts.setdefault((y + down, x + right), []).append(direction)
    result = []
    for corner in sorted(starts):
        while corner in starts:
            result.append(_walked(starts, corner))
    return result


def _walked(starts: dict[tuple[int, int], list[int]], first: tuple[int, int]) -> np.ndarray:
    """Return one outline, and remove its sides.

    Args:
        starts: directions of the sides that begin at each corner (y, x).
        first: the corner where it begins, the uppermost one, and of these the leftmost one.
    """
    y, x = first
    corners, before = [], -1
    while True:
        ways = starts[y, x]
        # Where two pixels touch at a corner, turning right keeps them apart.
        way = ways[0] if len(ways) == 1 or before < 0 else (before + 1) % 4
        ways.remove(way)
        if not ways:
            del starts[y, x]
        if way != before:
            corners.append((x, y))
        before, (down, right) = way, STEPS[way]
        y, x = y + down, x + right
        if (y, x) == first:
            return np.array(corners, np.int64)


def joined_rings(mask: np.ndarray) -> np.ndarray:
    """Return one closed outline of a mask of several parts or with holes.

    From the first ring a line leads to each other one and back again, so that it encloses no area.

    Args:
        mask: [h, w] bool, not empty.

    Returns:
        [P, 2] int64 x, y of the corners.
    """
    whole, *others = rings(mask)
    pieces = [whole]
    for ring in others:
        pieces += [whole[:1], ring, ring[:1]]
    if others:
        pieces.append(whole[:1])
    return np.concatenate(pieces)


def pieces(mask: np.ndarray) -> Iterator[tuple[np.ndarray, tuple[int, int]]]:
    """Yield the connected pieces of a mask; pixels that only touch at a corner are apart.

    Args:
        mask: [h, w] bool.

    Yields:
        [h, w] bool, the rectangle of a piece, and its corner (y, x) in the mask.
    """
    pixels = np.ascontiguousarray(mask, np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(pixels, connectivity=4)
    for number in range(1, count):
        x, y, width, height, _ = stats[number].tolist()
        yield labels[y : y + height, x : x + width] == number, (y, x)


def simple_rings(piece: np.ndarray) -> list[np.ndarray]:
    """Return the outline of a connected piece and those of its holes, which never touch themselves.

    Where an outline comes back to a corner, what it went round is a hole of its own. Two of them
    may have single corners in common.

    Args:
        piece: [h, w] bool, as `pieces` yields it.

    Returns:
        [P, 2] int64 x, y of the corners of each; the outline, clockwise on the screen, comes first.
    """
    found = [loop for ring in rings(piece) for loop in _loops(ring)]
    outside = next(place for place, loop in enumerate(found) if _turns_clockwise(loop))
    return [found.pop(outside), *found]


def _loops(ring: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the parts of a closed line between two visits of the same corner, and the rest."""
    path: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    for x, y in [*ring.tolist(), ring[0].tolist()]:
        if (x, y) not in places:
            places[x, y] = len(path)
            path.append((x, y))
            continue
        start = places[x, y]
        yield np.array(path[start:], np.int64)
        for corner in path[start + 1 :]:
            del places[corner]
        del path[start + 1 :]


def _turns_clockwise(loop: np.ndarray) -> bool:
    """Return whether a closed line turns clockwise on the screen, where y points down."""
    x, y = loop.T
    return bool((x * np.roll(y, -1) - np.roll(x, -1) * y).sum() > 0)
