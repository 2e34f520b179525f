"""Pictures of results."""

from collections.abc import Sequence

import cv2
import numpy as np

from cvkit.ops.masks import decode_parts, outlines
from cvkit.printable import printable
from cvkit.structures import IGNORE, ClassList, Instances, SegMap, voc_color

FONT = cv2.FONT_HERSHEY_SIMPLEX
ROW = 22
"""Pixels from one line of the legend to the next."""


def draw_segmentation(
    image: np.ndarray, result: SegMap, classes: ClassList, opacity: float = 0.5
) -> np.ndarray:
    """Return the image with its classes in colour, and a legend under it.

    A class whose colour is black (the background of VOC) leaves the image as it is.

    Args:
        image: HWC RGB uint8.
        result: label map of the same size.
        classes: names and colours.
        opacity: of the colours, in [0, 1].

    Returns:
        HWC RGB uint8, higher than the image by the legend.
    """
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = classes.colors
    painted = cv2.addWeighted(image, 1 - opacity, table[result.labels], opacity, 0)
    unlabelled = result.labels == IGNORE
    plain = unlabelled | ~table.any(1)[result.labels]
    painted[plain] = image[plain]
    for index in np.unique(result.labels[~unlabelled]):
        region = (result.labels == index).astype(np.uint8)
        outlines, _ = cv2.findContours(region, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(painted, outlines, -1, [int(v) for v in table[index]], 1)
    shares = np.bincount(result.labels.ravel(), minlength=256)[: len(classes)] / result.labels.size
    entries = [
        (f"{classes.names[index]} {shares[index]:.1%}", classes.colors[index])
        for index in np.argsort(-shares, kind="stable")
        if shares[index] > 0
    ]
    return np.vstack([painted, _legend(entries, image.shape[1])])


def draw_boxes(image: np.ndarray, result: Instances, classes: ClassList) -> np.ndarray:
    """Return the image with a frame, the class and the score of each object.

    Args:
        image: HWC RGB uint8.
        result: objects; the best one ends up on top.
        classes: names and colours.

    Returns:
        HWC RGB uint8 of the same size.
    """
    picture = image.copy()
    thick = max(1, round(min(image.shape[:2]) / 300))
    for index in range(len(result) - 1, -1, -1):
        color = [int(v) for v in classes.colors[int(result.labels[index]) - 1]]
        x1, y1, x2, y2 = (round(float(v)) for v in result.boxes[index])
        cv2.rectangle(picture, (x1, y1), (x2 - 1, y2 - 1), color, thick)
        write_tag(picture, _words(result, index, classes), (x1, y1), color)
    return picture


def draw_instances(
    image: np.ndarray, result: Instances, classes: ClassList, opacity: float = 0.4
) -> np.ndarray:
    """Return the image with each object's area in a colour of its own, and its outline.

    Class and score stand at objects that are wide enough for the words.

    Args:
        image: HWC RGB uint8.
        result: objects with masks; the best one ends up on top.
        classes: names.
        opacity: of the colours, in [0, 1].

    Returns:
        HWC RGB uint8 of the same size.
    """
    picture, tags = image.copy(), []
    parts = list(decode_parts(result.masks))
    for index in range(len(result) - 1, -1, -1):
        part, (y, x) = parts[index]
        color = np.array(voc_color(1 + index % 254))
        place = picture[y : y + part.shape[0], x : x + part.shape[1]]
        place[part] = ((1 - opacity) * place[part] + opacity * color).astype(np.uint8)
        bright = [int(v) for v in color // 2 + 127]
        cv2.drawContours(picture, outlines(part), -1, bright, 1, offset=(x, y))
        words = _words(result, index, classes)
        wide, high, _ = _size(words, _font_scale(image))
        if wide <= part.shape[1] and 2 * high <= part.shape[0]:
            tags.append((words, (x, y), [int(v) for v in color]))
    for tag in tags:
        write_tag(picture, *tag)
    return picture


def _words(result: Instances, index: int, classes: ClassList) -> str:
    """Return the class of an object, and the score if it has one."""
    name = classes.names[int(result.labels[index]) - 1]
    return name if result.scores is None else f"{name} {result.scores[index]:.2f}"


def _font_scale(image: np.ndarray) -> float:
    return max(0.35, min(image.shape[:2]) / 1100)


def write_tag(
    picture: np.ndarray,
    text: str,
    corner_xy: tuple[int, int],
    color: Sequence[int],
    below: bool = False,
) -> int:
    """Write words on a coloured ground above a corner, or below it; return where the ground ends.

    Args:
        picture: HWC uint8, changed in place.
        text: one line.
        corner_xy: in pixels.
        color: of the ground, in the order of the picture's channels.
        below: always below; else only where there is no room above.
    """
    scale = _font_scale(picture)
    wide, high, under = _size(text, scale)
    left = max(0, min(corner_xy[0], picture.shape[1] - wide - 4))
    above = corner_xy[1] - high - under - 2
    top = corner_xy[1] if below or above < 0 else above
    end = top + high + under + 2
    cv2.rectangle(picture, (left, top), (left + wide + 4, end), color, -1)
    bright = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    ink = (20, 20, 20) if bright > 140 else (255, 255, 255)
    _write(picture, text, (left + 2, top + high + 1), scale, ink)
    return end


def _size(text: str, scale: float) -> tuple[int, int, int]:
    """Return the pixels that a line takes: to the right, above its base line and below it."""
    (wide, high), under = cv2.getTextSize(printable(text), FONT, scale, 1)
    return wide, high, under


def _write(
    picture: np.ndarray,
    text: str,
    place_xy: tuple[int, int],
    scale: float,
    ink: Sequence[int] = (20, 20, 20),
) -> None:
    """Write a line that begins at a place on its base line; OpenCV dies of broken bytes."""
    cv2.putText(picture, printable(text), place_xy, FONT, scale, ink, 1, cv2.LINE_AA)


def _legend(entries: list[tuple[str, tuple[int, int, int]]], width: int) -> np.ndarray:
    """Return an HWC picture of colour boxes and words, as wide as the image."""
    places, x, y = [], 6, 0
    for text, color in entries:
        length, _, _ = _size(text, 0.45)
        if x > 6 and x + length + 24 > width:
            x, y = 6, y + ROW
        places.append((text, color, x, y))
        x += length + 36
    picture = np.full((y + ROW + 4, width, 3), 255, np.uint8)
    for text, color, left, top in places:
        box = ((left, top + 6), (left + 12, top + 18))
        cv2.rectangle(picture, *box, [int(v) for v in color], -1)
        cv2.rectangle(picture, *box, (60, 60, 60), 1)
        _write(picture, text, (left + 18, top + 17), 0.45)
    return picture


def draw_confusion(matrix: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Return a picture of a confusion matrix: rows are truth, columns prediction.

    A cell is darker the larger its share of its row; up to 30 classes the counts stand in it.

    Args:
        matrix: [K, K] counts.
        names: K names.

    Returns:
        HWC RGB uint8.
    """
    cell = max(4, min(46, 1400 // len(names)))
    labelled = cell >= 14
    margin = 8
    if labelled:
        longest = max(_size(name, 0.4)[0] for name in names)
        margin = min(longest, 240) + 16
    head = 28
    side = cell * len(names)
    picture = np.full((margin + head + side + 8, margin + side + 8, 3), 255, np.uint8)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    blue = np.stack([255 - 215 * shares, 255 - 135 * shares, 255 - 60 * shares], -1)
    cells = blue.astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    picture[head + margin : head + margin + side, margin : margin + side] = cells
    _write(picture, "truth (rows), prediction (columns)", (8, 18), 0.45)
    if labelled:
        _name_axes(picture, names, cell, margin, head)
    if len(names) <= 30:
        for row, column in np.argwhere(matrix):
            text = str(matrix[row, column])
            width, _, _ = _size(text, 0.36)
            left = margin + column * cell + (cell - width) // 2
            place = (left, head + margin + row * cell + cell // 2 + 4)
            ink = (255, 255, 255) if shares[row, column] > 0.5 else (20, 20, 20)
            _write(picture, text, place, 0.36, ink)
    return picture


def _name_axes(
    picture: np.ndarray, names: Sequence[str], cell: int, margin: int, head: int
) -> None:
    """Write class names beside the rows and, turned, above the columns."""
    strip = np.full((cell * len(names), margin, 3), 255, np.uint8)
    for index, name in enumerate(names):
        _write(strip, name, (6, index * cell + cell // 2 + 4), 0.4)
    side = len(strip)
    picture[head + margin : head + margin + side, :margin] = strip
    picture[head : head + margin, margin : margin + side] = np.rot90(strip)
