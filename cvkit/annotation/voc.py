"""PASCAL VOC's XML file of an image. Its pixels are 1-based and inclusive."""

from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent

from cvkit.annotation.marked import Marked


def tree(
    name: str,
    size_wh: tuple[int, int],
    objects: Iterable[Marked],
    difficult: Iterable[bool] | None = None,
) -> Element:
    """Return the annotation of an image.

    Args:
        name: of its file.
        size_wh: of the image.
        objects: in the image.
        difficult: whether each does not count; None: all count.
    """
    root = Element("annotation")
    _add(root, "filename", name)
    size = SubElement(root, "size")
    for tag, side in zip(("width", "height", "depth"), (*size_wh, 3), strict=True):
        _add(size, tag, str(side))
    shown = list(objects)
    for each, marks in zip(shown, difficult or [False] * len(shown), strict=True):
        node = SubElement(root, "object")
        _add(node, "name", each.name)
        _add(node, "difficult", str(int(marks)))
        if each.score is not None:
            _add(node, "score", repr(each.score))
        box, (x1, y1, x2, y2) = SubElement(node, "bndbox"), each.box
        corners = {"xmin": x1 + 1, "ymin": y1 + 1, "xmax": x2, "ymax": y2}
        for tag, value in corners.items():
            _add(box, tag, str(int(value)) if value.is_integer() else repr(value))
    indent(root)
    return root


def _add(parent: Element, tag: str, text: str) -> None:
    SubElement(parent, tag).text = text
