"""Contact sheets: many pictures in one."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from cvkit.output.canvas import Canvas
from cvkit.output.lettering import fit, text_size, write_text

SIDE, GAP = 480, 16
"""Side of a picture's cell, and the gap between cells, in pixels."""
COLUMNS = 4
TITLE, CAPTION = 20, 16
"""Sizes of text."""
UNREADABLE = np.full((SIDE, SIDE, 3), 225, np.uint8)
"""In place of a picture that cannot be read."""


@dataclass(frozen=True)
class Tile:
    """A picture of a contact sheet.

    Attributes:
        picture: HWC RGB uint8 of any size.
        captions: lines under it.
    """

    picture: np.ndarray
    captions: tuple[str, ...]


def draw_sheet(title: str, tiles: Sequence[Tile]) -> np.ndarray:
    """Return a grid of pictures, row by row, with their captions under them.

    Args:
        title: shown at the top.
        tiles: at least one.

    Returns:
        HWC RGB uint8 on white.
    """
    columns = min(COLUMNS, len(tiles))
    blocks = [_block(tile) for tile in tiles]
    width = GAP + columns * (SIDE + GAP)
    lines = _wrapped(title, TITLE, width - 2 * GAP)
    high = text_size("", TITLE)[1]
    head = np.full((GAP + len(lines) * high, width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        write_text(head, line, (GAP, GAP + number * high), TITLE)
    starts = range(0, len(blocks), columns)
    return np.vstack([head, *(_row(blocks[at : at + columns], width) for at in starts)])


def _block(tile: Tile) -> np.ndarray:
    """Return a picture with its captions, as wide as a column."""
    picture = Canvas(tile.picture).picture
    factor = min(SIDE / side for side in picture.shape[:2])
    if factor < 1:
        size_wh = [max(1, round(factor * side)) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size_wh, interpolation=cv2.INTER_AREA)
    height, width = picture.shape[:2]
    row = text_size("", CAPTION)[1]
    block = np.full((height + 4 + len(tile.captions) * row, SIDE, 3), 255, np.uint8)
    left = (SIDE - width) // 2
    block[:height, left : left + width] = picture
    for number, caption in enumerate(tile.captions):
        line = fit(caption, CAPTION, SIDE)
        place = (SIDE - text_size(line, CAPTION)[0]) // 2, height + 4 + number * row
        write_text(block, line, place, CAPTION)
    return block


def _row(blocks: Sequence[np.ndarray], width: int) -> np.ndarray:
    row = np.full((max(map(len, blocks)) + GAP, width, 3), 255, np.uint8)
    for number, block in enumerate(blocks):
        left = GAP + number * (SIDE + GAP)
        row[GAP:, left : left + SIDE][: len(block)] = block
    return row


def _wrapped(text: str, pixels: int, room: int) -> list[str]:
    """Return the lines of a text; a word that is too long is shortened."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and text_size(longer, pixels)[0] > room:
            lines.append(fit(word, pixels, room))
        else:
            lines[-1] = fit(longer, pixels, room)
    return lines


def grid_of_four(frames: Sequence[np.ndarray]) -> np.ndarray:
    """Return four pictures of one size (HWC RGB uint8) in two rows, with white lines between."""
    height, width = frames[0].shape[:2]
    line = max(1, min(height, width) // 60)
    grid = np.full((2 * height + line, 2 * width + line, 3), 255, np.uint8)
    for number, frame in enumerate(frames):
        top, left = number // 2 * (height + line), number % 2 * (width + line)
        grid[top : top + height, left : left + width] = frame
    return grid
