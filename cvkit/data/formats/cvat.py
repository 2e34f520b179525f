"""CVAT's own format, "CVAT for images": one XML file for all images.

Boxes, polygons, ellipses and masks are objects; points, lines, cuboids and skeletons are not.
Images are beside the file or in `images`, also in a folder for their subset.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree.ElementTree import Element

import numpy as np

from cvkit.data.annotated import MOST_PIXELS, Annotations, claimed_size
from cvkit.data.division import is_split
from cvkit.data.files import inside, matches
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.signs import any_has
from cvkit.data.formats.xml_files import read_root
from cvkit.data.outlines import Outline, OutlinedImage, annotate, ellipse
from cvkit.errors import CvkitError, DataError
from cvkit.structures import ClassList
from cvkit.texts import counted, parse_number, require_regular, shown

MOST_BYTES = 1_000_000_000
FIRST_BYTES = 4096
"""Number of bytes to search for the root of an annotation file."""
OUTLINE = re.compile(rb"<(polygon|ellipse|mask)\s")
OBJECTS = ("box", "polygon", "ellipse", "mask")


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a dataset is such a file, or a folder with one."""
    return place.is_file() or bool(_files(place))


def read(query: Query) -> Contents[Annotations]:
    """Return the subsets of a dataset; if there is only one, it may be divided."""
    root = query.root if query.root.is_dir() else query.root.parent
    content = _Content()
    for file in [query.root] if query.root.is_file() else _files(query.root):
        _read(file, root, content)
    subsets = {subset for subset, _ in content.images} - {""}
    known = sorted(subsets) if len(subsets) > 1 else []

    def read_split(split: str) -> Annotations:
        found = Annotations(ClassList((), (), ()), defects=[*content.defects])
        images = [image for subset, image in content.images if split in ("", subset)]
        names = {o.name for _, image in content.images for o in image.objects}
        annotate(root, images, content.labels or names, found, masks=query.masks)
        if content.unused:
            lost = counted(content.unused, "point, line or tag", "points, lines or tags")
            found.notes.append(f"{root}: {lost} unused")
        return found

    return Contents(known, None if known else "", read_split)


def has_outlines(place: Path) -> bool:
    """Return whether an annotation is the outline of an object."""
    return any_has([place] if place.is_file() else _files(place), OUTLINE)


def _files(root: Path) -> list[Path]:
    """Return the XML files whose root is <annotations>, and `annotations.xml`.

    Beside them, files that are called after splits are read, too, and their errors reported.
    """
    files = matches(root, "*.xml")
    found = [file for file in files if file.name == "annotations.xml" or _has_annotations(file)]
    return [file for file in files if file in found or (found and is_split(file.stem))]


def _has_annotations(file: Path) -> bool:
    try:
        require_regular(file)
        with file.open("rb") as stream:
            return b"<annotations>" in stream.read(FIRST_BYTES)
    except (OSError, DataError):
        return False


@dataclass
class _Content:
    """What files say.

    Attributes:
        images: each with its subset.
        labels: the classes of the project.
        defects: that make them unusable.
        unused: number of annotations that are not objects.
    """

    images: list[tuple[str, OutlinedImage]] = field(default_factory=list)
    labels: set[str] = field(default_factory=set)
    defects: list[CvkitError] = field(default_factory=list)
    unused: int = 0


def _subset(node: Element, file: Path) -> str:
    """Return the subset of an image; that of a file for a split has its name."""
    return node.get("subset") or (file.stem if is_split(file.stem) else "")


def _read(file: Path, root: Path, content: _Content) -> None:
    """Add the content of a file; defects are collected.

    Raises:
        DataError: it is not such a file.
    """
    top = read_root(file, "annotations", MOST_BYTES)
    if top.find("track") is not None:
        raise DataError(
            f"{file} annotates a video",
            code="cvat.video",
            hint="export the task as 'CVAT for images'",
        )
    nodes = top.findall("image")
    if not nodes:
        raise DataError(f"{file} lists no images", code="images.empty")
    content.labels |= {name for n in top.iter("label") if (name := (n.findtext("name") or ""))}
    seen = {image.path for _, image in content.images}
    for node in nodes:
        where = f"{file}: image {shown(node.get('id'))}"
        try:
            path = _image(root, node, where, file)
            if path in seen:
                raise DataError(f"{where}: {path.name} occurs twice", code="image.file_duplicate")
            seen.add(path)
            sides = [parse_number(node.get(side) or "") for side in ("width", "height")]
            size_wh = claimed_size(sides, where, "image.size")
        except DataError as defect:
            content.defects.append(defect)
            continue
        objects = []
        for place, each in enumerate(node):
            if each.tag not in OBJECTS:
                content.unused += each.tag != "attribute"
                continue
            try:
                objects.append(_object(each, f"{where}, <{each.tag}> {place}"))
            except DataError as defect:
                content.defects.append(defect)
        image = OutlinedImage(path, size_wh, objects)
        content.images.append((_subset(node, file), image))


def _image(root: Path, node: Element, where: str, file: Path) -> Path:
    """Return the path of an image.

    Raises:
        DataError: it is not in the dataset.
    """
    name = node.get("name") or ""
    if not name:
        raise DataError(f"{where} has no name", code="image.file_name_type")
    folders = [root / "images" / _subset(node, file), root / "images", root]
    paths = [inside(folder, name, file) for folder in folders]
    found = next((path for path in paths if path.is_file()), None)
    if found is None:
        raise DataError(
            f"{where}: {shown(name)} is neither beside the file nor in images/",
            code="image.file_missing",
            hint="export with images, or put them into images/",
        )
    return found


def _object(node: Element, where: str) -> Outline:
    """Return an object.

    Raises:
        DataError: describes its defect.
    """
    name = (node.get("label") or "").strip()
    if not name:
        raise DataError(f"{where} has no label", code="object.name_missing")
    if node.tag == "polygon":
        return Outline(name, where, polygons=(_points(node, where),))
    if node.tag == "mask":
        return Outline(name, where, part=_part(node, where))
    turned = parse_number(node.get("rotation") or "0")
    if node.tag == "ellipse":
        cx, cy, rx, ry = _numbers(node, ("cx", "cy", "rx", "ry"), where)
        return Outline(name, where, polygons=ellipse(cx, cy, rx, ry, turned or 0))
    if turned != 0:
        raise DataError(
            f"{where} is rotated by {shown(node.get('rotation'))} degrees; boxes are upright here",
            code="cvat.rotation",
            hint="draw a polygon for 'cvkit instance', or an upright box",
        )
    x1, y1, x2, y2 = _numbers(node, ("xtl", "ytl", "xbr", "ybr"), where)
    return Outline(name, where, box=(x1, y1, x2, y2))


def _numbers(node: Element, names: Sequence[str], where: str) -> list[float]:
    values = [parse_number(node.get(name) or "") for name in names]
    found = [value for value in values if value is not None and abs(value) <= MOST_PIXELS]
    if len(found) < len(names):
        raise DataError(
            f"{where}: {', '.join(names)} are not all numbers of pixels", code="cvat.numbers"
        )
    return found


def _points(node: Element, where: str) -> list[float]:
    """Return the corners of a polygon."""
    pairs = [pair.split(",") for pair in (node.get("points") or "").split(";")]
    values = [parse_number(value.strip()) for pair in pairs for value in pair]
    numbers = [value for value in values if value is not None]
    if any(len(pair) != 2 for pair in pairs) or len(numbers) < len(values):
        raise DataError(
            f"{where}: points {shown(node.get('points'))} are not pairs of numbers",
            code="cvat.points",
        )
    return numbers


def _part(node: Element, where: str) -> tuple[np.ndarray, int, int]:
    """Return a mask, and the x and y of its first pixel.

    It is written row by row, as lengths of alternate runs, the first of which is background.
    """
    numbers = _numbers(node, ("left", "top", "width", "height"), where)
    left, top, width, height = map(int, numbers)
    values = [parse_number(value.strip()) for value in (node.get("rle") or "").split(",")]
    runs = [int(value) for value in values if value is not None and 0 <= value <= MOST_PIXELS]
    whole = [left, top, width, height] == numbers and min(width, height) > 0
    if not whole or width * height > MOST_PIXELS or len(runs) < len(values):
        raise DataError(f"{where}: its mask is malformed", code="rle.invalid")
    if sum(runs) != width * height:
        raise DataError(
            f"{where}: its runs add up to {counted(sum(runs), 'pixel')}, not {width * height}",
            code="rle.invalid",
        )
    pixels = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    return pixels.reshape(height, width), left, top
