"""Training in less memory: blocks whose activations are computed again for the gradient.

Source: Training Deep Nets with Sublinear Memory Cost, 2016, arXiv:1604.06174.
"""

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

LARGEST = 12
"""Layers with weights in the largest block; the widest Inception block has nine."""
CHAINED = 2
"""Layers with weights per piece of a chain of single layers, such as VGG's."""


@runtime_checkable
class MakesStages(Protocol):
    """A network that calls stages which are not modules of its own."""

    recomputes: bool
    """Whether their activations are computed again."""


def recompute(model: nn.Module, opened: Collection[nn.Module] = ()) -> int:
    """Let a network store the inputs of its blocks only, and compute the rest again for gradients.

    A block is a module of up to `LARGEST` layers with weights, or a piece of a longer chain.
    Weights, gradients, random numbers and batch norms' statistics are those without it.

    Args:
        model: changed in place; its modules keep their names.
        opened: modules, besides the network, that are not blocks themselves.

    Returns:
        The number of blocks.
    """
    return sum(_recompute(part, opened) for part in model.children())


def _recompute(part: nn.Module, opened: Collection[nn.Module]) -> int:
    if isinstance(part, MakesStages):
        part.recomputes = True
        return 1
    count = sum(map(_has_weights, part.modules()))
    if not count or not any(True for _ in part.children()):
        return 0
    if isinstance(part, nn.Sequential) and type(part).forward is nn.Sequential.forward:
        if not any(_has_weights(inner) for each in part for inner in [*each.modules()][1:]):
            _replace_forward(part, _Pieces(part))
            return 1
    elif count <= LARGEST and _runs(part) and part not in opened:
        recomputed(part)
        return 1
    return recompute(part, opened)


def _runs(part: nn.Module) -> bool:
    """Return whether a module is called; lists of modules are not, only what is in them."""
    return type(part).forward is not nn.Module.forward


def _replace_forward(part: nn.Module, forward: Callable[..., Any]) -> None:
    part.forward = forward


def _has_weights(layer: nn.Module) -> bool:
    return any(weights.ndim > 1 for weights in layer.parameters(recurse=False))


def recomputed(part: nn.Module) -> nn.Module:
    """Let a module compute its activations again for the gradient; return it."""
    _replace_forward(part, _Block(part))
    return part


class _Block:
    """The forward of a module whose activations are computed again; copied with its module."""

    def __init__(self, part: nn.Module) -> None:
        self.part = part

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        part = self.part
        if not torch.is_grad_enabled():
            return type(part).forward(part, *inputs, **named)
        # DenseNet's blocks get a list of maps that is continued after them.
        inputs = tuple(list(each) if isinstance(each, list) else each for each in inputs)
        return checkpoint(
            type(part).forward,
            part,
            *inputs,
            use_reentrant=False,
            context_fn=lambda: (contextlib.nullcontext(), _counted_once(part)),
            **named,
        )


class _Pieces:
    """The forward of a chain of single layers, in pieces that begin with a layer with weights."""

    def __init__(self, chain: nn.Sequential) -> None:
        weights = [place for place, layer in enumerate(chain) if _has_weights(layer)]
        ends = [0, *weights[CHAINED::CHAINED], len(chain)]
        layers = list(chain)
        self.pieces = [recomputed(nn.Sequential(*layers[a:b])) for a, b in itertools.pairwise(ends)]

    def __call__(self, maps: Any) -> Any:
        for piece in self.pieces:
            maps = piece(maps)
        return maps


@contextlib.contextmanager
def _counted_once(part: nn.Module) -> Iterator[None]:
    """Keep a second pass from changing buffers, such as a batch norm's running statistics.

    Copies take their place: the gradient of a batch norm keeps its buffers as they are.
    """
    buffers = [layer._buffers for layer in part.modules()]
    before = [dict(each) for each in buffers]
    for each in buffers:
        each.update({n: b if b is None else b.clone() for n, b in each.items()})
    try:
        yield
    finally:
        for each, kept in zip(buffers, before, strict=True):
            each.update(kept)
