"""The lines of YOLO's label files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cvkit.data.segmentations import read_segmentation
from cvkit.errors import DataError
from cvkit.texts import counted, parse_number, shown

SLACK = 1e-3
"""How far rounding may move a box over the image border, as a fraction of the image size."""


@dataclass(frozen=True)
class Line:
    """An object.

    Attributes:
        label: class number from 1.
        box: x1, y1, x2, y2 in pixels.
        corners: x, y, x, y ... of its polygon in pixels; empty for a box.
        code: of its mask, if masks are needed.
        where: file and line.
    """

    label: int
    box: tuple[float, ...]
    corners: tuple[float, ...]
    code: bytes | None
    where: str


def read_line(line: str, count: int, size_wh: tuple[int, int], where: str, *, masks: bool) -> Line:
    """Return the object in a line.

    Args:
        line: its text.
        count: number of classes.
        size_wh: of the image.
        where: file and line, for messages.
        masks: it must be a polygon.

    Raises:
        DataError: it is malformed, outside the image, or a box although masks are needed.
    """
    words = line.split()
    parts = [parse_number(part) for part in words]
    numbers = [part for part in parts if part is not None]
    if len(numbers) < len(parts):
        if len(parts) in (9, 10) and None not in parts[:8] and parts[8] is None:
            raise _oriented(f"{where} has", "an oriented box")
        raise DataError(f"{where}: {shown(line)} does not consist of numbers", code="yolo.syntax")
    label, *values = numbers
    if not label.is_integer() or not 0 <= label < count:
        raise DataError(
            f"{where}: class {shown(words[0])} is not in 0..{count - 1}", code="yolo.class"
        )
    box = _corners(values, size_wh, where)
    width, height = size_wh
    corners = [v * (height if n % 2 else width) for n, v in enumerate(values) if len(values) > 4]
    code = None
    if masks and not corners:
        raise DataError(
            f"{where}: a box, not the outline of an object",
            code="segm.missing",
            hint="a polygon CLASS X Y X Y X Y ...; for boxes alone use 'cvkit detect'",
        )
    if masks:
        found = read_segmentation([corners], size_wh[::-1], where)
        if isinstance(found, DataError):
            raise found
        code = found
    return Line(int(label) + 1, box, tuple(corners), code, where)


def _corners(values: list[float], size_wh: tuple[int, int], where: str) -> tuple[float, ...]:
    if len(values) == 4:
        x, y, w, h = values
        shares = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        shares = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    else:
        raise DataError(
            f"{where}: {counted(len(values), 'number')} instead of a box", code="yolo.syntax"
        )
    wrong = not all(map(math.isfinite, values))  # the minimum and maximum hide NaN
    wrong |= not all(-SLACK <= share <= 1 + SLACK for share in shares)
    if wrong or shares[2] < shares[0] or shares[3] < shares[1]:
        raise DataError(
            f"{where}: box {shown([round(v, 4) for v in values])} leaves the image",
            code="yolo.range",
            hint="centre and size are shares of the image from 0 to 1",
        )
    width, height = size_wh
    x1, y1, x2, y2 = (min(1.0, max(0.0, share)) for share in shares)
    return x1 * width, y1 * height, x2 * width, y2 * height


def oriented(place: Path, lines: Sequence[Line]) -> DataError | None:
    """Return a defect if the objects of a split are oriented boxes.

    These are polygons with four corners. They are taken for boxes if all objects are rectangles and
    one of them is tilted: outlines of objects are not.
    """
    if not lines or not all(_is_rectangle(line.corners) for line in lines):
        return None
    tilted = next((line for line in lines if _is_tilted(line.corners)), None)
    return _oriented(f"{tilted.where}: {place} has", "oriented boxes") if tilted else None


def _oriented(where: str, what: str) -> DataError:
    return DataError(
        f"{where} {what}, which cvkit does not train on",
        code="yolo.oriented",
        hint="export upright boxes (CLASS CX CY W H), or polygons for 'cvkit instance'",
    )


def _sides(corners: Sequence[float]) -> list[tuple[float, float]]:
    points = list(zip(corners[::2], corners[1::2], strict=True))
    following = [*points[1:], points[0]]
    return [(b[0] - a[0], b[1] - a[1]) for a, b in zip(points, following, strict=True)]


def _is_rectangle(corners: Sequence[float]) -> bool:
    """Return whether a polygon has four right angles, up to the rounding of its corners."""
    if len(corners) != 8:
        return False
    sides = _sides(corners)
    for (x1, y1), (x2, y2) in zip(sides, [*sides[1:], sides[0]], strict=True):
        if abs(x1 * x2 + y1 * y2) > 0.05 * math.hypot(x1, y1) * math.hypot(x2, y2):
            return False
    return True


def _is_tilted(corners: Sequence[float]) -> bool:
    """Return whether no side of a rectangle is upright, by more than a pixel."""
    return all(min(abs(x), abs(y)) > 1 for x, y in _sides(corners))
