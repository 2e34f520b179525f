"""LabelMe's JSON file of an image."""

from collections.abc import Iterable, Iterator
from typing import Any

from cvkit.annotation.marked import Marked
from cvkit.ops.rings import joined_rings, pieces


def document(
    image_path: str,
    size_wh: tuple[int, int],
    objects: Iterable[Marked],
    classes: Iterable[str] = (),
) -> dict[str, Any]:
    """Return the content of a file.

    Args:
        image_path: of the image, relative to the file.
        size_wh: of the image.
        objects: become polygons and rectangles.
        classes: of the whole image; they become flags.
    """
    return {
        "version": "5.5.0",
        "flags": dict.fromkeys(classes, True),
        "shapes": list(_shapes(objects)),
        "imagePath": image_path,
        "imageData": None,
        "imageHeight": size_wh[1],
        "imageWidth": size_wh[0],
    }


def _shapes(objects: Iterable[Marked]) -> Iterator[dict[str, Any]]:
    """Yield the polygons or the rectangle of each object; polygons of one object are a group."""
    for number, shown in enumerate(objects, 1):
        if shown.part is None:
            x1, y1, x2, y2 = shown.box
            yield _shape(shown, "rectangle", [[x1, y1], [x2, y2]], None)
            continue
        (top, left), found = shown.corner_yx, list(pieces(shown.part))
        for piece, (y, x) in found:
            points = (joined_rings(piece) + (left + x, top + y)).tolist()
            yield _shape(shown, "polygon", points, number if len(found) > 1 else None)


def _shape(
    shown: Marked, kind: str, points: list[list[float]], group: int | None
) -> dict[str, Any]:
    shape = {"label": shown.name, "points": points, "group_id": group, "shape_type": kind}
    return shape | {"flags": {}} | ({} if shown.score is None else {"score": shown.score})
