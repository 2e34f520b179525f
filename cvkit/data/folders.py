"""Datasets whose images or videos have one class each: a folder a class, or a CSV table."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cvkit.catalog import nearest
from cvkit.data.classes import dataset_classes
from cvkit.data.division import content_hashes, draw_val, drawn_singly
from cvkit.data.files import Walk, inside, matches, note_beside, require_end, walk_images
from cvkit.data.tables import read_rows
from cvkit.errors import CvkitError, DataError, raise_defects
from cvkit.texts import shown

TABLE = "labels.csv"
"""Name of the table that makes a folder a dataset in the `csv` layout."""

ALL = "all"
"""Split that holds everything, of data that are not split into folders."""


@dataclass(frozen=True)
class ClassifiedImage:
    """An image or video and the name of its class.

    Attributes:
        key: its path relative to the dataset; with its times where it is a part of a video.
        path: where it lies; a folder for a video of pictures.
        label: name of the class.
        seconds: begin and end of the part of a video; None for all of it.
    """

    key: str
    path: Path
    label: str
    seconds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Collection:
    """The images of a dataset by split.

    Attributes:
        layout: `folders` (SPLIT/CLASS/images), `classes` (CLASS/images) or `csv`.
        names: of the classes, in index order; those of `train` and `val` too, asked for or not.
        ordered: the dataset itself says in which order (classes.txt); else it is alphabetical.
        splits: the images that were asked for, by name of the split.
        divided: the data are in one heap, and `val_fraction` made the splits.
        notes: what is odd but usable.
    """

    layout: str
    names: tuple[str, ...]
    ordered: bool
    splits: dict[str, list[ClassifiedImage]]
    divided: bool
    notes: tuple[str, ...] = ()


def read_collection(
    place: Path,
    wanted: str,
    splits: Sequence[str],
    val_fraction: float | None,
    walk: Walk = walk_images,
    seed: int | None = 0,
    flag: str = "--data",
) -> Collection:
    """Return the images (or videos) of some splits.

    Args:
        place: the dataset's folder, or a CSV file.
        wanted: layout, or `auto`.
        splits: names; data that are not split have `all`, or `train` and `val`.
        val_fraction: share of each class that becomes `val` where the data are not split, drawn
            by content; None does not divide such data, so that any split is all of them.
        walk: finds what a folder of a class holds.
        seed: of the division; None divides as before there were seeds, see `drawn_singly`.
        flag: what names the place, for messages.

    Raises:
        DataError: unknown layout, missing split or file, malformed table, unknown class.
    """
    layout = detect_layout(place, wanted, splits, flag)
    root = place.parent if place.is_file() else place
    listed, _ = dataset_classes(root)
    heap, labels, shelves = None, set(), []
    if layout == "folders":
        shelves = [_split_folder(root, split, flag) for split in splits]
        found = {
            split: _class_folders(shelf, root, walk)
            for split, shelf in zip(splits, shelves, strict=True)
        }
        both = (root / split for split in ("train", "val") if (root / split).is_dir())
        labels = {place.name for folder in both for place in _visible_folders(folder)}
    elif layout == "classes":
        shelves = [root]
        heap = _class_folders(root, root, walk)
    else:
        found = _read_table(place if place.is_file() else root / TABLE, splits)
        labels = {image.label for images in found.values() for image in images}
        heap = found.get(None)
        found = {split: found[split] for split in splits if heap is None}
    if heap is not None:
        labels = {image.label for image in heap}
        found = divide(heap, splits, val_fraction, place, seed)
    notes = [note_beside(shelf, "class", walk) for shelf in dict.fromkeys(shelves)]
    notes = tuple(filter(None, notes))
    for split, images in found.items():
        if not images:
            hint = "no class has two different files" if heap else " ".join(notes[:1])
            raise DataError(f"split {split!r} of {place} is empty", code="split.empty", hint=hint)
    labels |= {image.label for images in found.values() for image in images}
    if listed is not None:
        _require_listed(labels, listed.names, place)
    names = tuple(sorted(labels)) if listed is None else listed.names
    return Collection(layout, names, listed is not None, found, heap is not None, notes)


def _require_listed(labels: set[str], names: Sequence[str], place: Path) -> None:
    if unknown := sorted(labels - set(names)):
        raise DataError(
            f"class {unknown[0]!r} of {place} is not in its classes.txt",
            code="class.unknown",
            hint=nearest(unknown[0], names),
        )


def detect_layout(place: Path, wanted: str, splits: Sequence[str], flag: str = "--data") -> str:
    """Return `folders`, `classes` or `csv`: what a place looks like, or what `wanted` says.

    Raises:
        DataError: there is nothing, or it has none of these layouts.
    """
    if place.is_file() and place.suffix.lower() == ".csv":
        return "csv"
    if not place.is_dir():
        raise DataError(
            f"{flag} {place} is not a folder or a .csv file", code="data.missing", hint="check it"
        )
    if wanted != "auto":
        return wanted
    if (place / TABLE).is_file():
        return "csv"
    if any((place / split).is_dir() for split in splits):
        return "folders"
    if any(_visible_folders(place)):
        known = [p.name for p in _visible_folders(place)]
        if {"train", "val", "test", "valid", "validation"} & set(known):
            raise _no_split(place, splits[0], known, flag)
        return "classes"
    raise DataError(
        f"{flag} {place} has no known layout",
        code="data.layout",
        hint=f"SPLIT/CLASS/images, CLASS/images, or a table {TABLE} with path,label[,split]",
    )


def _visible_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder.

    Raises:
        DataError: it cannot be read, or a link in it that leads to nothing may have been one.
    """
    found = matches(folder, "*")
    for path in found:
        if not path.suffix:
            require_end(path)
    return [path for path in found if path.is_dir()]


def _no_split(place: Path, split: str, known: Sequence[str], flag: str = "--data") -> DataError:
    hint = nearest(split, known) if known else "there are none"
    if list(known) == ["train"] and place.is_dir():  # a table has no folder of its splits
        hint = f"{flag} {place / 'train'} divides it by --val-fraction"
    return DataError(f"{place} has no split {split!r}", code="split.missing", hint=hint)


def _split_folder(root: Path, split: str, flag: str) -> Path:
    folder = inside(root, split)
    if not folder.is_dir():
        raise _no_split(root, split, [p.name for p in _visible_folders(root)], flag)
    return folder


def _class_folders(folder: Path, root: Path, walk: Walk) -> list[ClassifiedImage]:
    """Return the images under the folders of a folder; each folder is a class.

    Raises:
        DataError: a class without images or with an unprintable name, or two that differ only
            in case.
    """
    images: list[ClassifiedImage] = []
    seen: dict[str, str] = {}
    for place in _visible_folders(folder):
        if not place.name.isprintable():  # also what is not UTF-8
            raise DataError(
                f"{folder}: {place.name!r} cannot be the name of a class",
                code="class.name",
                hint="rename the folder",
            )
        if (twin := seen.setdefault(place.name.casefold(), place.name)) != place.name:
            raise DataError(
                f"{folder}: classes {twin!r} and {place.name!r} differ only in case",
                code="class.case_collision",
                hint="rename or join them",
            )
        found = [
            ClassifiedImage(path.relative_to(root).as_posix(), path, place.name)
            for path in walk(place)
        ]
        if not found:
            raise DataError(
                f"class {place.name!r} of {folder} is empty",
                code="class.empty",
                hint="add files, or remove the folder",
            )
        images += found
    return images


def divide(
    images: list[ClassifiedImage],
    splits: Sequence[str],
    val_fraction: float | None,
    place: Path,
    seed: int | None,
) -> dict[str, list[ClassifiedImage]]:
    """Return splits of images that are in one heap; equal files are always on the same side.

    Raises:
        DataError: a split other than train, val and all.
    """
    for split in splits:
        if split not in ("train", "val", ALL):
            raise _no_split(place, split, ("train", "val", ALL))
    if tuple(splits) == (ALL,) or val_fraction is None:
        return dict.fromkeys(splits, images)
    paths = [image.path for image in images]
    if seed is None:
        in_val = drawn_singly(paths, val_fraction)
    else:
        labels = [image.label for image in images]
        in_val = draw_val(labels, content_hashes(paths), val_fraction, seed)
    chosen = {
        "train": [image for image, val in zip(images, in_val, strict=True) if not val],
        "val": [image for image, val in zip(images, in_val, strict=True) if val],
        ALL: images,
    }
    return {split: chosen[split] for split in splits}


def _read_table(path: Path, splits: Sequence[str]) -> dict[str | None, list[ClassifiedImage]]:
    """Return the images of a table with columns path, label and perhaps split, by split.

    Without that column all of them are under None; `splits` must be there otherwise.
    """
    rows = read_rows(path, ("path", "label"))
    root, images, missing = path.parent, [], []
    defects: list[CvkitError] = []
    for row in rows:
        try:
            file, seconds = inside(root, row["path"]), _seconds(row, path)
        except DataError as defect:
            defects.append(defect)
            continue
        key = row["path"] if seconds is None else f"{row['path']}#{seconds[0]:g}-{seconds[1]:g}"
        image = ClassifiedImage(key, file, row["label"].strip(), seconds)
        images.append((row.get("split"), image))
        missing += [] if file.exists() else [row["path"]]
    raise_defects(defects, str(path))
    if missing:
        raise DataError(
            f"{path}: {len(missing)} files are missing: {', '.join(missing[:5])}"
            + (" ..." if len(missing) > 5 else ""),
            code="split.id_without_file",
            hint="paths are relative to the table",
        )
    (key, times), *_ = Counter(image.key for _, image in images).most_common(1)
    if times > 1:
        raise DataError(f"{path} lists {key!r} twice", code="split.duplicate")
    if "split" not in rows[0]:
        return {None: [image for _, image in images]}
    known = sorted({split for split, _ in images})
    for split in splits:
        if split not in known and split != ALL:
            raise _no_split(path, split, known)
    return {
        split: [image for own, image in images if split in (own, ALL)] for split in (*known, ALL)
    }


def _seconds(row: dict[str, str], path: Path) -> tuple[float, float] | None:
    """Return the part of a video that a row's cells `start` and `end` name.

    Raises:
        DataError: they are not times in order.
    """
    cells = [(row.get(name) or "").strip() for name in ("start", "end")]
    if not any(cells):
        return None
    try:
        start, end = float(cells[0] or 0), float(cells[1] or "inf")
    except ValueError:
        start, end = 1.0, 0.0
    if not 0 <= start < end:
        raise DataError(
            f"{path}: {row['path']}: from {shown(cells[0])} to {shown(cells[1])} is no part of a "
            "video",
            code="list.bad_line",
            hint="start and end are seconds",
        )
    return start, end
