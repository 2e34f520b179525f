"""Images with masks, in any format."""

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvkit.data.classes import dataset_classes
from cvkit.data.decode import decode, open_image
from cvkit.data.division import WHOLE, Division, Parts, Source, read_splits
from cvkit.data.exclusion import NOTHING, Exclusion
from cvkit.data.formats.contract import Listing, Query, usable
from cvkit.data.formats.image_tree import shared_labels
from cvkit.data.formats.recognise import reader_of
from cvkit.data.known import Known
from cvkit.data.masks import Drawing
from cvkit.errors import DataError, of_sample
from cvkit.structures import IGNORE, ClassList
from cvkit.texts import counted


@dataclass(frozen=True)
class LabelledImage:
    """An image and its mask.

    Attributes:
        key: the image's path relative to the dataset.
        image: its location.
        mask: path of its mask, or how it is made.
        name: the image's path relative to the folder of its split, without suffix.
    """

    key: str
    image: Path
    mask: Path | Drawing
    name: str


def read_pairs(
    root: Path,
    layout: str,
    splits: Sequence[str],
    division: Division = WHOLE,
    exclude: Exclusion = NOTHING,
) -> Parts[LabelledImage]:
    """Return the labelled images of splits, sorted by name (VOC: in the file's order).

    Args:
        root: the dataset.
        layout: the name of its format.
        splits: their names.
        division: of data without splits; each split gets its share of every mask value.
        exclude: samples that are left out.

    Raises:
        DataError: no such split, an empty one, or images without a mask; all are counted.
    """
    contents = reader_of("masks", layout).read(Query(root=root, splits=splits))

    @functools.cache
    def listing(split: str) -> Listing[LabelledImage]:
        content = contents.read(split)
        defects = exclude.tolerated(content.defects, str(root))
        return usable(replace(content, defects=defects))

    source = Source(
        root,
        contents.known,
        contents.heap,
        lambda split: listing(split).images,
        lambda pair: pair.image,
        stored_values,
        contents.hint,
    )
    parts = read_splits(source, splits, division)
    for split, found in parts.splits.items():
        if not found:
            raise DataError(f"split {split!r} of {root} is empty", code="split.empty")
    notes = dict.fromkeys(n for name in parts.names.values() for n in listing(name).notes)
    every = dict.fromkeys((p.mask, p.key) for pairs in parts.splits.values() for p in pairs)
    masks = [(mask, key) for mask, key in every if isinstance(mask, Path)]
    noted = replace(parts, notes=(*notes, *shared_labels(masks), *parts.notes))
    return exclude.without(noted)


def mask_classes(
    root: Path, masks: Iterable[Path | Drawing]
) -> tuple[ClassList | None, dict[tuple[int, int, int], int]]:
    """Return the classes of masks, and the colours that the dataset assigns to them.

    They are those of the format, or else of `classes.txt`; None without either.

    Args:
        root: the dataset.
        masks: of all splits in use.

    Raises:
        DataError: splits with different classes, too many classes, or a malformed list.
    """
    lists = dict.fromkeys(mask.classes for mask in masks if isinstance(mask, Drawing))
    if not lists:
        return dataset_classes(root, IGNORE)
    first, *others = lists
    if others:
        raise DataError(
            f"{root}: its splits have different classes",
            code="classes.differ",
            hint="all files must list the same classes",
        )
    if len(first) > IGNORE:
        raise DataError(f"{root} has more than {IGNORE} classes", code="classes.count")
    return first, {}


def mask_file(mask: Path | Drawing) -> Path:
    """Return the file that a mask is made from."""
    return mask.file if isinstance(mask, Drawing) else mask


def rules(masks: Iterable[Path | Drawing]) -> str:
    """Return everything besides their files on which masks depend, as a hash; "" if nothing."""
    drawn = [mask.rule for mask in masks if isinstance(mask, Drawing)]
    return hashlib.sha256("\0".join(drawn).encode()).hexdigest() if drawn else ""


def stored_values(pairs: Sequence[LabelledImage]) -> list[list[str]]:
    """Return the values or colours in each mask as stored; none for unreadable masks.

    They are not classes yet: flags that give values a meaning must not change the division.
    """
    kind, files = f"mask values{rules(p.mask for p in pairs)}", [mask_file(p.mask) for p in pairs]
    with Known(kind, files) as known:

        def values_of(pair: LabelledImage) -> list[str]:
            try:
                return known.find([mask_file(pair.mask)], lambda: _stored_values(pair.mask))
            except DataError:
                return []

        with ThreadPoolExecutor() as pool:
            return list(pool.map(values_of, pairs))


def _stored_values(path: Path | Drawing) -> list[str]:
    if isinstance(path, Drawing):
        return sorted(map(str, np.unique(path.values())))
    with open_image(path) as image:
        values = np.asarray(decode(image, path))
    return sorted(
        {str(value) for value in np.unique(values.reshape(-1, *values.shape[2:]), axis=0)}
    )


def missing_files(
    where: Path,
    missing: Mapping[str, str],
    hint: str = "add them, or remove their names from the split",
) -> list[DataError]:
    """Return the error that counts the missing files and names the first; none without any.

    Args:
        where: the folder, list or table that needs them.
        missing: the key of the sample that needs each file, by the file's path relative to the
            dataset.
        hint: the remedy.
    """
    if not missing:
        return []
    code = "split.id_without_file"
    shown = ", ".join([*missing][:5]) + (" ..." if len(missing) > 5 else "")
    text = f"{where}: {counted(len(missing), 'file')} missing: {shown}"
    error = DataError(text, code=code, hint=hint)
    error.defects = [
        of_sample(DataError(f"{where}: {name} does not exist", code=code, hint=hint), key)
        for name, key in missing.items()
    ]
    return [error]
