"""The contract of a format's module; the formats are listed in `cvkit.format_table`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from cvkit.data.files import Walk, walk_images
from cvkit.errors import CvkitError

T = TypeVar("T")
NO_SPLITS = "the dataset has no splits"


@dataclass(frozen=True)
class DataFlags:
    """How a command names its data, for messages that say what to change.

    Attributes:
        place: the flag or argument for the dataset.
        choose: the remedy if several COCO files match a split.
    """

    place: str
    choose: str = ""


TRAINING = DataFlags("--data", "choose with --train-json and --val-json")
"""The flags of train."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """A dataset, and what a command needs from it.

    Attributes:
        root: the dataset's folder, or the file given instead.
        splits: that are requested.
        walk: finds the files in a class folder.
        json_files: annotation files by split; that of "" is divided.
        images: folder that the file names in them are relative to; None looks for it.
        masks: every object must have a mask.
        flags: for the dataset, for messages.
    """

    root: Path
    splits: Sequence[str] = ()
    walk: Walk = walk_images
    json_files: Mapping[str, Path] = field(default_factory=dict)
    images: Path | None = None
    masks: bool = False
    flags: DataFlags = TRAINING


@dataclass(frozen=True)
class Listing(Generic[T]):
    """The labelled images or videos of a split.

    Attributes:
        images: in the order of their names or of the file that lists them.
        notes: remarks on usable oddities, for warnings.
        defects: what is missing or malformed; see `usable`.
    """

    images: list[T]
    notes: Sequence[str] = ()
    defects: Sequence[CvkitError] = ()


def usable(listing: Listing[T]) -> Listing[T]:
    """Return the listing of a split for a command that cannot do with a part of it.

    Raises:
        CvkitError: the first of its defects.
    """
    if listing.defects:
        raise listing.defects[0]
    return listing


@dataclass(frozen=True)
class Contents(Generic[T]):
    """The content of a dataset.

    Attributes:
        known: its own names of its splits.
        heap: see `cvkit.data.division.Source`.
        read: returns the content of a split or of the heap, by the dataset's own name: a
            `Listing`, or of boxes `cvkit.data.annotated.Annotations`.
        class_names: returns the classes of `train` and `val`, even if not requested; only for
            formats of class labels.
        hint: about the existing data, if the requested split is missing.
        ordered: returns all class names in the order of their indices if the format defines it;
            only for formats of class labels.
    """

    known: Sequence[str]
    heap: str | None
    read: Callable[[str], T]
    class_names: Callable[[], Collection[str]] = tuple
    hint: str = NO_SPLITS
    ordered: Callable[[], tuple[str, ...] | None] = lambda: None


class Reader(Protocol):
    """The module of a format.

    That of a format for both boxes and instances also has `has_outlines(place)`, which returns
    whether an object of a dataset, in its folder or file, has an outline.
    """

    def looks_like(self, place: Path, splits: Sequence[str]) -> bool:
        """Return whether a dataset has the format.

        Args:
            place: its folder, or a file with one of the suffixes in the format's row.
            splits: that are requested; their names may be unusual.
        """

    def read(self, query: Query) -> Contents:
        """Return the content of a dataset in this format; splits are read on request.

        Raises:
            DataError: the data are unusable.
        """
