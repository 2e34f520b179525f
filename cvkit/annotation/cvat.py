"""CVAT's own format, "CVAT for images" 1.1: one XML file for all images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO
from xml.etree.ElementTree import Element, SubElement, tostring

import numpy as np

from cvkit.annotation.marked import Marked
from cvkit.structures import ClassList

SCORE = "score"
"""Attribute of the labels of predictions."""


@dataclass(frozen=True)
class Picture:
    """An image of a file.

    Attributes:
        name: its path.
        size_wh: width and height.
        objects: become boxes and masks.
        tags: classes of the whole image, with their scores.
        subset: its split, or "".
    """

    name: str
    size_wh: tuple[int, int]
    objects: Iterable[Marked] = ()
    tags: Sequence[tuple[str, float]] = ()
    subset: str = ""


def write(
    stream: BinaryIO, classes: ClassList, pictures: Iterable[Picture], *, scored: bool
) -> None:
    """Write a file; one image is in memory at a time.

    Args:
        stream: to write to.
        classes: all labels of the project, in order.
        pictures: whose names XML can hold.
        scored: the labels have an attribute for scores.
    """
    stream.write(b'<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
    for node in (_version(), _meta(classes, scored)):
        stream.write(tostring(node, "utf-8", xml_declaration=False) + b"\n")
    for number, picture in enumerate(pictures):
        stream.write(tostring(_image(number, picture), "utf-8", xml_declaration=False) + b"\n")
    stream.write(b"</annotations>\n")


def _version() -> Element:
    node = Element("version")
    node.text = "1.1"
    return node


def _meta(classes: ClassList, scored: bool) -> Element:
    """Return the description of the labels."""
    meta = Element("meta")
    labels = SubElement(SubElement(meta, "task"), "labels")
    for name, color in zip(classes.names, classes.colors, strict=True):
        label = SubElement(labels, "label")
        SubElement(label, "name").text = name
        SubElement(label, "color").text = "#" + bytes(color).hex()
        SubElement(label, "type").text = "any"
        attributes = SubElement(label, "attributes")
        if scored:
            attribute = SubElement(attributes, "attribute")
            about = {"name": SCORE, "mutable": "False", "input_type": "text"}
            for tag, text in (about | {"default_value": "", "values": ""}).items():
                SubElement(attribute, tag).text = text
    return meta


def _image(number: int, picture: Picture) -> Element:
    width, height = picture.size_wh
    about = {"id": str(number), "name": picture.name}
    about |= {"subset": picture.subset} if picture.subset else {}
    node = Element("image", about | {"width": str(width), "height": str(height)})
    for shown in picture.objects:
        kind, place = _place(shown)
        about = {"label": shown.name, "source": _source(shown.score), "occluded": "0"}
        _add_score(SubElement(node, kind, about | place | {"z_order": "0"}), shown.score)
    for name, score in picture.tags:
        _add_score(SubElement(node, "tag", {"label": name, "source": _source(score)}), score)
    return node


def _source(score: float | None) -> str:
    return "manual" if score is None else "auto"


def _add_score(node: Element, score: float | None) -> None:
    if score is not None:
        SubElement(node, "attribute", {"name": SCORE}).text = repr(score)


def _place(shown: Marked) -> tuple[str, dict[str, str]]:
    """Return the kind of an object's shape, and where it is."""
    if shown.part is None:
        sides = zip(("xtl", "ytl", "xbr", "ybr"), shown.box, strict=True)
        return "box", {side: repr(float(value)) for side, value in sides}
    (top, left), (height, width) = shown.corner_yx, shown.part.shape
    sizes = {"left": left, "top": top, "width": width, "height": height}
    code = ", ".join(map(str, _runs(shown.part)))
    return "mask", {"rle": code} | {name: str(value) for name, value in sizes.items()}


def _runs(part: np.ndarray) -> Iterator[int]:
    """Yield the lengths of alternate runs along the rows; the first one is background."""
    pixels = part.astype(bool).ravel()
    edges = np.flatnonzero(np.diff(pixels, prepend=False))
    yield from np.diff(edges, prepend=0, append=len(pixels)).tolist()
