"""What the loops know of a problem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from cvkit.structures import Batch, ClassList, Sample

if TYPE_CHECKING:
    from torch import Tensor, nn


class Dataset(Protocol):
    """Samples by index; `seed` decides everything random about one."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def key(self, index: int) -> str:
        """Return the path that names a sample in messages and results."""

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return a sample; raises `CvkitError` if its files are unusable."""


class Metric(Protocol):
    """Counts that grow image by image, and the numbers that follow from them."""

    def update(self, result: Any, truth: Any) -> Any:
        """Add one image; return its own counts."""

    def state(self) -> Any:
        """Return what another process needs to `merge` this metric."""

    def merge(self, states: Sequence[Any]) -> None:
        """Replace the own counts by those of all processes together."""

    def compute(self) -> dict[str, float | None]:
        """Return the metrics by name."""


class Task(ABC):
    """A problem: its data, network, loss, result and metric.

    Attributes:
        name: key in `catalog.TASKS`.
        best: name of the metric that picks the best checkpoint; larger is better.
        metric_names: of what `Metric.compute` returns.
        classes: of the data or the model.
    """

    name: str
    best: str
    metric_names: tuple[str, ...]
    classes: ClassList

    @abstractmethod
    def dataset(self, split: str, *, training: bool) -> Dataset:
        """Return the labelled samples of a split."""

    @abstractmethod
    def source(self, inputs: Sequence[Any]) -> Dataset:
        """Return unlabelled samples for predict."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Return a freshly initialised network for `classes`."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss by name; their sum is minimised."""

    @abstractmethod
    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Return one result a sample, in the pixels of the original image."""

    @abstractmethod
    def metric(self) -> Metric:
        """Return an empty metric."""

    @abstractmethod
    def write(self, result: Any, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the files of one result and return its line of `predictions.jsonl`."""
