"""Kaggle's run-length tables: a CSV file with the columns ImageId and EncodedPixels.

Each row is an object: pairs of a first pixel, from 1, and a length, down the columns of the image.
An empty cell means that the image has no object. A column ClassId gives classes.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cvkit.data.annotated import Annotations
from cvkit.data.decode import upright_size_hw
from cvkit.data.files import matches, walk_images
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.outlines import Outline, OutlinedImage, annotate
from cvkit.data.run_lengths import PIXELS, paint, parse_runs
from cvkit.data.tables import numbered_rows
from cvkit.errors import CvkitError, DataError
from cvkit.structures import ClassList
from cvkit.texts import counted, require_regular, shown

IMAGE, CLASS = "ImageId", "ClassId"
ONLY_CLASS = "object"
"""Class name for tables without classes."""
FIRST_BYTES = 4096
"""Number of bytes to search for the names of the columns."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has such a table."""
    return bool(_tables(place))


def read(query: Query) -> Contents[Annotations]:
    """Return all images of the table, which may be divided."""
    return Contents([], "", lambda _: _read_all(query.root, masks=query.masks))


def _tables(root: Path) -> list[Path]:
    return [file for file in matches(root, "*.csv") if _has_columns(file)]


def _has_columns(file: Path) -> bool:
    try:
        require_regular(file)
        with file.open("rb") as stream:
            first = stream.read(FIRST_BYTES).partition(b"\n")[0]
    except (OSError, DataError):
        return False
    return PIXELS.encode() in first and IMAGE.encode() in first


def _read_all(root: Path, *, masks: bool) -> Annotations:
    """Return the images and objects.

    Raises:
        DataError: several tables, or none; defects of single rows are collected.
    """
    tables = _tables(root)
    if len(tables) != 1:
        raise DataError(
            f"{root} has {counted(len(tables), 'table')} with {PIXELS}: "
            f"{', '.join(file.name for file in tables)}",
            code="split.ambiguous",
            hint="keep one of them in the folder",
        )
    table = tables[0]
    found = Annotations(ClassList((), (), ()))
    images = named_images(root)
    objects: dict[Path, list[Outline]] = {}
    sizes: dict[Path, tuple[int, int]] = {}
    for number, row in numbered_rows(table, (IMAGE,)):
        where = f"{table}:{number}"
        try:
            path = find_image(images, row[IMAGE].strip(), where)
            if path not in sizes:
                sizes[path] = upright_size_hw(path)
            mine = objects.setdefault(path, [])
            if code := row[PIXELS].strip():
                part = _pixels(code, sizes[path], where)
                name = row.get(CLASS, ONLY_CLASS).strip() or ONLY_CLASS
                mine.append(Outline(name, where, part=(part, 0, 0)))
        except CvkitError as defect:
            found.defects.append(defect)
    names = {each.name for mine in objects.values() for each in mine}
    listed = [OutlinedImage(path, sizes[path][::-1], mine) for path, mine in objects.items()]
    annotate(root, listed, names, found, masks=masks)
    return found


def named_images(root: Path) -> dict[str, list[Path]]:
    """Return the images anywhere in a folder by their names, with and without suffix."""
    images: dict[str, list[Path]] = {}
    for path in walk_images(root):
        for name in {path.name, path.stem}:
            images.setdefault(name, []).append(path)
    return images


def find_image(images: dict[str, list[Path]], name: str, where: str) -> Path:
    """Return the image with a name, with or without suffix.

    Raises:
        DataError: there is none, or there are several.
    """
    paths = images.get(name, [])
    if len(paths) != 1:
        reason = "does not exist" if not paths else f"is the name of {counted(len(paths), 'image')}"
        raise DataError(
            f"{where}: image {shown(name)} {reason}",
            code="image.file_missing",
            hint="put the images into the folder of the table, under different names",
        )
    return paths[0]


def _pixels(code: str, size_hw: tuple[int, int], where: str) -> np.ndarray:
    """Return the mask of an object.

    Raises:
        DataError: its runs are malformed, overlap, or lead out of the image.
    """
    try:
        runs = parse_runs(code, size_hw)
    except ValueError as error:
        raise DataError(
            f"{where}: {PIXELS} {shown(code)} {error}",
            code="rle.invalid",
            hint="first pixel and length of each run, in increasing order",
        ) from error
    height, width = size_hw
    flat = np.zeros(height * width, bool)
    paint(runs, True, flat)
    return flat.reshape(width, height).T
