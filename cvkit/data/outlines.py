"""Objects as annotation tools store them: a class, and a box, polygons or a mask."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvkit.data.annotated import (
    AnnotatedImage,
    Annotations,
    box_defect,
    make_truth,
    no_objects,
)
from cvkit.data.classes import dataset_classes, object_classes, without_background
from cvkit.data.decode import upright_size_hw
from cvkit.data.segmentations import lies_outside, read_segmentation
from cvkit.errors import CvkitError, DataError
from cvkit.ops.rle import encode_part, make_masks, mask_areas, mask_boxes
from cvkit.structures import Instances
from cvkit.texts import shown

CORNERS_OF_ELLIPSE = 64
"""Number of corners of the polygon that an ellipse becomes."""


@dataclass(frozen=True)
class Outline:
    """An object.

    Attributes:
        name: of its class.
        where: file and position, for messages.
        box: x1, y1, x2, y2 in continuous pixels; None: around its polygons or mask.
        polygons: x, y, x, y ... in pixels, for each part.
        part: mask of a rectangle of the image, with the x and y of its first pixel.
    """

    name: str
    where: str
    box: tuple[float, float, float, float] | None = None
    polygons: tuple[list[float], ...] = ()
    part: tuple[np.ndarray, int, int] | None = None


@dataclass(frozen=True)
class OutlinedImage:
    """An image with its objects.

    Attributes:
        path: its location, in the dataset.
        size_wh: width and height that the annotation claims; None if it claims none.
        objects: in the order of the file.
    """

    path: Path
    size_wh: tuple[int, int] | None
    objects: Sequence[Outline]


def ellipse(
    cx: float, cy: float, rx: float, ry: float, degrees: float = 0
) -> tuple[list[float], ...]:
    """Return the polygon of an ellipse with these centre and radii, turned clockwise."""
    angles = np.linspace(0, 2 * math.pi, CORNERS_OF_ELLIPSE, endpoint=False)
    x, y = rx * np.cos(angles), ry * np.sin(angles)
    turn = math.radians(degrees)
    points = [
        cx + x * math.cos(turn) - y * math.sin(turn),
        cy + x * math.sin(turn) + y * math.cos(turn),
    ]
    return (np.stack(points, 1).reshape(-1).tolist(),)


def annotate(
    root: Path,
    images: Sequence[OutlinedImage],
    names: Collection[str],
    found: Annotations,
    *,
    masks: bool,
    order: Sequence[str] = (),
) -> None:
    """Add images with their objects; defects are collected.

    Classes are those of `classes.txt` or `labelmap.txt`, without a background that no object has;
    otherwise all names, sorted. Ids are 1, 2, ...

    Args:
        root: the dataset.
        images: of a split.
        names: of the classes of all objects of the dataset.
        found: gets classes, images and defects.
        masks: every object must have a polygon or a mask.
        order: all classes in the order of their numbers, if the annotations define it.
    """
    listed, _ = dataset_classes(root)
    known = sorted(names) if listed is None else without_background(listed.names, lambda: names)
    known = [*order] or known
    if not known:
        found.defects.append(
            DataError(f"{root} has no objects, and no list of classes", code="classes.missing")
        )
    found.classes = object_classes(known, range(1, len(known) + 1))
    labels = {name: number for number, name in enumerate(known, 1)}
    for image in images:
        try:
            size_wh = image.size_wh or upright_size_hw(image.path)[::-1]
            truth = _truth(image, size_wh, labels, masks)
        except CvkitError as defect:
            found.defects.append(defect)
            continue
        key = image.path.relative_to(root).as_posix()
        number = len(found.images) + 1
        found.images.append(AnnotatedImage(key, image.path, number, image.size_wh, truth))


def _truth(
    image: OutlinedImage, size_wh: tuple[int, int], labels: dict[str, int], masks: bool
) -> Instances:
    """Return the objects of an image.

    Raises:
        DataError: describes the defect of one.
    """
    boxes, codes = [], []
    for each in image.objects:
        if each.name not in labels:
            raise DataError(
                f"{each.where}: {shown(each.name)} is not a class",
                code="object.name_unknown",
                hint=f"known: {', '.join([*labels][:20])}",
            )
        code = _code(each, size_wh) if masks or each.part else None
        if code is not None:
            codes.append(code)
        box = each.box or _around(each, code, size_wh)
        if defect := box_defect(box, size_wh, each.where, "bbox"):
            raise defect
        boxes.append(box)
    if masks:
        made = make_masks(codes, size_wh[::-1])
        if not boxes:
            return replace(no_objects(), masks=made)
        labels_of = [labels[each.name] for each in image.objects]
        return make_truth(boxes, labels_of, areas=mask_areas(made), masks=made)
    return make_truth(boxes, [labels[each.name] for each in image.objects])


def _code(each: Outline, size_wh: tuple[int, int]) -> bytes:
    """Return the code of an object's mask.

    Raises:
        DataError: it has none, or one that does not fit into the image.
    """
    size_hw = size_wh[::-1]
    if each.part is not None:
        pixels, x, y = each.part
        height, width = pixels.shape
        if x < 0 or y < 0 or x + width > size_wh[0] or y + height > size_wh[1]:
            raise DataError(
                f"{each.where}: its mask is outside the image of {size_wh[0]}x{size_wh[1]}",
                code="segm.outside",
            )
        return encode_part(pixels, (y, x), size_hw)
    if not each.polygons:
        raise DataError(
            f"{each.where}: a box, not the outline of an object",
            code="segm.missing",
            hint="draw polygons or masks; for boxes alone use 'cvkit detect'",
        )
    code = read_segmentation([*each.polygons], size_hw, each.where)
    if isinstance(code, DataError):
        raise code
    if lies_outside([*each.polygons], size_hw):
        raise DataError(
            f"{each.where}: its polygons are outside the image of {size_wh[0]}x{size_wh[1]}",
            code="segm.outside",
        )
    return code


def _around(
    each: Outline, code: bytes | None, size_wh: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return the box around the polygons or the mask of an object.

    Raises:
        DataError: a polygon has fewer than three corners.
    """
    if each.part is not None and code is not None:
        x, y, w, h = mask_boxes(make_masks([code], size_wh[::-1]))[0].tolist()
        return x, y, x + w, y + h
    if not each.polygons or min(map(len, each.polygons)) < 6:
        raise DataError(
            f"{each.where}: a polygon with fewer than three corners", code="segm.odd_or_short"
        )
    x = [value for polygon in each.polygons for value in polygon[::2]]
    y = [value for polygon in each.polygons for value in polygon[1::2]]
    return min(x), min(y), max(x), max(y)
