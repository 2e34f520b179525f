"""Detections in YOLO's text files, boxes and polygons, as rows of COCO's results. No torch."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cvkit.data.annotated import AnnotatedImage
from cvkit.errors import CvkitError, DataError, raise_defects
from cvkit.scoring.detection_numbers import refused
from cvkit.structures import ClassList
from cvkit.texts import parse_number, read_lines, shown, whole_number

BOX = "CLASS CX CY WIDTH HEIGHT SCORE"
POLYGON = "CLASS X1 Y1 X2 Y2 X3 Y3 ... SCORE"
MOST_SIDES = 10
"""Largest coordinate in sides of the image; larger ones are pixels."""


def yolo_classes(folder: Path, classes: ClassList) -> tuple[str, ...]:
    """Return the names of YOLO's class numbers: `classes.txt`, else the classes of the truth."""
    listed = folder / "classes.txt"
    return tuple(read_lines(listed, area="list")) if listed.is_file() else classes.names


def yolo_rows(path: Path, image: AnnotatedImage, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the boxes of the lines of a file, fractions of the image's sides.

    Raises:
        DataError: lists every malformed line.
    """

    def add(values: Values, wh: Size, name: str, where: str, found: Found) -> None:
        (width, height), (cx, cy, w, h, score) = wh, values
        box = [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]
        add_box(*found, box, score, where, category_name=name)

    return _rows(path, image, names, BOX, lambda count: count == 6, add)


def polygon_rows(path: Path, image: AnnotatedImage, names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the polygons of the lines of a file, in fractions of the image's sides.

    Raises:
        DataError: lists every malformed line.
    """

    def add(values: Values, wh: Size, name: str, where: str, found: Found) -> None:
        *points, score = values
        scaled = [value * wh[place % 2] for place, value in enumerate(points)]
        found[0].append({"segmentation": [scaled], "score": score, "category_name": name})

    fits = lambda count: count >= 8 and count % 2 == 0  # noqa: E731
    return _rows(path, image, names, POLYGON, fits, add)


Values = Sequence[float]
Size = tuple[int, int]
Found = tuple[list[dict[str, Any]], list[CvkitError]]
"""Rows of COCO's results, and defects."""


def _rows(
    path: Path,
    image: AnnotatedImage,
    names: Sequence[str],
    form: str,
    fits: Callable[[int], bool],
    add: Callable[[Values, Size, str, str, Found], None],
) -> list[dict[str, Any]]:
    """Return a row for each line of a file.

    Args:
        path: of the file.
        image: that it is about.
        names: of the classes, by number.
        form: of a line, in words.
        fits: whether a line can have so many numbers.
        add: called with the numbers after the class, the image's width and height, the class, the
            place of the line, and what has been found.

    Raises:
        DataError: lists every malformed line.
    """
    found: Found = [], []
    for number, line in enumerate(read_lines(path, area="results"), 1):
        if not (cells := line.split()):
            continue
        where, defects = f"{path}:{number}", found[1]
        values = [value for cell in cells if (value := parse_number(cell)) is not None]
        kind = whole_number(cells[0])
        if not fits(len(cells)) and fits(len(cells) + 1):
            text = f"has no score: lines of predictions are {form}"
            defects.append(DataError(f"{where} {text}", code="results.row"))
        elif (
            not fits(len(cells)) or len(values) < len(cells) or not all(map(math.isfinite, values))
        ):
            defects.append(DataError(f"{where} is not {form}", code="results.row"))
        elif kind is None or not 0 <= kind < len(names):
            text = f"class {shown(cells[0])} is not a number from 0 to {len(names) - 1}"
            defects.append(DataError(f"{where}: {text}", code="results.category"))
        elif image.size_wh is None:
            defects.append(
                DataError(
                    f"{where}: the truth does not say the size of {image.key}, which fractions "
                    "of its sides need",
                    code="image.size",
                    hint="give the truth width and height",
                )
            )
        elif max(map(abs, values[1:-1])) > MOST_SIDES:
            text = f"are {form}, with coordinates as fractions of the image's sides"
            message = f"{where} has coordinates over {MOST_SIDES}: lines {text}"
            defects.append(DataError(message, code="results.value"))
        else:
            add([float(value) for value in values[1:]], image.size_wh, names[kind], where, found)
    raise_defects(found[1], str(path))
    return found[0]


def add_box(
    rows: list[dict[str, Any]],
    defects: list[CvkitError],
    box: list[float],
    score: float,
    where: str,
    **more: object,
) -> None:
    """Append a row, or the defect of its numbers."""
    if reason := refused(box, score):
        defects.append(DataError(f"{where}: {reason}", code="results.value"))
    else:
        rows.append({"bbox": box, "score": score, **more})
