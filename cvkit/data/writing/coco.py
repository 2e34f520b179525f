"""COCO: `annotations/instances_SPLIT.json`, images in a folder per split.

The size of an image and its boxes are those of the upright image.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from cvkit import storage
from cvkit.annotation.coco import category_rows, image_row, object_row
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.writing.contract import Content, Feature, Item, Limit
from cvkit.structures import Masks

keeps: frozenset[Feature] = frozenset({"crowd", "areas", "masks", "overlaps", "beyond"})
limits: frozenset[Limit] = frozenset()


def place(item: Item[AnnotatedImage]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath(item.split or "images", item.file_name)


def write(root: Path, content: Content[AnnotatedImage]) -> None:
    """Write a file per split."""
    folder = root / "annotations"
    folder.mkdir()
    ids, categories = content.classes.ids, category_rows(content.classes)
    for split, items in content.items.items():
        path = folder / f"instances_{split or 'all'}.json"
        numbers = _image_ids(items)
        images = [
            image_row(number, item.file_name, item.size_wh)
            for item, number in zip(items, numbers, strict=True)
        ]
        rows: list[dict[str, Any]] = []
        for item, number in zip(items, numbers, strict=True):
            rows += _rows(item.labels, number, ids, len(rows) + 1)
        whole = {"images": images, "annotations": rows, "categories": categories}
        storage.write_json(path, whole, indent=None)


def _image_ids(items: Sequence[Item[AnnotatedImage]]) -> list[int]:
    """Return the ids of the images: their own if each occurs once, else numbers from 1.

    Images of several files, each of which numbers its own, may be together in a split.
    """
    ids = [item.labels.image_id for item in items]
    return ids if len({*ids}) == len(ids) else list(range(1, len(ids) + 1))


def _rows(
    image: AnnotatedImage, number: int, ids: tuple[int, ...], first: int
) -> Iterator[dict[str, Any]]:
    """Yield the annotations of the image with this number, numbered from `first`."""
    truth = image.truth
    codes = truth.masks.codes if isinstance(truth.masks, Masks) else None
    sides = list(truth.masks.size_hw) if isinstance(truth.masks, Masks) else []
    for index, box in enumerate(truth.corner_and_size().tolist()):
        category = ids[int(truth.labels[index]) - 1]
        area = box[2] * box[3] if truth.areas is None else float(truth.areas[index])
        row = object_row(first + index, number, category, box, area)
        row["iscrowd"] = 0 if truth.crowd is None else int(truth.crowd[index])
        if codes is not None:
            row["segmentation"] = {"size": sides, "counts": codes[index].decode("ascii")}
        yield row
