"""The methods: from a question about a network to a map of what the score depends on.

Every method returns a [T, H, W] float32 map on the CPU, in the pixels of the input; an image has
one frame. Larger means more important; in signed maps what lowers the score is negative.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cvkit.explain.attention import head_maps, rollout
from cvkit.explain.layers import activations, no_maps, placed
from cvkit.options.explain import GRADIENT_METHODS, LAYER_METHODS, METHODS
from cvkit.tasks.explainable import Question

GRADIENT, LAYER = GRADIENT_METHODS, LAYER_METHODS
FRAME_PARTS = 4
"""Parts in time of a clip that occlusion hides one after the other."""


NOISE_CELLS = 8
"""Cells on a side of the random map."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Numbers of the methods; they are flags.

    Attributes:
        samples: noisy inputs of smooth-grad.
        noise: their standard deviation, as a fraction of the range of the pixels.
        steps: between the baseline and the input, of integrated gradients.
        patch: side of a hidden square, in pixels; 0: an eighth of the shorter side.
        stride: between squares; 0: half a side.
        value: of hidden pixels and of the baseline, in [0, 1].
        seed: of noise.
        batch_size: inputs per forward pass.
    """

    samples: int = 16
    noise: float = 0.15
    steps: int = 32
    patch: int = 0
    stride: int = 0
    value: float = 0.5
    seed: int = 0
    batch_size: int = 8


@dataclass(frozen=True)
class Subject:
    """What a method explains.

    Attributes:
        model: the network.
        question: about one sample.
        layer: of class activation maps; "" where none is needed.
        settings: of the methods.
        heads: gets the [heads, T, H, W] maps of a layer's attention.
    """

    model: nn.Module
    question: Question
    layer: str
    settings: Settings
    heads: list[Tensor] = field(default_factory=list)


Method = Callable[[Subject], Tensor]


def input_gradient(question: Question, inputs: Tensor) -> Tensor:
    """Return the gradient of each input's score; of the shape of the inputs."""
    inputs = inputs.detach().requires_grad_()
    with torch.enable_grad():
        score = question.score(inputs).sum()
    if not score.requires_grad:
        return torch.zeros_like(inputs)
    return torch.autograd.grad(score, inputs)[0]


def _mean_gradient(subject: Subject, inputs: Iterator[Tensor]) -> Tensor:
    """Return [3, T, H, W], the mean gradient over inputs."""
    total, count = torch.zeros_like(subject.question.pixels), 0
    for batch in _batches(inputs, subject.settings.batch_size):
        total += input_gradient(subject.question, batch).sum(0, keepdim=True)
        count += len(batch)
    return _frames(total / count)


def _batches(inputs: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """Yield inputs of one sample as batches."""
    waiting: list[Tensor] = []
    for each in inputs:
        waiting.append(each)
        if len(waiting) == size:
            yield torch.cat(waiting)
            waiting = []
    if waiting:
        yield torch.cat(waiting)


def _frames(values: Tensor) -> Tensor:
    """Return values of one input as [3, T, H, W]."""
    return values[0] if values.ndim == 5 else values[0][:, None]


def _strongest(gradient: Tensor) -> Tensor:
    """Return the largest absolute value over the colours."""
    return gradient.abs().amax(0).float().cpu()


def saliency(subject: Subject) -> Tensor:
    """Return the largest absolute gradient over the colours of each pixel.

    Source: Deep Inside Convolutional Networks, 2013, arXiv:1312.6034.
    """
    return _strongest(_frames(input_gradient(subject.question, subject.question.pixels)))


def smooth_grad(subject: Subject) -> Tensor:
    """Return the same of the mean gradient over inputs with noise.

    Source: SmoothGrad, 2017, arXiv:1706.03825.
    """
    made, pixels = subject.settings, subject.question.pixels
    generator = torch.Generator().manual_seed(made.seed)
    spread = made.noise * float(pixels.max() - pixels.min())

    def noisy() -> Iterator[Tensor]:
        for _ in range(made.samples):
            noise = torch.randn(pixels.shape, generator=generator)
            yield pixels + spread * noise.to(pixels.device)

    return _strongest(_mean_gradient(subject, noisy()))


def integrated_gradients(subject: Subject) -> Tensor:
    """Return what each pixel adds to the score on the way from the baseline, summed over colours.

    The sum of the map is the difference of the scores of input and baseline, up to the error of the
    midpoint rule.

    Source: Axiomatic Attribution for Deep Networks, 2017, arXiv:1703.01365.
    """
    made, pixels = subject.settings, subject.question.pixels
    baseline = torch.full_like(pixels, made.value)
    places = ((step + 0.5) / made.steps for step in range(made.steps))
    path = (baseline + place * (pixels - baseline) for place in places)
    gradient = _mean_gradient(subject, path)
    return (_frames(pixels - baseline) * gradient).sum(0).float().cpu()


def completeness(subject: Subject, found: Tensor) -> tuple[float, float]:
    """Return the sum of a map, and the difference of scores that it should be."""
    pixels = subject.question.pixels
    ends = torch.cat((pixels, torch.full_like(pixels, subject.settings.value)))
    with torch.no_grad():
        high, low = subject.question.score(ends).tolist()
    return float(found.double().sum()), high - low


def occlusion(subject: Subject) -> Tensor:
    """Return how much the score falls when a pixel is hidden, meaned over the patches that hide it.

    A patch of a clip covers a quarter of its frames.

    Source: Visualizing and Understanding Convolutional Networks, 2013, arXiv:1311.2901.
    """
    made, question = subject.settings, subject.question
    frames, height, width = question.size
    side = min(made.patch or max(1, min(height, width) // 8), height, width)
    stride = min(made.stride or max(1, side // 2), side)  # no pixel is never hidden
    depth = -(-frames // FRAME_PARTS)
    places = list(
        product(
            starts(frames, depth, depth), starts(height, side, stride), starts(width, side, stride)
        )
    )
    areas = [(slice(t, t + depth), slice(y, y + side), slice(x, x + side)) for t, y, x in places]
    fall, count = torch.zeros(question.size), torch.zeros(question.size)
    with torch.no_grad():
        whole = float(question.score(question.pixels))
        for first in range(0, len(areas), made.batch_size):
            part = areas[first : first + made.batch_size]
            scores = question.score(torch.cat([_hidden(question, each, made) for each in part]))
            for area, score in zip(part, scores.tolist(), strict=True):
                fall[area] += whole - score
                count[area] += 1
    return fall / count


def _hidden(question: Question, area: tuple[slice, ...], made: Settings) -> Tensor:
    """Return the input with an area of uniform colour."""
    pixels = question.pixels.clone()
    place: tuple[Any, ...] = (..., *area[-(pixels.ndim - 2) :])
    pixels[place] = made.value
    return pixels


def starts(have: int, want: int, step: int) -> list[int]:
    """Return the starts of parts of `want` pixels that cover an axis of `have` pixels."""
    last = max(have - want, 0)
    return [*range(0, last, step), last]


def grad_cam(subject: Subject) -> Tensor:
    """Return the maps of a layer, weighted by their mean gradients, where the sum is positive.

    The maps of single frames have weights of their own. Where the score is about a region, a weight
    at each place is its gradient there, as in HiResCAM: a mean over all places would show what
    looks like the object anywhere. Of a network that averages its last maps both are the same.

    Source: Grad-CAM, 2016, arXiv:1610.02391; HiResCAM, 2020, arXiv:2011.08891.
    """

    def weights(maps: Tensor, slopes: Tensor) -> Tensor:
        return _gathered(subject, slopes).div(1 if _is_local(subject) else slopes[0, 0].numel())

    return _activation_map(subject, weights)


def _is_local(subject: Subject) -> bool:
    """Return whether the score is about a part of the input."""
    return subject.question.region is not None


def _gathered(subject: Subject, weights: Tensor) -> Tensor:
    """Return the sum of weights over all places, or the weights at their places."""
    return weights if _is_local(subject) else weights.sum((-2, -1), keepdim=True)


def grad_cam_plus(subject: Subject) -> Tensor:
    """Return the same with weights from the positive gradients, for several objects of a class.

    Negative values of the maps count as 0: the formula is for rectified maps.

    Source: Grad-CAM++, 2017, arXiv:1710.11063; the weights for the exponential of the score.
    """

    def weights(maps: Tensor, slopes: Tensor) -> Tensor:
        square = slopes**2
        total = maps.relu().sum((-2, -1), keepdim=True)
        below = 2 * square + total * slopes**3
        shares = torch.where(below == 0, 0.0, square / torch.where(below == 0, 1.0, below))
        return _gathered(subject, shares * slopes.relu())

    return _activation_map(subject, weights, rectified=True)


def _activation_map(
    subject: Subject, weights: Callable[[Tensor, Tensor], Tensor], *, rectified: bool = False
) -> Tensor:
    """Return the positive part of weighted maps; those of several calls are added."""
    pairs = activations(subject.model, subject.layer, subject.question)
    if not pairs:
        raise no_maps()
    shown = [(maps.relu() if rectified else maps, weights(maps, slopes)) for maps, slopes in pairs]
    found = [(maps * weight).sum(1).relu() for maps, weight in shown]
    return torch.stack([placed(each, subject.question) for each in found]).sum(0).float().cpu()


def attention_rollout(subject: Subject) -> Tensor:
    """Return how much attention reaches each place, through all layers; see `rollout`."""
    return placed(rollout(subject.model, subject.question), subject.question).float().cpu()


def attention_heads(subject: Subject) -> Tensor:
    """Return the mean over the heads of one layer, and keep the map of each head."""
    heads = head_maps(subject.model, subject.question, subject.layer)  # [heads, T, h, w]
    maps = torch.stack([placed(each, subject.question).float().cpu() for each in heads])
    subject.heads.append(maps)
    return maps.mean(0)


def random_map(subject: Subject) -> Tensor:
    """Return smooth noise: what the numbers of a useless map are.

    It is as coarse as class activation maps; single random pixels would destroy an input faster
    than any map.
    """
    frames, *size_hw = subject.question.size
    generator = torch.Generator().manual_seed(subject.settings.seed)
    noise = torch.rand(1, frames, NOISE_CELLS, NOISE_CELLS, generator=generator)
    return F.interpolate(noise, size_hw, mode="bicubic", align_corners=False)[0]


TABLE: dict[str, Method] = dict(
    zip(
        METHODS,
        (
            saliency,
            smooth_grad,
            integrated_gradients,
            occlusion,
            grad_cam,
            grad_cam_plus,
            attention_rollout,
            attention_heads,
        ),
        strict=True,
    )
)
"""The methods by name."""
