"""The layers of a network whose outputs show the input: maps, and rows of tokens."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.catalog import nearest
from cvkit.errors import UsageError
from cvkit.tasks.explainable import Explainable, Question

LOCAL = 8
"""Largest side in pixels of the places of a map that explains a region."""


def as_maps(output: Tensor, size: tuple[int, int, int]) -> Tensor | None:
    """Return what a layer gives for one sample as maps; None if it is no picture of the input.

    Tokens are arranged in rows; a first one that belongs to no place is left out.

    Args:
        output: of the layer: maps NCHW, NHWC or NCTHW, or tokens NLC.
        size: frames, height and width of the input. Networks that see single frames, or groups of
            them, have these in place of N.

    Returns:
        [T, C, h, w] maps, whose T may be smaller than that of the input.
    """
    frames, *size_hw = size
    if output.ndim == 5:
        channels_first = len(output) == 1 and _fits(output.shape[3:], size_hw)
        return output[0].transpose(0, 1) if channels_first else None
    if len(output) > frames:
        return None
    if output.ndim == 4:
        if _fits(output.shape[2:], size_hw):
            return output
        return output.permute(0, 3, 1, 2) if _fits(output.shape[1:3], size_hw) else None
    if output.ndim == 3:
        for extra in (0, 1):
            count = output.shape[1] - extra
            rows = round((count * size_hw[0] / size_hw[1]) ** 0.5)
            if rows and count % rows == 0 and _fits((rows, count // rows), size_hw):
                tokens = output[:, extra:].unflatten(1, (rows, count // rows))
                return tokens.permute(0, 3, 1, 2)
    return None


def _fits(sides: Any, size_hw: list[int]) -> bool:
    """Return whether the sides of a map are those of the input, divided by about one number."""
    (high, wide), (height, width) = sides, size_hw
    same = abs(wide - width * high / height) <= 1.5 or abs(high - height * wide / width) <= 1.5
    return same and high * wide > 1 and high <= 1.1 * height + 32 and wide <= 1.1 * width + 32


@dataclass(frozen=True)
class Layer:
    """A layer whose output shows the input.

    Attributes:
        name: in the network.
        places: number of places of its map.
        matters: whether the score depends on it.
    """

    name: str
    places: int
    matters: bool


@contextmanager
def hooked(
    model: nn.Module, names: Mapping[str, nn.Module], see: Callable[[str, Tensor], Tensor]
) -> Iterator[None]:
    """Pass the output of modules to a function inside the block, and let it replace them.

    Args:
        model: in evaluation mode.
        names: the modules by name.
        see: called with the name and the output, if that is a tensor.
    """

    def hook(name: str) -> Callable[..., Tensor | None]:
        def seen(module: nn.Module, given: Any, output: Any) -> Tensor | None:
            return see(name, output) if isinstance(output, Tensor) else None

        return seen

    handles = [module.register_forward_hook(hook(name)) for name, module in names.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def modules_of(model: nn.Module, part: nn.Module) -> dict[str, nn.Module]:
    """Return the modules of a part of a network by their names in the network."""
    inside = set(map(id, part.modules()))
    return {name: module for name, module in model.named_modules() if name and id(module) in inside}


def find_layers(model: nn.Module, explained: Explainable, question: Question) -> list[Layer]:
    """Return the layers that show the input, in the order in which they end.

    Args:
        model: the network.
        explained: says which part is looked at.
        question: about any sample.
    """
    seen: dict[str, Tensor] = {}

    def see(name: str, output: Tensor) -> Tensor:
        if output.requires_grad and as_maps(output, question.size) is not None:
            seen[name] = output
            return output.clone()  # a layer may change it in place
        return output

    pixels = question.pixels.clone().requires_grad_()
    with torch.enable_grad(), hooked(model, modules_of(model, explained.mapped), see):
        score = question.score(pixels).sum()
    if not score.requires_grad or not seen:
        return []
    grads = torch.autograd.grad(score, list(seen.values()), allow_unused=True)
    layers = []
    for (name, output), grad in zip(seen.items(), grads, strict=True):
        maps = as_maps(output, question.size)
        found = None if grad is None else as_maps(grad, question.size)
        assert maps is not None
        matters = found is not None and bool(found.any())
        layers.append(Layer(name, maps.shape[-2] * maps.shape[-1], matters))
    return layers


def default_layer(
    model: nn.Module, explained: Explainable, layers: list[Layer], question: Question
) -> str:
    """Return the last of the layers with the fewest places, in the body of the network.

    Where the score is about a region, a place has at most `LOCAL` pixels on a side, if possible.

    Raises:
        UsageError: the network has no maps that the score depends on.
    """
    inside = modules_of(model, explained.body)
    useful = [layer for layer in layers if layer.matters and layer.name in inside]
    if not useful:
        raise no_maps()
    _, height, width = question.size
    least = 0 if question.region is None else height * width / LOCAL**2
    fewest = min(sorted(layer.places for layer in useful if layer.places >= least) or [0])
    fewest = fewest or max(layer.places for layer in useful)
    return [layer.name for layer in useful if layer.places == fewest][-1]


def no_maps() -> UsageError:
    """Return the error of a network that gives no maps of its input."""
    return UsageError(
        "this network has no layer whose output is a map of the input, which grad-cam needs",
        code="method.unsupported",
        hint="--method gradient,integrated-gradients,occlusion",
    )


def require_layer(layers: list[Layer], name: str) -> str:
    """Return the name of a layer, checked.

    Raises:
        UsageError: there is no such layer; the hint lists them, or names the nearest.
    """
    useful = [layer.name for layer in layers if layer.matters]
    if not useful:
        raise no_maps()
    if name not in useful:
        raise UsageError(
            f"--layer {name!r} is no layer with a map that the score depends on",
            code="layer.unknown",
            hint=nearest(name, useful, ", ".join(useful)),
        )
    return name


def activations(model: nn.Module, name: str, question: Question) -> list[tuple[Tensor, Tensor]]:
    """Return [T, C, h, w] maps of a layer, and their gradients, for each time that it is called."""
    kept: list[Tensor] = []

    def see(_: str, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[-1].clone()

    with torch.enable_grad(), hooked(model, {name: model.get_submodule(name)}, see):
        score = question.score(question.pixels).sum()
    grads = torch.autograd.grad(score, kept, allow_unused=True)
    pairs = []
    for output, grad in zip(kept, grads, strict=True):
        maps = as_maps(output.detach(), question.size)
        slopes = None if grad is None else as_maps(grad, question.size)
        if maps is not None and slopes is not None:
            pairs.append((maps, slopes))
    return pairs


def placed(maps: Tensor, question: Question) -> Tensor:
    """Return [T, h, w] maps of a network as [T, H, W] of the input; 0 outside of the window."""
    frames, height, width = question.size
    left, top, right, bottom = question.window_xyxy
    x = (torch.arange(width, device=maps.device) + 0.5 - left) / (right - left)
    y = (torch.arange(height, device=maps.device) + 0.5 - top) / (bottom - top)
    grid = 2 * torch.stack(torch.meshgrid(x, y, indexing="xy"), -1) - 1  # [H, W, 2]
    found = F.grid_sample(
        maps[:, None].float(),
        grid.expand(len(maps), -1, -1, -1),
        mode="bilinear",
        padding_mode="border",
        align_corners=False,
    )[:, 0]
    found = found * (grid.abs() <= 1).all(-1)
    if len(maps) == frames:
        return found
    spread = F.interpolate(
        found.flatten(1).T[None], size=frames, mode="linear", align_corners=False
    )
    return spread[0].T.unflatten(1, (height, width))
