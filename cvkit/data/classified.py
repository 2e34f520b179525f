"""Images or videos that have one class each, in any format."""

import functools
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path

from cvkit.catalog import nearest
from cvkit.data.classes import class_key, dataset_classes
from cvkit.data.division import Division, Source, read_splits
from cvkit.data.exclusion import NOTHING, Exclusion
from cvkit.data.files import Walk, walk_images
from cvkit.data.formats.contract import DataFlags, Listing, Query, usable
from cvkit.data.formats.recognise import NO_CLASSES, detect_format, other_data, reader_of
from cvkit.errors import DataError
from cvkit.format_table import FORMATS


@dataclass(frozen=True)
class ClassifiedImage:
    """An image or video and the name of its class.

    Attributes:
        key: its path relative to the dataset; with its times if it is a part of a video.
        path: its location; a folder for a video in frames.
        label: name of the class.
        seconds: start and end of the part of a video; None for the whole video.
    """

    key: str
    path: Path
    label: str
    seconds: tuple[float, float] | None = None


@dataclass(frozen=True)
class Collection:
    """The images of a dataset by split.

    Attributes:
        layout: the name of its format.
        names: of the classes, in index order; including those of `train` and `val`, even if not
            requested.
        ordered: the dataset defines the order (classes.txt); otherwise it is alphabetical.
        splits: the requested images, by name of the split.
        heap: the part that was divided, see `Parts`; None if the data have splits.
        notes: remarks on usable oddities, for warnings.
    """

    layout: str
    names: tuple[str, ...]
    ordered: bool
    splits: dict[str, list[ClassifiedImage]]
    heap: str | None
    notes: tuple[str, ...] = ()


def read_collection(
    place: Path,
    wanted: str,
    splits: Sequence[str],
    division: Division | float | None,
    walk: Walk = walk_images,
    seed: int | None = 0,
    flag: str = "--data",
    exclude: Exclusion = NOTHING,
) -> Collection:
    """Return the images (or videos) of some splits.

    Args:
        place: the dataset's folder, or a CSV file.
        wanted: the name of its format, or `auto`.
        splits: names; data without splits have `all`, or `train` and `val`.
        division: of data without splits; a number stands for one with this `val_fraction` and
            `seed`; None does not divide, so that every split is the whole dataset.
        walk: finds the files in a class folder.
        seed: see `division`.
        flag: that gives the place, for messages.
        exclude: samples that are left out.

    Raises:
        DataError: unknown layout, missing split or file, malformed table, unknown class.
    """
    made = division if isinstance(division, Division) else Division(division, seed)
    layout = detect_format("classes", place, wanted, splits, flag)
    listed, _ = dataset_classes(place.parent if place.is_file() else place)
    query = Query(root=place, splits=splits, walk=walk, flags=DataFlags(flag))
    contents = reader_of("classes", layout).read(query)

    @functools.cache
    def listing(split: str) -> Listing[ClassifiedImage]:
        content = contents.read(split)
        defects = exclude.tolerated(content.defects, str(place))
        return usable(replace(content, defects=defects))

    source = Source(
        place,
        contents.known,
        contents.heap,
        lambda split: listing(split).images,
        lambda item: item.path,
        lambda items: [(item.label,) for item in items],
        contents.hint,
    )
    parts = read_splits(source, splits, made)
    labels = {image.label for images in parts.splits.values() for image in images}
    labels |= {*contents.class_names()}
    beside = dict.fromkeys(note for name in parts.names.values() for note in listing(name).notes)
    notes = (*beside, *_doubts(place, layout, labels), *parts.notes)
    if empty := [split for split, images in parts.splits.items() if not images]:
        text = f"split {empty[0]!r} of {place} is empty"
        raise DataError(text, code="split.empty", hint=" ".join(notes[:1]))
    order = contents.ordered() or (listed and _listed(labels, listed.names, place))
    kept, left_out = exclude.kept(parts.splits)
    names = order or tuple(sorted(labels))
    return Collection(layout, names, bool(order), kept, parts.heap, (*notes, *left_out))


def called_as(data: Collection, wanted: Sequence[str]) -> Collection:
    """Return a dataset whose classes have the names that a model has for them; see `class_key`."""
    known = {class_key(name): name for name in wanted}
    names = {name: known.get(class_key(name), name) for name in data.names}
    if len(known) < len(wanted) or len({*names.values()}) < len(names):
        return data
    splits = {
        split: [replace(item, label=names[item.label]) for item in items]
        for split, items in data.splits.items()
    }
    return replace(data, names=tuple(names.values()), splits=splits)


def _doubts(place: Path, layout: str, labels: AbstractSet[str]) -> list[str]:
    """Return a note if the class folders look like folders of data for another task."""
    row = FORMATS["classes"].get(layout)
    if row is None or not row.last or not labels & NO_CLASSES:
        return []
    hint = other_data("classes", place, deeper=False)
    return [f"{place}: its folders are read as classes, but {hint}"] if hint else []


def _listed(labels: set[str], names: tuple[str, ...], place: Path) -> tuple[str, ...]:
    """Return the classes that the dataset lists.

    Raises:
        DataError: samples have another class.
    """
    if unknown := sorted(labels - set(names)):
        raise DataError(
            f"class {unknown[0]!r} of {place} is not in its classes.txt",
            code="class.unknown",
            hint=(unknown[0] in NO_CLASSES and other_data("classes", place, deeper=False))
            or nearest(unknown[0], names),
        )
    return names
