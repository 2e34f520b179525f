"""COCO's results as columns, of large files in their usual form. Does not import torch.

What is not clearly usable goes to the reader of `result_files`, which names every defect.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from cvkit.data.annotated import MOST_PIXELS, AnnotatedImage
from cvkit.ops.mask_extents import mask_extents
from cvkit.scoring.detection_numbers import Table
from cvkit.scoring.result_files import NO_BOX, image_numbers, label_numbers
from cvkit.structures import ClassList
from cvkit.texts import require_regular

Box = tuple[float, float, float, float]
AT_ONCE = 2**22
"""Number of bytes of a file that are read at a time."""


class _Boxed(Struct, forbid_unknown_fields=True, gc=False):
    """A row of COCO's format with nothing else."""

    image_id: int
    category_id: int
    bbox: Box
    score: float


class _Code(Struct, forbid_unknown_fields=True, gc=False):
    size: tuple[int, int]
    counts: str


class _Row(Struct, forbid_unknown_fields=True, gc=False):
    """A row with the further fields of this and other programs."""

    score: float
    image_id: int | str | UnsetType = UNSET
    category_id: int | str | UnsetType = UNSET
    bbox: Box | UnsetType = UNSET
    file_name: str | UnsetType = UNSET
    category_name: str | UnsetType = UNSET
    segmentation: _Code | UnsetType = UNSET
    id: int | UnsetType = UNSET
    area: float | UnsetType = UNSET
    iscrowd: int | UnsetType = UNSET


@dataclass(frozen=True)
class _Columns:
    """The columns of some rows; `UNSET` where a row does not have a field.

    Attributes:
        ids: [N] of the images, and [N] of the categories, as in the file.
        names: of the same.
        scores: [N] float64.
        xywh: [N, 4] float64.
        boxless: [N] bool, rows without a box.
        codes: [N] of the masks if they are needed.
        sizes_hw: [N, 2] of these masks.
    """

    ids: tuple[list[Any], list[Any]]
    names: tuple[list[Any], list[Any]]
    scores: np.ndarray
    xywh: np.ndarray
    boxless: np.ndarray
    codes: list[bytes]
    sizes_hw: np.ndarray


def read_columns(
    path: Path, images: list[AnnotatedImage], classes: ClassList, masks: bool
) -> tuple[Table, Counter[str]] | None:
    """Return what `result_files.read_table` returns; None if something is unusual or wrong.

    Args:
        path: the file.
        images: of the truth.
        classes: of the truth.
        masks: detections must have masks.
    """
    try:
        require_regular(path)
        with path.open("rb") as stream:
            columns = _joined_columns(list(_read(stream, masks)))
    except (OSError, ValueError, RecursionError, OverflowError):
        return None
    return _table(columns, images, classes, path, masks)


def _read(stream: BinaryIO, masks: bool) -> Iterator[_Columns]:
    """Yield the columns of a file, of a part after the other: few rows are in memory at a time.

    Raises:
        ValueError: something is unusual or wrong.
    """
    boxed = not masks
    known: dict[Any, Any] = {}
    for content in _arrays(stream):
        rows: Sequence[Any] = []
        if boxed:
            try:
                rows = msgspec.json.decode(content, type=list[_Boxed])
            except msgspec.ValidationError:
                boxed = False
        if not boxed:
            rows = msgspec.json.decode(content, type=list[_Row])
        # Every quote belongs to a key or text that was read: no key occurs twice.
        if content.count(b'"') != (8 * len(rows) if boxed else _quotes(rows)):
            raise ValueError("a key occurs twice")
        yield _columns(rows, boxed, masks, known)


def _arrays(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the JSON array in a file as several arrays.

    Raises:
        ValueError: a row is unusually long.
    """
    rest = b""
    while len(piece := stream.read(AT_ONCE)) == AT_ONCE:
        content = rest + piece
        end, start = _boundary(content)
        yield content[:end] + b"]"
        rest = b"[" + content[start:]
    yield rest + piece


def _boundary(content: bytes) -> tuple[int, int]:
    """Return where a row ends and the next one, the last that begins, starts.

    A text that looks like a boundary is cut too; then neither part is valid.

    Raises:
        ValueError: there is no such place.
    """
    start = len(content)
    while (start := content.rfind(b"{", 0, start)) > 0:
        before = content[max(start - 64, 0) : start].rstrip()
        if before.endswith(b",") and before[:-1].rstrip().endswith(b"}"):
            return content.rindex(b"}", 0, start) + 1, start
    raise ValueError("no row ends here")


def _quotes(rows: Sequence[_Row]) -> int:
    """Return the number of quotes of these rows in a file in which no key occurs twice."""
    texts = 0
    for name in _Row.__struct_fields__:
        values = list(map(attrgetter(name), rows))
        given = len(values) - values.count(UNSET)
        texts += given
        if name in ("image_id", "category_id", "file_name", "category_name"):
            texts += list(map(type, values)).count(str)
        elif name == "segmentation":
            texts += 3 * given  # size, counts and its text
    return 2 * texts


def _columns(rows: Sequence[Any], boxed: bool, masks: bool, known: dict[Any, Any]) -> _Columns:
    """Return the columns of rows.

    Args:
        rows: of the file.
        boxed: they are `_Boxed`.
        masks: they must have masks.
        known: names that were read before, which are kept once.

    Raises:
        ValueError: a row has no box, or a mask is not usable.
    """

    def column(name: str) -> list[Any]:
        return list(map(attrgetter(name), rows))

    boxes = list(map(attrgetter("bbox"), rows))
    boxless = np.zeros(len(rows), bool)
    if not boxed and UNSET in boxes:
        if not masks:
            raise ValueError("a row without a box")
        boxless = np.fromiter((box is UNSET for box in boxes), bool, len(boxes))
        boxes = [NO_BOX if box is UNSET else box for box in boxes]
    codes, sizes = _codes(rows) if masks else ([], [])
    names: tuple[list[Any], list[Any]] = [UNSET] * len(rows), [UNSET] * len(rows)
    if not boxed:
        images, classes = column("file_name"), column("category_name")
        names = (
            list(map(known.setdefault, images, images)),
            list(map(known.setdefault, classes, classes)),
        )
    return _Columns(
        (column("image_id"), column("category_id")),
        names,
        np.fromiter(map(attrgetter("score"), rows), np.float64, len(rows)),
        np.fromiter(chain.from_iterable(boxes), np.float64, 4 * len(rows)).reshape(-1, 4),
        boxless,
        codes,
        np.array(sizes, np.int64).reshape(-1, 2),
    )


def _codes(rows: Sequence[_Row]) -> tuple[list[bytes], list[tuple[int, int]]]:
    """Return the codes of the masks and their sizes.

    Raises:
        ValueError: a mask is missing, or its code is not ASCII.
    """
    masks = list(map(attrgetter("segmentation"), rows))
    if UNSET in masks:
        raise ValueError("a row without a mask")
    codes = [mask.counts.encode("ascii") for mask in masks]
    return codes, [mask.size for mask in masks]


def _joined_columns(parts: Sequence[_Columns]) -> _Columns:
    def listed(kind: str, side: int) -> list[Any]:
        return list(chain.from_iterable(getattr(part, kind)[side] for part in parts))

    def stacked(name: str) -> np.ndarray:
        return np.concatenate([getattr(part, name) for part in parts])

    return _Columns(
        (listed("ids", 0), listed("ids", 1)),
        (listed("names", 0), listed("names", 1)),
        stacked("scores"),
        stacked("xywh"),
        stacked("boxless"),
        list(chain.from_iterable(part.codes for part in parts)),
        stacked("sizes_hw"),
    )


def _table(
    columns: _Columns, images: list[AnnotatedImage], classes: ClassList, path: Path, masks: bool
) -> tuple[Table, Counter[str]] | None:
    """Return the detections, joined with the truth; None if something is unusual or wrong."""
    ids, names = (
        [values if values.count(UNSET) < len(values) else None for values in kind]
        for kind in (columns.ids, columns.names)
    )
    known = not len(columns.scores) or all(
        any(given is not None and UNSET not in given for given in pair)
        for pair in zip(ids, names, strict=True)
    )
    usable = (np.abs(columns.scores) <= MOST_PIXELS).all()
    usable &= (np.abs(columns.xywh) <= MOST_PIXELS).all() and (columns.xywh[:, 2:] >= 0).all()
    if not known or not usable:
        return None
    numbers = _joined(ids[0], names[0], ("image_id", "file_name"), images, path)
    labels = _joined(ids[1], names[1], ("category_id", "category_name"), classes, path)
    if (numbers < 0).any() or (labels < 0).any():
        return None
    table = Table(numbers, labels, columns.scores, columns.xywh)
    if masks:
        sizes = [image.truth.coded_masks().size_hw for image in images]
        wanted = np.array(sizes, np.int64).reshape(-1, 2)[numbers]
        same = np.array_equal(columns.sizes_hw, wanted)
        extents = mask_extents(columns.codes, wanted) if same else None
        if extents is None:
            return None
        codes = np.empty(len(numbers), object)
        codes[:] = columns.codes
        table = replace(table, codes=codes, boxless=columns.boxless, extents=extents)
    left_out = Counter(
        str(columns.names[1][place]) for place in np.flatnonzero(labels == 0).tolist()
    )
    return (table.pick(labels > 0) if left_out else table), left_out


def _joined(
    ids: list[Any] | None,
    names: list[Any] | None,
    fields: tuple[str, str],
    truth: list[AnnotatedImage] | ClassList,
    path: Path,
) -> np.ndarray:
    """Return the number of each row's image or class, which are looked up once each."""
    keys: Iterable[Any]
    if names is None and (whole := _whole(ids or [])) is not None:
        known, places = _unique(whole)
        content = [{fields[0]: id_} for id_ in known.tolist()]
        return np.array(_numbers(content, truth, path), np.int64)[places]
    if names is None or ids is None:
        keys, only = (ids or names or []), fields[0 if names is None else 1]
        unique = {key: {only: key} for key in dict.fromkeys(keys)}
    else:
        keys = list(zip(ids, names, strict=True))
        unique = {key: dict(zip(fields, key, strict=True)) for key in dict.fromkeys(keys)}
    content = [
        {name: value for name, value in row.items() if value is not UNSET}
        for row in unique.values()
    ]
    numbers = dict(zip(unique, _numbers(content, truth, path), strict=True))
    return np.fromiter(map(numbers.__getitem__, keys), np.int64)


def _numbers(
    content: list[dict[str, Any]], truth: list[AnnotatedImage] | ClassList, path: Path
) -> list[int]:
    """Return the number of the image or class of each row."""
    if isinstance(truth, ClassList):
        return label_numbers(content, truth, path)
    return image_numbers(content, truth, path)


def _whole(ids: list[Any]) -> np.ndarray | None:
    """Return whole numbers as an array; None if there are none, others, or too large ones."""
    if set(map(type, ids)) != {int}:
        return None
    try:
        return np.fromiter(ids, np.int64, len(ids))
    except OverflowError:
        return None


def _unique(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values that occur, rising, and the place of each of the given ones among them."""
    low, high = int(values.min()), int(values.max())
    if high - low > 4 * len(values):  # a table of all values between would be too large
        return np.unique(values, return_inverse=True)
    there = np.bincount(values - low) > 0
    return np.flatnonzero(there) + low, (np.cumsum(there) - 1)[values - low]
