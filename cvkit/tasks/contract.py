"""Everything that commands and loops may call on a task.

A task is complete when it is constructed: `for_training` and `for_model` check everything and
return one, `with_data` and `adopting` return another one, and nothing is assigned to it later.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, Self, TypeVar, runtime_checkable

import torch

from cvkit.console import Reporter
from cvkit.errors import UsageError
from cvkit.options.base import Eval, Predict, Train
from cvkit.structures import Batch, ClassList, Failure, Geometry, MetricReport, Sample

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

T = TypeVar("T", bound=Train)
E = TypeVar("E", bound=Eval)
P = TypeVar("P", bound=Predict)


class Dataset(Protocol):
    """Samples by index; `seed` determines everything random about a sample."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def key(self, index: int) -> str:
        """Return the path that identifies a sample in messages and results."""

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return a sample; raises `CvkitError` if its files are unusable."""


@runtime_checkable
class Ragged(Protocol):
    """A dataset whose samples may differ in size and still share a batch."""

    @property
    def ragged(self) -> bool:
        """Whether they do; the samples of a batch are then listed instead of stacked."""


@runtime_checkable
class Located(Protocol):
    """A dataset of labelled samples, each read from an image or a video."""

    def file(self, index: int) -> Path:
        """Return the location of the image or video of a sample."""


@runtime_checkable
class PythonBound(Protocol):
    """A dataset that says whether threads can read its samples at the same time."""

    @property
    def python_bound(self) -> bool:
        """Whether reading is mostly Python code, of which one thread runs at a time."""


@runtime_checkable
class Measurable(Protocol):
    """A dataset that knows the sizes of its samples without reading their pixels."""

    def geometry(self, index: int) -> Geometry:
        """Return the size of a sample, and of what it is made from.

        Raises:
            CvkitError: the header of its file is unusable.
        """


@runtime_checkable
class Grouped(Protocol):
    """A dataset whose batches should consist of similar samples."""

    def groups(self) -> Sequence[int]:
        """Return a number for each sample, equal for similar ones."""


class Metric(Protocol):
    """Counts that are updated image by image, and the metrics computed from them."""

    def update(self, result: Any, truth: Any) -> Any:
        """Add one image; return its counts."""

    def state(self) -> Any:
        """Return the counts that another process needs to `merge` this metric."""

    def merge(self, states: Sequence[Any], places: Sequence[Sequence[int]]) -> None:
        """Replace the counts by the totals over all processes, as one process would have counted.

        Args:
            states: of all processes.
            places: of each process, the places in the dataset of the images it was updated with.
        """

    def compute(self) -> dict[str, float | None]:
        """Return the metrics by name."""

    def report(self, classes: ClassList) -> MetricReport:
        """Return the metrics, their rules and the numbers of each class, computed together."""


class Answers(Protocol):
    """Readable summaries of results, from their lines of `predictions.jsonl`."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Column headings."""

    def row(self, line: dict[str, Any]) -> list[str]:
        """Return the cells of one result."""

    def tally(self, line: dict[str, Any]) -> Counter[str]:
        """Return the counts of one result by class."""

    def summary(self, total: Counter[str]) -> str:
        """Return one line that summarises the counts of many results."""


class Network(Protocol):
    """The network and its parameters; a dataclass that is stored in the model file."""

    @property
    def arch(self) -> str:
        """Key of the task's table in `catalog.ARCHS`."""

    @property
    def backbone(self) -> str | None:
        """Key of `catalog.BACKBONES`; None for a network without one."""


class Task(ABC, Generic[T, E, P]):
    """A problem: its data, network, loss, result and metric.

    Attributes:
        name: key in `catalog.TASKS`.
        noun: what the inputs are, in the plural.
        dimensions: of an input in memory: 3 for images (HWC), 4 for videos (THWC).
        walk: finds the inputs in a folder; see `cvkit.data.files`.
        best: name of the metric that picks the best checkpoint; larger is better.
        classes: of the data or the model.
        network: which network.
    """

    name: ClassVar[str]
    noun: ClassVar[str] = "images"
    dimensions: ClassVar[int] = 3
    walk: ClassVar[Callable[..., Iterator[Path]]]
    best: ClassVar[str]
    classes: ClassList
    network: Network

    @property
    @abstractmethod
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics that `Metric.compute` returns."""

    def body(self, model: nn.Module) -> str:
        """Return the name of the layers that `--freeze-backbone` freezes."""
        return "backbone"

    def recomputable(self, model: nn.Module) -> nn.Module:
        """Return the part that `--checkpoint-gradients` and `--compile` apply to."""
        return model

    @property
    def weight_format(self) -> torch.memory_format:
        """Memory format of the network's weights."""
        return torch.channels_last

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """Shape of a training input, channels first; None if sizes differ."""
        return None

    @property
    def min_batch(self) -> int:
        """Minimum number of samples in a training batch; batch norms over one value need two."""
        return 1

    @property
    def gradient_free(self) -> bool:
        """Whether the model is not trained in steps; the task is then `Memorising`."""
        return False

    @classmethod
    @abstractmethod
    def for_training(cls, options: T, report: Reporter) -> Self:
        """Return the task of a training run; reads and checks the whole dataset.

        Raises:
            UsageError: flags that cannot be combined.
            DataError: lists every defect of the data.
        """

    @classmethod
    @abstractmethod
    def for_model(cls, options: E | P, header: dict[str, Any]) -> Self:
        """Return the task of a trained model, as its file's header describes it.

        Raises:
            ModelFileError: the header is incomplete.
            UsageError: a flag that this model does not support.
        """

    @abstractmethod
    def with_data(self, options: E, header: dict[str, Any], report: Reporter) -> Self:
        """Return the task with the split that a trained model is evaluated on, found and checked.

        Raises:
            DataError: other classes than the model's, or data that it cannot be compared with.
        """

    @classmethod
    @abstractmethod
    def flags_of(cls, header: dict[str, Any]) -> dict[str, Any]:
        """Return the flags of train that lead to the network and the inputs of a model.

        Raises:
            ModelFileError: the header is incomplete.
        """

    @abstractmethod
    def adopting(self, header: dict[str, Any]) -> Self:
        """Return the task with the inputs of a model file and the settings that no flag has."""

    @abstractmethod
    def with_classes(self, classes: ClassList) -> Self:
        """Return the task with other classes."""

    def with_scores(self) -> Self:
        """Return the task with scores in all results, also where no metric needs them."""
        return self

    @abstractmethod
    def header(self, options: T) -> dict[str, Any]:
        """Return the header of the model file."""

    @abstractmethod
    def inference_rule(self) -> dict[str, Any]:
        """Return a description of the inference, for reports."""

    @abstractmethod
    def dataset(self, split: str, *, training: bool) -> Dataset:
        """Return the labelled samples of a split."""

    @abstractmethod
    def source(self, inputs: Sequence[Any]) -> Dataset:
        """Return unlabelled samples for predict.

        Args:
            inputs: of the types in `cvkit.data.given`.
        """

    @abstractmethod
    def build(self) -> nn.Module:
        """Return a freshly initialised network for `classes`."""

    @abstractmethod
    def load_pretrained(self, model: nn.Module, options: T, report: Reporter) -> None:
        """Load the weights that `--pretrained` names, or say that there are none.

        Raises:
            UsageError: nothing is published for this network.
            ModelFileError: the weights are missing, damaged or do not fit.
        """

    @abstractmethod
    def recipe(self, options: T) -> dict[str, Any]:
        """Return the settings that flags leave open (None or auto), by name."""

    def freeze(self, model: nn.Module, options: T) -> None:
        """Freeze the layers that the task's own flags select."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss by name; their sum is minimised."""

    @abstractmethod
    def predict(self, model: nn.Module, batch: Batch) -> list[Any]:
        """Return one result per sample, in the pixels of the original image.

        One that is read in tiles meanwhile, and cannot be, has a `Failure` in its place.
        """

    @abstractmethod
    def validate(self, model: nn.Module, batch: Batch) -> tuple[list[Any], Tensor]:
        """Return the results of `predict` and the mean loss of the batch.

        The loss is that of training without label smoothing, mixing and auxiliary heads. Batches
        are those of evaluation.
        """

    @abstractmethod
    def metric(self) -> Metric:
        """Return an empty metric."""

    def check_inputs(self, keys: Sequence[str], report: Reporter) -> None:
        """Check everything that prediction needs to know about its inputs, before the first one.

        Args:
            keys: the inputs' paths in the results.
            report: for warnings.

        Raises:
            DataError: a file given by a flag lacks an input.
        """

    @abstractmethod
    def write(self, result: Any, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the files of one result and return its line of `predictions.jsonl`.

        `stem` is the name of the files without suffix, unique to this input.

        Raises:
            OutputError: a file cannot have this name, or the name is taken.
        """

    def plot(self, result: Any, item: Any) -> np.ndarray:
        """Return a result of `predict` on its input of `source`, as a HWC RGB uint8 picture."""
        raise UsageError(f"results of {self.name} are not drawn", code="plot.task")

    def finish(self, folder: Path) -> list[Failure]:
        """Write the files about all results; return the inputs for which that failed."""
        return []

    @abstractmethod
    def answers(self) -> Answers:
        """Return the summary of results."""

    @abstractmethod
    def tile(self, line: dict[str, Any], path: Path, folder: Path) -> tuple[np.ndarray, str] | None:
        """Return picture (HWC RGB uint8) and text of a result on a contact sheet, or None.

        `line` is of `predictions.jsonl`. A picture that cannot be read is a `DataError`.
        """


@runtime_checkable
class Checkable(Protocol):
    """A task whose loss and network `--check` can examine.

    Attributes:
        overfit_goal: of the check that one batch can be learned: the fraction of the initial loss
            at which it stops, the fraction that is sufficient, and the maximum number of steps.
    """

    @property
    def overfit_goal(self) -> tuple[float, float, int]:
        """See the class."""

    def unregularised(self) -> Checkable:
        """Return the same problem without regularisation that keeps its loss from reaching zero."""

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss by name."""

    def uniform_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss if all classes scored equally."""

    def probe(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the network's input, which requires a gradient, and an output."""


@runtime_checkable
class Memorising(Protocol):
    """A task whose model may keep the training samples instead of being trained in steps."""

    def memorise(self, model: nn.Module, batch: Batch) -> None:
        """Let the model keep a batch of training samples."""


class PostFit(Protocol):
    """Something that is fitted by one pass over all training images, after the last step."""

    def finish(self) -> None:
        """Complete the fit after the last image."""


@runtime_checkable
class PostFitting(Protocol):
    """A task with post-fits."""

    def post_fits(self, model: nn.Module, seed: int) -> list[tuple[str, PostFit]]:
        """Return the post-fits in order, each with its title."""

    def fit_batch(self, fit: PostFit, batch: Batch) -> None:
        """Pass a batch of training samples to a post-fit."""
