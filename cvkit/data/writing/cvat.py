"""CVAT for images 1.1: `annotations.xml`, images in `images/SPLIT`; splits are subsets."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from cvkit import storage
from cvkit.annotation import cvat
from cvkit.annotation.marked import marked
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.writing.contract import Content, Feature, Item, Limit, write_class_names

keeps: frozenset[Feature] = frozenset({"masks", "overlaps", "beyond"})
limits: frozenset[Limit] = frozenset({"lines", "xml"})


def place(item: Item[AnnotatedImage]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath("images", item.split, item.file_name)


def write(root: Path, content: Content[AnnotatedImage]) -> None:
    """Write the file, and the order of the classes."""
    write_class_names(root, content.classes)
    with storage.whole_file(root / "annotations.xml") as stream:
        cvat.write(stream, content.classes, _pictures(content), scored=False)


def _pictures(content: Content[AnnotatedImage]) -> Iterator[cvat.Picture]:
    names = content.classes.names
    items = [item for each in content.items.values() for item in each]
    for item in items:
        objects = marked(item.labels.truth, names)
        yield cvat.Picture(item.file_name, item.size_wh, objects, subset=item.split)
