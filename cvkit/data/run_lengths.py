"""Kaggle's run-length codes: pairs of a first pixel, from 1, and a length, down the columns."""

from collections.abc import Sequence

import numpy as np

from cvkit.texts import counted, shown, whole_number

PIXELS = "EncodedPixels"
"""Column of the codes in Kaggle's tables."""


def parse_runs(code: str, size_hw: tuple[int, int]) -> np.ndarray:
    """Return [R, 2] the first pixel, from 0, and the length of each run.

    Raises:
        ValueError: describes why it is not a code of a mask of this size.
    """
    cells = code.split()
    numbers = [whole_number(cell) for cell in cells]
    if None in numbers:
        wrong = cells[numbers.index(None)]
        raise ValueError(f"has {shown(wrong)}, which is not a whole number of pixels")
    if len(cells) % 2:
        count = counted(len(cells), "number")
        raise ValueError(f"has {count}, not pairs of a start and a length")
    runs = np.array(numbers, np.int64).reshape(-1, 2)
    _require_order(runs)
    end, (height, width) = runs.sum(1).max(initial=0) - 1, size_hw
    if end > height * width:
        raise ValueError(
            f"ends at pixel {end}, and an image of {width}x{height} has {height * width}"
        )
    return runs - (1, 0)


def _require_order(runs: np.ndarray) -> None:
    """Check that runs, whose pixels count from 1, are not empty, in order and apart.

    Raises:
        ValueError: they are not.
    """
    for what, column in (("start", 0), ("length", 1)):
        low = np.flatnonzero(runs[:, column] < 1)
        if len(low):
            raise ValueError(f"has the {what} {runs[low[0], column]}; the smallest is 1")
    starts, ends = runs[:, 0], runs.sum(1)
    for wrong, text in (
        (starts[1:] <= starts[:-1], "does not begin after"),
        (starts[1:] < ends[:-1], "overlaps"),
    ):
        if wrong.any():
            place = int(wrong.argmax())
            (a, n), (b, m) = runs[place : place + 2].tolist()
            raise ValueError(f"has the run {b} {m}, which {text} the one before it, {a} {n}")


def write_runs(counts: Sequence[int]) -> str:
    """Return the code of a mask whose pixels are outside and inside, in turn, for these counts.

    Args:
        counts: of COCO's run-length code, which also goes down the columns.
    """
    starts = np.cumsum(counts)[: len(counts) // 2 * 2 : 2] + 1
    lengths = np.array(counts[1::2], np.int64)
    runs = np.stack([starts, lengths], 1)[lengths > 0]
    return " ".join(map(str, runs.ravel().tolist()))


def paint(runs: np.ndarray, value: int, result: np.ndarray) -> None:
    """Write a value into the pixels of [R, 2] runs.

    Args:
        runs: of `parse_runs`.
        value: new value.
        result: [W * H] pixels, down the columns.
    """
    result[np.repeat(_signs(runs), _counts(runs, len(result)))] = value


def coco_counts(runs: np.ndarray, size_hw: tuple[int, int]) -> list[int]:
    """Return the counts of COCO's uncompressed code: pixels outside and inside, in turn."""
    counts: list[int] = _counts(runs, size_hw[0] * size_hw[1]).tolist()
    return counts


def _counts(runs: np.ndarray, total: int) -> np.ndarray:
    """Return [2 R + 1] the number of pixels before, in and after the runs."""
    bounds = np.stack([runs[:, 0], runs.sum(1)], 1).reshape(-1)
    return np.diff(bounds, prepend=0, append=total)


def _signs(runs: np.ndarray) -> np.ndarray:
    return np.arange(2 * len(runs) + 1) % 2 == 1


def overlap(several: Sequence[np.ndarray]) -> bool:
    """Return whether masks, given by their [R, 2] runs, have a pixel in common."""
    runs = np.concatenate([np.zeros((0, 2), np.int64), *several])
    runs = runs[np.argsort(runs[:, 0], kind="stable")]
    return bool((runs[1:, 0] < runs[:-1].sum(1)).any())
