"""What features say about inputs: maps, neighbours, clusters, near duplicates; and their files."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.errors import CvkitError
from cvkit.explain.clusters import cluster, clustering_accuracy, mutual_information
from cvkit.explain.extract import Extracted
from cvkit.explain.neighbours import duplicate_groups, nearest_rows, scale_to_unit
from cvkit.explain.projections import LEAST, PROJECTIONS, project
from cvkit.output.files import write_rgb
from cvkit.output.names import output_names
from cvkit.output.records import write_lines
from cvkit.output.scatter import draw_scatter
from cvkit.output.sheet import UNREADABLE, Tile, draw_sheet
from cvkit.storage import machine_errors
from cvkit.tasks.contract import Dataset
from cvkit.texts import counted

SHEETS = 100
"""Queries that get a contact sheet; `neighbours.jsonl` has all of them."""
ON_PAGE = 12
"""Queries, and groups of near duplicates, on the page."""
GROUPS = 15
"""Groups on the sheet of near duplicates."""
EACH = 4
"""Pictures of one group."""
FILES = (
    *("features.npz", "features.jsonl", "features.json", "features.html", "failures.jsonl"),
    *("neighbours.jsonl", "duplicates.jsonl", "duplicates.png"),
    *(f"map-{how}.png" for how in PROJECTIONS),
)
"""What a command writes, beside the contact sheets of queries."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for.

    Attributes:
        maps: keys of `projections.PROJECTIONS`.
        perplexity: of the maps.
        points: on a map at most.
        neighbors: of each query.
        clusters: their number; 0: none.
        duplicates: least cosine; None: none are looked for.
        seed: of maps and clusters.
    """

    maps: tuple[str, ...]
    perplexity: float
    points: int
    neighbors: int
    clusters: int
    duplicates: float | None
    seed: int


@dataclass(frozen=True)
class Neighbours:
    """A query and its nearest inputs.

    Attributes:
        query: its path.
        place: of it in the dataset of queries.
        rows: of the neighbours, nearest first.
        cosines: of them.
    """

    query: str
    place: int
    rows: list[int]
    cosines: list[float]


@dataclass
class Findings:
    """The inputs that could be read, and what was found; rows are counted without the others.

    Attributes:
        keys: N paths.
        labels: N classes; None where they are not known.
        shown: rows on the maps.
        maps: [M, 2] places of these, by the name of the map.
        clusters: [N], if asked for.
        groups: rows of near duplicates.
        neighbours: of the queries.
        numbers: agreement with the labels.
    """

    keys: list[str]
    labels: list[str | None]
    shown: list[int] = field(default_factory=list)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    clusters: np.ndarray | None = None
    groups: list[list[int]] = field(default_factory=list)
    neighbours: list[Neighbours] = field(default_factory=list)
    numbers: dict[str, float] = field(default_factory=dict)

    @property
    def groupings(self) -> dict[str, list[str | None]]:
        """The divisions of the inputs that colours can show, N names each."""
        found: dict[str, list[str | None]] = {}
        if any(name is not None for name in self.labels):
            found["class"] = self.labels
        if self.clusters is not None:
            found["cluster"] = [f"cluster {number + 1}" for number in self.clusters.tolist()]
        return found


@dataclass(frozen=True)
class Named:
    """Inputs, or queries, in the order of their dataset.

    Attributes:
        keys: their paths in the results.
        files: the same for two of one image, however it is named.
        labels: their classes; None where they are not known.
    """

    keys: Sequence[str]
    files: Sequence[str]
    labels: Sequence[str | None]


def find(
    inputs: Named,
    extracted: Extracted,
    queries: Named | None,
    asked: Extracted | None,
    wanted: Wanted,
) -> Findings:
    """Return what the features say.

    Args:
        inputs: all of them.
        extracted: their features, which are scaled to length 1 in place.
        queries: if there are some.
        asked: their features, which are scaled, too.
        wanted: what is asked for.
    """
    rows, places = extracted.rows, extracted.places
    scale_to_unit(rows)
    made = Findings([inputs.keys[n] for n in places], [inputs.labels[n] for n in places])
    if len(rows) >= LEAST:
        made.shown = [n for n, place in enumerate(places) if place in extracted.thumbnails]
        for how in wanted.maps:
            made.maps[how] = project(rows[made.shown], how, wanted.perplexity, wanted.seed)
    if queries is not None and asked is not None:
        scale_to_unit(asked.rows)
        where = {inputs.files[place]: row for row, place in enumerate(places)}
        same = np.array([where.get(queries.files[place], -1) for place in asked.places], int)
        found = nearest_rows(asked.rows, rows, wanted.neighbors, same)
        for place, near, cosines in zip(asked.places, *found, strict=True):
            kept = near >= 0
            made.neighbours.append(
                Neighbours(queries.keys[place], place, near[kept].tolist(), cosines[kept].tolist())
            )
    if wanted.clusters and len(rows):
        made.clusters = cluster(rows, min(wanted.clusters, len(rows)), wanted.seed)
    if wanted.duplicates is not None:
        made.groups = duplicate_groups(rows, wanted.duplicates)
    made.numbers = _agreement(made, rows)
    return made


def _agreement(made: Findings, rows: np.ndarray) -> dict[str, float]:
    """Return how well neighbours and clusters agree with the labels, if there are some."""
    known = [number for number, name in enumerate(made.labels) if name is not None]
    names = [str(made.labels[number]) for number in known]
    if not names:
        return {}
    found = {}
    if len(known) > 1:
        labelled = rows[known]
        nearest, _ = nearest_rows(labelled, labelled, 1, np.arange(len(known)))
        found["neighbour_accuracy"] = float(
            np.mean(
                [names[place] == name for place, name in zip(nearest[:, 0], names, strict=True)]
            )
        )
    if made.clusters is not None:
        numbers = made.clusters[known].tolist()
        found["normalised_mutual_information"] = mutual_information(numbers, names)
        found["clustering_accuracy"] = clustering_accuracy(numbers, names)
    return found


def write_findings(
    folder: Path,
    made: Findings,
    extracted: Extracted,
    data: Dataset,
    queries: Dataset | None,
) -> None:
    """Write the files about features into a folder.

    Args:
        folder: of the results.
        made: what was found.
        extracted: pictures, and places in the dataset.
        data: the inputs.
        queries: the queries.

    Raises:
        MachineError: the disk is full, for example.
    """
    write_lines(folder / "features.jsonl", _lines(made))
    pictures = [extracted.thumbnails[extracted.places[row]] for row in made.shown]
    groups = next(iter(made.groupings.values()), [None] * len(made.keys))
    for how, places in made.maps.items():
        title = f"{how} of {counted(len(made.shown), 'input')}"
        painted = draw_scatter(title, places, pictures, [groups[row] for row in made.shown])
        write_rgb(folder / f"map-{how}.png", painted)
    if queries is not None:
        _write_neighbours(folder, made, extracted, data, queries)
    if made.groups:
        groups_of = [[made.keys[row] for row in group] for group in made.groups]
        write_lines(folder / "duplicates.jsonl", ({"paths": paths} for paths in groups_of))
        write_rgb(folder / "duplicates.png", _duplicates_sheet(made, extracted, data))


def _lines(made: Findings) -> Iterator[dict[str, Any]]:
    """Yield a line for each input: its row in the array, and what was found of it."""
    on_map = {row: number for number, row in enumerate(made.shown)}
    group_of = {row: number for number, group in enumerate(made.groups, 1) for row in group}
    for row, key in enumerate(made.keys):
        line: dict[str, Any] = {"path": key, "row": row}
        if made.labels[row] is not None:
            line["label"] = made.labels[row]
        if made.clusters is not None:
            line["cluster"] = int(made.clusters[row]) + 1
        if row in group_of:
            line["duplicates"] = group_of[row]
        for how, places in made.maps.items():
            if row in on_map:
                line[how] = [float(value) for value in places[on_map[row]]]
        yield line


def picture_of(data: Dataset, place: int) -> np.ndarray:
    """Return what a network sees of a sample, HWC RGB uint8; of a clip the middle frame."""
    try:
        pixels = data.read(place).image
    except CvkitError:  # it could be read before
        return UNREADABLE
    while pixels.ndim > 3:
        pixels = pixels[len(pixels) // 2]
    return pixels


@dataclass(frozen=True)
class Shown:
    """A query or a group with its pictures.

    Attributes:
        path: of the query, or of the first of the group.
        words: about it.
        pictures: captions, and HWC RGB uint8 pictures.
    """

    path: str
    words: str
    pictures: tuple[tuple[tuple[str, ...], np.ndarray], ...]


def shown_neighbours(
    made: Findings,
    extracted: Extracted,
    data: Dataset,
    queries: Dataset | None,
    most: int = ON_PAGE,
) -> Iterator[Shown]:
    """Yield the first queries with their neighbours; the query is the first picture."""
    if queries is None:
        return
    for each in made.neighbours[:most]:
        pictures: list[tuple[tuple[str, ...], np.ndarray]] = []
        pictures.append((("query",), picture_of(queries, each.place)))
        for row, cosine in zip(each.rows, each.cosines, strict=True):
            words = (f"{cosine:.3f}", made.labels[row] or made.keys[row])
            pictures.append((words, picture_of(data, extracted.places[row])))
        yield Shown(each.query, counted(len(each.rows), "neighbour"), tuple(pictures))


def shown_groups(
    made: Findings, extracted: Extracted, data: Dataset, most: int = ON_PAGE
) -> Iterator[Shown]:
    """Yield the first groups of near duplicates, with some of their pictures."""
    for number, group in enumerate(made.groups[:most], 1):
        pictures = tuple(
            ((f"group {number} of {len(group)}", made.keys[row]), picture_of(data, place))
            for row, place in ((row, extracted.places[row]) for row in group[:EACH])
        )
        yield Shown(made.keys[group[0]], f"group {number} of {len(group)}", pictures)


def _write_neighbours(
    folder: Path, made: Findings, extracted: Extracted, data: Dataset, queries: Dataset
) -> None:
    """Write the neighbours of all queries, and contact sheets of the first ones."""
    names = output_names([each.query for each in made.neighbours])
    lines = (
        {
            "path": each.query,
            "name": names[each.query],
            "neighbours": [made.keys[row] for row in each.rows],
            "cosines": each.cosines,
        }
        for each in made.neighbours
    )
    write_lines(folder / "neighbours.jsonl", lines)
    for shown in shown_neighbours(made, extracted, data, queries, SHEETS):
        tiles = [Tile(picture, words) for words, picture in shown.pictures]
        painted = draw_sheet(f"nearest neighbours of {shown.path}", tiles)
        write_rgb(folder / "neighbours" / f"{names[shown.path]}.png", painted)


def _duplicates_sheet(made: Findings, extracted: Extracted, data: Dataset) -> np.ndarray:
    """Return a contact sheet of the first groups of near duplicates."""
    shown = list(shown_groups(made, extracted, data, GROUPS))
    tiles = [Tile(picture, words) for each in shown for words, picture in each.pictures]
    title = f"near duplicates: {len(shown)} of {counted(len(made.groups), 'group')}"
    return draw_sheet(title, tiles)


def remove_earlier(folder: Path) -> None:
    """Remove what an earlier command has written into a folder; other files stay.

    Raises:
        MachineError: a file cannot be removed.
    """
    if not (folder / "features.json").is_file():
        return
    with machine_errors(folder):
        names = (f"{line['name']}.png" for line in _earlier_lines(folder / "neighbours.jsonl"))
        sheets = [folder / "neighbours" / name for name in names]
        files = [folder / name for name in FILES]
        for path in [*sheets, *files]:
            path.unlink(missing_ok=True)
        inner = {place for sheet in sheets for place in sheet.parents} - {folder, *folder.parents}
        for place in sorted(inner, reverse=True):
            if not any(place.iterdir()):
                place.rmdir()


def _earlier_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of an earlier command that name files inside the folder."""
    if not path.is_file():
        return []
    lines = [json.loads(text) for text in path.read_text().splitlines()]
    return [line for line in lines if ".." not in Path(line["name"]).parts]
