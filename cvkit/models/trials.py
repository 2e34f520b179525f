"""Networks without numbers: their sizes and the shapes of their maps, in milliseconds."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

DRAWING = (Tensor.normal_, Tensor.uniform_)
"""What `nn.init` calls where it cannot be intercepted itself."""


class _Undrawn(TorchFunctionMode):
    """Leaves out what sets the first weights of a network."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in DRAWING:
            # Not nothing: `trunc_normal_` draws until no value is too far away.
            values = [*args[1:], *(kwargs[name] for name in ("mean", "from") if name in kwargs), 0]
            return args[0].fill_(values[0])
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


@contextlib.contextmanager
def undrawn() -> Iterator[None]:
    """Let networks that are built inside the block have any weights, since others are to come."""
    with _Undrawn():
        yield


@contextlib.contextmanager
def on_meta() -> Iterator[None]:
    """Let tensors that are made inside the block have a shape, but no memory and no values."""
    with torch.device("meta"), undrawn():
        yield


SHAPE_KEEPING: tuple[type[nn.Module], ...] = (
    *(nn.LayerNorm, nn.Dropout, nn.ReLU, nn.ReLU6),
    *(nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid),
)
"""Layers whose output has the shape of their input, beside batch norms."""


def strip(model: nn.Module) -> None:
    """Make a network on the meta device skip batch norms and `SHAPE_KEEPING` layers.

    They take most of the time there. A batch norm in training still refuses a single value.
    """
    for layer in model.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            _replace_forward(layer, partial(_normalised, layer))
        elif isinstance(layer, SHAPE_KEEPING):
            _replace_forward(layer, _unchanged)


def _replace_forward(layer: nn.Module, forward: Callable[[Tensor], Tensor]) -> None:
    layer.forward = forward


def _unchanged(maps: Tensor) -> Tensor:
    return maps


def _normalised(norm: nn.Module, maps: Tensor) -> Tensor:
    """Return the maps.

    Raises:
        ValueError: a norm in training gets one value per channel, which has no variance.
    """
    if norm.training and maps.numel() == maps.shape[1]:
        raise ValueError(f"a batch norm gets one value per channel: {tuple(maps.shape)}")
    return maps


def try_out(build: Callable[[], nn.Module], shape: Sequence[int]) -> None:
    """Pass a batch through a network as in training, without computing anything.

    Args:
        build: returns the network.
        shape: of the batch.

    Raises:
        ValueError: a batch norm gets one value per channel.
        RuntimeError, AssertionError: the network cannot take this shape.
    """
    with on_meta():
        model = build().train()
    strip(model)
    with torch.no_grad():
        model(torch.empty(shape, device="meta"))
