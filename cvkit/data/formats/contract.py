"""What the module of a format offers; which formats there are is in `cvkit.format_table`."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from cvkit.data.files import Walk, walk_images

T = TypeVar("T")
NO_SPLITS = "the dataset has no splits"


@dataclass(frozen=True)
class DataFlags:
    """How a command names its data, for messages that say what to change.

    Attributes:
        place: the flag or argument that names the dataset.
        choose: what to do where several COCO files fit a split.
    """

    place: str
    choose: str = ""


TRAINING = DataFlags("--data", "choose with --train-json and --val-json")
"""Those of train."""


@dataclass(frozen=True, kw_only=True)
class Query:
    """A dataset, and what a command wants of it.

    Attributes:
        root: the dataset's folder, or the file that stands for it.
        splits: that are asked for.
        walk: finds what a folder of a class holds.
        json_files: annotation files by the split that they are named for; that of "" is divided.
        images: folder that the file names in them are relative to; None looks for it.
        masks: every object must have a mask.
        flags: how the command names the dataset.
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
        notes: what is odd but usable.
    """

    images: list[T]
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Contents(Generic[T]):
    """What a dataset holds.

    Attributes:
        known: its own names of its splits.
        heap: see `cvkit.data.division.Source`.
        read: returns the content of a split or of the heap, by the dataset's own name: a
            `Listing`, or of boxes `cvkit.data.annotated.Annotations`.
        class_names: returns the classes of `train` and `val`, also where they are not asked for;
            of formats of classes only.
        hint: what there is, for data without the split that is asked for.
    """

    known: Sequence[str]
    heap: str | None
    read: Callable[[str], T]
    class_names: Callable[[], Collection[str]] = tuple
    hint: str = NO_SPLITS


class Reader(Protocol):
    """The module of a format."""

    def looks_like(self, place: Path, splits: Sequence[str]) -> bool:
        """Return whether a dataset has the format.

        Args:
            place: its folder, or a file with one of the suffixes in the format's row.
            splits: that are asked for; their names may be unusual ones.
        """

    def read(self, query: Query) -> Contents:
        """Return what a dataset in this format holds; splits are read when they are asked for.

        Raises:
            DataError: what there is cannot be used.
        """
