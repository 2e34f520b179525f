"""Attention of vision transformers: that of ViT between all tokens, that of Swin inside windows.

The windows' attention is computed once more from the input of each layer, because torchvision's
layers do not return it.
"""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import (
    PatchMerging,
    PatchMergingV2,
    ShiftedWindowAttention,
    ShiftedWindowAttentionV2,
)

from cvkit.catalog import nearest
from cvkit.errors import UsageError
from cvkit.tasks.explainable import Question

MERGING = (PatchMerging, PatchMergingV2)


def attention_names(model: nn.Module) -> list[str]:
    """Return the names of the layers with attention, in their order."""
    kinds = (nn.MultiheadAttention, ShiftedWindowAttention)
    return [name for name, module in model.named_modules() if isinstance(module, kinds)]


def no_attention(method: str) -> UsageError:
    """Return the error of a network without attention."""
    return UsageError(
        f"--method {method} needs a network with attention",
        code="method.unsupported",
        hint="such as vit_b_16 or swin_t; grad-cam works with maps",
    )


def require_attention(model: nn.Module, name: str) -> str:
    """Return the name of a layer with attention; the last one if none is asked for.

    Raises:
        UsageError: there is no such layer; the hint lists them, or names the nearest.
    """
    names = attention_names(model)
    if not names:
        raise no_attention("attention")
    if name and name not in names:
        raise UsageError(
            f"--layer {name!r} is no layer with attention",
            code="layer.unknown",
            hint=nearest(name, names, ", ".join(names)),
        )
    return name or names[-1]


@dataclass(frozen=True)
class Tokens:
    """The attention of a layer between all tokens.

    Attributes:
        weights: [T, heads, L, L]; each row sums to 1. The last rows * columns tokens are places.
    """

    weights: Tensor


@dataclass(frozen=True)
class Windows:
    """The attention of a layer inside windows.

    Attributes:
        weights: [T, windows, heads, S, S]; each row sums to 1.
        size_hw: of the map, before padding.
        window_hw: of a window.
        shift_hw: by which the map was rolled before it was cut.
    """

    weights: Tensor
    size_hw: tuple[int, int]
    window_hw: tuple[int, int]
    shift_hw: tuple[int, int]

    @property
    def padding_hw(self) -> tuple[int, int]:
        """Rows and columns that the map lacks to consist of whole windows."""
        (height, width), (high, wide) = self.size_hw, self.window_hw
        return -height % high, -width % wide

    def cut(self, maps: Tensor) -> Tensor:
        """Return [T, h, w, C] maps as [T, windows, S, C], padded with 0."""
        more_rows, more_columns = self.padding_hw
        return self.cut_padded(F.pad(maps, (0, 0, 0, more_columns, 0, more_rows)))

    def cut_padded(self, maps: Tensor) -> Tensor:
        """Return the same of maps that consist of whole windows."""
        high, wide = self.window_hw
        maps = torch.roll(maps, [-shift for shift in self.shift_hw], (1, 2))
        parts = maps.unflatten(2, (-1, wide)).unflatten(1, (-1, high))  # [T, rows, h, columns, w]
        return parts.transpose(2, 3).flatten(3, 4).flatten(1, 2)

    def joined(self, parts: Tensor) -> Tensor:
        """Return [T, windows, S] values as [T, h, w] maps, without the padding."""
        (high, wide), (height, width) = self.window_hw, self.size_hw
        rows, columns = -(-height // high), -(-width // wide)
        maps = parts.unflatten(1, (rows, columns)).unflatten(3, (high, wide))
        maps = maps.transpose(2, 3).flatten(3).flatten(1, 2)
        return torch.roll(maps, self.shift_hw, (1, 2))[:, :height, :width]


@dataclass(frozen=True)
class Merge:
    """Four places of a map become one.

    Attributes:
        size_hw: of the map before.
    """

    size_hw: tuple[int, int]


Step = Tokens | Windows | Merge


@torch.no_grad()
def steps_of(model: nn.Module, question: Question) -> list[tuple[str, Step]]:
    """Return what attention and merging do to a sample, layer by layer, with their names.

    Raises:
        UsageError: the network has no attention.
    """
    found: list[tuple[str, Step]] = []
    with _watched(model, found):
        question.score(question.pixels)
    if all(isinstance(step, Merge) for _, step in found):
        raise no_attention("rollout")
    return found


@contextmanager
def _watched(model: nn.Module, found: list[tuple[str, Step]]) -> Iterator[None]:
    """Record the attention of the layers that run inside the block."""
    with ExitStack() as ending:
        for name, module in model.named_modules():
            if isinstance(module, nn.MultiheadAttention):
                asks = module.register_forward_pre_hook(_ask_for_weights, with_kwargs=True)
                ending.callback(asks.remove)
                handle = module.register_forward_hook(_keep_tokens(name, found))
            elif isinstance(module, ShiftedWindowAttention):
                handle = module.register_forward_hook(_keep_windows(name, found))
            elif isinstance(module, MERGING):
                handle = module.register_forward_hook(_keep_merge(name, found))
            else:
                continue
            ending.callback(handle.remove)
        yield


def _ask_for_weights(module: nn.Module, given: Any, named: dict[str, Any]) -> Any:
    return given, named | {"need_weights": True, "average_attn_weights": False}


def _keep_tokens(name: str, found: list[tuple[str, Step]]) -> Any:
    def keep(module: nn.Module, given: Any, output: Any) -> None:
        found.append((name, Tokens(output[1].float())))

    return keep


def _keep_windows(name: str, found: list[tuple[str, Step]]) -> Any:
    def keep(module: ShiftedWindowAttention, given: Any, output: Any) -> None:
        found.append((name, window_attention(module, given[0])))

    return keep


def _keep_merge(name: str, found: list[tuple[str, Step]]) -> Any:
    def keep(module: nn.Module, given: Any, output: Any) -> None:
        found.append((name, Merge((given[0].shape[1], given[0].shape[2]))))

    return keep


@torch.no_grad()
def window_attention(layer: ShiftedWindowAttention, maps: Tensor) -> Windows:
    """Return the attention of one of Swin's layers for its [T, h, w, C] input.

    Source: Swin Transformer, 2021, arXiv:2103.14030; V2: 2021, arXiv:2111.09883.
    """
    height, width, channels = maps.shape[1:]
    size_hw, (high, wide) = (height, width), layer.window_size
    shift_hw = (  # a single window is not moved
        layer.shift_size[0] if high < height else 0,
        layer.shift_size[1] if wide < width else 0,
    )
    shape = Windows(maps.new_zeros(0), size_hw, (high, wide), shift_hw)
    tokens = shape.cut(maps)  # [T, W, S, C]
    heads, cosine = layer.num_heads, isinstance(layer, ShiftedWindowAttentionV2)
    bias = layer.qkv.bias
    if cosine and bias is not None:  # V2's keys have no bias
        bias = torch.cat((bias[:channels], 0 * bias[:channels], bias[2 * channels :]))
    pairs = F.linear(tokens, layer.qkv.weight, bias)[..., : 2 * channels]
    query, key = pairs.unflatten(-1, (2, heads, -1)).movedim(-3, 0).transpose(-3, -2)
    if isinstance(layer, ShiftedWindowAttentionV2):
        scale = layer.logit_scale.clamp(max=math.log(100.0)).exp()
        logits = F.normalize(query, dim=-1) @ F.normalize(key, dim=-1).transpose(-2, -1) * scale
    else:
        logits = query @ key.transpose(-2, -1) * (channels // heads) ** -0.5
    logits = logits + layer.get_relative_position_bias()
    if any(shift_hw):  # places that the roll brought together do not see each other
        parts = shape.cut_padded(_areas(shape, maps))[0, ..., 0]  # [W, S]
        apart = parts[:, :, None] != parts[:, None, :]
        logits = logits - 100.0 * apart[None, :, None]
    return Windows(logits.softmax(-1), size_hw, (high, wide), shift_hw)


def _areas(shape: Windows, maps: Tensor) -> Tensor:
    """Return [1, h, w, 1] numbers of the areas that are no neighbours, of a map with padding."""
    numbers = []
    sides = zip(shape.size_hw, shape.padding_hw, strict=True)
    for (side, more), window, shift in zip(sides, shape.window_hw, shape.shift_hw, strict=True):
        padded = side + more
        place = (torch.arange(padded, device=maps.device) - shift) % padded  # after the roll
        numbers.append((place >= padded - window).int() + (place >= padded - shift).int())
    return (3 * numbers[0][:, None] + numbers[1][None]).float()[None, ..., None]


def rollout(model: nn.Module, question: Question) -> Tensor:
    """Return [T, h, w] shares of the attention that reaches each place, through all layers.

    Each layer passes on half of what reaches a token, and gives the other half to the tokens that
    it attends to, by the mean of its heads. It starts at the class token; without one at the places
    of the region that the question is about, or at all of them.

    Source: Quantifying Attention Flow in Transformers, 2020, arXiv:2005.00928.

    Raises:
        UsageError: the network has no attention.
    """
    steps = [step for _, step in steps_of(model, question)]
    if any(_between_frames(step, question) for step in steps):
        return _rolled_frames([step for step in steps if isinstance(step, Tokens)], question)
    if isinstance(steps[-1], Tokens):
        return _rolled_tokens([step for step in steps if isinstance(step, Tokens)], question)
    last = next(step for step in reversed(steps) if isinstance(step, Windows))
    flow = _start(question, last)
    for step in reversed(steps):
        if isinstance(step, Merge):
            spread = flow.repeat_interleave(2, 1).repeat_interleave(2, 2) / 4
            flow = spread[:, : step.size_hw[0], : step.size_hw[1]]
        elif isinstance(step, Windows):
            moved = torch.einsum(
                "nws,nwst->nwt", step.cut(flow[..., None])[..., 0], step.weights.mean(2)
            )
            flow = 0.5 * flow + 0.5 * step.joined(moved)
    return flow


def _rolled_frames(steps: list[Tokens], question: Question) -> Tensor:
    """Return [T, h, w] shares of the frames; inside a frame those of its own tokens, if any."""
    weights = [step.weights for step in steps if _between_frames(step, question)]
    inside = [step for step in steps if not _between_frames(step, question)]
    flow = torch.zeros(1, 1, weights[0].shape[-1], device=weights[0].device)
    flow[..., 0] = 1
    for each in reversed(weights):
        flow = 0.5 * flow + 0.5 * flow @ each.mean(1)
    shares = flow[0, 0, 1:, None, None]  # [T, 1, 1]
    return shares * _rolled_tokens(inside, question) if inside else shares


def _start(question: Question, last: Windows) -> Tensor:
    """Return [T, h, w] shares of the places at which a rollout through windows starts."""
    count, device = len(last.weights), last.weights.device
    if question.region is None:
        flow = torch.ones(count, *last.size_hw, device=device)
    else:
        region = torch.from_numpy(question.region).float().to(device)
        flow = F.adaptive_avg_pool2d(region[None, None], last.size_hw)[0].expand(count, -1, -1)
    return flow / flow.sum((1, 2), keepdim=True)


def _rolled_tokens(steps: list[Tokens], question: Question) -> Tensor:
    """Return [T, h, w] shares from the class token, the first one."""
    first = steps[0].weights
    flow = torch.zeros(len(first), 1, first.shape[-1], device=first.device)
    flow[:, :, 0] = 1
    for step in reversed(steps):
        flow = 0.5 * flow + 0.5 * flow @ step.weights.mean(1)
    return _grid(flow[:, 0], question)


def _between_frames(step: Step, question: Question) -> bool:
    """Return whether a layer lets a class token and the frames of a clip attend to each other."""
    frames = question.size[0]
    return isinstance(step, Tokens) and tuple(step.weights.shape[::3]) == (1, frames + 1)


def _grid(tokens: Tensor, question: Question) -> Tensor:
    """Return [..., L] values of tokens, the first of them the class token, as [..., h, w]."""
    _, height, width = question.size
    count = tokens.shape[-1] - 1
    rows = round((count * height / width) ** 0.5)
    return tokens[..., 1:].unflatten(-1, (rows, count // rows))


def head_maps(model: nn.Module, question: Question, name: str) -> Tensor:
    """Return [heads, T, h, w] attention of each head of a layer.

    It is that of the class token to each place, or to each frame as a whole ([heads, T, 1, 1]);
    inside windows, the mean that a place gets.

    Raises:
        UsageError: the network has no attention.
    """
    step = next(step for found, step in steps_of(model, question) if found == name)
    if _between_frames(step, question):
        assert isinstance(step, Tokens)
        return step.weights[0, :, 0, 1:, None, None]
    if isinstance(step, Tokens):
        return _grid(step.weights[:, :, 0], question).transpose(0, 1)
    assert isinstance(step, Windows)
    received = step.weights.mean(-2)  # [T, windows, heads, S]
    return torch.stack([step.joined(part) for part in received.unbind(2)])
