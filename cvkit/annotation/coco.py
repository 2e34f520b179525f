"""COCO's datasets: rows of images, categories and annotations."""

from collections.abc import Sequence
from typing import Any

from cvkit.annotation.marked import Marked
from cvkit.ops.rings import joined_rings, pieces
from cvkit.structures import ClassList


def image_row(number: int, name: str, size_wh: tuple[int, int]) -> dict[str, Any]:
    """Return the row of an image."""
    return {"id": number, "file_name": name, "width": size_wh[0], "height": size_wh[1]}


def category_rows(classes: ClassList) -> list[dict[str, Any]]:
    """Return the rows of classes, with the ids of their data."""
    return [{"id": id_, "name": name} for id_, name in zip(classes.ids, classes.names, strict=True)]


def object_row(
    number: int, image: int, category: int, box_xywh: Sequence[float], area: float, **more: object
) -> dict[str, Any]:
    """Return the row of an object.

    Args:
        number: of the annotation, from 1.
        image: id of the image.
        category: id of the class.
        box_xywh: x, y, width, height in continuous pixels.
        area: in pixels.
        more: further fields.
    """
    row: dict[str, Any] = {"id": number, "image_id": image, "category_id": category}
    return row | {"bbox": list(box_xywh), "area": area, "iscrowd": 0} | more


def polygons(shown: Marked) -> list[list[float]]:
    """Return the mask of an object as COCO's polygons x, y, x, y ..., one per connected piece.

    They run along the edges of pixels, so that pycocotools draws the same mask; lines that enclose
    no area lead to holes and back.
    """
    assert shown.part is not None, "the object has a mask"
    (top, left), found = shown.corner_yx, []
    for piece, (y, x) in pieces(shown.part):
        corners = joined_rings(piece) + (left + x, top + y)
        found.append(corners.astype(float).ravel().tolist())
    return found
