"""Lines of `predictions.jsonl`."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.output.files import write_csv
from cvkit.storage import whole_file
from cvkit.structures import ClassList, SegMap

PIXELS = 2**22
"""Pixels of a label map that are counted together, which takes 16 bytes for each."""


def read_lines(folder: Path, name: str = "predictions.jsonl") -> Iterator[dict[str, Any]]:
    """Yield the lines of a file in a folder of results; one is in memory at a time."""
    with open(folder / name, encoding="utf-8") as stream:
        yield from map(json.loads, stream)


def write_lines(path: Path, lines: Iterable[dict[str, Any]]) -> None:
    """Write lines atomically; one is in memory at a time."""
    with whole_file(path) as stream:
        for line in lines:
            stream.write(json.dumps(line, allow_nan=False).encode() + b"\n")


def describe_labels(result: SegMap, classes: ClassList) -> dict[str, Any]:
    """Return size and classes of a label map, largest class first.

    `scores` are the mean confidence over the pixels of each class, `pixels` their number.
    """
    pixels, means = _by_class(result, len(classes))
    order = [int(i) for i in np.argsort(-pixels, kind="stable") if pixels[i]]
    return {
        "width": result.labels.shape[1],
        "height": result.labels.shape[0],
        "labels": [classes.names[i] for i in order],
        "category_ids": [classes.ids[i] for i in order],
        "scores": [round(float(means[i]), 4) for i in order],
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


def _by_class(result: SegMap, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the [K] numbers of pixels and mean confidences; of some rows at a time."""
    pixels, sums = np.zeros(classes, np.int64), np.zeros(classes)
    rows = max(1, PIXELS // max(1, result.labels.shape[1]))
    for first in range(0, len(result.labels), rows):
        flat = result.labels[first : first + rows].ravel()
        pixels += np.bincount(flat, minlength=classes)
        if result.class_means is None:
            values = result.prediction_confidence()[first : first + rows].ravel()
            sums += np.bincount(flat, values.astype(float), minlength=classes)
    if result.class_means is not None:
        return pixels, result.class_means
    return pixels, sums / np.maximum(pixels, 1)
