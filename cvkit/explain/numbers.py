"""Numbers that judge maps: the pointing game, deletion and insertion, random weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from cvkit.tasks.explainable import Question

STEPS = 20
"""Steps from the whole input to nothing, of deletion and insertion."""
STAGES = 6
"""Steps from the trained weights to random ones."""
BLUR = 1 / 8
"""Deviation of the blur from which insertion starts, as a fraction of the shorter side."""


def points_at(found: Tensor, region: np.ndarray) -> bool:
    """Return whether the maximum of a [T, H, W] map is inside a [H, W] or [T, H, W] bool region.

    Source: Top-Down Neural Attention by Excitation Backprop, 2016, arXiv:1608.00507; without a
    tolerance.
    """
    frame, row, column = np.unravel_index(int(found.argmax()), found.shape)
    return bool(region[frame, row, column] if region.ndim == 3 else region[row, column])


def share_inside(found: Tensor, region: np.ndarray) -> float:
    """Return the share of the positive part of a map that lies in a region; see `points_at`.

    Source: the energy-based pointing game of Score-CAM, 2019, arXiv:1910.01279.
    """
    positive = found.clamp(min=0).double().numpy()
    inside = positive[np.broadcast_to(region, positive.shape)].sum()
    return float(inside / max(positive.sum(), 1e-30))


@dataclass(frozen=True)
class Curves:
    """How the probability changes while pixels go, or come, most important first.

    Attributes:
        deletion: [STEPS + 1] probabilities; a good map makes them fall at once.
        insertion: [STEPS + 1] probabilities; a good map makes them rise at once.
    """

    deletion: tuple[float, ...]
    insertion: tuple[float, ...]

    @property
    def areas(self) -> tuple[float, float]:
        """The areas under both curves, in [0, 1]."""
        deletion, insertion = (
            float(np.trapezoid(each)) / STEPS for each in (self.deletion, self.insertion)
        )
        return deletion, insertion


@torch.no_grad()
def curves(question: Question, found: Tensor, value: float, batch_size: int) -> Curves:
    """Return the curves of a map.

    Deleted pixels get a uniform grey; insertion begins with a blurred input. Equal values are taken
    row by row.

    Source: RISE, 2018, arXiv:1806.07421.

    Args:
        question: that the map answers.
        found: [T, H, W].
        value: of the grey, in [0, 1].
        batch_size: inputs per forward pass.
    """
    pixels = question.pixels
    order = (-found.flatten()).argsort(stable=True)
    rank = torch.empty(len(order), dtype=torch.long)
    rank[order] = torch.arange(len(order))
    rank = rank.view(found.shape if pixels.ndim == 5 else found.shape[1:]).to(pixels.device)
    limits = [round(step * len(order) / STEPS) for step in range(STEPS + 1)]
    grey, soft = torch.full_like(pixels, value), blurred(pixels)
    deletion = [torch.where(rank < limit, grey, pixels) for limit in limits]
    insertion = [torch.where(rank < limit, pixels, soft) for limit in limits]
    return Curves(
        *(
            tuple(
                value
                for first in range(0, len(inputs), batch_size)
                for value in question.probability(
                    torch.cat(inputs[first : first + batch_size])
                ).tolist()
            )
            for inputs in (deletion, insertion)
        )
    )


def blurred(pixels: Tensor) -> Tensor:
    """Return an input whose frames are blurred, each for itself."""
    deviation = max(1.0, BLUR * min(pixels.shape[-2:]))
    flat = pixels.flatten(0, -3).cpu().numpy()
    soft = [cv2.GaussianBlur(plane, (0, 0), deviation) for plane in flat]
    return torch.from_numpy(np.stack(soft)).view(pixels.shape).to(pixels.device)


def correlation(one: Tensor, other: Tensor, region: np.ndarray | None = None) -> float:
    """Return Spearman's rank correlation of the absolute values of two maps; 0 for a flat one.

    Args:
        one: [T, H, W].
        other: [T, H, W].
        region: [H, W] bool pixels to compare; None: all. A score about a region makes every network
            look there.
    """
    shown = slice(None) if region is None else torch.from_numpy(region)
    ranks = [_ranks(each[:, shown].abs().flatten()) for each in (one, other)]
    first, second = (each - each.mean() for each in ranks)
    length = float(first.norm() * second.norm())
    return float(first @ second) / length if length else 0.0


def _ranks(values: Tensor) -> Tensor:
    """Return ranks; equal values share their mean rank."""
    _, which, counts = values.unique(return_inverse=True, return_counts=True)
    ends = counts.cumsum(0)
    return ((2 * ends - counts - 1).double() / 2)[which]


@contextmanager
def randomised(model: nn.Module, seed: int) -> Iterator[Iterator[str]]:
    """Yield stages in which more and more of a network is random, from its last layer on.

    Each tensor keeps its mean and deviation. In the last stage every layer is random; after the
    block the network is what it was.

    Source: Sanity Checks for Saliency Maps, 2018, arXiv:1810.03292.

    Yields:
        An iterator over the names of the first layers, from the input, that are random.
    """
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    try:
        yield _stages(model, torch.Generator().manual_seed(seed))
    finally:
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.copy_(before[name])


def _stages(model: nn.Module, generator: torch.Generator) -> Iterator[str]:
    names = [name for name, layer in model.named_modules() if _own_weights(layer)]
    ends = {-(-len(names) * (stage + 1) // STAGES) for stage in range(STAGES)}
    for number, name in enumerate(reversed(names), 1):
        for weight in _own_weights(model.get_submodule(name)):
            _randomise(weight, generator)
        if number in ends:
            yield name


def _own_weights(layer: nn.Module) -> list[Tensor]:
    return [weight for weight in layer.parameters(recurse=False) if weight.numel()]


@torch.no_grad()
def _randomise(weight: Tensor, generator: torch.Generator) -> None:
    noise = torch.randn(weight.shape, generator=generator).to(weight)
    spread = weight.std() if weight.numel() > 1 else weight.abs().mean()
    weight.copy_(weight.mean() + spread * noise)
