"""The average of the weights of models of one network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cvkit.errors import ModelFileError

SAME = ("task", "network", "classes", "preprocessing")
"""Fields of a header that models must share."""


def averaged(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of each tensor of several models; of integers, those of the first one.

    Running statistics of batch norms are averaged like weights.

    Source: Model soups, 2022, arXiv:2203.05482.

    Args:
        states: of at least one model, with the same names and shapes.
    """
    first = states[0]
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value
        for name, value in first.items()
    }


def require_alike(
    paths: Sequence[Path], models: Sequence[tuple[dict[str, Tensor], dict[str, Any]]]
) -> None:
    """Check that models can be averaged: the same network, classes, inputs and tensors.

    Args:
        paths: of the models, for the message.
        models: tensors and header of each.

    Raises:
        ModelFileError: names the first model and field that differ from the first model.
    """
    tensors, header = models[0]
    shapes = {name: value.shape for name, value in tensors.items()}
    for path, (other_tensors, other) in zip(paths[1:], models[1:], strict=True):
        differing = next((name for name in SAME if other.get(name) != header.get(name)), "")
        if not differing and shapes != {n: value.shape for n, value in other_tensors.items()}:
            differing = "tensors"
        if differing:
            other_one = "other" if differing in ("classes", "tensors") else "another"
            raise ModelFileError(
                f"{path} has {other_one} {differing} than {paths[0]}: their weights cannot be "
                "averaged",
                code="average.differ",
                hint="give models of one network that were trained on the same classes",
            )
