"""LabelMe: a JSON file beside each image, in a folder per split."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from cvkit import storage
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.writing.contract import Content, Feature, Item, write_class_names
from cvkit.ops.rings import joined_rings
from cvkit.ops.rle import decode_parts
from cvkit.structures import ClassList, Masks

keeps: frozenset[Feature] = frozenset({"masks", "overlaps", "beyond"})


def place(item: Item[AnnotatedImage]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath(item.split, item.file_name)


def write(root: Path, content: Content[AnnotatedImage]) -> None:
    """Write a file per image, and the order of the classes."""
    write_class_names(root, content.classes)
    for items in content.items.values():
        for item in items:
            about: dict[str, Any] = {
                "version": "5.5.0",
                "flags": {},
                "shapes": list(_shapes(item, content.classes)),
                "imagePath": PurePosixPath(item.file_name).name,
                "imageData": None,
                "imageHeight": item.size_wh[1],
                "imageWidth": item.size_wh[0],
            }
            storage.write_json(root / item.split / f"{item.name}.json", about)


def _shapes(item: Item[AnnotatedImage], classes: ClassList) -> Iterator[dict[str, Any]]:
    """Yield a polygon or rectangle per object."""
    truth = item.labels.truth
    names = [classes.names[label - 1] for label in truth.labels.tolist()]
    if isinstance(truth.masks, Masks):
        for name, (part, (y, x)) in zip(names, decode_parts(truth.masks), strict=True):
            if part.any():
                yield _shape(name, "polygon", (joined_rings(part) + (x, y)).tolist())
        return
    for name, (x, y, width, height) in zip(names, truth.corner_and_size().tolist(), strict=True):
        yield _shape(name, "rectangle", [[x, y], [x + width, y + height]])


def _shape(name: str, kind: str, points: list[list[float]]) -> dict[str, Any]:
    return {"label": name, "points": points, "group_id": None, "shape_type": kind, "flags": {}}
