"""LabelMe: a JSON file beside each image, in a folder per split."""

from pathlib import Path, PurePosixPath

from cvkit import storage
from cvkit.annotation.labelme import document
from cvkit.annotation.marked import marked
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.writing.contract import Content, Feature, Item, Limit, write_class_names

keeps: frozenset[Feature] = frozenset({"masks", "overlaps", "beyond"})
limits: frozenset[Limit] = frozenset({"lines"})


def place(item: Item[AnnotatedImage]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath(item.split, item.file_name)


def write(root: Path, content: Content[AnnotatedImage]) -> None:
    """Write a file per image, and the order of the classes."""
    write_class_names(root, content.classes)
    for items in content.items.values():
        for item in items:
            name = PurePosixPath(item.file_name).name
            objects = marked(item.labels.truth, content.classes.names)
            about = document(name, item.size_wh, objects)
            storage.write_json(root / item.split / f"{item.name}.json", about)
