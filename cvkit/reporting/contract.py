"""The parts of a report, and the functions of every `cvkit/reporting/TASK.py`."""

import importlib
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from markupsafe import Markup

from cvkit.scoring.contract import Scene, Scored


@dataclass(frozen=True)
class Chart:
    """A figure of the report.

    Attributes:
        title: heading.
        body: SVG or HTML, escaped.
        about: one sentence under it.
        legend: CSS class and name of each series.
        wide: takes a whole row.
    """

    title: str
    body: Markup
    about: str = ""
    legend: tuple[tuple[str, str], ...] = ()
    wide: bool = False


@dataclass(frozen=True)
class Section:
    """Figures under one heading.

    Attributes:
        name: identifies the section in links.
        title: heading.
        charts: may be empty.
        about: a paragraph before them.
    """

    name: str
    title: str
    charts: tuple[Chart, ...]
    about: str = ""


@dataclass(frozen=True)
class Shown:
    """How a sample is shown.

    Attributes:
        pictures: title and HWC RGB uint8 picture, from left to right.
        truth: the truth in words.
        prediction: the prediction in words.
    """

    pictures: tuple[tuple[str, np.ndarray], ...]
    truth: str
    prediction: str


class Pages(Protocol):
    """The content of an evaluation's page that depends on its task."""

    HEADLINES: tuple[str, ...]
    """Metrics at the top of the page."""
    GALLERY: str
    """The order of the samples in the gallery, as a sentence."""

    def sections(self) -> Sequence[Section]:
        """Return the figures of the task."""

    def qualities(self) -> Sequence[float | None]:
        """Return a number for each outcome, larger for better ones; None for undecided ones."""

    def show(self, place: int, scene: Scene | None) -> Shown:
        """Return how an outcome is shown; without pictures if there is no scene."""


def pages_of(task: str, scored: Scored[Any, Any]) -> Pages | None:
    """Return the page of an evaluation; None for a task without `cvkit/reporting/TASK.py`.

    Those modules have a class `Pages` and do not import torch.

    Args:
        task: key of `catalog.TASKS`.
        scored: the evaluation.
    """
    name = f"cvkit.reporting.{task}"
    if importlib.util.find_spec(name) is None:
        return None
    made: Pages = importlib.import_module(name).Pages(scored)
    return made
