"""A folder per class, in a folder per split."""

from pathlib import Path, PurePosixPath

from cvkit.data.classified import ClassifiedImage
from cvkit.data.writing.contract import (
    Content,
    Feature,
    Item,
    Limit,
    write_class_names,
)

keeps: frozenset[Feature] = frozenset()
limits: frozenset[Limit] = frozenset({"lines", "folders"})


def place(item: Item[ClassifiedImage]) -> PurePosixPath:
    """Return where the image or video of a sample lies."""
    return PurePosixPath(item.split, item.labels.label, item.file_name)


def write(root: Path, content: Content[ClassifiedImage]) -> None:
    """Write the list of classes, whose order folders do not have."""
    write_class_names(root, content.classes)
