"""What a task tells about a model so that its results can be explained: scores of targets, layers.

Each task has a module `cvkit/tasks/TASK/explained.py` with a class `Explained`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from cvkit.structures import Batch, Sample

Regions = Callable[["Sample", str], "np.ndarray | None"]
"""Returns the [H, W] bool pixels of a class in the image of a sample, if they are known."""
TARGETS = ("top1", "class", "box", "point")
"""The kinds of targets."""


@dataclass(frozen=True)
class Target:
    """What of a result is explained.

    Attributes:
        kind: one of `TARGETS`.
        name: of the class.
        number: of the object, from 1, in decreasing order of scores.
        point_xy: in pixels of the original image.
    """

    kind: str = "top1"
    name: str = ""
    number: int = 0
    point_xy: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Question:
    """A number of a network as a function of its input.

    Attributes:
        pixels: [1, 3, H, W] of an image, or [1, 3, T, H, W] of a clip, in [0, 1].
        score: [B, 3, ...] inputs of that size to [B] scores, which have a gradient.
        probability: the same inputs to [B] probabilities in [0, 1].
        label: name of the class.
        words: what is explained, in words.
        region: HW bool, the pixels that the score is about; None: all of them.
        window_xyxy: the part of the image, in its pixels, that the network's maps show; it may be
            larger than the image, where an image is padded.
    """

    pixels: Tensor
    score: Callable[[Tensor], Tensor]
    probability: Callable[[Tensor], Tensor]
    label: str
    words: str
    region: np.ndarray | None
    window_xyxy: tuple[float, float, float, float]

    @property
    def size(self) -> tuple[int, int, int]:
        """Frames, height and width of the input; an image has one frame."""
        *frames, height, width = self.pixels.shape[2:]
        return frames[0] if frames else 1, height, width


@dataclass(frozen=True)
class Seen:
    """What a network saw of a batch of samples of one size.

    Attributes:
        size: frames, height and width of its input; an image has one frame.
        share_hw: the parts of height and width that the sample fills; the rest is padding.
    """

    size: tuple[int, int, int]
    share_hw: tuple[float, float] = (1.0, 1.0)


class Explainable(Protocol):
    """A model of a task, about whose results questions can be asked.

    Attributes:
        targets: the kinds of targets that it has.
        mapped: the part of the network whose maps show the input.
        body: the part whose last map is the one of class activation maps by default.
    """

    @property
    def targets(self) -> tuple[str, ...]:
        """See the class."""

    @property
    def mapped(self) -> nn.Module:
        """See the class."""

    @property
    def body(self) -> nn.Module:
        """See the class."""

    def ask(self, batch: Batch, target: Target) -> Question:
        """Return the question about a target of one sample, from a batch of it alone.

        Raises:
            DataError: the result has no such target.
        """

    def encode(self, batch: Batch) -> Seen:
        """Run `mapped` on a batch of samples, so that its layers can be watched.

        A sample is one image, or the view in the middle of a video.
        """
