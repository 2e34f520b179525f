"""Files of objects with masks: maps of object numbers, and a table."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cvkit.ops.rle import centroids, index_map, mask_areas
from cvkit.output.files import write_csv, write_map
from cvkit.output.records import read_lines
from cvkit.structures import VOC_PALETTE, Masks

MOST = 2**16 - 1
"""Objects that a map has room for."""
COLUMNS = (
    *("path", "instance", "class", "category_id", "score", "area"),
    *("x1", "y1", "x2", "y2", "centroid_x", "centroid_y"),
)


def describe_masks(masks: Masks) -> dict[str, Any]:
    """Return the masks (run-length codes), their areas and centres of mass (x, y) in pixels."""
    rles = [rle | {"counts": rle["counts"].decode("ascii")} for rle in masks.as_rle()]
    centres = centroids(masks)
    return {
        "masks": rles,
        "areas": mask_areas(masks).astype(int).tolist(),
        "centroids": [None if np.isnan(c).any() else c.tolist() for c in centres],
    }


def write_index_map(path: Path, masks: Masks) -> None:
    """Write a PNG of object numbers: 0 is background, object n (from 1) has the value n.

    It has 8 bits and a palette for up to 255 objects, else 16 bits, which hold the first `MOST`
    objects. Where objects overlap, the earlier one is shown.
    """
    image = Image.fromarray(index_map(masks[:MOST]))
    if image.mode == "L":
        image.putpalette(VOC_PALETTE)
    write_map(path, image)


def write_instances(folder: Path) -> None:
    """Write `instances.csv` from `predictions.jsonl`: one row per object, best first.

    `instance` is the object's value in the image's PNG, if it is visible there.
    """
    write_csv(folder / "instances.csv", COLUMNS, _rows(read_lines(folder)))


def _rows(lines: Iterable[dict[str, Any]]) -> Iterator[list[Any]]:
    names = ("labels", "category_ids", "scores", "areas", "boxes", "centroids")
    for line in lines:
        columns = zip(*(line[name] for name in names), strict=True)
        for number, (label, category, score, area, box, centre) in enumerate(columns, 1):
            centre = centre or (None, None)
            yield [line["path"], number, label, category, score, area, *box, *centre]
