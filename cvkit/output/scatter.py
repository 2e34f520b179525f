"""Maps of many small pictures, each at its place in a plane."""

import colorsys
from collections.abc import Mapping, Sequence

import numpy as np

from cvkit.output.lettering import fit, text_size, write_text

SIDE, MARGIN = 1800, 60
"""Longest side of the map, and the white around it, in pixels."""
TEXT = 20
NAMED = 24
"""Names in the legend at most."""
DISTINCT = (
    *((31, 111, 180), (194, 85, 26), (43, 125, 87), (138, 79, 163), (190, 150, 0)),
    *((90, 101, 112), (200, 50, 90), (0, 150, 170), (120, 90, 60), (120, 160, 40)),
)
"""Colours of the first groups."""


def group_colours(count: int) -> list[tuple[int, int, int]]:
    """Return RGB colours in [0, 255] of groups, the first of them easy to tell apart."""
    more = [
        colorsys.hsv_to_rgb(number * 0.618034 % 1, 0.75, 0.8)
        for number in range(len(DISTINCT), count)
    ]
    made = [(round(255 * r), round(255 * g), round(255 * b)) for r, g, b in more]
    return [*DISTINCT, *made][:count]


def draw_scatter(
    title: str,
    places: np.ndarray,
    pictures: Sequence[np.ndarray],
    groups: Sequence[str | None],
) -> np.ndarray:
    """Return a map with pictures at their places, framed in the colours of their groups.

    Where pictures would cover others by more than half, the later ones are dots.

    Args:
        title: shown at the top.
        places: [N, 2] x and y in [0, 1], y from the bottom.
        pictures: N squares, HWC RGB uint8 of one size.
        groups: N names; None for what is in no group.

    Returns:
        HWC RGB uint8 on white.
    """
    names = sorted({name for name in groups if name is not None})
    colours = dict(zip(names, group_colours(len(names)), strict=True))
    side = len(pictures[0]) if len(pictures) else 0
    span = np.maximum(places.max(0) - places.min(0), 0) * (SIDE - side)
    width, height = (int(np.ceil(each)) + side + 2 * MARGIN for each in span)
    head = _head(title, colours, max(width, 800))
    sheet = np.full((height, head.shape[1], 3), 255, np.uint8)
    corners = np.rint((places - places.min(0)) * (SIDE - side)).astype(int) + MARGIN
    corners[:, 1] = height - side - corners[:, 1]
    taken = np.zeros(sheet.shape[:2], bool)
    dots = []
    for number, (left, top) in enumerate(corners.tolist()):
        colour = colours.get(groups[number] or "", (150, 150, 150))
        if taken[top : top + side, left : left + side].mean() > 0.5:
            dots.append((left + side // 2, top + side // 2, colour))
            continue
        taken[top : top + side, left : left + side] = True
        sheet[top - 3 : top + side + 3, left - 3 : left + side + 3] = colour
        sheet[top : top + side, left : left + side] = pictures[number]
    for x, y, colour in dots:
        sheet[y - 3 : y + 4, x - 3 : x + 4] = 255
        sheet[y - 2 : y + 3, x - 2 : x + 3] = colour
    return np.vstack([head, sheet])


def _head(title: str, colours: Mapping[str, tuple[int, int, int]], width: int) -> np.ndarray:
    """Return the title, and the legend under it."""
    high = text_size("", TEXT)[1]
    entries = list(colours.items())[:NAMED]
    spots: list[tuple[int, int]] = []
    x, y = MARGIN, MARGIN + 2 * high
    for name, _ in entries:
        room = 2 * TEXT + text_size(fit(name, TEXT, 300), TEXT)[0] + TEXT
        if spots and x + room > width - MARGIN:
            x, y = MARGIN, y + high + 6
        spots.append((x, y))
        x += room
    head = np.full((y + high * bool(spots), width, 3), 255, np.uint8)
    write_text(head, fit(title, TEXT, width - 2 * MARGIN), (MARGIN, MARGIN), TEXT)
    for (name, colour), (x, y) in zip(entries, spots, strict=True):
        head[y + 4 : y + high - 4, x : x + TEXT] = colour
        write_text(head, fit(name, TEXT, 300), (x + TEXT + 8, y), TEXT)
    return head


def sprite_of(pictures: Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Return squares of one size as one picture, row by row, and the number in a row."""
    side = len(pictures[0])
    columns = int(np.ceil(np.sqrt(len(pictures))))
    rows = -(-len(pictures) // columns)
    sheet = np.full((rows * side, columns * side, 3), 255, np.uint8)
    for number, picture in enumerate(pictures):
        top, left = side * (number // columns), side * (number % columns)
        sheet[top : top + side, left : left + side] = picture
    return sheet, columns
