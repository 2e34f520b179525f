"""Which rows of features point the same way: nearest neighbours, and groups of near duplicates.

Rows are compared by their cosine. Blocks of rows are compared with all rows, so that memory stays
bounded for any number of them.
"""

from collections.abc import Iterator

import numpy as np

BLOCK = 2**24
"""Cosines that are in memory at a time."""


def scale_to_unit(rows: np.ndarray) -> None:
    """Scale [N, D] float32 rows to length 1, in place; a row of zeros stays."""
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows))[:, None]
    rows /= np.maximum(lengths, np.finfo(np.float32).tiny)


def _blocks(first: np.ndarray, second: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of a row of the first array, and the cosines of some rows from there on."""
    step = max(1, BLOCK // max(len(second), 1))
    for start in range(0, len(first), step):
        yield start, first[start : start + step] @ second.T


def nearest_rows(
    queries: np.ndarray, rows: np.ndarray, count: int, same: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest rows of each query, and their cosines, nearest first.

    Of equal ones the first counts as nearest.

    Args:
        queries: [Q, D] of length 1.
        rows: [N, D] of length 1.
        count: of neighbours.
        same: [Q] place of the query itself among the rows, which is left out; -1 if it is none.

    Returns:
        [Q, k] places, -1 where there are fewer, and [Q, k] cosines.
    """
    count = min(count, len(rows))
    places = np.full((len(queries), count), -1)
    cosines = np.zeros((len(queries), count), np.float32)
    for start, block in _blocks(queries, rows):
        here = same[start : start + len(block)]
        block[np.flatnonzero(here >= 0), here[here >= 0]] = -np.inf
        order = np.argsort(-block, axis=1, kind="stable")[:, :count]
        values = np.take_along_axis(block, order, 1)
        places[start : start + len(block)] = np.where(np.isfinite(values), order, -1)
        cosines[start : start + len(block)] = np.where(np.isfinite(values), values, 0)
    return places, cosines


def duplicate_groups(rows: np.ndarray, threshold: float) -> list[list[int]]:
    """Return groups of rows that are joined by cosines of at least a threshold.

    Two rows are in one group if a chain of such pairs leads from one to the other.

    Args:
        rows: [N, D] of length 1.
        threshold: least cosine of a pair.

    Returns:
        The places of each group in increasing order; groups in the order of their first rows.
    """
    first = np.arange(len(rows))  # of the group of each row
    for start, block in _blocks(rows, rows):
        one, two = np.nonzero(block >= threshold)
        first = _joined(first, one + start, two)
    groups: dict[int, list[int]] = {}
    for place, group in enumerate(first.tolist()):
        groups.setdefault(group, []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def _joined(first: np.ndarray, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Return the [N] first rows of the groups after some pairs of rows were joined."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    every = np.arange(len(first))
    ends = np.concatenate([one, every]), np.concatenate([two, first])
    pairs = coo_array((np.ones(len(ends[0]), bool), ends), (len(first), len(first)))
    _, group = connected_components(pairs, directed=False)
    _, starts = np.unique(group, return_index=True)
    return starts[group]
