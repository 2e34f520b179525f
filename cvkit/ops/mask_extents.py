"""Run-length codes of thousands of masks, checked and measured at once. Does not import torch."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pycocotools import mask as coco

AT_ONCE = 2**17
"""Number of characters of codes that are read at a time: their numbers stay in the cache."""


def mask_extents(codes: Sequence[bytes], sizes_hw: np.ndarray) -> np.ndarray | None:
    """Return the extents of masks; None if a code is not well-formed or does not fill its image.

    Numbers of over 30 bits, which no image needs, count as not well-formed.

    Args:
        codes: N of them in COCO's compressed form.
        sizes_hw: [N, 2] of each one's image.

    Returns:
        [N, 5] int64 x, y, width and height of the bounding box, 0s if empty, and the number of
        pixels; equal to pycocotools' `toBbox` and `area`.
    """
    lengths = np.fromiter(map(len, codes), np.int64, len(codes))
    if not lengths.all():
        return None
    sizes = np.asarray(sizes_hw, np.int64).reshape(-1, 2)
    cuts = np.flatnonzero(np.diff(np.cumsum(lengths) // AT_ONCE, prepend=0, append=-1))
    found = [np.zeros((0, 5), np.int64)]
    for start, stop in zip([0, *cuts[:-1].tolist()], cuts.tolist(), strict=True):
        runs = _read(codes[start:stop], lengths[start:stop])
        part = None if runs is None else _extents(runs, sizes[start:stop])
        if part is None:
            return None
        _repair(part, codes[start:stop], sizes[start:stop])
        found.append(part)
    return np.concatenate(found)


@dataclass(frozen=True)
class _Runs:
    """The runs of several masks: a row is a run of 0s and the run of 1s after it.

    Attributes:
        zeros: [R] lengths.
        ones: [R] lengths; 0 where a mask ends with 0s.
        counts: [N] number of runs of each mask, which has ceil(n / 2) rows.
        first: [N] the first row of each.
        last: [N] the last one.
    """

    zeros: np.ndarray
    ones: np.ndarray
    counts: np.ndarray
    first: np.ndarray
    last: np.ndarray


def _read(codes: Sequence[bytes], lengths: np.ndarray) -> _Runs | None:
    """Return the runs of codes, or None if a code is not valid; see `rle.run_lengths`."""
    groups = np.frombuffer(b"".join(codes), np.uint8) - np.uint8(48)
    final = (groups & 32) == 0
    stops = np.cumsum(lengths)
    if groups.max(initial=0) > 63 or not final[stops - 1].all():
        return None
    counts = np.add.reduceat(final, stops - lengths, dtype=np.int64)
    numbers = _numbers(groups, np.flatnonzero(final))
    if numbers is None:
        return None
    # Sums within a mask must be exact; sums over masks may overflow, and are subtracted again.
    most = int(np.abs(numbers).max(initial=0)) * int(counts.max(initial=0))
    dtype = np.int32 if most < 2**31 else np.int64
    rows = (counts + 1) // 2
    last = np.cumsum(rows) - 1
    first = last - rows + 1
    odd = last[counts % 2 == 1]
    table = np.zeros(2 * rows.sum(), dtype)
    filled = np.ones(len(table), bool)
    filled[2 * odd + 1] = False
    table[filled] = numbers
    # From the fourth number on, each is the difference from the number two places before.
    start = table[2 * first]
    table[2 * first] = 0
    zeros, ones = (np.cumsum(table[side::2], dtype=dtype) for side in (0, 1))
    zeros = zeros - np.repeat(zeros[first], rows)
    ones = ones - np.repeat(ones[first] - table[2 * first + 1], rows)
    zeros[first] = start
    ones[odd] = 0
    return _Runs(zeros, ones, counts, first, last)


def _numbers(groups: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """Return the numbers whose last groups of five bits are at `ends`; None if one is too long."""
    lengths = np.empty_like(ends)
    lengths[:1] = ends[:1] + 1
    np.subtract(ends[1:], ends[:-1], lengths[1:])
    if lengths.max(initial=0) > 6:
        return None
    numbers = (groups[ends].astype(np.int32) ^ 16) - 16  # the last group has the sign
    longer, step = np.flatnonzero(lengths > 1), 1
    while len(longer):
        numbers[longer] = (numbers[longer] << 5) | (groups[ends[longer] - step] & 31)
        step += 1
        longer = longer[lengths[longer] > step]
    return numbers


def _extents(runs: _Runs, sizes_hw: np.ndarray) -> np.ndarray | None:
    """Return the extents of masks from their runs; None if they do not fill their images.

    The width is -1 if there is a run of no 1s.
    """
    if runs.zeros.min(initial=0) < 0 or runs.ones.min(initial=0) < 0:
        return None
    first, last, rows = runs.first, runs.last, runs.last - runs.first + 1
    ends = np.cumsum(runs.zeros + runs.ones, dtype=np.int64)
    totals = np.diff(ends[last], prepend=0)
    if (totals != sizes_hw.prod(1)).any():
        return None
    ends -= np.repeat(ends[last] - totals, rows)
    top = ends.astype(np.int32) - 1  # the last pixel of each run of 1s
    low = top + 1 - runs.ones.astype(np.int32)
    high = np.repeat(sizes_hw[:, 0].astype(np.int32), rows)
    x1, x2 = low // high, top // high
    y1, y2 = low - x1 * high, top - x2 * high
    spans = x2 > x1
    y1 *= ~spans
    y2 = np.where(spans, high - 1, y2)
    alone = last[runs.counts % 2 == 1]  # 0s at the end
    y1[alone], y2[alone] = high[alone], -1
    empty = runs.ones == 0
    empty[alone] = False
    final = np.maximum(last - runs.counts % 2, first)
    top_row = np.minimum.reduceat(y1, first)
    columns = (
        x1[first],
        top_row,
        x2[final] - x1[first] + 1,
        np.maximum.reduceat(y2, first) - top_row + 1,
        np.add.reduceat(runs.ones, first, dtype=np.int64),
    )
    result = np.stack(columns, 1).astype(np.int64)
    result[runs.counts == 1] = 0
    result[np.logical_or.reduceat(empty, first), 2] = -1
    return result


def _repair(extents: np.ndarray, codes: Sequence[bytes], sizes_hw: np.ndarray) -> None:
    """Fill in the boxes of masks with runs of no 1s, where pycocotools has rules of its own."""
    for place in np.flatnonzero(extents[:, 2] < 0).tolist():
        rle = {"size": sizes_hw[place].tolist(), "counts": codes[place]}
        extents[place, :4] = coco.toBbox(rle)
