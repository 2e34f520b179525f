"""Lines of `predictions.jsonl`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.output.files import write_csv
from cvkit.structures import ClassList, SegMap


def read_lines(folder: Path, name: str = "predictions.jsonl") -> Iterator[dict[str, Any]]:
    """Yield the lines of a file in a folder of results; one is in memory at a time."""
    with open(folder / name, encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def describe_labels(result: SegMap, classes: ClassList) -> dict[str, Any]:
    """Return size and classes of a label map, largest class first.

    `scores` are the mean confidence over the pixels of each class, `pixels` their number.
    """
    flat = result.labels.ravel()
    pixels = np.bincount(flat, minlength=len(classes))
    sums = np.bincount(
        flat, result.prediction_confidence().ravel().astype(float), minlength=len(classes)
    )
    order = [int(i) for i in np.argsort(-pixels, kind="stable") if pixels[i]]
    return {
        "width": result.labels.shape[1],
        "height": result.labels.shape[0],
        "labels": [classes.names[i] for i in order],
        "category_ids": [classes.ids[i] for i in order],
        "scores": [round(float(sums[i] / pixels[i]), 4) for i in order],
        "pixels": [int(pixels[i]) for i in order],
    }


def write_areas(folder: Path) -> None:
    """Write `areas.csv` from `predictions.jsonl`: a row per class that occurs in an image."""
    names = ("labels", "category_ids", "scores", "pixels")
    rows = (
        [line["path"], *row, row[-1] / (line["width"] * line["height"])]
        for line in read_lines(folder)
        for row in zip(*(line[name] for name in names), strict=True)
    )
    header = ["path", "label", "category_id", "score", "pixels", "share"]
    write_csv(folder / "areas.csv", header, rows)
