"""The contract of a format's writer."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path, PurePosixPath
from typing import Generic, Literal, Protocol, TypeVar

from cvkit import storage
from cvkit.annotation.xml_names import fits_xml
from cvkit.data.classes import listed_classes
from cvkit.data.decode import file_suffix
from cvkit.errors import DataError
from cvkit.structures import ClassList
from cvkit.texts import is_utf8, lines_of, shown

T = TypeVar("T")

Feature = Literal[
    "crowd", "difficult", "areas", "masks", "overlaps", "beyond", "parts", "unlabelled", "classes"
]
"""What labels may have and not every format can store: regions of many objects, objects that do not
count, areas that do not follow from boxes or masks, masks, masks that overlap, boxes that leave the
image, parts of videos, pixels without a label, and any classes of pixels in any order and colours.
"""

Limit = Literal["lines", "colors", "folders", "text", "xml", "listed"]
"""What limits the names of classes and files: classes are lines of `classes.txt`, without or with
their colours; classes are folders; names are in text files in UTF-8, or in XML; names of files are
lines of a list.
"""
CLASS_NAMES = "classes.txt"


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
    limits: frozenset[Limit]

    def place(self, item: Item) -> PurePosixPath:
        """Return where the image or video of a sample lies, relative to the new dataset."""

    def write(self, root: Path, content: Content) -> None:
        """Write everything but images and videos into an empty folder, where these lie already.

        The names in it have passed `require_class_names` and `require_file_names`.
        """


def require_class_names(writer: Writer, classes: ClassList) -> None:
    """Refuse classes whose names a format cannot hold.

    Raises:
        DataError: names the first one.
    """
    if "folders" in writer.limits:
        _require_folder_names(classes)
    for name in classes.names:
        _require_text(writer.limits, name, {"lines", "colors", "text"})
    if {"lines", "colors"} & writer.limits:
        _require_lines(classes, colors="colors" in writer.limits)


def require_file_names(writer: Writer, content: Content) -> None:
    """Refuse images and videos whose names a format cannot hold.

    Raises:
        DataError: names the first one.
    """
    for items in content.items.values():
        for item in items:
            _require_text(writer.limits, item.file_name, {"text"})
            if "listed" in writer.limits and lines_of(item.name) != [item.name.strip()]:
                raise DataError(
                    f"a list of images cannot hold the name {shown(item.name)}",
                    code="file.line",
                    hint="rename the file, or choose a format without lists",
                )


def _require_text(limits: frozenset[Limit], name: str, in_text: set[Limit]) -> None:
    if "xml" in limits and not fits_xml(name):
        raise DataError(
            f"XML cannot hold the name {shown(name)}", code="xml.name", hint="rename it"
        )
    if limits & in_text and not is_utf8(name):
        raise DataError(
            f"text in UTF-8 cannot hold the name {shown(name)}", code="text.name", hint="rename it"
        )


def _require_folder_names(classes: ClassList) -> None:
    for name in classes.names:
        if "/" in name or name.startswith(".") or not name.isprintable():
            raise DataError(
                f"class {shown(name)} cannot be the name of a folder",
                code="class.folder",
                hint="use --to csv",
            )


def _require_lines(classes: ClassList, *, colors: bool) -> None:
    """Refuse classes that `classes.txt` would not give back."""
    path = Path(CLASS_NAMES)
    again, _ = listed_classes(lines_of(_class_lines(classes, colors=colors)), path)
    for name, read in zip_longest(classes.names, again.names):
        if name != read:
            raise DataError(
                f"class {shown(name)} cannot be written to {CLASS_NAMES}, which would be read as "
                f"{shown(read)}",
                code="classes.syntax",
                hint="rename the class",
            )


def write_class_names(root: Path, classes: ClassList, *, colors: bool = False) -> None:
    """Write `classes.txt`.

    Args:
        root: of the dataset.
        classes: in index order, which pass `require_class_names`.
        colors: also write the colour of each class.
    """
    storage.write_file(root / CLASS_NAMES, _class_lines(classes, colors=colors))


def _class_lines(classes: ClassList, *, colors: bool) -> str:
    lines = [
        f"{name} {' '.join(map(str, color))}" if colors else name
        for name, color in zip(classes.names, classes.colors, strict=True)
    ]
    return "".join(f"{line}\n" for line in lines)
