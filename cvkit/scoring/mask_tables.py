"""Masks as run-length codes in a table, in Kaggle's format. Does not import torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cvkit.data.annotated import claimed_size
from cvkit.data.classes import dataset_classes, object_classes, without_background
from cvkit.data.decode import open_image, upright_size_hw
from cvkit.data.files import IMAGE_SUFFIXES, inside
from cvkit.data.formats.drawn import with_background
from cvkit.data.formats.rle_table import find_image, named_images, nameless_class
from cvkit.data.masks import Drawing
from cvkit.data.named import without_suffix
from cvkit.data.run_lengths import PIXELS, overlap, paint, parse_runs
from cvkit.data.tables import numbered_rows
from cvkit.errors import CvkitError, DataError, raise_defects
from cvkit.scoring.box_files import CLASSES, IMAGES
from cvkit.structures import IGNORE, ClassList
from cvkit.texts import counted, parse_number, shown, whole_number

FORMS = f"masks are read from folders of PNGs, and from tables with columns ImageId and {PIXELS}"
"""What can be read, for messages."""
SIDES = ("Height", "Width")
"""Columns of the size of each image; optional."""


@dataclass(frozen=True, eq=False)
class CodedMask(Drawing):
    """The mask of an image in a table.

    Attributes:
        size_hw: of the image.
        parts: class index and [R, 2] runs of each row, in the order in which they are drawn.
    """

    size_hw: tuple[int, int]
    parts: Sequence[tuple[int, np.ndarray]]

    @property
    def rule(self) -> str:
        """The size and the class list; everything else is in the table."""
        return f"{self.size_hw} {self.classes.names}"

    def values(self) -> np.ndarray:
        """Return HW uint8 class indices; background is 0."""
        height, width = self.size_hw
        flat = np.zeros(height * width, np.uint8)
        for index, runs in self.parts:
            paint(runs, index, flat)
        return np.ascontiguousarray(flat.reshape(width, height).T)


@dataclass(frozen=True)
class Row:
    """A row: its place in the table, its class ("" if it has none) and its code."""

    where: str
    name: str
    code: str
    size_hw: tuple[int, int] | None


@dataclass(frozen=True)
class MaskTable:
    """The rows of a table by the name of their image, without suffix.

    Attributes:
        path: of the table.
        rows: of each image.
        named: whether the table has a column of classes.
    """

    path: Path
    rows: Mapping[str, Sequence[Row]]
    named: bool


def read_mask_table(path: Path) -> MaskTable:
    """Return the rows of a table; their codes are not read yet.

    Raises:
        DataError: a column is missing; or lists the rows with an unusable size.
    """
    table = numbered_rows(path, ())
    first = table[0][1]
    image = next((name for name in IMAGES if name in first), None)
    if image is None or PIXELS not in first:
        raise DataError(
            f"{path} has no column {PIXELS if image else 'ImageId'}",
            code="list.column",
            hint=f"its first line has {shown(', '.join(first))}; {FORMS}",
        )
    if lacking := [side for side in SIDES if side not in first and set(SIDES) & first.keys()]:
        raise DataError(
            f"{path} has no column {lacking[0]}",
            code="list.column",
            hint=f"the size of an image needs both, {' and '.join(SIDES)}",
        )
    label = next((name for name in CLASSES if name in first), None)
    rows: dict[str, list[Row]] = {}
    defects: list[CvkitError] = []
    for number, cells in table:
        where, name = f"{path}:{number}", cells[image].strip()
        if not name:
            defects.append(DataError(f"{where}: {image} is empty", code="rle.row"))
            continue
        size = None
        if SIDES[0] in first:
            try:
                size = _size_hw([cells[side].strip() for side in SIDES], where)
            except DataError as defect:
                defects.append(defect)
                continue
        stem = without_suffix(name) if Path(name).suffix.lower() in IMAGE_SUFFIXES else name
        kind = cells[label].strip() if label else ""
        rows.setdefault(stem, []).append(Row(where, kind, cells[PIXELS].strip(), size))
    raise_defects(defects, str(path))
    return MaskTable(path, rows, label is not None)


def _size_hw(cells: Sequence[str], where: str) -> tuple[int, int]:
    """Return the height and width in two cells.

    Raises:
        DataError: they are not those of an image.
    """
    height, width = (whole_number(cell) for cell in cells)
    size_wh = claimed_size([width, height], where, "image.size")
    if size_wh is None:
        text = f"{where}: {' and '.join(SIDES)} {shown(', '.join(cells))} are not whole numbers"
        raise DataError(text, code="image.size")
    return size_wh[1], size_wh[0]


def predicted_masks(
    table: MaskTable, joined: Mapping[str, tuple[int, int]], classes: ClassList | None
) -> tuple[dict[str, CodedMask], list[str]]:
    """Return the mask of each image, and the images in which rows of different classes overlap.

    Args:
        table: of predictions, with a row for each class of an image.
        joined: the images that are read, with height and width of their truths.
        classes: of the truth; None for as many as there are.

    Raises:
        DataError: lists the rows that are malformed or occur twice.
    """
    if not table.named and classes is not None and len(classes) != 2:
        raise DataError(
            f"{table.path} has no column {CLASSES[-1]}, and the truth has "
            f"{counted(len(classes), 'class', 'classes')}",
            code="list.column",
            hint="without classes, a table is of the second of two classes",
        )
    names = () if classes is None else classes.names

    def index(row: Row) -> int:
        if not table.named:
            return 1
        if row.name in names:
            return names.index(row.name)
        number = whole_number(parse_number(row.name))  # pandas writes 1.0 beside empty cells
        # A number is an index, unless the classes have numbers for names.
        numeric = number is not None and all(whole_number(name) is None for name in names)
        if number is None or not numeric or not 0 <= number < (len(names) or IGNORE):
            raise DataError(
                f"{row.where}: class {shown(row.name)} is not in the truth",
                code="classes.differ",
                hint=f"it has {', '.join(names[:8])}" if names else "numbers from 0 to 254",
            )
        return number

    found: dict[str, CodedMask] = {}
    defects: list[CvkitError] = []
    for name, size_hw in joined.items():
        rows = table.rows[name]
        parts = _read_parts(rows, size_hw, index, defects)
        defects += _twice(rows, name)
        found[name] = CodedMask(table.path, ClassList(names, (), ()), size_hw, parts)
    raise_defects(defects, str(table.path))
    return found, [name for name, mask in found.items() if overlap([r for _, r in mask.parts])]


def true_masks(path: Path) -> list[tuple[str, Path | None, CodedMask]]:
    """Return name, image (if it is beside the table) and mask of each image of a truth.

    Rows are objects, of which there may be several of a class. Background is class 0; the others
    are those of `classes.txt` beside the table, else all that occur, sorted.

    Raises:
        DataError: lists the malformed rows, and the images whose size is not known.
    """
    table, images = read_mask_table(path), named_images(path.parent)
    nameless = nameless_class(path.parent)
    found = {row.name or nameless for rows in table.rows.values() for row in rows if row.code}
    listed, _ = dataset_classes(path.parent)
    known = sorted(found) if listed is None else without_background(listed.names, lambda: found)
    classes, indices = with_background(object_classes(known, range(len(known))), path)

    def index(row: Row) -> int:
        name = row.name or nameless
        if name not in known:
            raise DataError(
                f"{row.where}: class {shown(name)} is not in classes.txt",
                code="object.name_unknown",
                hint=f"known: {', '.join(known[:20])}",
            )
        return indices[known.index(name)]

    truths: list[tuple[str, Path | None, CodedMask]] = []
    defects: list[CvkitError] = []
    for name, rows in table.rows.items():
        try:
            inside(path.parent, name, Path(rows[0].where))  # predictions are files of these names
            last = name.rpartition("/")[2]
            paths = images.get(last, [])
            # Of several images, none is shown; where the size is not known, they are refused.
            unsure = not paths or (len(paths) > 1 and rows[0].size_hw is not None)
            image = None if unsure else find_image(images, last, rows[0].where)
            size_hw = rows[0].size_hw or (upright_size_hw(image) if image else None)
            if size_hw is None:
                raise DataError(
                    f"{rows[0].where}: the size of image {shown(name)} is not known",
                    code="image.size",
                    hint=f"add columns {' and '.join(SIDES)}, or put the image beside the table",
                )
        except CvkitError as defect:
            defects.append(defect)
            continue
        parts = _read_parts(rows, size_hw, index, defects)
        truths.append((name, image, CodedMask(path, classes, size_hw, parts)))
    raise_defects(defects, str(path))
    return truths


def true_size_hw(mask: Path | Drawing, image: Path | None) -> tuple[int, int]:
    """Return height and width of the mask of a truth, from headers alone.

    Raises:
        DataError: see `cvkit.data.decode.open_image`.
    """
    if isinstance(mask, CodedMask):
        return mask.size_hw
    if isinstance(mask, Drawing):
        return upright_size_hw(image or mask.file)
    with open_image(mask) as opened:
        width, height = opened.size
    return height, width


def _read_parts(
    rows: Sequence[Row],
    size_hw: tuple[int, int],
    index: Callable[[Row], int],
    defects: list[CvkitError],
) -> list[tuple[int, np.ndarray]]:
    """Return the class index and the runs of each row of an image, large ones first."""
    parts = []
    for row in rows:
        try:
            if row.size_hw not in (None, size_hw):
                raise DataError(
                    f"{row.where}: the image has {row.size_hw[1]}x{row.size_hw[0]} pixels, but "
                    f"{size_hw[1]}x{size_hw[0]} in the truth or in another row",
                    code="image.size_mismatch",
                )
            if row.code:
                parts.append((index(row), parse_runs(row.code, size_hw)))
        except ValueError as error:
            text = f"{row.where}: {PIXELS} {shown(row.code)} {error}"
            defects.append(DataError(text, code="rle.invalid"))
        except CvkitError as defect:
            defects.append(defect)
    return sorted(parts, key=lambda part: -int(part[1][:, 1].sum()))


def _twice(rows: Sequence[Row], name: str) -> list[CvkitError]:
    """Return the defects of rows that repeat the class of another row of their image."""
    first: dict[str, Row] = {}
    return [
        DataError(
            f"{row.where}: image {shown(name)} has a row of class {shown(row.name)} already, "
            f"{first[row.name].where}"
            if row.name
            else f"{row.where}: image {shown(name)} has a row already, {first[row.name].where}",
            code="list.duplicate",
            hint="one row for each image and class; 'cvkit instance eval' scores single objects",
        )
        for row in rows
        if first.setdefault(row.name, row) is not row
    ]
