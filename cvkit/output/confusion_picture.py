"""Tables and pictures of confusion matrices. Imports neither torch nor matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvkit.output.files import write_csv, write_rgb
from cvkit.output.lettering import DARK, LIGHT, fit, text_size, write_text

TITLE = "rows: truth, columns: prediction"
LETTERS, SMALL = 13, 11
CELL = 48
"""Side of a cell in pixels if there are few classes."""
NAMED = 16
"""Minimum side of a cell for class names instead of numbers."""
LONGEST = 320
"""Maximum width of a name in pixels."""
EDGE = 8
COUNTED, COUNTED_SIDE = 250, 4000
"""Maximum number of classes that are all named, and side of the matrix with more."""


def write_confusion(
    folder: Path, matrix: np.ndarray, names: Sequence[str], *, shares: bool = False
) -> tuple[Path, Path]:
    """Write `confusion_matrix.csv` and `confusion_matrix.png`; return their paths.

    Args:
        folder: exists.
        matrix: [K, K] counts; rows are truth, columns are prediction.
        names: K names.
        shares: show percentages instead of counts.
    """
    table, picture = folder / "confusion_matrix.csv", folder / "confusion_matrix.png"
    rows = zip(names, matrix.tolist(), strict=True)
    write_csv(table, ["truth\\prediction", *names], ([name, *row] for name, row in rows))
    write_rgb(picture, draw_confusion(matrix, names, shares=shares))
    return table, picture


def draw_confusion(matrix: np.ndarray, names: Sequence[str], *, shares: bool = False) -> np.ndarray:
    """Return a picture of a confusion matrix: rows are truth, columns prediction.

    The larger its share of the row, the darker a cell. With up to 30 classes, cells contain counts
    or percentages. With up to 250 classes, rows and columns have names, otherwise the numbers of
    every tenth, fiftieth or hundredth class, from 0.

    Args:
        matrix: [K, K] counts.
        names: K names.
        shares: write percentages instead of counts.

    Returns:
        HWC RGB uint8.
    """
    count = len(names)
    named = count <= COUNTED
    cell = max(NAMED, min(CELL, 1600 // count)) if named else max(2, COUNTED_SIDE // count)
    step = 1 if named else next(s for s in (10, 50, 100, 500) if s * cell >= 24 or s == 500)
    labels = _short_names(names) if named else [str(number) for number in range(count)]
    margin = max(text_size(label, LETTERS)[0] for label in labels) + EDGE
    legend = "darker: larger share of the row" + ("; numbers in percent" if shares else "")
    lines = [TITLE, legend] if named else [TITLE, legend, f"{count} classes shown by number"]
    row = text_size("", LETTERS)[1] + 4
    head, side = EDGE + len(lines) * row + 4, cell * count
    width = max(margin + side, *(text_size(line, LETTERS)[0] + EDGE for line in lines)) + EDGE
    picture = np.full((head + margin + side + EDGE, width, 3), 255, np.uint8)
    for number, line in enumerate(lines):
        write_text(picture, line, (EDGE, EDGE + number * row), LETTERS)
    _name_axes(picture[head:], labels, cell, margin, step)
    part = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    blue = np.stack([255 - 215 * part, 255 - 135 * part, 255 - 60 * part], -1)
    cells = blue.astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    place = picture[head + margin :, margin:][:side, :side]
    place[:] = cells
    if count <= 30:
        _number_cells(place, matrix, part, cell, shares)
    _frame(place, cell if cell >= NAMED else side)
    return picture


def _short_names(names: Sequence[str]) -> list[str]:
    """Return names shortened to fit; with their numbers if they would look the same."""
    labels = [fit(name, LETTERS, LONGEST) for name in names]
    if len(set(labels)) == len(labels):
        return labels
    return [fit(f"{number} {name}", LETTERS, LONGEST) for number, name in enumerate(names)]


def _name_axes(
    picture: np.ndarray, labels: Sequence[str], cell: int, margin: int, step: int
) -> None:
    """Write names beside the rows and, rotated, above the columns."""
    side = cell * len(labels)
    rows, columns = (np.full((side, margin, 3), 255, np.uint8) for _ in range(2))
    for index in range(0, len(labels), step):
        wide, high = text_size(labels[index], LETTERS)
        top = index * cell + (cell - high) // 2
        write_text(rows, labels[index], (margin - wide - 2, top), LETTERS)
        write_text(columns, labels[index], (2, top), LETTERS)
    picture[margin : margin + side, :margin] = rows
    picture[:margin, margin : margin + side] = np.rot90(columns)


def _number_cells(
    place: np.ndarray, matrix: np.ndarray, part: np.ndarray, cell: int, shares: bool
) -> None:
    for row, column in np.argwhere(matrix):
        share = part[row, column]
        text = f"{100 * share:.1f}" if shares else _short(int(matrix[row, column]))
        wide, high = text_size(text, SMALL)
        corner = column * cell + (cell - wide) // 2, row * cell + (cell - high) // 2
        write_text(place, text, corner, SMALL, LIGHT if share > 0.5 else DARK)


def _short(count: int) -> str:
    """Return a count in at most six characters."""
    for unit, letter in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= 100 * unit:
            return f"{count // unit}{letter}"
    return str(count)


def _frame(place: np.ndarray, step: int) -> None:
    """Draw light lines between the cells, so that empty ones are visible."""
    side = len(place)
    for at in {*range(0, side, step), side - 1}:
        place[at], place[:, at] = 215, 215
