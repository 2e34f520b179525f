"""PASCAL VOC's detection layout: Annotations/*.xml, JPEGImages, ImageSets/Main/SPLIT.txt.

Its pixels are 1-based and inclusive, see `cvkit.data.formats.voc`. Coordinates that are not whole
numbers are written as such, which many programs cut off.
"""

from dataclasses import replace
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import ElementTree

from cvkit import storage
from cvkit.annotation.marked import marked
from cvkit.annotation.voc import tree
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.writing.contract import Content, Feature, Item, Limit, write_class_names

keeps: frozenset[Feature] = frozenset({"difficult", "beyond"})
limits: frozenset[Limit] = frozenset({"lines", "text", "xml", "listed"})


def place(item: Item[AnnotatedImage]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath("JPEGImages", item.file_name)


def write(root: Path, content: Content[AnnotatedImage]) -> None:
    """Write a file per image, and a list per split."""
    write_class_names(root, content.classes)
    for items in content.items.values():
        for item in items:
            path = root / "Annotations" / f"{item.name}.xml"
            path.parent.mkdir(parents=True, exist_ok=True)
            truth, name = item.labels.truth, PurePosixPath(item.file_name).name
            shown = marked(replace(truth, masks=None), content.classes.names)
            difficult = None if truth.difficult is None else truth.difficult.tolist()
            with storage.whole_file(path) as stream:
                made = ElementTree(tree(name, item.size_wh, shown, difficult))
                made.write(stream, encoding="utf-8")
    write_lists(root, "Main", content)


def write_lists(root: Path, kind: str, content: Content) -> None:
    """Write `ImageSets/KIND/SPLIT.txt`; nothing for data without splits.

    Args:
        root: of the dataset.
        kind: `Main` or `Segmentation`.
        content: of the dataset.
    """
    for split, items in content.items.items():
        if split:
            path = root / "ImageSets" / kind / f"{split}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            storage.write_file(path, "".join(f"{item.name}\n" for item in items))
