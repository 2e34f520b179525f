"""Kaggle's run-length tables: a CSV file with the columns ImageId and EncodedPixels.

Each row is an object: pairs of a first pixel, from 1, and a length, down the columns of the image.
An empty cell means that the image has no object. A column ClassId gives classes. Several tables are
splits, if they are named after them; `train.csv` alone is divided.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from cvkit.data.annotated import Annotations
from cvkit.data.classes import dataset_classes, without_background
from cvkit.data.decode import upright_size_hw
from cvkit.data.division import find_split, is_split
from cvkit.data.files import matches, walk_images
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.notes import Note
from cvkit.data.outlines import Outline, OutlinedImage, annotate
from cvkit.data.run_lengths import PIXELS, paint, parse_runs
from cvkit.data.split_lists import FOLD
from cvkit.data.tables import columns_of, numbered_rows
from cvkit.errors import CvkitError, DataError
from cvkit.structures import ClassList
from cvkit.texts import counted, shown

IMAGE, CLASS = "ImageId", "ClassId"
ONLY_CLASS = "object"
"""Class name for tables without classes."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has such a table."""
    return bool(_tables(place))


def read(query: Query) -> Contents[Annotations]:
    """Return the splits that have a table, or all images of the only one, which may be divided."""
    root, masks = query.root, query.masks
    tables = _tables(root)
    splits = {file.stem: file for file in tables if is_split(file.stem) or _is_fold(file)}
    rows = functools.cache(_rows)
    if len(tables) == 1 and {*splits} == {find_split("train", splits)}:
        splits = {}
    if not splits:
        return Contents([], "", lambda _: _read(root, [_only(root, tables)], rows, masks=masks))
    unused = [file.name for file in tables if file.stem not in splits]

    def read_split(split: str) -> Annotations:
        others = [file for name, file in splits.items() if name != split]
        found = _read(root, [splits[split], *others], rows, masks=masks)
        if unused:
            text = f"{root}: {counted(len(unused), 'table')} with {PIXELS} but without the name of "
            found.notes.append(Note(f"{text}a split, unused: {', '.join(unused)}", "file.unused"))
        return found

    return Contents([*splits], None, read_split)


def nameless_class(root: Path) -> str:
    """Return the class of rows that give none: the only one of `classes.txt`, or `ONLY_CLASS`."""
    listed, _ = dataset_classes(root)
    names = [] if listed is None else without_background(listed.names, tuple)
    return names[0] if len(names) == 1 else ONLY_CLASS


def _tables(root: Path) -> list[Path]:
    return [file for file in matches(root, "*.csv") if {PIXELS, IMAGE} <= {*columns_of(file)}]


def _is_fold(file: Path) -> bool:
    return file.stem.startswith(FOLD)


def _only(root: Path, tables: Sequence[Path]) -> Path:
    """Return the table of a folder.

    Raises:
        DataError: it has several, or none.
    """
    if len(tables) != 1:
        raise DataError(
            f"{root} has {counted(len(tables), 'table')} with {PIXELS}: "
            f"{', '.join(file.name for file in tables)}",
            code="split.ambiguous",
            hint="keep one of them in the folder, or name them after splits, such as val.csv",
        )
    return tables[0]


Rows = list[tuple[int, dict[str, str]]]


def _rows(table: Path) -> Rows:
    """Return the number and the cells of each row; see `numbered_rows`."""
    return numbered_rows(table, (IMAGE,))


def _read(
    root: Path, tables: Sequence[Path], rows: Callable[[Path], Rows], *, masks: bool
) -> Annotations:
    """Return the images and objects of the first of some tables; the others have classes, too.

    Raises:
        DataError: a malformed table; defects of single rows are collected.
    """
    found = Annotations(ClassList((), (), ()))
    images, nameless = named_images(root), nameless_class(root)
    objects: dict[Path, list[Outline]] = {}
    sizes: dict[Path, tuple[int, int]] = {}
    for number, row in rows(tables[0]):
        where = f"{tables[0]}:{number}"
        try:
            name = row[IMAGE] if row[IMAGE] in images else row[IMAGE].strip()
            path = find_image(images, name, where)
            if path not in sizes:
                sizes[path] = upright_size_hw(path)
            mine = objects.setdefault(path, [])
            if code := row[PIXELS].strip():
                part = _pixels(code, sizes[path], where)
                mine.append(Outline(_class(row, nameless), where, part=(part, 0, 0)))
        except CvkitError as defect:
            found.defects.append(defect)
    names = {each.name for mine in objects.values() for each in mine}
    others = (row for table in tables[1:] for _, row in rows(table))
    names |= {_class(row, nameless) for row in others if row[PIXELS].strip()}
    listed = [OutlinedImage(path, sizes[path][::-1], mine) for path, mine in objects.items()]
    annotate(root, listed, names, found, masks=masks)
    return found


def _class(row: Mapping[str, str], nameless: str) -> str:
    return row.get(CLASS, "").strip() or nameless


def named_images(root: Path) -> dict[str, list[Path]]:
    """Return the images anywhere in a folder by their names, and by these without suffix.

    A whole name takes precedence: `a.png` is not `a.png.jpg` if there is an image `a.png`.
    """
    images: dict[str, list[Path]] = {}
    stems: dict[str, list[Path]] = {}
    for path in walk_images(root):
        images.setdefault(path.name, []).append(path)
        stems.setdefault(path.stem, []).append(path)
    return stems | images


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
