"""The contract of a format's writer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Generic, Literal, Protocol, TypeVar

from cvkit.data.decode import file_suffix
from cvkit.errors import DataError
from cvkit.structures import ClassList
from cvkit.texts import shown

T = TypeVar("T")

Feature = Literal[
    "crowd", "difficult", "areas", "masks", "overlaps", "beyond", "parts", "unlabelled", "classes"
]
"""What labels may have and not every format can store: regions of many objects, objects that do not
count, areas that do not follow from boxes or masks, masks, masks that overlap, boxes that leave the
image, parts of videos, pixels without a label, and any classes of pixels in any order and colours.
"""


@dataclass(frozen=True)
class Item(Generic[T]):
    """A sample to be written.

    Attributes:
        split: name; "" for data without splits.
        name: of its files in the new dataset, a path without suffix; no other sample has it.
        source: its image or video, or the folder with the frames of a video.
        size_wh: width and height of the upright image; (0, 0) if the labels do not need it.
        labels: its class, the path of its mask, or its objects.
    """

    split: str
    name: str
    source: Path
    size_wh: tuple[int, int]
    labels: T

    @property
    def file_name(self) -> str:
        """Name of its image or video in the new dataset."""
        return f"{self.name}{file_suffix(self.source)}"


@dataclass(frozen=True)
class Content(Generic[T]):
    """A dataset to be written.

    Attributes:
        classes: in index order.
        items: by split, "" alone for data without splits.
    """

    classes: ClassList
    items: Mapping[str, Sequence[Item[T]]]


class Writer(Protocol):
    """The writer of a format; a module may be one."""

    keeps: frozenset[Feature]

    def place(self, item: Item) -> PurePosixPath:
        """Return where the image or video of a sample lies, relative to the new dataset."""

    def write(self, root: Path, content: Content) -> None:
        """Write everything but images and videos into an empty folder, where these lie already."""


def require_folder_names(classes: ClassList) -> None:
    """Refuse classes whose names cannot be folders.

    Raises:
        DataError: names the first one.
    """
    for name in classes.names:
        if "/" in name or "\0" in name or name in (".", "..") or name.startswith("."):
            raise DataError(
                f"class {shown(name)} cannot be the name of a folder",
                code="class.folder",
                hint="use --to csv",
            )


def write_class_names(root: Path, classes: ClassList, *, colors: bool = False) -> None:
    """Write `classes.txt`.

    Args:
        root: of the dataset.
        classes: in index order.
        colors: also write the colour of each class.

    Raises:
        DataError: a name that this file cannot hold.
    """
    from cvkit import storage
    from cvkit.data.classes import read_classes

    lines = [
        f"{name} {' '.join(map(str, color))}" if colors else name
        for name, color in zip(classes.names, classes.colors, strict=True)
    ]
    path = root / "classes.txt"
    storage.write_file(path, "".join(f"{line}\n" for line in lines))
    again, _ = read_classes(path)
    for name, read in zip(classes.names, again.names, strict=False):
        if name != read:
            raise DataError(
                f"class {shown(name)} cannot be written to classes.txt, which would be read as "
                f"{shown(read)}",
                code="classes.syntax",
                hint="rename the class",
            )
