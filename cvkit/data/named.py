"""Finds files by names that may be relative to other folders."""

import itertools
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath


class Names:
    """An index of file names.

    Args:
        names: paths with `/`.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        parts = [name.split("/") for name in names]
        levels = zip(*(each[:-1] for each in parts), strict=False)
        shared = sum(1 for _ in itertools.takewhile(lambda level: len(set(level)) == 1, levels))
        self._whole: dict[str, list[int]] = defaultdict(list)
        self._relative: dict[str, list[int]] = defaultdict(list)
        self._ends: dict[str, list[int]] = defaultdict(list)
        for place, each in enumerate(parts):
            self._whole["/".join(each)].append(place)
            self._relative["/".join(each[shared:])].append(place)
            for first in range(len(each)):
                self._ends["/".join(each[first:])].append(place)

    def find(self, name: str) -> list[int]:
        """Return the indices of the files that a name may refer to.

        The name itself is tried first, then as relative to the common folder of all files, then as
        the end of one or several names.
        """
        tables = (self._whole, self._relative, self._ends)
        return next((list(table[name]) for table in tables if name in table), [])

    def find_inside(self, name: str) -> list[int]:
        """Return the result of `find`, else the longest name with which the given one ends."""
        if found := self.find(name):
            return found
        parts = name.split("/")
        ends = ("/".join(parts[first:]) for first in range(1, len(parts)))
        return next((list(self._whole[end]) for end in ends if end in self._whole), [])


def without_suffix(name: str) -> str:
    """Return the path of a file without the suffix of its name."""
    return str(PurePosixPath(name).with_suffix(""))
