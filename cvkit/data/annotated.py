"""Images with boxes, from any annotation format."""

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cvkit.data.decode import read_header
from cvkit.data.notes import Note
from cvkit.errors import CvkitError, DataError
from cvkit.ops import rle as mask_ops
from cvkit.structures import ClassList, Instances, Masks
from cvkit.texts import is_number, shown, whole_number


@dataclass(frozen=True)
class AnnotatedImage:
    """An image file with its objects.

    Attributes:
        key: the image's path relative to the dataset.
        path: its location.
        image_id: the dataset's own number of the image.
        size_wh: width and height that the annotation claims; None if it claims none.
        truth: the objects.
    """

    key: str
    path: Path
    image_id: int
    size_wh: tuple[int, int] | None
    truth: Instances


@dataclass
class Annotations:
    """The content of an annotation file; the reader lists all defects instead of stopping.

    Attributes:
        classes: in index order.
        images: in the file's order.
        defects: everything that makes it unusable.
        notes: remarks on usable oddities, for warnings.
        remarks: those of which only a check of the data speaks.
    """

    classes: ClassList
    images: list[AnnotatedImage] = field(default_factory=list)
    defects: list[CvkitError] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remarks: list[Note] = field(default_factory=list)


MOST_PIXELS = 10**9
"""Largest image that an annotation or a result may claim; larger claims are mistakes or attacks."""


def claimed_size(sides: Sequence[Any], where: str, code: str) -> tuple[int, int] | None:
    """Return the width and height that a file claims for an image; None if it claims none.

    Sides that are missing, or both 0, count as no claim.

    Args:
        sides: the two values in the file.
        where: file and position, for messages.
        code: of errors.

    Raises:
        DataError: a side is not a positive whole number, or there are over `MOST_PIXELS` pixels.
    """
    if any(side is None for side in sides) or all(is_number(side) and side == 0 for side in sides):
        return None
    width, height = (None if isinstance(side, str) else whole_number(side) for side in sides)
    if width is None or height is None or min(width, height) < 1:
        shape = " x ".join(shown(side) for side in sides)
        raise DataError(
            f"{where}: width x height {shape} are not two positive whole numbers",
            code=code,
            hint="omit them if they are unknown",
        )
    if width * height > MOST_PIXELS:
        raise DataError(
            f"{where}: {width}x{height} is over {MOST_PIXELS // 10**6} megapixels",
            code=code,
            hint="no image is that large; correct the size",
        )
    return width, height


def no_objects() -> Instances:
    """Return the truth of an image without objects."""
    return make_truth(np.zeros((0, 4)), np.zeros(0, np.int64))


def make_truth(
    boxes: ArrayLike,
    labels: ArrayLike,
    *,
    areas: ArrayLike | None = None,
    crowd: ArrayLike | None = None,
    difficult: ArrayLike | None = None,
    xywh: np.ndarray | None = None,
    masks: Masks | None = None,
) -> Instances:
    """Return objects; areas default to those of the boxes, flags to False.

    Args:
        boxes: [N, 4] x1, y1, x2, y2 in continuous pixels.
        labels: [N] class numbers from 1.
        areas: in square pixels.
        crowd: see `Instances`.
        difficult: see `Instances`.
        xywh: see `Instances`.
        masks: see `Instances`.
    """
    corners = np.asarray(boxes, np.float64).reshape(-1, 4)
    if areas is None:
        areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
    none = np.zeros(len(corners), bool)
    return Instances(
        boxes=corners.astype(np.float32),
        labels=np.asarray(labels, np.int64).reshape(-1),
        areas=np.asarray(areas, np.float64),
        crowd=none if crowd is None else np.asarray(crowd, bool),
        difficult=none if difficult is None else np.asarray(difficult, bool),
        xywh=xywh,
        masks=masks,
    )


def box_defect(
    box: Sequence[float], size_wh: tuple[int, int] | None, where: str, kind: str
) -> DataError | None:
    """Return why a box (x1, y1, x2, y2) cannot be used; None if it can.

    Args:
        box: as annotated, in continuous pixels.
        size_wh: of the image, if known.
        where: file and position, for the message.
        kind: first part of the code: `bbox` or `bndbox`.
    """
    x1, y1, x2, y2 = box
    if not all(np.isfinite(value) for value in box):
        return DataError(f"{where}: box {list(box)} is not finite", code=f"{kind}.nonfinite")
    if max(map(abs, box)) > MOST_PIXELS:
        return DataError(
            f"{where}: box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is outside any image",
            code=f"{kind}.outside",
        )
    if x2 < x1 or y2 < y1:
        return DataError(
            f"{where}: box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) ends before it begins",
            code="bbox.nonpositive" if kind == "bbox" else "bndbox.order",
            hint="widths and heights are positive",
        )
    if size_wh and (x1 >= size_wh[0] or y1 >= size_wh[1] or x2 <= 0 or y2 <= 0):
        return DataError(
            f"{where}: box from ({x1:g}, {y1:g}) to ({x2:g}, {y2:g}) is outside the image of "
            f"{size_wh[0]}x{size_wh[1]}",
            code=f"{kind}.outside",
        )
    return None


def upright(
    image: AnnotatedImage, header: tuple[tuple[int, int], int] | None = None
) -> AnnotatedImage:
    """Return an image whose boxes, masks and size are in the pixels that `read_image` gives.

    If the annotation claims the size of the image as stored, and EXIF rotates it, boxes and masks
    are rotated too; if it claims the upright size, or none, they are not. Only the header of the
    image file is read.

    Args:
        image: as annotated.
        header: result of `read_header`, if known already.

    Raises:
        DataError: the annotation claims another size, or an error of `read_header`.
    """
    (height, width), orientation = header or read_header(image.path)
    claimed = image.size_wh
    if claimed is None or claimed == (width, height):
        return replace(image, size_wh=(width, height))
    if orientation not in (5, 6, 7, 8) or claimed != (height, width):
        raise DataError(
            f"{image.path}: its annotation says {claimed[0]}x{claimed[1]}, but the image has "
            f"{width}x{height}",
            code="image.size_mismatch",
            hint="correct the annotation, otherwise the boxes do not fit the image",
        )
    stored_w, stored_h = claimed
    x1, y1, x2, y2 = image.truth.boxes.T
    moved = {
        5: (y1, x1, y2, x2),
        6: (stored_h - y2, x1, stored_h - y1, x2),
        7: (stored_h - y2, stored_w - x2, stored_h - y1, stored_w - x1),
        8: (y1, stored_w - x2, y2, stored_w - x1),
    }[orientation]
    boxes = np.stack(moved, 1).astype(np.float32)
    truth = replace(image.truth, boxes=boxes, xywh=None)
    if isinstance(truth.masks, Masks):
        truth = replace(truth, masks=mask_ops.turned(truth.masks, orientation))
    return replace(image, size_wh=(width, height), truth=truth)


def turn_upright(
    images: Sequence[AnnotatedImage],
) -> tuple[list[AnnotatedImage], list[CvkitError], int]:
    """Return a split with upright boxes and masks, its defects, and the number of rotated images.

    For scoring files, which needs no images: annotations of missing or unreadable images are kept.
    """
    made: list[AnnotatedImage] = []
    defects: list[CvkitError] = []
    turned = 0

    def turn(image: AnnotatedImage) -> AnnotatedImage | CvkitError:
        try:
            return upright(image)
        except CvkitError as error:
            return error

    # Files may be on a slow disk; a thread takes several images, as each handover costs time.
    parts = [images[start : start + 16] for start in range(0, len(images), 16)]
    with ThreadPoolExecutor() as pool:
        turns = pool.map(lambda part: [*map(turn, part)], parts)
        for image, found in zip(images, itertools.chain.from_iterable(turns), strict=True):
            if isinstance(found, AnnotatedImage):
                made.append(found)
                turned += image.size_wh not in (None, found.size_wh)
                continue
            made.append(image)
            if found.code == "image.size_mismatch":
                defects.append(found)
    return made, defects, turned


def trainable(truth: Instances, size_hw: tuple[int, int]) -> Instances:
    """Return the objects to train on: without crowds, difficult objects and empty boxes.

    Boxes are clipped to the image; masks become layers.
    """
    limit = np.array([size_hw[1], size_hw[0]] * 2, np.float32)
    boxes = np.clip(truth.boxes, 0, limit)
    sides = boxes[:, 2:] - boxes[:, :2]
    usable = (sides > 0).all(1)
    for mark in (truth.crowd, truth.difficult):
        usable &= True if mark is None else ~mark
    left = replace(truth, boxes=boxes, xywh=None).pick(usable)
    if not isinstance(left.masks, Masks):
        return left
    return replace(left, masks=mask_ops.to_layers(left.masks))
