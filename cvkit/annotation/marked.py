"""An object as annotation formats store it: a class, a box, perhaps a mask and a score."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from cvkit.ops.rle import decode_parts
from cvkit.structures import Instances, Masks


@dataclass(frozen=True)
class Marked:
    """An object in an image.

    Attributes:
        name: of its class.
        box: x1, y1, x2, y2 in continuous pixels.
        part: [h, w] bool, the rectangle of its mask that has pixels; None if it has no mask.
        corner_yx: of this rectangle in the image.
        score: in [0, 1]; None for a truth.
    """

    name: str
    box: tuple[float, float, float, float]
    part: np.ndarray | None = None
    corner_yx: tuple[int, int] = (0, 0)
    score: float | None = None


def marked(found: Instances, names: Sequence[str]) -> Iterator[Marked]:
    """Yield the objects of an image; of those with masks, the ones that have pixels.

    Args:
        found: objects with run-length masks, or without masks.
        names: of the classes.
    """
    boxes = [(x, y, x + w, y + h) for x, y, w, h in found.corner_and_size().tolist()]
    labels = [names[label - 1] for label in found.labels.tolist()]
    scores = [None] * len(found) if found.scores is None else found.scores.astype(float).tolist()
    columns = zip(labels, boxes, scores, strict=True)
    if not isinstance(found.masks, Masks):
        for label, box, score in columns:
            yield Marked(label, box, score=score)
        return
    for (label, box, score), (part, corner) in zip(columns, decode_parts(found.masks), strict=True):
        if part.any():
            yield Marked(label, box, part, corner, score)


def on_label_map(
    labels: np.ndarray, indices: Sequence[int], names: Sequence[str], scores: Sequence[float]
) -> Iterator[Marked]:
    """Yield an object for each of some classes of a label map, with all pixels of the class.

    Args:
        labels: HW class indices.
        indices: of the classes.
        names: of these classes.
        scores: of these classes.
    """
    for index, name, score in zip(indices, names, scores, strict=True):
        mask = labels == index
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if len(rows):
            (top, bottom), (left, right) = rows[[0, -1]].tolist(), columns[[0, -1]].tolist()
            part = mask[top : bottom + 1, left : right + 1]
            box = (float(left), float(top), float(right + 1), float(bottom + 1))
            yield Marked(name, box, part, (top, left), score)
