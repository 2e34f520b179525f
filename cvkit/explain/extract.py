"""The features of many inputs: one pass, with small pictures of some of them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from torch import Tensor

from cvkit.console import Advance
from cvkit.engine.loader import read_sample
from cvkit.explain.encoding import Encoder
from cvkit.structures import Batch, Failure
from cvkit.tasks.contract import Dataset

SIDE = 64
"""Side of a thumbnail in pixels."""
PAPER = 235
"""Grey around a picture that is not square."""


@dataclass
class Extracted:
    """What was read.

    Attributes:
        places: of the inputs that could be read, in order.
        rows: [N, D] float32, their features.
        failures: of the others, in order.
        thumbnails: HWC RGB uint8 of `SIDE`, by place, of those that were asked for.
    """

    places: list[int]
    rows: np.ndarray
    failures: list[Failure]
    thumbnails: dict[int, np.ndarray] = field(default_factory=dict)


def evenly(count: int, most: int) -> list[int]:
    """Return at most `most` of the places from 0, spaced evenly."""
    return sorted({*np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()})


def extract(encoder: Encoder, data: Dataset, shown: Sequence[int], advance: Advance) -> Extracted:
    """Return the features of all inputs; one that cannot be read fails alone.

    In memory are D float32 numbers per input, and the thumbnails that are asked for.

    Args:
        encoder: the network and its layer.
        data: the inputs.
        shown: places of which thumbnails are wanted.
        advance: shows the progress.

    Raises:
        Interrupted: a signal came.
    """
    rows = np.empty((len(data), encoder.layer.width), np.float32)
    read = np.zeros(len(data), bool)
    failed: dict[int, Failure] = {}
    wanted, thumbnails = {*shown}, {}
    for places, item in encoder.batches(data):
        if isinstance(item, Failure):
            failed[places[0]] = item
        else:
            rows[places], read[places] = encoder.rows(item).numpy(), True
            for number, place in enumerate(places):
                if place in wanted:
                    thumbnails[place] = thumbnail(_picture(item, number))
        advance(int(read.sum()) + len(failed))
    kept = np.flatnonzero(read)
    return Extracted(
        places=kept.tolist(),
        rows=rows if len(kept) == len(rows) else rows[kept],
        failures=[failed[place] for place in sorted(failed)],
        thumbnails=thumbnails,
    )


def nothing(data: Dataset) -> Extracted:
    """Return the failures of inputs of which none can be read."""
    items = [read_sample(data, (index, 0)) for index in range(len(data))]
    failures = [item for item in items if isinstance(item, Failure)]
    return Extracted([], np.empty((0, 0), np.float32), failures)


def _picture(batch: Batch, number: int) -> np.ndarray:
    """Return what the network sees of a sample, as HWC RGB uint8; of a clip the middle frame."""
    pixels: Tensor = batch.images[number]  # CHW, CTHW or CVTHW
    while pixels.ndim > 3:
        pixels = pixels[:, pixels.shape[1] // 2]
    return np.ascontiguousarray(pixels.permute(1, 2, 0).cpu().numpy())


def thumbnail(picture: np.ndarray) -> np.ndarray:
    """Return a picture, HWC RGB uint8, fitted into a square of `SIDE`."""
    factor = SIDE / max(picture.shape[:2])
    height, width = (max(1, round(factor * side)) for side in picture.shape[:2])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    square = np.full((SIDE, SIDE, 3), PAPER, np.uint8)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    square[top : top + height, left : left + width] = cv2.resize(
        picture, (width, height), interpolation=how
    )
    return square
