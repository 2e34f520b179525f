"""PASCAL VOC's detection layout: Annotations/*.xml, JPEGImages, ImageSets/Main/SPLIT.txt.

Its pixels are 1-based and inclusive, see `cvkit.data.formats.voc`. Coordinates that are not whole
numbers are written as such, which many programs cut off.
"""

from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

from cvkit import storage
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.writing.contract import Content, Feature, Item, write_class_names
from cvkit.structures import ClassList

keeps: frozenset[Feature] = frozenset({"difficult", "beyond"})


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
            with storage.whole_file(path) as stream:
                ElementTree(_tree(item, content.classes)).write(stream, encoding="utf-8")
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


def _tree(item: Item[AnnotatedImage], classes: ClassList) -> Element:
    """Return the annotation of an image."""
    root = Element("annotation")
    names = PurePosixPath(item.file_name)
    _add(root, "filename", names.name)
    size = SubElement(root, "size")
    for tag, side in zip(("width", "height", "depth"), (*item.size_wh, 3), strict=True):
        _add(size, tag, str(side))
    truth = item.labels.truth
    for index, (x, y, width, height) in enumerate(truth.corner_and_size().tolist()):
        node = SubElement(root, "object")
        _add(node, "name", classes.names[int(truth.labels[index]) - 1])
        marked = truth.difficult is not None and truth.difficult[index]
        _add(node, "difficult", "1" if marked else "0")
        box = SubElement(node, "bndbox")
        corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
        for tag, value in corners.items():
            _add(box, tag, str(int(value)) if value.is_integer() else repr(value))
    indent(root)
    return root


def _add(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text
