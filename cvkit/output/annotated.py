"""Lines of `predictions.jsonl` as annotation programs show them."""

import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.annotation.marked import Marked, marked, on_label_map
from cvkit.ops.rle import make_masks
from cvkit.output.files import read_label_png
from cvkit.structures import ClassList, Instances


@dataclass(frozen=True)
class Annotated:
    """A result as annotation programs show it.

    Attributes:
        path: of the input, its key in the results.
        name: of its files, without suffix.
        size_wh: of the image; (0, 0) for a video.
        objects: in the image; read once.
        tags: classes of the whole image or video, with their scores.
        parts: of a video, in order: class, first and last frame, from 1 and included.
        file: the image's location relative to the folder of the results; "" if it is unknown.
    """

    path: str
    name: str
    size_wh: tuple[int, int]
    objects: Iterable[Marked] = ()
    tags: Sequence[tuple[str, float]] = ()
    parts: Sequence[tuple[str, int, int]] = ()
    file: str = ""


def of_line(line: dict[str, Any], **more: Any) -> Annotated:
    """Return an image or a video with further fields of `Annotated`."""
    size_wh = line.get("width", 0), line.get("height", 0)
    name = line.get("name") or os.path.splitext(line["path"])[0]  # older lines have no name
    return Annotated(line["path"], name, size_wh, file=line.get("file", ""), **more)


def detected(line: dict[str, Any], classes: ClassList) -> Annotated:
    """Return an image with its detections; masks are decoded when they are iterated."""
    places = {name: number for number, name in enumerate(classes.names, 1)}
    size_hw = line["height"], line["width"]
    codes = [rle["counts"].encode("ascii") for rle in line["masks"]] if "masks" in line else None
    found = Instances(
        boxes=np.array(line["boxes"], np.float64).reshape(-1, 4),
        labels=np.array([places[name] for name in line["labels"]], np.int64),
        scores=np.array(line["scores"], np.float64),
        masks=None if codes is None else make_masks(codes, size_hw),
    )
    return of_line(line, objects=marked(found, classes.names))


def segmented(
    line: dict[str, Any], folder: Path, classes: ClassList, left_out: Collection[str]
) -> Annotated:
    """Return an image with an object per class; its PNG is read when they are iterated.

    Args:
        line: of the image.
        folder: of the results.
        classes: of the model.
        left_out: classes that are not objects, such as the background.
    """
    pairs = zip(line["labels"], line["scores"], strict=True)
    kept = [(name, score) for name, score in pairs if name not in left_out]

    def objects() -> Iterable[Marked]:
        labels = read_label_png(folder / line["mask"])
        indices = [classes.names.index(name) for name, _ in kept]
        yield from on_label_map(labels, indices, *zip(*kept, strict=True)) if kept else ()

    return of_line(line, objects=objects())


def tagged(line: dict[str, Any], parts: Sequence[tuple[str, int, int]] = ()) -> Annotated:
    """Return an image or video with its classes, best first, and perhaps parts of the video."""
    tags = list(zip(line["labels"], line["scores"], strict=True))
    return of_line(line, tags=tags, parts=parts)
