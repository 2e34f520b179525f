"""YOLO's layout: `data.yaml`, `images/SPLIT`, and `labels/SPLIT` with a line per object.

Boxes are `CLASS CX CY W H`, masks `CLASS X Y X Y ...`, in fractions of the upright image.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np

from cvkit import storage
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.writing.contract import Content, Feature, Item
from cvkit.ops.rings import joined_rings
from cvkit.ops.rle import decode_parts
from cvkit.structures import Masks
from cvkit.yaml_files import dump_yaml

keeps: frozenset[Feature] = frozenset({"masks", "overlaps"})


def place(item: Item[AnnotatedImage]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath("images", item.split, item.file_name)


def write(root: Path, content: Content[AnnotatedImage]) -> None:
    """Write a file per image, and `data.yaml`."""
    about: dict[str, object] = {split: f"images/{split}" for split in content.items if split}
    about["names"] = dict(enumerate(content.classes.names))
    text = dump_yaml(about)
    storage.write_file(root / "data.yaml", text)
    for items in content.items.values():
        for item in items:
            path = root / "labels" / item.split / f"{item.name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            lines = [" ".join(map(repr, line)) for line in _lines(item)]
            storage.write_file(path, "".join(f"{line}\n" for line in lines))


def _lines(item: Item[AnnotatedImage]) -> Iterator[list[float | int]]:
    """Yield the numbers of each object."""
    truth, sides = item.labels.truth, np.array(item.size_wh, np.float64)
    labels = (truth.labels - 1).tolist()
    if isinstance(truth.masks, Masks):
        for label, (part, (y, x)) in zip(labels, decode_parts(truth.masks), strict=True):
            if part.any():
                corners = (joined_rings(part) + (x, y)) / sides
                yield [label, *corners.ravel().tolist()]
        return
    box = truth.corner_and_size()
    first = np.clip(box[:, :2], 0, sides)
    last = np.clip(box[:, :2] + box[:, 2:], 0, sides)
    shares = np.concatenate([(first + last) / 2 / sides, (last - first) / sides], 1)
    for label, values in zip(labels, shares.tolist(), strict=True):
        yield [label, *values]
