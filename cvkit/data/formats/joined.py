"""Several datasets that are read as one: splits and classes are joined by name.

A dataset without splits belongs to the training split if another one has splits. Keys begin with
the name of their dataset.
"""

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cvkit.console import Tabular
from cvkit.data.annotated import AnnotatedImage, Annotations
from cvkit.data.boxes import with_truths
from cvkit.data.classes import dataset_classes, object_classes
from cvkit.data.classified import ClassifiedImage
from cvkit.data.division import ALL, find_split, is_split, spellings
from cvkit.data.formats.contract import Contents, Listing, Query, Reader
from cvkit.data.formats.joined_masks import RootMasks, joined_mask_classes
from cvkit.data.labelled import LabelledImage
from cvkit.data.notes import Note
from cvkit.data.roots import root_names, roots_of
from cvkit.errors import CvkitError, DataError
from cvkit.format_table import Truth
from cvkit.structures import ClassList
from cvkit.texts import counted

MOST_ROWS = 60
"""Maximum number of classes in the table of classes."""


@dataclass(frozen=True)
class Root:
    """One of the datasets.

    Attributes:
        name: that keys begin with.
        query: the dataset.
        contents: of it.
        read: returns the content of a split by its own name, each read once.
        whole: it has no splits, while another dataset has.
    """

    name: str
    query: Query
    contents: Contents[Any]
    read: Any
    whole: bool

    def split(self, wanted: str) -> str | None:
        """Return the dataset's own name of a split; None if it has none."""
        if wanted == "":
            return self.contents.heap
        name = find_split(wanted, self.contents.known)
        if name is None and self.whole and wanted.casefold() in spellings("train"):
            return self.contents.heap
        return name

    def first(self) -> Any:
        """Return the content of the training split, or of any other, for its classes."""
        known = self.contents.known
        name = find_split("train", known)
        if name is None:
            named = [each for each in known if is_split(each)]
            name = self.contents.heap if self.contents.heap is not None else (named or [*known])[0]
        return self.read(name)


class Joined:
    """The reader of several datasets.

    Args:
        truth: the kind of labels that they have.
        readers: of each one's format.
    """

    def __init__(self, truth: Truth, readers: Sequence[Reader]) -> None:
        self._truth: Truth = truth
        self._readers = readers

    def looks_like(self, place: Any, splits: Sequence[str]) -> bool:
        """Return whether a place names as many datasets as there are readers."""
        return len(roots_of(place)) == len(self._readers)

    def read(self, query: Query) -> Contents[Any]:
        """Return the joined content."""
        paths = roots_of(query.root)
        queries = [replace(query, root=path) for path in paths]
        found = [reader.read(each) for reader, each in zip(self._readers, queries, strict=True)]
        split = [any(map(is_split, contents.known)) for contents in found]
        roots = [
            Root(name, each, contents, functools.cache(contents.read), any(split) and not has)
            for name, each, contents, has in zip(
                root_names(paths), queries, found, split, strict=True
            )
        ]
        join: Any = {"classes": _Classes, "masks": _Masks}.get(self._truth, _Objects)(roots)
        whole = not any(split) and all(contents.heap is not None for contents in found)
        return Contents(
            _known(roots),
            "" if whole else None,
            functools.cache(lambda name: _read(roots, join, name)),
            join.names,
            " ".join(dict.fromkeys(contents.hint for contents in found)),
            join.ordered,
        )


def _known(roots: Sequence[Root]) -> list[str]:
    """Return the splits of all datasets, each in one spelling."""
    result: list[str] = []
    for root in roots:
        names = [name for name in root.contents.known if name != ALL]
        names += ["train"] if root.whole and root.contents.heap is not None else []
        result += [name for name in names if find_split(name, result) is None]
    return result + ([ALL] if all(ALL in root.contents.known for root in roots) else [])


def _read(roots: Sequence[Root], join: Any, split: str) -> Any:
    """Return a split of all datasets."""
    names = [root.split(split) for root in roots]
    parts = [
        (number, root.read(name))
        for number, (root, name) in enumerate(zip(roots, names, strict=True))
        if name is not None
    ]
    notes: list[str] = [join.table]
    notes += join.alike
    for root, name in zip(roots, names, strict=True):
        if name is None and not root.whole:
            notes.append(f"{root.query.root} has no split {split!r}")
        elif name is not None and root.whole:
            notes.append(f"{root.query.root} has no splits: all of it is in {split!r}")
    for number, content in parts:
        notes += content.notes
        for error in content.defects:
            for each in error.defects or [error]:
                each.sample = f"{roots[number].name}/{each.sample}" if each.sample else ""
    return join.join(parts, notes)


def _listing_table(roots: Sequence[Root], lists: Sequence[Sequence[str]]) -> Tabular:
    """Return the table of the joined classes, with their indices in each dataset."""
    names = joined_names(lists)
    rows = [
        [name, *(str(each.index(name)) if name in each else "-" for each in lists), str(index)]
        for index, name in enumerate(names[:MOST_ROWS])
    ]
    if more := len(names) - len(rows):
        rows.append([f"and {more} more", *["" for _ in lists], ""])
    title = f"classes of {counted(len(roots), 'dataset')}, joined by name, and their indices"
    return Tabular(title, ["class", *(root.name for root in roots), "joined"], rows)


def joined_names(lists: Sequence[Sequence[str]]) -> list[str]:
    """Return the classes of the first dataset, and then those that each other one adds."""
    return [*dict.fromkeys(name for each in lists for name in each)]


def _alike(roots: Sequence[Root], lists: Sequence[Sequence[str]]) -> list[str]:
    """Return notes about classes of two datasets that differ in case or spacing only."""
    seen: dict[str, dict[str, str]] = {}
    for root, names in zip(roots, lists, strict=True):
        for name in names:
            plain = re.sub(r"[\s_-]+", "", name).casefold()
            seen.setdefault(plain, {}).setdefault(name, root.name)
    return [
        Note(
            "classes that differ in case or spacing only, and are not joined: "
            + " and ".join(f"{name!r} of {root}" for name, root in spelt.items()),
            "class.spelling",
        )
        for spelt in seen.values()
        if len(spelt) > 1
    ]


class _Join:
    """What is joined of the datasets, for one kind of labels."""

    def __init__(self, roots: Sequence[Root]) -> None:
        self.roots = roots

    @functools.cached_property
    def lists(self) -> list[list[str]]:
        """The names of the classes of each dataset, in its order."""
        raise NotImplementedError

    @property
    def table(self) -> Tabular:
        """The table of the classes."""
        return _listing_table(self.roots, self.lists)

    @property
    def alike(self) -> list[str]:
        """Notes about classes that may be the same."""
        return _alike(self.roots, self.lists)

    def names(self) -> Sequence[str]:
        """Return the names of all classes."""
        return joined_names(self.lists)

    def ordered(self) -> tuple[str, ...] | None:
        """Return the names of all classes, in the order of their indices."""
        return tuple(self.names())


class _Classes(_Join):
    """Images or videos with one class each."""

    @functools.cached_property
    def lists(self) -> list[list[str]]:
        """The listed classes of each dataset, or else those of its samples, sorted."""
        return [self._of_root(root) for root in self.roots]

    def _of_root(self, root: Root) -> list[str]:
        place = root.query.root
        listed, _ = dataset_classes(place.parent if place.is_file() else place)
        if listed is not None:
            return [*listed.names]
        labels = {image.label for image in root.first().images}
        return sorted(labels | {*root.contents.class_names()})

    def join(
        self, parts: Sequence[tuple[int, Listing[ClassifiedImage]]], notes: Sequence[str]
    ) -> Listing[ClassifiedImage]:
        """Return a split of all datasets; classes that a dataset does not list are defects."""
        images: list[ClassifiedImage] = []
        defects: list[CvkitError] = []
        for number, content in parts:
            root, known = self.roots[number], {*self.lists[number]}
            defects += content.defects
            for label in sorted({image.label for image in content.images} - known):
                text = f"class {label!r} of {root.query.root} is not one of its classes"
                hint = "correct classes.txt, or the labels"
                defects.append(DataError(text, code="class.unknown", hint=hint))
            images += [replace(i, key=f"{root.name}/{i.key}") for i in content.images]
        return Listing(images, notes, defects)


class _Masks(_Join):
    """Images with a mask of classes."""

    @functools.cached_property
    def masks(self) -> list[RootMasks]:
        """How the masks of each dataset are read."""
        return [RootMasks.of(r.query.root, r.first().images) for r in self.roots]

    @functools.cached_property
    def lists(self) -> list[list[str]]:
        """The classes of each dataset; none if no dataset names its classes."""
        return [each.names for each in self.masks]

    def join(
        self, parts: Sequence[tuple[int, Listing[LabelledImage]]], notes: Sequence[str]
    ) -> Listing[LabelledImage]:
        """Return a split of all datasets, whose masks have the joined indices."""
        classes = joined_mask_classes(self.masks, [root.query.root for root in self.roots])
        if classes is None:
            notes = [note for note in notes if not isinstance(note, Tabular)]
        images: list[LabelledImage] = []
        defects: list[CvkitError] = []
        for number, content in parts:
            name, masks = self.roots[number].name, self.masks[number]
            defects += content.defects
            images += [
                LabelledImage(
                    f"{name}/{each.key}",
                    each.image,
                    each.mask if classes is None else masks.renumbered(each.mask, classes),
                    f"{name}/{each.name}",
                )
                for each in content.images
            ]
        return Listing(images, notes, defects)


class _Objects(_Join):
    """Images with objects."""

    @functools.cached_property
    def lists(self) -> list[list[str]]:
        """The classes of each dataset."""
        return [[*root.first().classes.names] for root in self.roots]

    @functools.cached_property
    def classes(self) -> ClassList:
        """All classes; each has the id of the first dataset with it, or the next free one."""
        ids: dict[str, int] = {}
        for root in self.roots:
            found: ClassList = root.first().classes
            for name, number in zip(found.names, found.ids, strict=True):
                if name not in ids:
                    taken = {*ids.values()}
                    ids[name] = max(taken) + 1 if number in taken else number
        return object_classes([*ids], ids.values())

    def join(self, parts: Sequence[tuple[int, Annotations]], notes: Sequence[str]) -> Annotations:
        """Return a split of all datasets, whose objects have the joined labels."""
        found = Annotations(self.classes, notes=[*notes])
        labels = {name: number for number, name in enumerate(self.classes.names, 1)}
        for number, content in parts:
            root = self.roots[number]
            found.defects += content.defects
            found.remarks += content.remarks
            if unknown := [n for n in content.classes.names if n not in labels]:
                text = f"{root.query.root}: its splits have different classes, such as {unknown[0]}"
                hint = "all files must list the same classes"
                found.defects.append(DataError(text, code="classes.differ", hint=hint))
                continue
            table = {n: labels[name] for n, name in enumerate(content.classes.names, 1)}
            found.images += _renumbered(root.name, content.images, table, found.images)
        return found


def _renumbered(
    name: str,
    images: Sequence[AnnotatedImage],
    table: Mapping[int, int],
    before: Sequence[AnnotatedImage],
) -> list[AnnotatedImage]:
    """Return images with the joined labels, and with ids that no image before them has."""
    taken = {image.image_id for image in before}
    clash = any(image.image_id in taken for image in images)
    lowest = min((image.image_id for image in images), default=0)
    shift = max(taken) + 1 - lowest if clash else 0
    return [
        replace(image, key=f"{name}/{image.key}", image_id=image.image_id + shift)
        for image in with_truths(images, dict(table))
    ]
