"""Which files are the same, named from one folder and from another."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

Names = Mapping[str, Sequence[str]]
"""Other, longer names of the same file (such as where it lies) by its name."""


def join_names(truths: Sequence[str], found: Sequence[str], longer: Names | None = None) -> dict:
    """Return which of the found names means the file of each truth's name.

    Names are paths with `/`. Equal names belong together; else names of which one ends with the
    other (`val/a.png` and `images/val/a.png`, or `a.png` and `photos/a.png`). Where not a single
    name is found that way, names belong together whose last part is the same. What could mean
    several files means none.

    Args:
        truths: each once.
        found: a name that occurs twice means none.
        longer: of the truths; they may end with a found name.

    Returns:
        The found name by the truth's.
    """
    counts = Counter(found)
    left = {name for name, count in counts.items() if count == 1}
    result = {name: name for name in truths if name in left}
    left -= result.keys()
    rest = [name for name in truths if name not in result]
    by_last: dict[str, list[str]] = defaultdict(list)
    for name in left:
        by_last[_last(name)].append(name)
    longer = longer or {}
    near = {name: _near(by_last.get(_last(name), ()), name, longer.get(name, ())) for name in rest}
    result |= _only(near)
    if not result:
        result = _only({name: by_last.get(_last(name), []) for name in rest})
    return result


def _near(others: Sequence[str], name: str, longer: Sequence[str]) -> list[str]:
    """Return which of the others may be a name: the longest that ends it, else what it ends."""
    inner = [other for other in others if any(_ends(each, other) for each in (name, *longer))]
    return [max(inner, key=len)] if inner else [other for other in others if _ends(other, name)]


def _only(candidates: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the pairs of names that have no other candidate, on either side."""
    wanted = Counter(other for others in candidates.values() for other in others)
    return {
        name: others[0]
        for name, others in candidates.items()
        if len(others) == 1 and wanted[others[0]] == 1
    }


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _ends(name: str, end: str) -> bool:
    return name == end or name.endswith(f"/{end}")
