"""Several datasets that are read as one, written as one place: `A:B` (on Windows `A;B`)."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cvkit.errors import DataError
from cvkit.format_table import ROOTS_SEPARATOR

BUILT_IN = Path("samples")
"""The place that means the built-in samples."""


def roots_of(place: Path) -> list[Path]:
    """Return the datasets of a place; a single one unless it names several.

    Raises:
        DataError: one of them is named twice, or is the built-in samples.
    """
    text = str(place)
    if ROOTS_SEPARATOR not in text or place.exists():
        return [place]
    roots = [Path(part) for part in text.split(ROOTS_SEPARATOR) if part]
    if len(roots) > 1 and BUILT_IN in roots:
        raise DataError(
            f"the built-in {BUILT_IN} cannot be joined with other data",
            code="data.samples",
            hint="write them to a folder with 'cvkit samples DIR --task TASK', and give that",
        )
    places = Counter(root.resolve() for root in roots)
    twice = next((root for root in roots if places[root.resolve()] > 1), None)
    if twice:
        raise DataError(
            f"{twice} is named twice as a dataset", code="data.twice", hint="give each once"
        )
    return roots


def several(place: Path) -> bool:
    """Return whether a place names several datasets."""
    return len(roots_of(place)) > 1


def root_names(roots: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths of datasets that tell them apart."""
    parts = [root.resolve().parts for root in roots]
    for count in range(1, max(map(len, parts), default=0) + 1):
        names = ["/".join(each[-count:]).lstrip("/") for each in parts]
        if len({name.casefold() for name in names}) == len(names):
            return names
    return [str(number) for number in range(len(roots))]


def place_name(place: Path) -> str:
    """Return the name of a dataset without its folder; `A+B` for several."""
    return "+".join(root.name for root in roots_of(place))
