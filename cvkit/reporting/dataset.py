"""The page about a labelled dataset: its numbers as tables and charts, and samples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.statistics import PERCENTILES, QUANTITIES, Colours, Facts, summary
from cvkit.errors import CvkitError
from cvkit.reporting.charts import histogram
from cvkit.reporting.contract import Chart, Section
from cvkit.reporting.gallery import BUDGET, Item, encode
from cvkit.reporting.page import FAILURES, ClassTable, flat, render
from cvkit.storage import write_file
from cvkit.structures import Failure

BINS = 24
"""Number of columns of a chart."""
LEAST = 12_000
"""Bytes of a picture on a page with many of them."""


@dataclass(frozen=True)
class Table:
    """A table of texts; the first column has the names of the rows."""

    name: str
    title: str
    about: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


@dataclass(frozen=True)
class ShownSample:
    """A sample on a page or sheet.

    Attributes:
        path: of the sample.
        words: its label.
        pictures: title and HWC RGB uint8 picture, from left to right; none if it is unreadable.
        problem: why it is unreadable.
    """

    path: str
    words: str
    pictures: tuple[tuple[str, np.ndarray], ...]
    problem: CvkitError | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetPage:
    """The page as its template sees it.

    Attributes:
        title: task and dataset.
        subject: the dataset's place.
        evaluated: what was read, in words.
        command: that writes the page again.
        environment: names and values.
    """

    title: str
    subject: str
    evaluated: str
    command: str
    environment: Sequence[tuple[str, str]]
    date: str
    cards: Sequence[tuple[str, str]] = ()
    advice: Sequence[tuple[str, str]] = ()
    tables: Sequence[Table] = ()
    classes: ClassTable = field(default_factory=lambda: ClassTable((), ()))
    sections: Sequence[Section] = ()
    gallery: Sequence[Item] = ()
    gallery_about: str = ""
    warnings: Sequence[str] = ()
    failures: Sequence[Mapping[str, str]] = ()
    more_failures: int = 0


def now() -> str:
    """Return the date for the foot of a page."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def write_dataset_page(path: Path, page: DatasetPage) -> None:
    """Write the page.

    Raises:
        MachineError: the disk is full; nothing is left of the file.
    """
    write_file(path, render(page, "dataset.html"))


def listed_failures(failures: Sequence[Failure]) -> dict[str, Any]:
    """Return the fields of a page about samples that could not be read."""
    rows = [{"path": each.path, "reason": each.reason} for each in failures[:FAILURES]]
    return {"failures": rows, "more_failures": max(0, len(failures) - FAILURES)}


def environment_rows(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return nested values as names and texts."""
    return flat(values)


def gallery_of(samples: Sequence[ShownSample]) -> list[Item]:
    """Return samples with their pictures as data; more samples get smaller pictures."""
    count = sum(len(sample.pictures) for sample in samples)
    budget = max(LEAST, BUDGET // max(count, 1))
    return [
        Item(
            path=sample.path,
            quality=None,
            truth=sample.words,
            prediction="",
            pictures=tuple(encode(title, image, budget) for title, image in sample.pictures),
            problem=str(sample.problem or ""),
        )
        for sample in samples
    ]


def number_text(value: float) -> str:
    """Return a number with at most three digits behind the point."""
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def quantity_rows(facts: Mapping[str, Facts[Any]]) -> list[tuple[str, list[str]]]:
    """Return a row for each quantity and split: percentiles and mean."""
    rows = []
    for name, title in QUANTITIES.items():
        for split, each in facts.items():
            if len(numbers := each.values.get(name, ())):
                found = summary(np.asarray(numbers))
                cells = [number_text(found[key]) for key in (*PERCENTILES, "mean")]
                rows.append((title, [split, *cells]))
    return rows


def quantities_table(facts: Mapping[str, Facts[Any]]) -> Table:
    """Return the table of `quantity_rows`."""
    columns = ("quantity", "split", *PERCENTILES, "mean")
    about = "p5 is the number below which 5 % are."
    return Table("numbers", "Numbers", about, columns, quantity_rows(facts))


def colour_rows(colours: Mapping[str, Colours]) -> list[tuple[str, list[str]]]:
    """Return the mean and deviation of each channel by split."""
    return [
        (
            split,
            [
                f"{found.images:,} of {found.of:,}",
                " ".join(f"{value:.3f}" for value in found.mean),
                " ".join(f"{value:.3f}" for value in found.std),
                f"{found.grey:,}",
            ],
        )
        for split, found in colours.items()
    ]


COLOUR_COLUMNS = ("split", "images measured", "mean R G B", "deviation R G B", "grey")


def colours_table(colours: Mapping[str, Colours]) -> Table:
    """Return the table of `colour_rows`."""
    about = "Over all pixels of a random sample, in [0, 1]."
    return Table("colours", "Colours", about, COLOUR_COLUMNS, colour_rows(colours))


def class_numbers(names: Sequence[str], facts: Mapping[str, Facts[Any]]) -> ClassTable:
    """Return the counts of each class by split."""
    columns = [(split, what) for split, each in facts.items() for what in each.per_class]
    rows = []
    for index, name in enumerate(names):
        counts = [int(facts[split].per_class[what][index]) for split, what in columns]
        rows.append((name, tuple((float(count), f"{count:,}") for count in counts)))
    return ClassTable(tuple(f"{split} {what}" for split, what in columns), tuple(rows))


def charts_of(facts: Mapping[str, Facts[Any]]) -> list[Section]:
    """Return a histogram of each quantity that varies, with a colour for each split."""
    charts = []
    for name, title in QUANTITIES.items():
        parts = {split: each.values.get(name, np.zeros(0)) for split, each in facts.items()}
        every = np.concatenate(list(parts.values()))
        if len(every) and every.min() < every.max():
            charts.append(_chart(title, parts, every))
    about = "The last column also counts all larger values." if charts else ""
    return [Section("charts", "Distributions", tuple(charts), about)] if charts else []


def _chart(title: str, parts: Mapping[str, np.ndarray], every: np.ndarray) -> Chart:
    """Return columns from the smallest number to about the largest; outliers are in the last."""
    low, high = float(every.min()), float(np.percentile(every, 99))
    high = high if high > low else float(every.max())
    step = (high - low) / BINS
    if (every == np.rint(every)).all():
        step = max(1.0, math.ceil(step))
    count = min(BINS, max(1, math.ceil((high - low) / step + 1e-9) + (step == 1.0)))
    edges = low + step * np.arange(count)
    stacks = []
    for split, numbers in parts.items():
        places = np.clip(((numbers - low) / step).astype(int), 0, count - 1)
        stacks.append((split, np.bincount(places, minlength=count).astype(float).tolist()))
    labels = [f"{edge:,.0f}" if step >= 1 else f"{edge:.2g}" for edge in edges.tolist()]
    legend = tuple((f"s{n + 1}", split) for n, split in enumerate(parts)) if len(parts) > 1 else ()
    body = histogram(f"Distribution of {title}", labels, stacks, title, "count")
    return Chart(title, body, legend=legend)
