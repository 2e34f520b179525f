"""Numbers of detections: those that cannot be used, and those that look like mistakes. No torch."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import MOST_PIXELS, AnnotatedImage
from cvkit.ops.rle import mask_areas
from cvkit.structures import Masks
from cvkit.texts import counted


@dataclass(frozen=True)
class Table:
    """Detections: number of the image, label from 1, score, and x, y, width, height.

    `codes` are those of their masks, `extents` as in `Masks`; `boxless` marks those whose box is
    derived from the mask.
    """

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    xywh: np.ndarray
    codes: np.ndarray | None = None
    boxless: np.ndarray | None = None
    extents: np.ndarray | None = None

    def pick(self, which: np.ndarray) -> "Table":
        """Return the detections at these positions."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        picked: dict[str, Any] = {k: None if v is None else v[which] for k, v in values.items()}
        return Table(**picked)


def refused(xywh: Sequence[float], score: float) -> str:
    """Return why a detection cannot be used; empty if it can."""
    if not math.isfinite(score) or abs(score) > MOST_PIXELS:
        return f"score {score:g} is not usable: it is not a finite number, or too large"
    if not all(abs(value) <= MOST_PIXELS for value in xywh):
        reason = "it is not finite, or larger than any image"
    elif min(xywh[2:]) < 0:
        reason = "its width or height is negative"
    else:
        return ""
    text = ", ".join(f"{value:g}" for value in xywh)
    return f"box {text} (x, y, width, height) is not usable: {reason}"


def remarks(table: Table, images: Sequence[AnnotatedImage], place: Path) -> tuple[str, ...]:
    """Return remarks on detections that no object can match, and on boxes of another kind.

    Args:
        table: the detections.
        images: of the truth.
        place: of the detections.
    """
    given = slice(None) if table.boxless is None or not table.boxless.any() else ~table.boxless
    boxes = table.xywh[given]
    flat = (boxes[:, 2] == 0) | (boxes[:, 3] == 0)
    found = [(int(flat.sum()), "no width or no height")]
    if table.codes is not None:
        masks = Masks((0, 0), table.codes, table.extents)
        found.append((int((mask_areas(masks) == 0).sum()), "no pixel in the mask"))
    notes = [
        f"{place}: {counted(count, 'detection')} {'has' if count == 1 else 'have'} {what}, and "
        f"{'matches' if count == 1 else 'match'} no object"
        for count, what in found
        if count
    ]
    if len(boxes) and all(image.size_wh for image in images) and not flat.all():
        sizes = np.array([image.size_wh for image in images], np.float64)
        if boxes.max() <= 1 < sizes.min() / 8:
            kind = "fractions of the image's sides", "pixels"
        elif (boxes[:, 2] > boxes[:, 0]).all() and _as_corners(boxes, sizes[table.images[given]]):
            kind = "x1, y1, x2, y2", "x, y, width, height"
        else:
            return tuple(notes)
        notes.append(f"{place}: its boxes look like {kind[0]}, and are read as {kind[1]}")
    return tuple(notes)


def _as_corners(boxes: np.ndarray, sizes_wh: np.ndarray) -> bool:
    """Return whether boxes read as corners are all inside their images, but many are not as given.

    Args:
        boxes: [N, 4] x, y, width, height.
        sizes_wh: [N, 2] of their images.
    """
    start, sides = boxes[:, :2], boxes[:, 2:]
    corners = ((sides > start) & (sides <= sizes_wh + 1)).all()
    outside = (start + sides > 1.1 * sizes_wh).any(1)
    return bool(corners and outside.mean() > 0.2)
