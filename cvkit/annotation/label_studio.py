"""Label Studio's tasks with predictions or annotations, and the labelling interface for them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote
from xml.etree.ElementTree import Element, SubElement, indent, tostring

import numpy as np

from cvkit.annotation.brush import encode_brush
from cvkit.annotation.marked import Marked
from cvkit.structures import ClassList

BOXES, MASKS, CLASSES, PARTS = "box", "mask", "class", "part"
"""Names of the controls of the interface: boxes, brushes, classes, and parts of videos."""
KINDS = {
    BOXES: "rectanglelabels",
    MASKS: "brushlabels",
    CLASSES: "choices",
    PARTS: "timelinelabels",
}
"""Type of the results of each control."""
TAGS = {
    BOXES: "RectangleLabels",
    MASKS: "BrushLabels",
    CLASSES: "Choices",
    PARTS: "TimelineLabels",
}


def local_file(path: str) -> str:
    """Return where Label Studio finds a file of its folder for local files.

    Args:
        path: relative to that folder, with `/`.
    """
    name = quote(path.encode("utf-8", "surrogateescape"))
    return f"/data/local-files/?d={name}"


def interface(classes: ClassList, controls: Sequence[str], media: str = "image") -> bytes:
    """Return the labelling interface (XML) in which results are shown.

    Args:
        classes: in order; XML can hold their names.
        controls: some of `KINDS`.
        media: `image` or `video`, also the name of the field in the data of the tasks.
    """
    view = Element("View")
    SubElement(view, media.capitalize(), {"name": media, "value": f"${media}"})
    for control in controls:
        node = SubElement(view, TAGS[control], {"name": control, "toName": media})
        for name, color in zip(classes.names, classes.colors, strict=True):
            if control == CLASSES:
                SubElement(node, "Choice", {"value": name})
            else:
                SubElement(node, "Label", {"value": name, "background": "#" + bytes(color).hex()})
    indent(view)
    return bytes(tostring(view, "utf-8", xml_declaration=False)) + b"\n"


def results(objects: Iterable[Marked], size_wh: tuple[int, int]) -> list[dict[str, Any]]:
    """Return boxes in percent of the image's sides, and masks as brushes."""
    width, height = size_wh
    found = []
    for number, shown in enumerate(objects, 1):
        control, place = BOXES if shown.part is None else MASKS, _place(shown, size_wh)
        value = place | {KINDS[control]: [shown.name]}
        row = _result(control, "image", value, f"object-{number}", shown.score)
        found.append(
            row | {"original_width": width, "original_height": height, "image_rotation": 0}
        )
    return found


def _place(shown: Marked, size_wh: tuple[int, int]) -> dict[str, Any]:
    if shown.part is None:
        (x1, y1, x2, y2), (width, height) = shown.box, (side / 100 for side in size_wh)
        sides = {"x": x1 / width, "y": y1 / height}
        return sides | {"width": (x2 - x1) / width, "height": (y2 - y1) / height, "rotation": 0}
    whole = np.zeros(size_wh[::-1], bool)
    (y, x), (h, w) = shown.corner_yx, shown.part.shape
    whole[y : y + h, x : x + w] = shown.part
    return {"format": "rle", "rle": encode_brush(whole)}


def choice(name: str, score: float | None, media: str = "image") -> dict[str, Any]:
    """Return the class of a whole image or video."""
    return _result(CLASSES, media, {KINDS[CLASSES]: [name]}, "class", score)


def part(name: str, number: int, first: int, last: int) -> dict[str, Any]:
    """Return a part of a video with a class.

    Args:
        name: of the class.
        number: of the part.
        first: frame, from 1.
        last: frame, from 1, included.
    """
    ranges = [{"start": first, "end": last}]
    value = {"ranges": ranges, KINDS[PARTS]: [name]}
    return _result(PARTS, "video", value, f"part-{number}", None)


def _result(
    control: str, media: str, value: Mapping[str, Any], id_: str, score: float | None
) -> dict[str, Any]:
    row = {"id": id_, "type": KINDS[control], "from_name": control, "to_name": media}
    return row | {"value": value} | ({} if score is None else {"score": score})


def predicted(place: str, found: list[dict[str, Any]], model: str, media: str) -> dict[str, Any]:
    """Return a task with a prediction; its score is the mean of those of its results.

    Args:
        place: of the image or video.
        found: the results.
        model: version of the model.
        media: `image` or `video`.
    """
    scores = [row["score"] for row in found if "score" in row]
    about: dict[str, Any] = {"model_version": model}
    about |= {"score": sum(scores) / len(scores)} if scores else {}
    return {"data": {media: place}, "predictions": [about | {"result": found}]}


def annotated(place: str, found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a task with an annotation of an image."""
    return {"data": {"image": place}, "annotations": [{"result": found}]}
