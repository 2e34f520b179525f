"""Lines of YOLO's label files, in fractions of the image's sides."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from cvkit.annotation.marked import Marked
from cvkit.ops.rings import joined_rings


def numbers(
    objects: Iterable[Marked], labels: Mapping[str, int], size_wh: tuple[int, int]
) -> Iterator[list[float | int]]:
    """Yield the numbers of each object: its class, and its box or its outline.

    Boxes are cx, cy, w, h; they end at the image's border. Outlines are x, y, x, y ... along the
    edges of pixels; lines that enclose no area lead to holes and further parts.

    Args:
        objects: of an image.
        labels: number of each class, from 0.
        size_wh: of the image.
    """
    sides = np.array(size_wh, np.float64)
    for shown in objects:
        if shown.part is None:
            x1, y1, x2, y2 = shown.box
            first, last = np.clip((x1, y1), 0, sides), np.clip((x2, y2), 0, sides)
            shares = np.concatenate([(first + last) / 2, last - first]) / np.tile(sides, 2)
        else:
            shares = ((joined_rings(shown.part) + shown.corner_yx[::-1]) / sides).ravel()
        yield [labels[shown.name], *shares.tolist()]
