"""COCO's results as columns, of large files in their usual form. Does not import torch.

What is not clearly usable goes to the reader of `result_files`, which names every defect.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Struct, UnsetType

from cvkit.data.annotated import MOST_PIXELS, AnnotatedImage
from cvkit.ops.rle import are_codes
from cvkit.scoring.result_files import NO_BOX, Table, image_numbers, label_numbers
from cvkit.structures import ClassList
from cvkit.texts import require_regular

Box = tuple[float, float, float, float]


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
        content = path.read_bytes()
        rows: Sequence[Any]
        try:
            rows = msgspec.json.decode(content, type=list[_Boxed])
            quotes = 8 * len(rows)
        except msgspec.ValidationError:
            rows = msgspec.json.decode(content, type=list[_Row])
            quotes = _quotes(rows)
    except (OSError, ValueError, RecursionError, OverflowError):
        return None
    # Every quote belongs to a key or text that was read: no key occurs twice.
    if content.count(b'"') != quotes:
        return None
    del content
    return _table(rows, images, classes, path, masks)


def _quotes(rows: Sequence[_Row]) -> int:
    """Return the number of quotes of these rows in a file in which no key occurs twice."""
    texts = 0
    for name in _Row.__struct_fields__:
        values = list(map(attrgetter(name), rows))
        texts += len(values) - values.count(UNSET)
        if name in ("image_id", "category_id", "file_name", "category_name"):
            texts += sum(type(value) is str for value in values)
        elif name == "segmentation":
            texts += 3 * (len(values) - values.count(UNSET))  # size, counts and its text
    return 2 * texts


def _table(
    rows: Sequence[Any], images: list[AnnotatedImage], classes: ClassList, path: Path, masks: bool
) -> tuple[Table, Counter[str]] | None:
    plain = not rows or type(rows[0]) is _Boxed
    if masks and plain and rows:
        return None
    names = [None if plain else _set(rows, name) for name in ("file_name", "category_name")]
    ids = [_set(rows, name, always=plain) for name in ("image_id", "category_id")]
    known = all(
        plain or any(given is not None and UNSET not in given for given in pair)
        for pair in zip(ids, names, strict=True)
    )
    boxes = list(map(attrgetter("bbox"), rows))
    boxless = np.fromiter((box is UNSET for box in boxes), bool, len(boxes)) if masks else None
    if boxless is not None and boxless.any():
        boxes = [NO_BOX if box is UNSET else box for box in boxes]
    if not known or (not plain and UNSET in boxes):
        return None
    scores = np.fromiter(map(attrgetter("score"), rows), np.float64, len(rows))
    xywh = np.fromiter(chain.from_iterable(boxes), np.float64, 4 * len(rows)).reshape(-1, 4)
    usable = (np.abs(scores) <= MOST_PIXELS).all() and (np.abs(xywh) <= MOST_PIXELS).all()
    if not usable or (xywh[:, 2:] < 0).any():
        return None
    numbers = _joined(ids[0], names[0], ("image_id", "file_name"), images, path)
    labels = _joined(ids[1], names[1], ("category_id", "category_name"), classes, path)
    if (numbers < 0).any() or (labels < 0).any():
        return None
    codes = _codes(rows, numbers, images) if masks else None
    if masks and codes is None:
        return None
    table = Table(numbers, labels, scores, xywh, codes, boxless)
    left_out = Counter(
        str(rows[place].category_name) for place in np.flatnonzero(labels == 0).tolist()
    )
    return (table.pick(labels > 0) if left_out else table), left_out


def _set(rows: Sequence[Any], name: str, always: bool = False) -> list[Any] | None:
    """Return a field of all rows; None if no row has it (`always`: all rows have it)."""
    values = list(map(attrgetter(name), rows))
    return values if always or values.count(UNSET) < len(values) else None


def _joined(
    ids: list[Any] | None,
    names: list[Any] | None,
    fields: tuple[str, str],
    truth: list[AnnotatedImage] | ClassList,
    path: Path,
) -> np.ndarray:
    """Return the number of each row's image or class, which are looked up once each."""
    keys: Iterable[Any]
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
    if isinstance(truth, ClassList):
        found = label_numbers(content, truth, path)
    else:
        found = image_numbers(content, truth, path)
    numbers = dict(zip(unique, found, strict=True))
    return np.fromiter(map(numbers.__getitem__, keys), np.int64)


def _codes(
    rows: Sequence[_Row], numbers: np.ndarray, images: list[AnnotatedImage]
) -> np.ndarray | None:
    """Return the compressed codes of the masks; None if one is missing or not valid."""
    sizes = [images[number].truth.coded_masks().size_hw for number in numbers.tolist()]
    codes = []
    for row, size in zip(rows, sizes, strict=True):
        mask = row.segmentation
        if not isinstance(mask, _Code) or mask.size != size or not mask.counts.isascii():
            return None
        codes.append(mask.counts.encode("ascii"))
    if not are_codes(codes, [height * width for height, width in sizes]):
        return None
    array = np.empty(len(codes), object)
    array[:] = codes
    return array
