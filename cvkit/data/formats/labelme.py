"""LabelMe: a JSON file for each image, beside it or in a folder of its own.

Polygons, rectangles, circles and masks are objects; those of one class with the same `group_id` are
one. Points and lines are not.
"""

import base64
import binascii
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cvkit.data.annotated import Annotations, claimed_size
from cvkit.data.division import is_split
from cvkit.data.embedded import open_embedded
from cvkit.data.files import escapes, inside, matches, walk_images
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.signs import any_has
from cvkit.data.formats.voc_lists import with_image_suffix
from cvkit.data.outlines import Outline, OutlinedImage, annotate, ellipse
from cvkit.errors import CvkitError, DataError
from cvkit.structures import ClassList
from cvkit.texts import counted, is_number, is_text, read_json, require_regular, shown

FIRST_BYTES = 4096
"""Number of bytes to search for the list of shapes."""
FILES = 5
"""Number of files of a folder that are examined to recognise the format."""
OUTLINE = re.compile(rb'"shape_type"\s*:\s*"(polygon|circle|mask)"')
NO_OBJECTS = ("point", "points", "line", "linestrip")


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder, or one of its folders, has annotations."""
    return any(map(_has_shapes, [*matches(place, "*.json")[:FILES], *matches(place, "*/*.json")]))


def read(query: Query) -> Contents[Annotations]:
    """Return the splits of a dataset; without any, all images may be divided."""
    root = query.root
    names = [p.name for p in matches(root, "*") if p.is_dir() and matches(p, "**/*.json")]
    known = [name for name in names if is_split(name) or name in query.splits]
    files: dict[Path, _Content] = {}

    def read_split(split: str) -> Annotations:
        for file in _files(root) if not files else ():
            files[file] = _read(file, root)
        return _split(root, inside(root, split), files, masks=query.masks)

    return Contents(known, None if known else "", read_split)


def has_outlines(place: Path) -> bool:
    """Return whether a shape is the outline of an object."""
    return any_has(matches(place, "**/*.json"), OUTLINE)


def _files(root: Path) -> list[Path]:
    """Return the annotations of a dataset: those with shapes, or with the name of an image."""
    stems = {path.stem for path in walk_images(root)}
    found = matches(root, "**/*.json")
    return [file for file in found if file.stem in stems or _has_shapes(file)]


def _has_shapes(file: Path) -> bool:
    try:
        require_regular(file)
        with file.open("rb") as stream:
            return b'"shapes"' in stream.read(FIRST_BYTES)
    except (OSError, DataError):
        return False


@dataclass
class _Content:
    """What a file says: an image, the defects that make it unusable, and what is not an object."""

    image: OutlinedImage | None = None
    defects: list[CvkitError] = field(default_factory=list)
    unused: int = 0


def _split(root: Path, folder: Path, files: dict[Path, _Content], *, masks: bool) -> Annotations:
    """Return the images and objects of a folder."""
    found = Annotations(ClassList((), (), ()))
    images, unused = [], 0
    seen: dict[Path, Path] = {}
    for file, content in files.items():
        if not file.is_relative_to(folder):
            continue
        found.defects += content.defects
        unused += content.unused
        if content.image is None:
            continue
        path = content.image.path
        if (other := seen.setdefault(path, file)) != file:
            reason = f"{file}: its image {path.name} is also annotated by {other.name}"
            found.defects.append(DataError(reason, code="image.file_duplicate"))
        images.append(content.image)
    names = {o.name for c in files.values() if c.image for o in c.image.objects}
    annotate(root, images, names, found, masks=masks)
    if unused:
        found.notes.append(
            f"{folder}: {counted(unused, 'point or line', 'points or lines')} unused"
        )
    bare = [path for path in walk_images(folder) if path not in seen]
    if bare:
        example = bare[0].relative_to(root)
        found.notes.append(f"images without annotation, unused: {len(bare)}, such as {example}")
    return found


def _read(file: Path, root: Path) -> _Content:
    """Return the content of a file."""
    result = _Content()
    try:
        content = read_json(file)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise DataError(f"{file} has no list of shapes", code="labelme.shapes")
        sides = [content.get("imageWidth"), content.get("imageHeight")]
        size_wh = claimed_size(sides, f"{file}: imageWidth and imageHeight", "image.size")
        path = _image(file, content.get("imagePath"), root)
    except CvkitError as defect:
        result.defects.append(defect)
        return result
    objects: dict[Any, Outline] = {}
    for place, shape in enumerate(content["shapes"]):
        where = f"{file}: shapes[{place}]"
        try:
            if isinstance(shape, dict) and shape.get("shape_type") in NO_OBJECTS:
                result.unused += 1
                continue
            made, group = _object(shape, where)
            key = (made.name, group) if made.polygons and group is not None else place
            if key in objects:
                polygons = objects[key].polygons + made.polygons
                made = Outline(made.name, objects[key].where, polygons=polygons)
            objects[key] = made
        except DataError as defect:
            result.defects.append(defect)
    result.image = OutlinedImage(path, size_wh, [*objects.values()])
    return result


def _image(file: Path, named: Any, root: Path) -> Path:
    """Return the image of a file: the one it names, or the one with its name.

    Raises:
        DataError: it names none, or the image does not exist in the dataset.
    """
    if not isinstance(named, str) or not named:
        raise DataError(
            f"{file}: imagePath {shown(named)} is not text", code="image.file_name_type"
        )
    folder = file.parent.relative_to(root).as_posix()
    place = os.path.normpath(PurePosixPath(folder, named.replace("\\", "/")))
    beside = with_image_suffix(file.with_suffix(""))
    lost = bool(escapes(place)) or not (root / place).is_file()
    path = beside if beside and lost else inside(root, place, file)
    if not path.is_file():
        raise DataError(
            f"{file}: its image {shown(named)} does not exist",
            code="image.file_missing",
            hint="put the image beside the file; the copy in imageData is not read",
        )
    return path


def _object(shape: Any, where: str) -> tuple[Outline, Any]:
    """Return an object and its group.

    Raises:
        DataError: describes its defect.
    """
    if not isinstance(shape, dict):
        raise DataError(f"{where} is not an object", code="ann.malformed")
    name, kind, points = (
        shape.get("label"),
        shape.get("shape_type") or "polygon",
        shape.get("points"),
    )
    if not is_text(name) or not str(name).strip():
        raise DataError(f"{where}: label {shown(name)} is not text", code="object.name_missing")
    name = str(name)
    if not isinstance(points, list) or not all(_is_point(point) for point in points):
        raise DataError(f"{where}: points {shown(points)} are not pairs of numbers", code="points")
    corners = [float(value) for point in points for value in point]
    group = shape.get("group_id")
    if kind == "polygon":
        return Outline(name, where, polygons=(corners,)), group if is_number(group) else None
    if kind in ("rectangle", "circle", "mask") and len(corners) != 4:
        raise DataError(f"{where}: a {kind} with {len(points)} points, not 2", code="points")
    if kind == "rectangle":
        (x1, x2), (y1, y2) = sorted(corners[::2]), sorted(corners[1::2])
        return Outline(name, where, box=(x1, y1, x2, y2)), None
    if kind == "circle":
        radius = math.dist(corners[:2], corners[2:])
        polygons = ellipse(corners[0], corners[1], radius, radius)
        return Outline(name, where, polygons=polygons), None
    if kind == "mask":
        return Outline(name, where, part=_part(shape.get("mask"), corners, where)), None
    if kind == "oriented_rectangle":
        raise DataError(
            f"{where} is an oriented rectangle; boxes are upright here",
            code="labelme.oriented",
            hint="draw a polygon for 'cvkit instance', or a rectangle",
        )
    raise DataError(
        f"{where}: shape_type {shown(kind)} is unknown",
        code="labelme.shape_type",
        hint="polygon, rectangle, circle or mask",
    )


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(map(is_number, point))


def _part(text: Any, corners: list[float], where: str) -> tuple[np.ndarray, int, int]:
    """Return a mask, and the x and y of its first pixel.

    Raises:
        DataError: it is not a PNG of the size that the corners, which are inclusive, say.
    """
    try:
        data = base64.b64decode(text, validate=True)
        pixels = np.asarray(open_embedded(data))
    except (TypeError, ValueError, OSError, SyntaxError, binascii.Error) as error:
        raise DataError(f"{where}: its mask is not a PNG in base64", code="labelme.mask") from error
    x1, y1, x2, y2 = (int(value) for value in corners)
    if pixels.shape != (y2 - y1 + 1, x2 - x1 + 1):
        raise DataError(
            f"{where}: its mask does not have the size of its rectangle", code="labelme.mask"
        )
    return pixels > 0, x1, y1
