"""What an exported file computes: a network from pixel values to results.

A form is the graph that is written, and says what its file must compute by the network's own
methods, by which it is compared.
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.export.pooling import with_exportable_pooling
from cvkit.models.segmentation.base import SegmentationModel
from cvkit.ops.images import normalize
from cvkit.ops.inference import Scorer
from cvkit.structures import Batch
from cvkit.tasks.contract import Task

BATCH, SIZE = "batch", "size"
"""What `--dynamic` can leave open: the number of samples, and their height and width."""


@dataclass(frozen=True)
class Normalisation:
    """Mean and standard deviation of the pixels in [0, 1]; see `cvkit.ops.images.normalize`."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


class Sums(Protocol):
    """Where differences are added up; see `cvkit.export.proof.Differences`."""

    tolerance: float

    def add(self, name: str, found: Tensor, expected: Tensor) -> None:
        """Compare an output."""

    def widen(self, name: str, expected: Tensor) -> None:
        """Let expected values count for the range of an output."""

    def grow(self, name: str, difference: float, unit: float | None = None) -> None:
        """Let a difference count, relative to a unit, or to the range of the output."""

    def remark(self, text: str) -> None:
        """Add a difference that no number tells."""


class Form(nn.Module, ABC):
    """A network as an exported file computes it; a copy, so that the network is not changed.

    `forward` takes the inputs and returns the outputs as a tuple. Inputs are float32 pixel values
    from 0 to 255.

    Args:
        network: in evaluation mode, on the CPU.
        scale: normalisation of the pixels.

    Attributes:
        inputs, outputs: their names.
        axes: names of the axes that can be left open, by input or output.
        dynamic: what can be left open.
        varies: whether the sizes of the inputs differ in use.
        stacks: whether an input is a batch of samples.
        about: why something cannot be left open.
    """

    inputs: ClassVar[tuple[str, ...]] = ("images",)
    outputs: ClassVar[tuple[str, ...]]
    axes: ClassVar[Mapping[str, Mapping[int, str]]]
    dynamic: ClassVar[tuple[str, ...]] = (BATCH, SIZE)
    varies: ClassVar[bool] = False
    stacks: ClassVar[bool] = True
    about: ClassVar[str] = "the network takes one image at a time"

    def __init__(self, network: nn.Module, scale: Normalisation) -> None:
        super().__init__()
        self.network = with_exportable_pooling(copy.deepcopy(network)).float()
        self.scale = scale
        self.eval()  # the exporter sets the parts to the mode of the whole

    @classmethod
    def refusal(cls, task: Task[Any, Any, Any], name: str) -> str:
        """Return why a format cannot hold a task's network; empty if it can."""
        return ""

    @staticmethod
    @abstractmethod
    def expected(
        network: nn.Module, scale: Normalisation, inputs: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Return what the network itself gives for inputs, by the names of outputs."""

    def differences(
        self, found: "Sums", outputs: dict[str, Tensor], expected: dict[str, Tensor]
    ) -> None:
        """Add the differences between the outputs of a file and those of the network."""
        for name, value in expected.items():
            found.add(name, outputs[name], value)

    def samples(self, batch: Batch) -> Iterator[tuple[Tensor, ...]]:
        """Yield the inputs for a batch of samples: usually all of them at once."""
        assert isinstance(batch.images, Tensor), "images of the same size are stacked"
        yield (batch.images.float().contiguous(),)

    def normalized(self, pixels: Tensor) -> Tensor:
        """Return NCHW or NCTHW pixel values from 0 to 255 as the network wants them."""
        shape = (1, -1, *[1] * (pixels.ndim - 2))
        mean, std = (torch.tensor(v).view(shape) for v in (self.scale.mean, self.scale.std))
        return (pixels / 255 - mean) / std


class ClassifyForm(Form):
    """NCHW images to [N, K] class probabilities and [N, D] features."""

    outputs = ("probabilities", "features")
    axes: ClassVar = {
        "images": {0: BATCH, 2: "height", 3: "width"},
        "probabilities": {0: BATCH},
        "features": {0: BATCH},
    }

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return probabilities and features."""
        return cast(Scorer, self.network).scored(self.normalized(images))

    @staticmethod
    def expected(
        network: nn.Module, scale: Normalisation, inputs: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Return probabilities and features."""
        images = normalize(inputs[0], scale.mean, scale.std)
        return dict(zip(ClassifyForm.outputs, cast(Scorer, network).scored(images), strict=True))


class SegmentForm(Form):
    """NCHW images to [N, K, H, W] logits and the [N, H, W] uint8 classes of the largest."""

    outputs = ("logits", "labels")
    axes: ClassVar = {
        "images": {0: BATCH, 2: "height", 3: "width"},
        "logits": {0: BATCH, 2: "height", 3: "width"},
        "labels": {0: BATCH, 1: "height", 2: "width"},
    }
    varies = True

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits and labels."""
        logits = cast(SegmentationModel, self.network).logits(self.normalized(images)).float()
        return logits, logits.argmax(1).to(torch.uint8)

    @staticmethod
    def expected(
        network: nn.Module, scale: Normalisation, inputs: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Return the logits; labels are compared by them."""
        images = normalize(inputs[0], scale.mean, scale.std)
        return {"logits": cast(SegmentationModel, network).logits(images).float()}

    def differences(
        self, found: Sums, outputs: dict[str, Tensor], expected: dict[str, Tensor]
    ) -> None:
        """Compare the logits, and those of the labels with the largest ones.

        Where two classes are equal up to the tolerance, either label is right.
        """
        super().differences(found, outputs, expected)
        logits, labels = expected["logits"], outputs["labels"].long()[:, None]
        found.widen("labels", logits)
        if labels.shape[2:] != logits.shape[2:] or int(labels.max()) >= logits.shape[1]:
            found.grow("labels", float("inf"))
            return
        short = logits.amax(1, keepdim=True) - logits.gather(1, labels)
        found.grow("labels", float(short.max()))


class VideoForm(Form):
    """NCTHW clips to [N, K] class probabilities."""

    inputs = ("clips",)
    outputs = ("probabilities",)
    axes: ClassVar = {"clips": {0: BATCH}, "probabilities": {0: BATCH}}
    dynamic = (BATCH,)
    about = "video networks are made for one size of frames"

    def forward(self, clips: Tensor) -> tuple[Tensor]:
        """Return the probabilities."""
        return (self.network(self.normalized(clips))["out"].float().softmax(-1),)

    @staticmethod
    def expected(
        network: nn.Module, scale: Normalisation, inputs: tuple[Tensor, ...]
    ) -> dict[str, Tensor]:
        """Return the probabilities."""
        logits = network(normalize(inputs[0], scale.mean, scale.std))["out"]
        return {"probabilities": logits.float().softmax(-1)}

    def samples(self, batch: Batch) -> Iterator[tuple[Tensor, ...]]:
        """Yield all views of the videos of a batch, each a clip."""
        assert isinstance(batch.images, Tensor), "clips of the same size are stacked"
        yield (batch.images.transpose(1, 2).flatten(0, 1).float().contiguous(),)


def resized(inputs: tuple[Tensor, ...], size_hw: Sequence[int]) -> tuple[Tensor, ...]:
    """Return inputs whose images have a size, by nearest neighbour: the values stay whole."""
    first, *rest = inputs
    if tuple(first.shape[-2:]) == tuple(size_hw):
        return inputs
    if first.ndim == 3:
        return (F.interpolate(first[None], size=tuple(size_hw), mode="nearest")[0], *rest)
    return (F.interpolate(first, size=tuple(size_hw), mode="nearest"), *rest)


UNFIT = (RuntimeError, AssertionError, ValueError)
"""What networks raise for inputs of a size that they cannot take."""
