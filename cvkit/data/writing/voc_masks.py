"""PASCAL VOC's segmentation layout: JPEGImages, SegmentationClass, ImageSets/Segmentation."""

from pathlib import Path, PurePosixPath

from cvkit.data.writing.contract import Content, Feature, Item, Limit, write_class_names
from cvkit.data.writing.labels import MaskLabels
from cvkit.data.writing.mask_pairs import write_mask
from cvkit.data.writing.voc import write_lists

keeps: frozenset[Feature] = frozenset({"unlabelled", "classes"})
limits: frozenset[Limit] = frozenset({"colors", "text", "listed"})


def place(item: Item[MaskLabels]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath("JPEGImages", item.file_name)


def write(root: Path, content: Content[MaskLabels]) -> None:
    """Write a palette PNG per image, and a list per split."""
    write_class_names(root, content.classes, colors=True)
    for items in content.items.values():
        for item in items:
            path = root / "SegmentationClass" / f"{item.name}.png"
            write_mask(path, item.labels(), content.classes)
    write_lists(root, "Segmentation", content)
