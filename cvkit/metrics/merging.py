"""Putting together what several processes counted."""

from collections.abc import Sequence
from typing import TypeVar

Value = TypeVar("Value")


def in_order_of(places: Sequence[Sequence[int]], values: Sequence[Sequence[Value]]) -> list[Value]:
    """Return the values of all processes in the order of their places.

    Args:
        places: of each process; all are different.
        values: of each process, one for each place.
    """
    pairs = [
        pair for parts in zip(places, values, strict=True) for pair in zip(*parts, strict=True)
    ]
    return [value for _, value in sorted(pairs, key=lambda pair: pair[0])]
