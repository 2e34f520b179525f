"""Matching of files that are named relative to different folders."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

Names = Mapping[str, Sequence[str]]
"""Other, longer names of the same file, such as its full path, by its name."""


def join_names(truths: Sequence[str], found: Sequence[str], longer: Names | None = None) -> dict:
    """Return the found name that matches each truth's name.

    Names are paths with `/`. Equal names match; otherwise names of which one ends with the other
    (`val/a.png` and `images/val/a.png`, or `a.png` and `photos/a.png`). If no name is matched in
    that way, names match whose last part is the same. Ambiguous names do not match.

    Args:
        truths: unique names.
        found: names; those that occur twice do not match.
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
    """Return the candidates for a name: the longest it ends with, else those ending with it."""
    inner = [other for other in others if any(_ends(each, other) for each in (name, *longer))]
    return [max(inner, key=len)] if inner else [other for other in others if _ends(other, name)]


def _only(candidates: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Return the pairs of names without another candidate on either side."""
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
