"""The page of features: maps to walk through, neighbours and near duplicates."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cvkit.output.scatter import group_colours, sprite_of
from cvkit.printable import printable
from cvkit.reporting.dataset import ShownSample, gallery_of, listed_failures, now
from cvkit.reporting.gallery import Item, as_data
from cvkit.reporting.page import flat, number, render
from cvkit.storage import write_file
from cvkit.structures import Failure
from cvkit.texts import counted

TITLES = {"tsne": "t-SNE", "umap": "UMAP", "pca": "principal components"}
"""Names of the maps."""
QUALITY = 72
"""Of the picture with all thumbnails."""


class Shown(Protocol):
    """A query or a group of inputs with pictures; see `cvkit.explain.findings.Shown`."""

    @property
    def path(self) -> str:
        """Names it."""

    @property
    def words(self) -> str:
        """About it."""

    @property
    def pictures(self) -> tuple[tuple[tuple[str, ...], np.ndarray], ...]:
        """Captions and HWC RGB uint8 pictures."""


@dataclass(frozen=True)
class Points:
    """The inputs on the maps.

    Attributes:
        names: M paths.
        maps: [M, 2] x and y in [0, 1] by the name of the map, y from the bottom.
        groupings: M groups by the name of the division; None for no group.
        thumbnails: M squares of one size, HWC RGB uint8.
    """

    names: Sequence[str]
    maps: Mapping[str, np.ndarray]
    groupings: Mapping[str, Sequence[str | None]]
    thumbnails: Sequence[np.ndarray]

    def as_json(self) -> dict[str, Any]:
        """Return what the script of the page reads."""
        _, columns = sprite_of(self.thumbnails)
        return {
            "names": [printable(name) for name in self.names],
            "side": len(self.thumbnails[0]),
            "columns": columns,
            "maps": {name: np.round(p, 4).tolist() for name, p in self.maps.items()},
            "groupings": {name: _grouping(each) for name, each in self.groupings.items()},
        }


def _grouping(groups: Sequence[str | None]) -> dict[str, Any]:
    """Return the names of groups, their colours, and the group of each input; -1 for none."""
    names = sorted({name for name in groups if name is not None}, key=_natural)
    place = {name: number for number, name in enumerate(names)}
    colours = ["#" + bytes(each).hex() for each in group_colours(len(names))]
    of = [-1 if name is None else place[name] for name in groups]
    return {"names": [printable(name) for name in names], "colours": colours, "of": of}


def _natural(name: str) -> tuple[str, int, str]:
    """Return a key by which `cluster 2` comes before `cluster 10`."""
    before, _, last = name.rpartition(" ")
    return (before, int(last), "") if last.isdecimal() else (name, 0, "")


@dataclass(frozen=True, kw_only=True)
class FeaturesPage:
    """The page as its template sees it; see `cvkit.reporting.dataset.DatasetPage`."""

    title: str
    subject: str
    evaluated: str
    rows: Sequence[tuple[str, str, str]]
    points: Mapping[str, Any] | None
    maps: Sequence[tuple[str, str]]
    groupings: Sequence[str]
    sprite: str
    about: str
    neighbours: Sequence[Item]
    more_neighbours: str
    duplicates: Sequence[Item]
    more_duplicates: str
    command: str
    environment: Sequence[tuple[str, str]]
    date: str
    warnings: Sequence[str]
    failures: Sequence[Mapping[str, str]]
    more_failures: int


def write_features_page(
    path: Path,
    content: Mapping[str, Any],
    *,
    points: Points | None,
    neighbours: Iterable[Shown],
    duplicates: Iterable[Shown],
    failures: Sequence[Failure],
    command: str,
    environment: Mapping[str, Any],
    warnings: Sequence[str],
) -> None:
    """Write the page of a folder of features.

    Args:
        path: of the page, in that folder.
        content: of `features.json`.
        points: on the maps, if there are maps.
        neighbours: of the first queries.
        duplicates: the first groups.
        failures: what could not be read.
        command: that writes the page again.
        environment: versions.
        warnings: of the command.

    Raises:
        MachineError: the disk is full; nothing is left of the file.
    """
    counts, groups = content["counts"], content["duplicates"]["groups"]
    near, copies = _items(neighbours), _items(duplicates)
    page = FeaturesPage(
        title=f"{content['task']} · {Path(content['weights']).name}",
        subject=content["weights"],
        evaluated=f"{counted(counts['read'], 'input')}, layer {content['layer']}, "
        f"{content['width']} numbers",
        rows=[(n, number(v), content["rules"][n]) for n, v in content["metrics"].items()],
        points=None if points is None else points.as_json(),
        maps=[] if points is None else [(name, TITLES[name]) for name in points.maps],
        groupings=[] if points is None else list(points.groupings),
        sprite="" if points is None else as_data(sprite_of(points.thumbnails)[0], QUALITY),
        about="" if points is None else _about(len(points.names), counts["read"]),
        neighbours=near,
        more_neighbours=_first(len(near), counts["queries"], "query", "queries"),
        duplicates=copies,
        more_duplicates=_first(len(copies), groups, "group", "groups"),
        command=command,
        environment=flat(environment),
        date=now(),
        warnings=warnings,
        **listed_failures(failures),
    )
    write_file(path, render(page, "features.html", "scatter.js"))


def _about(shown: int, read: int) -> str:
    some = f"{shown:,} of {counted(read, 'input')}, spaced evenly over all of them. "
    return (some if shown < read else "") + (
        "Similar inputs are close to each other; distances between far groups mean little. "
        "Drag to move, turn the wheel or use the buttons to zoom, point at an input to see it; "
        "the arrow keys go from one input to the next."
    )


def _first(shown: int, count: int, noun: str, plural: str) -> str:
    return f"The first {shown} of {counted(count, noun, plural)}." if shown < count else ""


def _items(shown: Iterable[Shown]) -> list[Item]:
    """Return queries or groups as samples of a gallery."""
    return gallery_of(
        [
            ShownSample(each.path, each.words, tuple((": ".join(w), p) for w, p in each.pictures))
            for each in shown
        ]
    )
