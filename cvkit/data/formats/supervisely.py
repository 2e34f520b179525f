"""Supervisely: `meta.json`, and in each dataset `img/NAME` and `ann/NAME.json`.

Rectangles, polygons and bitmaps are objects; points, lines and tags are not. Datasets that are
called after splits are splits.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from cvkit.data.annotated import MOST_PIXELS, Annotations, claimed_size
from cvkit.data.division import is_split
from cvkit.data.embedded import open_embedded
from cvkit.data.files import matches
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.signs import any_has
from cvkit.data.outlines import Outline, OutlinedImage, annotate
from cvkit.errors import CvkitError, DataError
from cvkit.structures import ClassList
from cvkit.texts import counted, is_number, is_text, read_json, shown, whole_number

META = "meta.json"
OUTLINE = re.compile(rb'"geometryType"\s*:\s*"(polygon|bitmap)"')
SHAPES = ("rectangle", "polygon", "bitmap")
DAMAGED = (
    *(ValueError, binascii.Error, zlib.error, OSError, SyntaxError),
    Image.DecompressionBombError,
)
MOST_BYTES = 100_000_000
"""Largest size of a bitmap's file after decompression."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has the description of a project, and datasets."""
    return (place / META).is_file() and bool(_datasets(place))


def has_outlines(place: Path) -> bool:
    """Return whether an object has an outline."""
    return any_has(matches(place, "*/ann/*.json"), OUTLINE)


def read(query: Query) -> Contents[Annotations]:
    """Return the datasets that are splits; without any, all images may be divided."""
    root, folders = query.root, _datasets(query.root)
    known = [path.name for path in folders if is_split(path.name) or path.name in query.splits]
    classes = _classes(root / META)

    def read_split(split: str) -> Annotations:
        content = _Content()
        for folder in folders if split == "" else [root / split]:
            _read_dataset(folder, content)
        found = Annotations(ClassList((), (), ()), defects=content.defects)
        annotate(root, content.images, classes, found, masks=query.masks)
        if content.unused:
            lost = counted(content.unused, "point or line", "points or lines")
            found.notes.append(f"{root}: {lost} unused")
        return found

    return Contents(known, None if known else "", read_split)


def _datasets(root: Path) -> list[Path]:
    return [path.parent for path in matches(root, "*/ann") if path.is_dir()]


def _classes(file: Path) -> list[str]:
    """Return the names of the classes whose objects have an area.

    Raises:
        DataError: the file is malformed.
    """
    content = read_json(file)
    rows = content.get("classes") if isinstance(content, dict) else None
    if not isinstance(rows, list) or not all(
        isinstance(row, dict) and is_text(row.get("title")) for row in rows
    ):
        raise DataError(
            f"{file} has no list of classes with titles",
            code="supervisely.meta",
            hint="export the project again",
        )
    return [row["title"] for row in rows if row.get("shape") in (*SHAPES, "any", None)]


@dataclass
class _Content:
    """What the files of datasets say: images, defects, and the number of what is no object."""

    images: list[OutlinedImage] = field(default_factory=list)
    defects: list[CvkitError] = field(default_factory=list)
    unused: int = 0


def _read_dataset(folder: Path, content: _Content) -> None:
    """Add the images of a dataset; defects are collected."""
    for file in matches(folder / "ann", "*.json"):
        try:
            image = folder / "img" / file.stem
            if not image.is_file():
                text = f"{file}: its image {shown(file.stem)} is not in {folder / 'img'}"
                raise DataError(text, code="image.file_missing", hint="add it")
            content.images.append(_read(file, image, content))
        except CvkitError as defect:
            content.defects.append(defect)


def _read(file: Path, image: Path, content: _Content) -> OutlinedImage:
    """Return an image with its objects.

    Raises:
        DataError: describes the first defect.
    """
    about = read_json(file)
    rows = about.get("objects") if isinstance(about, dict) else None
    size = about.get("size") if isinstance(about, dict) else None
    if not isinstance(rows, list) or not isinstance(size, dict):
        text = f"{file} has no list of objects, or no size"
        raise DataError(text, code="supervisely.objects", hint="export the project again")
    size_wh = claimed_size([size.get("width"), size.get("height")], file.as_posix(), "image.size")
    objects = []
    for place, row in enumerate(rows):
        where = f"{file}: objects[{place}]"
        name = row.get("classTitle") if isinstance(row, dict) else None
        if not is_text(name) or not str(name).strip():
            raise DataError(f"{where} has no classTitle", code="object.name_missing")
        if row.get("geometryType") not in SHAPES:
            content.unused += 1
            continue
        objects.append(_object(row, where))
    return OutlinedImage(image, size_wh, objects)


def _object(row: dict[str, Any], where: str) -> Outline:
    """Return an object.

    Raises:
        DataError: describes its defect.
    """
    name = row["classTitle"]
    if row["geometryType"] == "bitmap":
        return Outline(name, where, part=_bitmap(row.get("bitmap"), where))
    points = row.get("points")
    lists = points if isinstance(points, dict) else {}
    exterior, interior = _pairs(lists.get("exterior"), where), lists.get("interior") or []
    if row["geometryType"] == "rectangle":
        if len(exterior) != 2:
            raise DataError(f"{where}: a rectangle needs two corners", code="points")
        (x1, y1), (x2, y2) = np.sort(np.array(exterior), 0).tolist()
        return Outline(name, where, box=(x1, y1, x2 + 1, y2 + 1))  # its last pixel belongs to it
    if not interior:
        return Outline(name, where, polygons=([v for pair in exterior for v in pair],))
    holes = interior if isinstance(interior, list) else [None]
    return Outline(name, where, part=_filled([exterior, *(_pairs(h, where) for h in holes)], where))


def _pairs(value: Any, where: str) -> list[list[float]]:
    """Return pairs of coordinates.

    Raises:
        DataError: they are not such pairs.
    """
    if not isinstance(value, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(map(is_number, pair)) for pair in value
    ):
        text = f"{where}: points {shown(value)} are not pairs of numbers"
        raise DataError(text, code="points")
    return value


def _filled(outlines: Sequence[list[list[float]]], where: str) -> tuple[np.ndarray, int, int]:
    """Return the mask of a polygon with holes, and its first pixel.

    Raises:
        DataError: it is larger than any image.
    """
    if any(len(each) < 3 for each in outlines):
        raise DataError(
            f"{where}: a polygon with fewer than three corners", code="segm.odd_or_short"
        )
    corners = [np.round(np.array(each, float).reshape(-1, 2)) for each in outlines]
    low, high = corners[0].min(0), corners[0].max(0)
    if not np.isfinite(corners[0]).all() or (high - low + 1).prod() > MOST_PIXELS // 10:
        raise DataError(f"{where}: its polygon is larger than any image", code="segm.outside")
    width, height = (high - low + 1).astype(int).tolist()
    canvas = np.zeros((height, width), np.uint8)
    moved = [np.clip(each - low, -32000, 32000).astype(np.int32) for each in corners]
    cv2.fillPoly(canvas, moved[:1], 1)
    for hole in moved[1:]:
        cv2.fillPoly(canvas, [hole], 0)
    return canvas.astype(bool), int(low[0]), int(low[1])


def _bitmap(value: Any, where: str) -> tuple[np.ndarray, int, int]:
    """Return the mask of a bitmap, a compressed PNG, and its first pixel.

    Raises:
        DataError: it cannot be read.
    """
    data = value.get("data") if isinstance(value, dict) else None
    origin = value.get("origin") if isinstance(value, dict) else None
    pair = [whole_number(v) for v in origin] if isinstance(origin, list) else []
    if not isinstance(data, str) or len(pair) != 2 or None in pair:
        raise DataError(f"{where}: its bitmap has no data or no origin", code="supervisely.bitmap")
    try:
        coded = zlib.decompressobj().decompress(base64.b64decode(data, validate=True), MOST_BYTES)
        with open_embedded(coded) as image:
            pixels = np.asarray(image.convert("RGBA") if image.mode == "P" else image)
    except DAMAGED as error:
        raise DataError(
            f"{where}: its bitmap cannot be read: {error}",
            code="supervisely.bitmap",
            hint="draw it again",
        ) from error
    mask = pixels[..., -1] if pixels.ndim == 3 and pixels.shape[2] in (2, 4) else pixels
    flat: np.ndarray = mask.max(-1) if mask.ndim == 3 else mask
    return flat > 0, int(pair[0] or 0), int(pair[1] or 0)
