"""Pictures of results."""

from collections.abc import Collection

import cv2
import numpy as np

from cvkit.ops.rle import decode_parts, outlines
from cvkit.output.answers import per_cent
from cvkit.output.canvas import Canvas
from cvkit.output.lettering import fit, text_size, write_text
from cvkit.output.plates import Covers, Plates
from cvkit.structures import IGNORE, ClassList, Instances, SegMap, voc_color

NAMED = 1000
"""Objects of a picture, the best ones, whose class and score are written beside them."""


def draw_segmentation(
    image: np.ndarray,
    result: SegMap,
    classes: ClassList,
    opacity: float = 0.5,
    legend: Collection[str] | None = None,
) -> np.ndarray:
    """Return the image with its classes in colour, and a legend under it.

    A class whose colour is black (the background of VOC) is not drawn.

    Args:
        image: HWC RGB uint8.
        result: label map of the same size.
        classes: names and colours.
        opacity: of the colours, in [0, 1].
        legend: the classes in it, so that it is the same for all frames of a video; None: those in
            the image, with their shares.

    Returns:
        HWC RGB uint8: the image, enlarged if it is small, and the legend.
    """
    canvas = Canvas(image)
    labels, _ = canvas.enlarge_part(result.labels)
    table = np.zeros((256, 3), np.uint8)
    table[: len(classes)] = classes.colors
    painted = cv2.addWeighted(canvas.picture, 1 - opacity, table[labels], opacity, 0)
    counts = np.bincount(result.labels.ravel(), minlength=256)
    colored = table.any(1) & (np.arange(256) != IGNORE)
    cv2.copyTo(canvas.picture, (~colored).astype(np.uint8)[labels], painted)
    for index in np.flatnonzero(colored & (counts > 0)):
        lines = outlines(labels == index)
        cv2.drawContours(painted, lines, -1, [int(v) for v in table[index]], canvas.line)
    # A class that is not drawn has no colour in the legend either.
    squares = [color if any(color) else (255, 255, 255) for color in classes.colors]
    shares = counts[: len(classes)] / result.labels.size
    if legend is not None:
        pairs = zip(classes.names, squares, strict=True)
        entries = [(name, square) for name, square in pairs if name in legend]
    else:
        entries = [
            (f"{classes.names[index]} {per_cent(shares[index])}", squares[index])
            for index in np.argsort(-shares, kind="stable")
            if shares[index] > 0
        ]
    return np.vstack([painted, _legend(entries, painted.shape[1], canvas.text)])


def draw_boxes(image: np.ndarray, result: Instances, classes: ClassList) -> np.ndarray:
    """Return the image with a frame, the class and the score of each object.

    Args:
        image: HWC RGB uint8.
        result: objects; the best one is drawn last.
        classes: names and colours.

    Returns:
        HWC RGB uint8: the image, enlarged if it is small.
    """
    canvas = Canvas(image)
    boxes = canvas.enlarge_boxes(result.boxes)
    covers = Covers(image.shape[:2])
    parts = [covers.add_box(box) for box in result.boxes]
    colors = [[int(v) for v in classes.colors[int(label) - 1]] for label in result.labels]
    for (x1, y1, x2, y2), color in zip(boxes[::-1].tolist(), colors[::-1], strict=True):
        cv2.rectangle(canvas.picture, (x1, y1), (x2 - 1, y2 - 1), color, canvas.line)
    plates = Plates(canvas.picture, canvas.text, covers)
    for index, box in enumerate(boxes[:NAMED]):
        text = plates.fit(_caption(result, index, classes))
        where, _, _ = plates.place(text, box, parts[index])
        plates.draw(text, where, colors[index])
    return canvas.picture


def draw_instances(
    image: np.ndarray, result: Instances, classes: ClassList, opacity: float = 0.4
) -> np.ndarray:
    """Return the image with each object's area in its own colour, and its outline.

    Class and score are placed where they cover no other text, and either no object or one that is
    larger than they are.

    Args:
        image: HWC RGB uint8.
        result: objects with masks; the best one is drawn last.
        classes: names.
        opacity: of the colours, in [0, 1].

    Returns:
        HWC RGB uint8: the image, enlarged if it is small.
    """
    canvas = Canvas(image)
    picture, covers = canvas.picture, Covers(image.shape[:2])
    colors = [np.array(voc_color(1 + index % 254)) for index in range(len(result))]
    boxes, parts = [], []
    for color, (small, corner) in zip(
        colors[::-1], reversed(list(decode_parts(result.coded_masks()))), strict=True
    ):
        parts.append(covers.add_part(small, corner))
        part, (y, x) = canvas.enlarge_part(small, corner)
        place = picture[y : y + part.shape[0], x : x + part.shape[1]]
        place[part] = ((1 - opacity) * place[part] + opacity * color).astype(np.uint8)
        bright = [int(v) for v in color // 2 + 127]
        cv2.drawContours(picture, outlines(part), -1, bright, canvas.line, offset=(x, y))
        boxes.append((x, y, x + part.shape[1], y + part.shape[0]))
    plates = Plates(picture, canvas.text, covers)
    named = list(zip(boxes[::-1], parts[::-1], strict=True))[:NAMED]
    for index, (box, covered) in enumerate(named):
        text = plates.fit(_caption(result, index, classes))
        where, over_plate, over_object = plates.place(text, box, covered)
        wide, high = plates.size(text)
        roomy = wide <= box[2] - box[0] and 2 * high <= box[3] - box[1]
        if not over_plate and (roomy or not over_object):
            plates.draw(text, where, [int(v) for v in colors[index]])
    return picture


def draw_caption(image: np.ndarray, text: str) -> np.ndarray:
    """Return an HWC RGB uint8 image, enlarged if it is small, with a line of text under it."""
    canvas = Canvas(image)
    line = fit(text, canvas.text, canvas.picture.shape[1])
    width, height = text_size(line, canvas.text)
    strip = np.full((height, canvas.picture.shape[1], 3), 255, np.uint8)
    write_text(strip, line, ((strip.shape[1] - width) // 2, 0), canvas.text)
    return np.vstack([canvas.picture, strip])


def _caption(result: Instances, index: int, classes: ClassList) -> str:
    """Return the class of an object, and the score if it has one."""
    name = classes.names[int(result.labels[index]) - 1]
    return name if result.scores is None else f"{name} {result.scores[index]:.2f}"


def _legend(entries: list[tuple[str, tuple[int, int, int]]], width: int, pixels: int) -> np.ndarray:
    """Return an HWC picture of colour boxes and text, as wide as the image."""
    gap, row = pixels // 2, round(1.6 * pixels)
    places, x, y = [], gap, 0
    for entry, color in entries:
        text = fit(entry, pixels, width - pixels - 3 * gap)
        length = pixels + gap + text_size(text, pixels)[0]
        if x > gap and x + length + gap > width:
            x, y = gap, y + row
        places.append((text, color, x, y + gap))
        x += length + 2 * gap
    picture = np.full((y + row + gap, width, 3), 255, np.uint8)
    for text, color, left, top in places:
        box = ((left, top), (left + pixels, top + pixels))
        cv2.rectangle(picture, *box, [int(v) for v in color], -1)
        cv2.rectangle(picture, *box, (60, 60, 60), 1)
        write_text(picture, text, (left + pixels + gap, top - pixels // 12), pixels)
    return picture
