"""What `--class-weights` means for a training set."""

import torch
from torch import Tensor

from cvkit.errors import UsageError
from cvkit.ops.losses import balanced_weights

CLASS_WEIGHTS = ("none", "balanced", "sqrt")
"""What `--class-weights` takes besides numbers."""


def class_weights(text: str, counts: Tensor) -> Tensor | None:
    """Return the [K] factors that `--class-weights` means for a training set.

    Their mean over the set is 1, so that a loss may divide by the number of samples: dividing by
        the weights of a batch would cancel them in a batch of one class.

    Args:
        text: the flag.
        counts: [K] images or pixels of each class in the set.

    Raises:
        UsageError: not one number for each class, or all are 0.
    """
    if text == "none":
        return None
    weights = _class_weights(text, counts)
    mean = (weights.double() * counts).sum() / counts.sum()
    if not mean > 0:
        raise UsageError(
            f"--class-weights {text!r}: all classes that occur have weight 0",
            code="class_weights.zero",
        )
    return (weights / mean).float()


def _class_weights(text: str, counts: Tensor) -> Tensor:
    if text in ("balanced", "sqrt"):
        weights = balanced_weights(counts)
        return weights if text == "balanced" else weights.sqrt()
    try:
        weights = torch.tensor([float(part) for part in text.split(",")])
    except ValueError:
        weights = torch.empty(0)
    if len(weights) != len(counts) or not (weights >= 0).all() or not weights.isfinite().all():
        raise UsageError(
            f"--class-weights {text!r} is not one number for each of {len(counts)} classes",
            code="class_weights.syntax",
            hint="none, balanced, sqrt, or numbers such as 1,2,0.5",
        )
    return weights
