"""Parts shared by tasks: a network, its classes and preprocessing, as a model file has them."""

import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import reduce
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from cvkit import __version__, catalog
from cvkit.catalog import OPTIMIZERS
from cvkit.console import Reporter
from cvkit.data.decode import read_image
from cvkit.data.files import walk_images
from cvkit.data.synthetic.cache import cached_samples
from cvkit.errors import DataError, ModelFileError, UsageError
from cvkit.models.trials import try_out
from cvkit.models.weights import load_pretrained
from cvkit.ops.images import normalize
from cvkit.options.base import Train
from cvkit.options.described import differs
from cvkit.structures import Batch, ClassList, Sample
from cvkit.tasks.contract import E, Network, P, T, Task


class BuildableNetwork(Network, Protocol):
    """A network that can return the flags from which it was built."""

    def flags(self, preprocessing: Any) -> dict[str, Any]:
        """Return the flags of train that lead to this network and to these inputs."""


F = TypeVar("F")


@dataclass(frozen=True)
class Origin:
    """What a model file says about its training data.

    Attributes:
        data: name, fingerprints and sizes, see `cvkit.tasks.checking.about_data`.
        division: how they were divided, see `cvkit.dividing.division_of`.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    division: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ImageTask(Task[T, E, P]):
    """A problem with one network, and the part of it that a model file describes.

    Attributes:
        classes: of the data or the model.
        network: what to build.
        preprocessing: of the images; a dataclass with `mean` and `std`.
        splits: labelled samples by name of the split.
        origin: where the training data come from; only in training.
    """

    network_class: ClassVar[Callable[..., Any]]
    preprocessing_class: ClassVar[type]
    walk = staticmethod(walk_images)

    classes: ClassList
    network: Any
    preprocessing: Any
    splits: Mapping[str, list[Any]] = field(default_factory=dict)
    origin: Origin = field(default_factory=Origin)

    @classmethod
    def known_parts(cls, header: dict[str, Any]) -> dict[str, Any]:
        """Return the classes, network and preprocessing that a model file's header describes.

        Raises:
            ModelFileError: the header is incomplete.
        """
        return from_header(header, cls.network_class, cls.preprocessing_class)

    @classmethod
    def flags_of(cls, header: dict[str, Any]) -> dict[str, Any]:
        """Return the flags of train that lead to the network and the inputs of a model.

        Raises:
            ModelFileError: the header is incomplete.
        """
        known = cls.known_parts(header)
        network: BuildableNetwork = known["network"]
        return network.flags(known["preprocessing"])

    def adopting(self, header: dict[str, Any]) -> Self:
        """Return the task with the inputs of a model file and the settings that no flag has."""
        made = self.known_parts(header)["preprocessing"]
        names = [name for name in ("mean", "std", "interpolation") if hasattr(made, name)]
        kept = {name: getattr(made, name) for name in names}
        return replace(self, preprocessing=replace(self.preprocessing, **kept))

    def with_classes(self, classes: ClassList) -> Self:
        """Return the task with other classes."""
        return replace(self, classes=classes)

    def build(self) -> nn.Module:
        """Return a freshly initialised network for the classes."""
        network: nn.Module = self.network.build(len(self.classes))
        return network

    def recipe(self, options: T) -> dict[str, Any]:
        """Return the settings that flags leave open (None or auto), by name."""
        return dict(zip(("lr", "weight_decay"), OPTIMIZERS[options.optimizer], strict=True))

    def load_pretrained(self, model: nn.Module, options: T, report: Reporter) -> None:
        """Load the backbone weights that `--pretrained` names, or say that there are none.

        Raises:
            UsageError: the network has no backbone that weights are published for.
            ModelFileError: the weights are missing, damaged or do not fit.
        """
        if options.pretrained is None:
            report.say("backbone weights: none, training from scratch")
            return
        name, source = self.network.backbone, options.pretrained
        backbone = getattr(model, "backbone", None)
        if backbone is None or name is None:
            raise UsageError(
                f"--pretrained: {name or self.network.arch} is a complete network without "
                "pretrained weights",
                code="pretrained.unsupported",
            )
        offline = options.offline
        report.say(load_pretrained(backbone, name, source, offline=offline, say=report.say))

    def about_model(self) -> dict[str, Any]:
        """Return the part of a model file's header that every task needs to load it."""
        return {
            "cvkit": __version__,
            "task": self.name,
            "network": asdict(self.network),
            "classes": self.classes.as_json(),
            "preprocessing": asdict(self.preprocessing),
            "data": dict(self.origin.data),
        }

    def tile(self, line: dict[str, Any], path: Path, folder: Path) -> tuple[np.ndarray, str] | None:
        """Return the overlay of a result; None if none was asked for."""
        return (read_image(folder / line["overlay"]), "") if "overlay" in line else None


class LogitsTask(ImageTask[T, E, P]):
    """A problem whose network maps one image tensor to logits by name."""

    overfit_goal = (0.01, 0.1, 300)

    @abstractmethod
    def training_input(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the network's input for a batch, and the target of its outputs."""

    @abstractmethod
    def criterion(self, outputs: dict[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss by name, from the network's outputs."""

    def loss(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of the loss by name; their sum is minimised."""
        inputs, target = self.training_input(batch)
        return self.criterion(model(inputs), target)

    def uniform_loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the loss if all classes scored equally."""
        inputs, target = self.training_input(batch)
        same = {name: 0 * logits for name, logits in model(inputs).items()}
        return total(self.criterion(same, target))

    def probe(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the network's input, which requires a gradient, and an output."""
        inputs = self.training_input(batch)[0].detach().clone().requires_grad_()
        return inputs, model(inputs)["out"]

    def normalized(self, batch: Batch) -> Tensor:
        """Return the NCHW float images of a batch as the network wants them."""
        assert isinstance(batch.images, Tensor), "only images of the same size can be stacked"
        return normalize(batch.images, self.preprocessing.mean, self.preprocessing.std)


def required(part: F | None) -> F:
    """Return a part of a task that exists only for training, or only for evaluation.

    Raises:
        TypeError: the task does not have it.
    """
    if part is None:
        raise TypeError("this task does not support it")
    return part


def truth_of(sample: Sample, kind: type[F]) -> F:
    """Return the ground truth of a labelled sample, checked to be of this type.

    Raises:
        TypeError: it is of another type.
    """
    if not isinstance(sample.truth, kind):
        raise TypeError(f"{sample.path} has no {kind.__name__}")
    return sample.truth


def total(terms: Mapping[str, Tensor]) -> Tensor:
    """Return the sum of the terms of a loss."""
    return reduce(torch.add, terms.values())


def from_header(
    header: dict[str, Any], network: Callable[..., Any], preprocessing: type
) -> dict[str, Any]:
    """Return the constructor arguments of an `ImageTask` that a model file's header describes.

    Raises:
        ModelFileError: the header is incomplete.
    """
    try:
        return {
            "classes": ClassList.from_json(header["classes"]),
            "network": network(**header["network"]),
            "preprocessing": preprocessing(
                **{
                    key: tuple(value) if isinstance(value, list) else value
                    for key, value in header["preprocessing"].items()
                }
            ),
        }
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(
            f"the model's header is incomplete: {error!r}", code="model.header"
        ) from error


WARNED = ("neighbors", "distance", "votes", "roi_samples", "max_size", "proposal_mode")
"""Flags that a run may have without an effect: it is warned of them, not refused."""


def warned_flags(task: str, arch: str) -> tuple[str, ...]:
    """Return those of `WARNED` that mean nothing to an architecture."""
    idle = catalog.idle_flags(task, arch)
    return tuple(name for name in WARNED if name in idle)


def refuse_idle(
    options: Train, task: str, arch: str, code: str, *, but: Collection[str] = ()
) -> None:
    """Check that an architecture uses the flags that are not at their defaults.

    Flags in `WARNED` are left to `cvkit.tasks.train_flags`.

    Args:
        options: of the run.
        task: key of `catalog.ARCHS`.
        arch: key of the task's table, whose rows name the flags.
        code: last part of the code of the error.
        but: flags that are refused elsewhere.

    Raises:
        UsageError: names the first one that has an effect on other architectures only.
    """
    for name in sorted(catalog.idle_flags(task, arch).difference(but, WARNED)):
        if differs(options, name):
            flag = name.replace("_", "-")
            raise UsageError(
                f"--{flag} has no effect with --arch {arch}",
                code=f"{flag}.{code}",
                hint=catalog.owners_of(task, name),
            )


def smallest_batch(build: Callable[[], nn.Module], shape: Sequence[int]) -> int:
    """Return how many samples a training batch of a network needs: 1 or 2.

    A batch norm with one value per channel has nothing to normalise, and fails.

    Args:
        build: returns the network.
        shape: of one sample.

    Raises:
        UsageError: the network cannot take samples of this size.
    """
    try:
        try_out(build, (1, *shape))
    except ValueError:
        return 2
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(
            f"the network cannot take inputs of {'x'.join(map(str, shape[:0:-1]))}: {reason}",
            code="image_size.unsupported",
            hint="try a larger --image-size",
        ) from error
    return 1


def require_same_classes(
    data: Sequence[str], model: Sequence[str], *, ordered: bool = True
) -> None:
    """Check the classes of a dataset against a model's.

    Args:
        data: names of the dataset's classes.
        model: names of the model's.
        ordered: the dataset defines the order of its classes.

    Raises:
        DataError: names the classes that are missing, added or in another position.
    """
    missing = [name for name in model if name not in data]
    extra = [name for name in data if name not in model]
    if missing or extra:
        raise DataError(
            f"the classes of the dataset differ from the model's: {_some(missing)} missing, "
            f"{_some(extra)} added",
            code="classes.differ",
        )
    if ordered and tuple(data) != tuple(model):
        first = next(i for i, (a, b) in enumerate(zip(data, model, strict=True)) if a != b)
        raise DataError(
            "the dataset lists the model's classes in another order: "
            f"number {first} is {data[first]!r} instead of {model[first]!r}",
            code="classes.differ",
        )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown} and {len(names) - 8} more" if len(names) > 8 else shown or "none"


def data_place(name: str | None, task: str) -> Path:
    """Return the dataset that `--data` names; `samples` is made on first use.

    Raises:
        UsageError: there is no `--data`.
    """
    if not name:
        raise UsageError("--data is missing", code="data.missing", hint="--data DIR or samples")
    return cached_samples(task) if name == "samples" else Path(name)


def parse_image_size(text: str, low: int, high: int) -> tuple[int, int]:
    """Return the (width, height) in pixels that `--image-size` means in every task.

    Args:
        text: a side such as `64`, which means 64x64, or WIDTHxHEIGHT.
        low: smallest possible side.
        high: largest one.

    Raises:
        UsageError: malformed, or a side out of range.
    """
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    width, height = (int(side) for side in (match[1], match[2] or match[1])) if match else (0, 0)
    if not all(low <= side <= high for side in (width, height)):
        hint = f"such as 224 or 480x360, with sides from {low} to {high}"
        if catalog.closest(text, ("auto",)):
            hint = "did you mean auto?"
        raise UsageError(
            f"--image-size {text!r} is neither a side in pixels nor WIDTHxHEIGHT",
            code="image_size.syntax",
            hint=hint,
        )
    return width, height
