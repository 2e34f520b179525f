"""Masks of classes: images/SPLIT, masks/SPLIT with equal file names, `classes.txt` with colours."""

from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from cvkit import storage
from cvkit.data.writing.contract import Content, Feature, Item, Limit, write_class_names
from cvkit.data.writing.labels import MaskLabels
from cvkit.structures import VOC_PALETTE, ClassList

keeps: frozenset[Feature] = frozenset({"unlabelled", "classes"})
limits: frozenset[Limit] = frozenset({"colors"})


def place(item: Item[MaskLabels]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath("images", item.split, item.file_name)


def write(root: Path, content: Content[MaskLabels]) -> None:
    """Write a palette PNG per image."""
    write_class_names(root, content.classes, colors=True)
    for items in content.items.values():
        for item in items:
            path = root / "masks" / item.split / f"{item.name}.png"
            write_mask(path, item.labels(), content.classes)


def write_mask(path: Path, labels: np.ndarray, classes: ClassList) -> None:
    """Write an HW uint8 label map as a palette PNG whose indices are the class indices."""
    image = Image.fromarray(labels)
    palette = bytes(channel for color in classes.colors for channel in color)
    image.putpalette(palette + VOC_PALETTE[len(palette) :])
    path.parent.mkdir(parents=True, exist_ok=True)
    with storage.whole_file(path) as stream:
        image.save(stream, "PNG")
