"""The labelled samples of a dataset as a task reads them, without a network: to count and to show.

Each task has a module `cvkit/tasks/TASK/labelled.py` with a class `LabelledSamples`.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np

from cvkit.data.conversion import Samples
from cvkit.data.decode import read_header
from cvkit.data.known import Known
from cvkit.data.statistics import Facts, Measured
from cvkit.errors import CvkitError
from cvkit.format_table import TRUTH_OF
from cvkit.options.base import Train
from cvkit.structures import ClassList
from cvkit.texts import counted

S = TypeVar("S")
T = TypeVar("T", bound=Train)
FLAGS = "DATA"
"""How the commands name the dataset, for messages."""


@dataclass(frozen=True)
class Advice:
    """What the numbers of a dataset imply for a flag of train.

    Attributes:
        flag: with its value; empty if no flag is concerned.
        text: the numbers, and what follows from them.
    """

    flag: str
    text: str


@dataclass(frozen=True)
class View:
    """A picture of a sample.

    Attributes:
        picture: HWC RGB uint8.
        words: the label in words.
    """

    picture: np.ndarray
    words: str


@dataclass(frozen=True, kw_only=True)
class Labelled(ABC, Generic[S, T]):
    """The labelled samples of a dataset, by split.

    Attributes:
        options: of train, which say how data and labels are read and transformed.
        root: the dataset.
        layout: the name of its format.
        classes: in index order.
        splits: the samples, by the requested name.
        notes: remarks on usable oddities, for warnings.
        defects: of the annotations; their samples or objects are left out.
    """

    task: ClassVar[str]
    noun: ClassVar[str] = "images"

    options: T
    root: Path
    layout: str
    classes: ClassList
    splits: Mapping[str, Sequence[S]]
    notes: Sequence[str] = ()
    defects: Sequence[CvkitError] = field(default_factory=list)

    @classmethod
    @abstractmethod
    def read(cls, options: T, splits: Sequence[str]) -> Self:
        """Return the samples of splits; of all splits that the dataset has if none are named.

        Raises:
            DataError: no known format, no such split, or labels that cannot be read.
        """

    @abstractmethod
    def key(self, item: S) -> str:
        """Return the path that identifies a sample."""

    @abstractmethod
    def path(self, item: S) -> Path:
        """Return the location of the image or video of a sample."""

    @abstractmethod
    def picture(self, item: S) -> np.ndarray:
        """Return HWC RGB uint8 pixels of a sample, as they are stored.

        Raises:
            DataError: it cannot be read.
        """

    @abstractmethod
    def class_names(self, item: S) -> Collection[str]:
        """Return the names of the classes in a sample.

        Raises:
            DataError: its label cannot be read.
        """

    @abstractmethod
    def truth(self, item: S) -> View:
        """Return a sample with its label drawn on it.

        Raises:
            DataError: it cannot be read.
        """

    @abstractmethod
    def augmented(self, split: str, place: int, seed: int) -> View:
        """Return a training sample as the network gets it, with its target drawn on it.

        Args:
            split: name of its split.
            place: of the sample in the split.
            seed: of the random transform.

        Raises:
            DataError: it cannot be read.
            UsageError: the file of `--augment` cannot be read.
        """

    @abstractmethod
    def measure(self, item: S, known: Known) -> Measured[S]:
        """Return what is counted of a sample.

        Args:
            item: the sample.
            known: sizes, or other findings, about files that have not changed.

        Raises:
            DataError: its file or its label cannot be read.
        """

    @abstractmethod
    def normalisation(self, facts: Facts[S]) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and standard deviation that a training on these samples subtracts."""

    @abstractmethod
    def advice(self, facts: Facts[S]) -> list[Advice]:
        """Return what the numbers of the training split imply for the flags of train."""

    def samples(self) -> Samples:
        """Return the samples as they are written in another format."""
        truth, videos = TRUTH_OF[self.task]
        return Samples(
            place=self.root,
            layout=self.layout,
            truth=truth,
            videos=videos,
            classes=self.classes,
            splits=self.splits,
            defects=self.defects,
            notes=self.notes,
        )

    @property
    def cache(self) -> str:
        """Name of the findings that `measure` keeps."""
        return "header"


def labelled_class(task: str) -> type[Labelled[Any, Any]]:
    """Return the class of a task.

    Args:
        task: key of `catalog.TASKS`.
    """
    found: type[Labelled[Any, Any]] = importlib.import_module(
        f"cvkit.tasks.{task}.labelled"
    ).LabelledSamples
    return found


def known_header(path: Path, known: Known) -> tuple[tuple[int, int], int]:
    """Return the upright size (height, width) and EXIF orientation of an image.

    Raises:
        DataError: its header is unusable.
    """
    (height, width), orientation = known.find([path], lambda: _as_json(read_header(path)))
    return (height, width), orientation


def _as_json(header: tuple[tuple[int, int], int]) -> list[Any]:
    return [list(header[0]), header[1]]


def sizes(size_hw: tuple[int, int]) -> dict[str, np.ndarray | float]:
    """Return the quantities that every image has."""
    height, width = size_hw
    return {"width": width, "height": height, "image_aspect": width / height}


IMBALANCED = 10
"""Ratio of the most frequent to the rarest class from which weights are suggested."""


def imbalance(
    counts: np.ndarray, names: Sequence[str], noun: str, *, weighted: bool = True
) -> list[Advice]:
    """Return advice about classes of very different frequency.

    Args:
        counts: [K] of each class in the training split.
        names: K.
        noun: what is counted.
        weighted: whether the task has `--class-weights`.
    """
    present = np.flatnonzero(counts)
    found = []
    if absent := [name for name, count in zip(names, counts, strict=True) if not count]:
        some = ", ".join(absent[:5]) + (" ..." if len(absent) > 5 else "")
        count = f"{len(absent)} of {counted(len(names), 'class', 'classes')}"
        found.append(Advice("", f"{count} without {noun}: {some}"))
    if len(present) < 2:
        return found
    most = int(present[counts[present].argmax()])
    least = int(present[counts[present].argmin()])
    ratio = counts[most] / counts[least]
    if ratio >= IMBALANCED:
        text = (
            f"{names[most]!r} has {ratio:,.0f} times as many {noun} as {names[least]!r} "
            f"({counts[most]:,} and {counts[least]:,})"
        )
        advice = (
            ": weights make the loss of the rare classes count more; 'balanced' weighs them more "
            "strongly than 'sqrt'"
        )
        found.append(Advice("--class-weights sqrt" if weighted else "", text + advice * weighted))
    return found
