"""Label Studio's JSON export: a list of tasks, each with an image and its annotations.

Rectangles, polygons, ellipses and brushes are objects. The export has no images, so they are found
by name anywhere in the folder; Label Studio puts eight characters and a hyphen before the names of
uploads.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from cvkit.annotation.brush import decode_brush
from cvkit.data.annotated import Annotations, claimed_size
from cvkit.data.files import inside, matches, walk_images
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.signs import any_has
from cvkit.data.outlines import Outline, OutlinedImage, annotate, ellipse
from cvkit.errors import CvkitError, DataError
from cvkit.structures import ClassList
from cvkit.texts import counted, is_number, is_text, read_json, require_regular, shown

OUTLINE = re.compile(rb'"type"\s*:\s*"(polygon|ellipse|brush)labels"')
FIRST_BYTES = 4096
"""Number of bytes to search for the first task."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has an export."""
    return bool(_files(place))


def read(query: Query) -> Contents[Annotations]:
    """Return all images, which may be divided."""
    root, content = query.root, _Content()
    images = list(walk_images(root))
    for path in images:
        content.images.setdefault(path.name, []).append(path)
    files = _files(root)
    if not files:
        raise DataError(f"{root} has no export of Label Studio", code="data.layout")
    for file in files:
        _read(file, root, content)

    def read_all(split: str) -> Annotations:
        found = Annotations(ClassList((), (), ()), defects=[*content.defects])
        names = {o.name for image in content.tasks for o in image.objects}
        annotate(root, content.tasks, names, found, masks=query.masks)
        if content.unused:
            lost = counted(content.unused, "result that is", "results that are")
            found.notes.append(f"{root}: {lost} not objects, unused")
        if content.open:
            count = counted(content.open, "task")
            found.notes.append(f"{root}: {count} without annotation, unused")
        return found

    return Contents([], "", read_all)


def has_outlines(place: Path) -> bool:
    """Return whether a result is the outline of an object."""
    return any_has(_files(place), OUTLINE)


def _files(root: Path) -> list[Path]:
    """Return the JSON files that begin like an export."""
    return [file for file in matches(root, "*.json") if _has_tasks(file)]


def _has_tasks(file: Path) -> bool:
    try:
        require_regular(file)
        with file.open("rb") as stream:
            start = stream.read(FIRST_BYTES)
    except (OSError, DataError):
        return False
    return re.match(rb"\s*\[\s*\{", start) is not None and b'"annotations"' in start


@dataclass
class _Content:
    """What the files say.

    Attributes:
        images: paths by name.
        tasks: the annotated images.
        defects: that make the data unusable.
        unused: number of results that are not objects.
        open: number of tasks without annotation.
    """

    images: dict[str, list[Path]] = field(default_factory=dict)
    tasks: list[OutlinedImage] = field(default_factory=list)
    defects: list[CvkitError] = field(default_factory=list)
    unused: int = 0
    open: int = 0


def _read(file: Path, root: Path, content: _Content) -> None:
    """Add the content of a file; defects are collected.

    Raises:
        DataError: it is not such a file.
    """
    tasks = read_json(file)
    if not isinstance(tasks, list) or not tasks:
        raise DataError(f"{file} is not a list of tasks", code="labelstudio.tasks")
    seen = {task.path for task in content.tasks}
    for place, task in enumerate(tasks):
        where = f"{file}: task {place}"
        try:
            results = _results(task, where)
            if results is None:
                content.open += 1
                continue
            path = _image(task, content, root, where, file)
            if path in seen:
                raise DataError(f"{where}: {path.name} occurs twice", code="image.file_duplicate")
            seen.add(path)
            content.tasks.append(_objects(results, path, content, where))
        except DataError as defect:
            content.defects.append(defect)


def _results(task: Any, where: str) -> list[Any] | None:
    """Return the results of the only annotation of a task; None if it has none.

    Raises:
        DataError: malformed, or several annotations.
    """
    rows = task.get("annotations") if isinstance(task, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{where} has no list of annotations", code="labelstudio.tasks")
    valid = [row for row in rows if not row.get("was_cancelled")]
    if len(valid) > 1:
        raise DataError(
            f"{where} has {counted(len(valid), 'annotation')} of the same image",
            code="labelstudio.several",
            hint="keep one annotation per task",
        )
    if not valid:
        return None
    results = valid[0].get("result")
    if not isinstance(results, list):
        raise DataError(f"{where} has no list of results", code="labelstudio.tasks")
    return results


def _image(task: dict, content: _Content, root: Path, where: str, file: Path) -> Path:
    """Return the path of a task's image.

    Raises:
        DataError: it names none or several, or the image does not exist.
    """
    data = task.get("data")
    texts = [v for v in data.values() if isinstance(v, str)] if isinstance(data, dict) else []
    names = [name for text in texts if (name := _name(text))]
    if len(names) != 1:
        reason = f"{where}: data {shown(data)} do not name one image"
        raise DataError(reason, code="image.file_name_type")
    name = names[0].lstrip("/")
    exact = inside(root, name, file)
    if exact.is_file():
        return exact
    base = PurePosixPath(name).name
    short = re.sub(r"^[0-9a-f]{8}-", "", base)
    found = content.images.get(base) or content.images.get(short) or []
    if len(found) != 1:
        reason = "does not exist" if not found else f"is the name of {counted(len(found), 'image')}"
        raise DataError(
            f"{where}: its image {shown(base)} {reason}",
            code="image.file_missing",
            hint="put the images into the folder of the export, under different names",
        )
    return found[0]


def _name(text: str) -> str:
    """Return the path of an image in a URL or path; "" if it is not one."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return ""
    name = parse_qs(parts.query).get("d", [unquote(parts.path)])[0]
    return name if PurePosixPath(name).suffix else ""


SHAPES = {
    "rectanglelabels": "rectangle",
    "polygonlabels": "polygon",
    "ellipselabels": "ellipse",
    "brushlabels": "brush",
}


def _objects(results: list[Any], path: Path, content: _Content, where: str) -> OutlinedImage:
    """Return the objects of an image.

    Raises:
        DataError: describes the defect of one.
    """
    objects, size_wh = [], None
    for place, row in enumerate(results):
        here = f"{where}, result {place}"
        value = row.get("value") if isinstance(row, dict) else None
        if not isinstance(value, dict):
            raise DataError(f"{here} is not an object", code="ann.malformed")
        if row.get("type") not in SHAPES:
            content.unused += 1
            continue
        sides = [row.get("original_width"), row.get("original_height")]
        size_wh = claimed_size(sides, here, "image.size")
        if size_wh is None:
            raise DataError(f"{here} does not give the size of the image", code="image.size")
        objects.append(_object(row["type"], value, size_wh, here))
    return OutlinedImage(path, size_wh, objects)


def _object(kind: str, value: dict, size_wh: tuple[int, int], where: str) -> Outline:
    """Return an object; its values are percentages of the image's size.

    Raises:
        DataError: describes its defect.
    """
    labels = value.get(kind)
    name = labels[0] if isinstance(labels, list) and len(labels) == 1 else None
    if not is_text(name) or not str(name).strip():
        raise DataError(
            f"{where}: {kind} {shown(labels)} are not one class", code="object.name_missing"
        )
    name = str(name)
    width, height = (side / 100 for side in size_wh)
    if SHAPES[kind] == "brush":
        return Outline(name, where, part=_part(value, size_wh, where))
    if SHAPES[kind] == "polygon":
        points = value.get("points")
        pairs: list[Any] = points if isinstance(points, list) else [None]
        if not all(isinstance(p, list) and len(p) == 2 and all(map(is_number, p)) for p in pairs):
            raise DataError(
                f"{where}: points {shown(points)} are not pairs of numbers", code="points"
            )
        corners = [v * (height if n else width) for pair in pairs for n, v in enumerate(pair)]
        return Outline(name, where, polygons=(corners,))
    sides = ("x", "y", "width", "height") if "width" in value else ("x", "y", "radiusX", "radiusY")
    numbers: list[Any] = [value.get(side) for side in sides]
    turned = value.get("rotation") or 0
    if not all(map(is_number, [*numbers, turned])):
        raise DataError(f"{where}: {shown(numbers)} are not four numbers", code="bbox.length")
    x, y, w, h = numbers[0] * width, numbers[1] * height, numbers[2] * width, numbers[3] * height
    if SHAPES[kind] == "ellipse":
        return Outline(name, where, polygons=ellipse(x, y, w, h, turned))
    if turned:
        raise DataError(
            f"{where} is rotated by {turned:g} degrees; boxes are upright here",
            code="labelstudio.rotation",
            hint="draw a polygon for 'cvkit instance', or an upright box",
        )
    return Outline(name, where, box=(x, y, x + w, y + h))


def _part(value: dict, size_wh: tuple[int, int], where: str) -> tuple[np.ndarray, int, int]:
    """Return the mask of a brush, and the x and y of its first pixel.

    Raises:
        DataError: it is not the code of a mask of the image's size, or has no pixels.
    """
    code = value.get("rle")
    try:
        if not isinstance(code, list) or value.get("format") != "rle":
            raise ValueError("is not the code of a brush")
        if not all(isinstance(each, int) and 0 <= each <= 255 for each in code):
            raise ValueError("has values that are not bytes")
        mask = decode_brush(code, size_wh[::-1])
        if not mask.any():
            raise ValueError("has no pixels")
    except ValueError as error:
        raise DataError(
            f"{where}: its rle {error}", code="labelstudio.brush", hint="draw it again"
        ) from error
    return mask, 0, 0
