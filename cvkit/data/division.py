"""The splits of a dataset, and the division of data without splits."""

import hashlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from cvkit.catalog import nearest
from cvkit.data.files import unread_in
from cvkit.data.grouping import group_names
from cvkit.data.known import Known, content_hash, known_hash
from cvkit.data.split_lists import SplitLists, listed_keys, require_unchanged, unlisted_note
from cvkit.data.stratify import joined_groups, stratified
from cvkit.errors import DataError


class Keyed(Protocol):
    """A sample: an image or video with its label."""

    @property
    def key(self) -> str:
        """Its path relative to the dataset."""


T = TypeVar("T", bound=Keyed)

ALL = "all"
"""Split that contains everything, for data without splits."""
SPELLINGS = (
    ("train", "training"),
    ("val", "valid", "validation", "dev"),
    ("test", "testing"),
)
"""Names of the same split; of each row, the first one that a dataset has is used."""


@dataclass(frozen=True)
class Division:
    """How data without splits are divided.

    Attributes:
        val_fraction: of the validation split; None does not divide, so that every split is
            everything.
        seed: of the division; None divides as versions without seeds did, see `drawn_singly`.
        lists: the samples of each split, instead of the dataset's own splits or a division.
        test_fraction: of the test split; 0: there is none.
        group_by: what keeps samples together, see `cvkit.data.grouping.group_names`.
    """

    val_fraction: float | None = None
    seed: int | None = 0
    lists: SplitLists | None = None
    test_fraction: float = 0.0
    group_by: str | None = None


WHOLE = Division()


@dataclass(frozen=True)
class Source(Generic[T]):
    """The content of a dataset of any layout.

    Attributes:
        place: the dataset, for messages.
        known: its own names of its splits.
        heap: its own name for the part to be divided if it has neither a training nor a
            validation split; "" for the whole dataset, None if there is no such part.
        read: returns the samples of a split or of the heap, by the dataset's own name.
        path: returns the file of a sample.
        labels: returns the classes in each sample; each split gets its share of every class.
        hint: about the existing data, if there are no splits.
    """

    place: Path
    known: Sequence[str]
    heap: str | None
    read: Callable[[str], list[T]]
    path: Callable[[T], Path]
    labels: Callable[[list[T]], Sequence[Collection[str]]]
    hint: str = "the dataset has no splits"


@dataclass(frozen=True)
class Parts(Generic[T]):
    """The samples of a dataset by split.

    Attributes:
        splits: the requested samples, by the requested name.
        names: the dataset's own name of each, or of the heap from which it is drawn.
        heap: the dataset's own name of the divided part; None if the dataset has splits.
        notes: remarks on usable oddities, for warnings.
    """

    splits: dict[str, list[T]]
    names: dict[str, str]
    heap: str | None
    notes: tuple[str, ...] = ()


def spellings(split: str) -> tuple[str, ...]:
    """Return the possible names of a split, its own first."""
    row = next((row for row in SPELLINGS if split.casefold() in row), ())
    return (split, *(name for name in row if name != split))


def find_split(split: str, known: Collection[str]) -> str | None:
    """Return the dataset's own name of a split, `valid` for `val`; None if it has none.

    Case matters only if names differ in nothing else.
    """
    if split in known:
        return split
    folded = {name.casefold(): name for name in sorted(known, reverse=True)}
    found = (folded.get(name.casefold()) for name in spellings(split))
    return next((name for name in found if name), None)


def is_split(name: str) -> bool:
    """Return whether a name is that of a split, in any spelling."""
    return any(name.casefold() in row for row in SPELLINGS)


def read_splits(source: Source[T], wanted: Sequence[str], division: Division) -> Parts[T]:
    """Return what `_read_splits` does, with a note on files in formats that are not read."""
    parts = _read_splits(source, wanted, division)
    note = unread_in(source.place) if source.place.is_dir() else ""
    return replace(parts, notes=(*parts.notes, note)) if note else parts


def _read_splits(source: Source[T], wanted: Sequence[str], division: Division) -> Parts[T]:
    """Return splits of a dataset; a dataset without a validation split is divided.

    The training split is divided, or else the heap. Identical files are always in the same split.

    Args:
        source: the dataset.
        wanted: names of splits; of divided data also `all`.
        division: fraction and seed. Without a fraction the training split is not divided.

    Raises:
        DataError: no such split, or a division that leaves a split empty.
    """
    wanted = tuple(dict.fromkeys(wanted))
    if division.lists is not None:
        return _listed(source, wanted, division.lists)
    heap = _heap(source, wanted, division)
    if heap is not None:
        return _divided(source, heap, wanted, division)
    names = {split: _known_name(source, split) for split in wanted}
    notes = [_twins(source, split, name) for split, name in names.items()]
    found = {name: source.read(name) for name in dict.fromkeys(names.values())}
    splits = {split: found[name] for split, name in names.items()}
    return Parts(splits, names, None, tuple(filter(None, notes)))


def _listed(source: Source[T], wanted: Sequence[str], lists: SplitLists) -> Parts[T]:
    """Return the samples that a file lists for each split, from all splits of the dataset.

    Raises:
        DataError: the file has no such split, or the dataset has lost or changed listed samples.
    """
    keys = {split: listed_keys(lists, split) for split in wanted}
    names = splits_of(source.known, source.heap)
    pool = {item.key: item for name in names for item in source.read(name)}
    listed = {key: digest for each in keys.values() for key, digest in each.items()}
    here = [key for key in listed if key in pool]
    hashes = dict(zip(here, content_hashes([source.path(pool[key]) for key in here]), strict=True))
    require_unchanged(lists, listed, hashes, source.place)
    splits = {split: [pool[key] for key in found] for split, found in keys.items()}
    for split, found in splits.items():
        if not found:
            raise DataError(f"{lists.file}: split {split!r} is empty", code="split.empty")
    note = unlisted_note(lists, pool)
    return Parts(splits, dict.fromkeys(wanted, names[0]), None, (note,) if note else ())


def splits_of(known: Sequence[str], heap: str | None, *, twins: bool = False) -> list[str]:
    """Return a dataset's own names of its splits, those with usual names first.

    Lists without such a name are left out if others have one, because they repeat their samples:
    VOC lists the images of each class, too.

    Args:
        known: see `Source`.
        heap: see `Source`; it is the first split if there is neither a training nor a validation
            split.
        twins: also return splits with the same meaning as another one, such as `valid` and `val`.
    """
    parts = [name for name in known if name != ALL]
    named = [name for name in parts if is_split(name)]
    usual = [name for row in SPELLINGS if (name := find_split(row[0], named))]
    divided = heap is not None and not any(find_split(name, named) for name in ("train", "val"))
    whole = [heap] if divided and heap is not None else []
    rest = sorted({*named} - {*usual}) if twins else []
    return [*whole, *usual, *rest] or sorted(parts or known)


def _heap(source: Source, wanted: Sequence[str], division: Division) -> str | None:
    """Return the name of the part to be divided; None if the splits exist or there is no part."""
    known = source.known
    sides = {*spellings("train"), *spellings("val"), ALL}
    if division.test_fraction:
        sides |= {*spellings("test")}
    if find_split("val", known) is not None or not {s.casefold() for s in wanted} <= sides:
        return None
    if ALL in wanted and ALL in known:
        return None
    train = find_split("train", known)
    heap = source.heap if train is None else train
    if train is not None and division.val_fraction is None:
        return None
    if heap is not None and division.test_fraction and (own := find_split("test", known)):
        raise DataError(
            f"{source.place} has a split {own!r}, and --test-fraction would draw another one",
            code="split.test",
            hint="omit it",
        )
    return heap


def _known_name(source: Source, split: str) -> str:
    """Return the dataset's own name of a split.

    Raises:
        DataError: it has none.
    """
    name, known = find_split(split, source.known), source.known
    if name is not None:
        return name
    heap = source.heap
    if split == ALL and heap is not None and heap in splits_of(known, heap):
        return heap
    train, hint = find_split("train", known), source.hint
    if "val" in spellings(split) and train is not None:
        hint = f"use --split {train} to evaluate on the training data"
    elif source.heap is not None:
        hint = nearest(split, ("train", "val", ALL, *known))
    elif known:
        hint = nearest(split, known)
    raise DataError(f"{source.place} has no split {split!r}", code="split.missing", hint=hint)


def _twins(source: Source, split: str, name: str) -> str:
    """Return a note if a dataset has several splits with the same meaning; else "".

    Args:
        source: the dataset.
        split: the requested name.
        name: its own name, which is used.
    """
    others = [n for n in source.known if n != name and n.casefold() in spellings(split)]
    if not others:
        return ""
    unused = " and ".join(map(repr, sorted(others)))
    return f"{source.place}: {name!r} is used as split {split!r}, not {unused}"


def _divided(source: Source[T], heap: str, wanted: Sequence[str], division: Division) -> Parts[T]:
    items, names = source.read(heap), dict.fromkeys(wanted, heap)
    if division.val_fraction is None or tuple(wanted) == (ALL,):
        return Parts(dict.fromkeys(wanted, items), names, heap)
    paths = [source.path(item) for item in items]
    labels = source.labels(items)
    parts = _drawn(items, paths, labels, division)
    sides = {name: [i for i, p in zip(items, parts, strict=True) if p == name] for name in DRAWN}
    sides[ALL] = items
    splits = {split: sides[_side(split)] for split in wanted}
    for split, found in splits.items():
        if items and not found:
            raise DataError(
                f"split {split!r} of {source.place} is empty",
                code="split.empty",
                hint="no class has two different files; add some, or give data with a validation "
                "split",
            )
    drawn = zip(labels, parts, strict=True)
    trained = {label for each, part in drawn if part == "train" for label in each}
    lacking = sorted({label for each in labels for label in each} - trained)
    note = f"the division leaves no training samples of: {', '.join(lacking[:8])}"
    return Parts(splits, names, heap, (note,) if lacking and division.val_fraction < 1 else ())


DRAWN = tuple(row[0] for row in SPELLINGS)
"""Names of the splits into which data are divided."""


def _drawn(
    items: Sequence[Keyed],
    paths: Sequence[Path],
    labels: Sequence[Collection[str]],
    division: Division,
) -> list[str]:
    """Return the split of each sample, one of `DRAWN`."""
    val, test = division.val_fraction or 0.0, division.test_fraction
    if division.seed is None:
        return [DRAWN[part] for part in drawn_singly(paths, val)]
    hashes = content_hashes(paths)
    if not test and division.group_by is None:
        return [DRAWN[part] for part in draw_shares(labels, hashes, val, division.seed)]
    given: Sequence[str | None] = [None] * len(items)
    if division.group_by is not None:
        given = group_names(division.group_by, [item.key for item in items])
    shares = [1 - val - test, val, *([test] if test else [])]
    groups = joined_groups(hashes, given)
    return [DRAWN[part] for part in stratified(labels, groups, hashes, shares, division.seed)]


def _side(split: str) -> str:
    """Return `train`, `val` or `test` for a split in any spelling; `all` for any other."""
    return next((row[0] for row in SPELLINGS if split.casefold() in row), ALL)


def draw_shares(
    labels: Sequence[Collection[str]], hashes: Sequence[str], val_fraction: float, seed: int
) -> list[bool]:
    """Return which samples are for validation, if samples may have several classes, or none.

    See `draw_val`; samples without classes form a separate class.
    """
    pairs = [
        (label, digest)
        for classes, digest in zip(labels, hashes, strict=True)
        for label in sorted(set(classes)) or ("",)
    ]
    names, digests = [label for label, _ in pairs], [digest for _, digest in pairs]
    drawn = draw_val(names, digests, val_fraction, seed)
    in_val = {digest for digest, val in zip(digests, drawn, strict=True) if val}
    return [digest in in_val for digest in hashes]


def content_hashes(paths: Sequence[Path]) -> list[str]:
    """Return the hash of each file or folder of frames; for an unreadable one the hash of its name.

    The error is reported when it is decoded.
    """
    with Known("content", paths) as known:
        return [_hash_or_name(path, known) for path in paths]


def _hash_or_name(path: Path, known: Known) -> str:
    try:
        return known_hash(path, known)
    except DataError:
        return hashlib.sha256(str(path).encode(errors="surrogateescape")).hexdigest()


def draw_val(
    labels: Sequence[str], hashes: Sequence[str], val_fraction: float, seed: int
) -> list[bool]:
    """Return which samples are for validation: the same fraction of every class.

    A class with two or more different files has at least one in each split; a single file is for
    training. A fraction of 0 or 1 leaves one split empty. Samples with equal hashes, such as copies
    of an image or parts of one video, are in the same split, even if they have different classes:
    then the rarest class is divided first, as in Sechidis et al., On the Stratification of
    Multi-label Data, 2011.

    Args:
        labels: class of each sample.
        hashes: of its content.
        val_fraction: in [0, 1].
        seed: of the division; the order of the samples does not matter.
    """
    if val_fraction in (0, 1):
        return [val_fraction == 1] * len(labels)
    found: dict[str, set[str]] = {}
    for label, file in zip(labels, hashes, strict=True):
        found.setdefault(file, set()).add(label)
    classes: dict[str, list[str]] = {label: [] for label in labels}
    for file in sorted(found, key=lambda f: hashlib.sha256(f"{seed}\0{f}".encode()).digest()):
        for label in found[file]:
            classes[label].append(file)
    in_val: dict[str, bool] = {}
    for _, files in sorted(classes.items(), key=lambda item: (len(item[1]), item[0])):
        wanted = min(max(1, int(len(files) * val_fraction + 0.5)), len(files) - 1)
        left = wanted - sum(in_val.get(file, False) for file in files)
        for file in files:
            if file not in in_val:
                in_val[file] = left > 0
                left -= in_val[file]
    return [in_val[file] for file in hashes]


def drawn_singly(paths: Sequence[Path], val_fraction: float) -> list[bool]:
    """Return which samples are for validation, for models trained before divisions had seeds.

    Every file was drawn independently, and a folder of frames by its first file; only this division
    keeps training samples out of `val`.

    Raises:
        DataError: a file cannot be read.
    """
    firsts = [min(path.iterdir()) if path.is_dir() else path for path in paths]
    return [int(content_hash(first)[:8], 16) / 2**32 < val_fraction for first in firsts]
