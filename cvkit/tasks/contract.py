"""What the loops know of a problem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import torch

from cvkit.catalog import OPTIMIZERS
from cvkit.console import Reporter
from cvkit.structures import Batch, ClassList, Failure, Sample

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


@runtime_checkable
class Ragged(Protocol):
    """A dataset whose samples may differ in size and share a batch all the same."""

    @property
    def ragged(self) -> bool:
        """Whether they do: then they are listed in a batch instead of stacked."""


@runtime_checkable
class Grouped(Protocol):
    """A dataset whose batches are better made of similar samples."""

    def groups(self) -> Sequence[int]:
        """Return for each sample a number that similar ones share."""


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


class Answers(Protocol):
    """How results are told in a few words, from their lines of `predictions.jsonl`."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of the cells of a row."""

    def row(self, line: dict[str, Any]) -> list[str]:
        """Return the cells of one result."""

    def tally(self, line: dict[str, Any]) -> Counter[str]:
        """Return what is counted of one result, by class."""

    def summary(self, total: Counter[str]) -> str:
        """Return the counts of many results in one line."""


class PostFit(Protocol):
    """Something that is fitted by looking at every training image once."""

    def finish(self) -> None:
        """Conclude from what was seen."""


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
    body = "backbone"
    """Name of the layers that `--freeze-backbone` freezes."""
    memory_format = torch.channels_last
    """Of the network's weights."""
    input_shape: tuple[int, ...] | None = None
    """Of a training sample as the network sees it, channels first; None where sizes differ."""
    min_batch = 1
    """Samples that a batch must have in training; batch norms over one value need two."""
    gradient_free = False
    """The model is not trained by steps, but keeps what `memorise` shows it."""

    @abstractmethod
    def dataset(self, split: str, *, training: bool) -> Dataset:
        """Return the labelled samples of a split."""

    @abstractmethod
    def source(self, inputs: Sequence[Any]) -> Dataset:
        """Return unlabelled samples for predict."""

    @abstractmethod
    def build(self) -> nn.Module:
        """Return a freshly initialised network for `classes`."""

    def recipe(self, options: Any) -> dict[str, Any]:
        """Return the settings that flags leave open (None or auto), by name."""
        return dict(zip(("lr", "weight_decay"), OPTIMIZERS[options.optimizer], strict=True))

    def freeze(self, model: nn.Module, options: Any) -> None:  # noqa: B027, most need no more
        """Switch off the training of what the task's own flags name."""

    @abstractmethod
    def training_input(self, batch: Batch) -> tuple[Tensor, Any]:
        """Return what the network sees of a batch, and what its outputs are compared with."""

    @abstractmethod
    def criterion(self, outputs: dict[str, Tensor], target: Any) -> dict[str, Tensor]:
        """Return the terms of the loss by name, from the network's outputs."""

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss by name; their sum is minimised."""
        inputs, target = self.training_input(batch)
        return self.criterion(model(inputs), target)

    overfit_goal = (0.01, 0.1, 300)
    """Of the check that one batch can be learned: the share of the first loss at which it stops,
    the share that is enough, and the most steps."""

    def uniform_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss if all classes scored equally, for `--check`."""
        inputs, target = self.training_input(batch)
        same = {name: 0 * logits for name, logits in model(inputs).items()}
        return sum(self.criterion(same, target).values())

    def probe(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the network's input, which gathers a gradient, and an output, for `--check`."""
        inputs = self.training_input(batch)[0].detach().clone().requires_grad_()
        return inputs, model(inputs)["out"]

    @abstractmethod
    def unregularised(self) -> Task:
        """Return the same problem without what keeps its loss from reaching zero."""

    @abstractmethod
    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Return one result a sample, in the pixels of the original image."""

    def validate(self, model: nn.Module, batch: Batch) -> tuple[list[Any], Tensor]:
        """Return what `predict` does, and the mean loss of the batch.

        The loss is that of training without label smoothing, mixing and auxiliary heads. Batches
        are those of evaluation.
        """
        terms = self.unregularised().loss(model, self.judged(batch))
        return self.predict(model, batch), sum(terms.values())

    def judged(self, batch: Batch) -> Batch:
        """Return a batch of evaluation with what a training loss compares with."""
        return batch

    @abstractmethod
    def metric(self) -> Metric:
        """Return an empty metric."""

    def memorise(self, model: nn.Module, batch: Batch) -> None:
        """Show a batch of training samples to a gradient-free model."""
        raise TypeError(f"{self.name} has no gradient-free model")

    def post_fits(self, model: nn.Module, seed: int) -> list[tuple[str, PostFit]]:
        """Return what is fitted after the steps, each with its title, in order."""
        return []

    def fit_batch(self, fit: PostFit, batch: Batch) -> None:
        """Show a batch of training samples to a stage."""
        raise TypeError(f"{self.name} has no further stages")

    def check_inputs(  # noqa: B027, most tasks take any
        self, keys: Sequence[str], report: Reporter
    ) -> None:
        """Check what a prediction needs to know of its inputs, before the first one.

        Args:
            keys: the inputs' paths in the results.
            report: for warnings.

        Raises:
            DataError: a file that the flags name does not know an input.
        """

    def finish(self, folder: Path) -> list[Failure]:
        """Write what belongs to all results together, after the last one.

        Returns:
            The inputs of which a file could not be written.
        """
        return []

    @abstractmethod
    def answers(self) -> Answers:
        """Return what tells results in a few words."""

    @abstractmethod
    def tile(self, line: dict[str, Any], path: Path, folder: Path) -> tuple[Any, str] | None:
        """Return the picture (HWC RGB uint8) and words that show a result on a contact sheet.

        Args:
            line: of `predictions.jsonl`.
            path: of the input.
            folder: of the results.

        Returns:
            None if nothing was drawn.

        Raises:
            DataError: the picture cannot be read.
        """

    @abstractmethod
    def write(self, result: Any, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the files of one result and return its line of `predictions.jsonl`.

        Args:
            result: of `predict`.
            sample: that it is of.
            stem: name of the files without suffix, which no other input has.
            folder: of all results.

        Raises:
            OutputError: a file cannot have this name, or something is in its place.
        """
