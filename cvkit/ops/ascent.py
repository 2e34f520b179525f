"""Images that raise a number: gradient ascent on pixels or on a spectrum, and its regularisers.

Images are [1, 3, ..., H, W] float32 in [0, 1].
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

Objective = Callable[[Tensor], Tensor]
"""An image to the number that is raised."""
OnStep = Callable[[Tensor, float], None]
"""Called with the image and the number after each step."""
SPACES = ("pixels", "fourier")
"""What is moved: the pixels themselves, or a spectrum whose frequencies get equal chances."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How an image climbs.

    Attributes:
        space: one of `SPACES`.
        steps: of each octave.
        rate: of a step: the mean change of a value in `pixels`, the rate of Adam in `fourier`.
        jitter: largest shift before each step, in pixels.
        blur: deviation of the Gaussian that is applied after each step, in pixels.
        tv: weight of the total variation, which is subtracted from the number.
        decay: fraction that is lost at each step.
        octaves: sizes of the image, from small to full.
        octave_scale: factor between them.
    """

    space: str
    steps: int
    rate: float
    jitter: int = 0
    blur: float = 0.0
    tv: float = 0.0
    decay: float = 0.0
    octaves: int = 1
    octave_scale: float = 1.4


def total_variation(image: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbours, down the columns and along the rows.

    Source: Understanding Deep Image Representations by Inverting Them, 2014, arXiv:1412.0035.
    """
    down = (image[..., 1:, :] - image[..., :-1, :]).abs().mean()
    along = (image[..., 1:] - image[..., :-1]).abs().mean()
    return down + along


def frequencies(size_hw: tuple[int, int]) -> Tensor:
    """Return the [H, W // 2 + 1] frequencies of `rfft2`, in cycles per pixel."""
    down, along = torch.fft.fftfreq(size_hw[0]), torch.fft.rfftfreq(size_hw[1])
    return (down[:, None] ** 2 + along**2).sqrt()


def _gains(size_hw: tuple[int, int]) -> Tensor:
    """Return the factors of a spectrum that make natural images as likely as noise: 1 / f."""
    least = 1 / max(size_hw)
    return math.sqrt(size_hw[0] * size_hw[1]) / frequencies(size_hw).clamp(min=least)


def to_image(spectrum: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return the image of a spectrum [..., H, W // 2 + 1, 2].

    Source: Feature Visualization, 2017, distill.pub.
    """
    gains = _gains(size_hw).to(spectrum.device)
    values = torch.view_as_complex(spectrum.contiguous()) * gains
    return torch.sigmoid(torch.fft.irfft2(values, s=size_hw) / 4)


def to_spectrum(image: Tensor) -> Tensor:
    """Return the spectrum of an image; black and white are moved by one per cent."""
    height, width = image.shape[-2:]
    gains = _gains((height, width)).to(image.device)
    return torch.view_as_real(torch.fft.rfft2(torch.logit(image, 0.01) * 4) / gains)


def blurred(values: Tensor, sigma: float) -> Tensor:
    """Return values after a Gaussian filter of their last two axes, which are seen as a ring."""
    if not sigma:
        return values
    height, width = values.shape[-2:]
    passed = torch.exp(-2 * (math.pi * sigma * frequencies((height, width))) ** 2)
    return torch.fft.irfft2(torch.fft.rfft2(values) * passed.to(values.device), s=(height, width))


def octave_sizes(size_hw: tuple[int, int], count: int, scale: float) -> list[tuple[int, int]]:
    """Return the sizes of the octaves, from small to full; none has a side of less than 16."""
    sizes = [
        (round(size_hw[0] / scale**n), round(size_hw[1] / scale**n))
        for n in range(count - 1, -1, -1)
    ]
    return [each for each in sizes if min(each) >= 16 or each == size_hw]


def resized(image: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return an image in another size, bilinear; frames stay frames."""
    if tuple(image.shape[-2:]) == size_hw:
        return image
    lead = image.shape[:-2]
    flat = image.reshape(1, -1, *image.shape[-2:])
    flat = F.interpolate(flat, size_hw, mode="bilinear", align_corners=False, antialias=True)
    return flat.reshape(*lead, *size_hw)


def climb(
    objective: Objective,
    start: Tensor,
    made: Settings,
    generator: torch.Generator,
    on_step: OnStep,
    *,
    noisy: bool = False,
) -> Tensor:
    """Return an image that raises a number.

    The regularisers act on what differs from the start: a photo keeps its details, and without one
    all of the image is pulled towards grey. Sources: Deep Inside Convolutional Networks, 2013,
    arXiv:1312.6034 (decay); Understanding Neural Networks Through Deep Visualization, 2015,
    arXiv:1506.06579 (blur); Inceptionism, 2015, Google Research (jitter and octaves).

    Args:
        objective: the number.
        start: an image.
        made: how.
        generator: of noise and jitter, on the CPU.
        on_step: see `OnStep`.
        noisy: a little noise is added to the start, as to one of uniform grey.
    """
    size_hw = (start.shape[-2], start.shape[-1])
    detail: Tensor | None = None
    image = start
    for place, octave in enumerate(octave_sizes(size_hw, made.octaves, made.octave_scale)):
        base = resized(start, octave)
        noise = 0.01 if noisy and not place else 0.0
        first = base if detail is None else (base + resized(detail, octave)).clamp(0, 1)
        image = _octave(objective, base, first, noise, made, generator, on_step)
        detail = image - base
    return image


def _octave(
    objective: Objective,
    base: Tensor,
    first: Tensor,
    noise: float,
    made: Settings,
    generator: torch.Generator,
    on_step: OnStep,
) -> Tensor:
    """Climb in one size, from a first image; regularisers pull towards the base."""
    size_hw = (base.shape[-2], base.shape[-1])
    spectral = made.space == "fourier"
    encode: Callable[[Tensor], Tensor] = to_spectrum if spectral else torch.clone
    decode: Callable[[Tensor], Tensor] = (
        (lambda values: to_image(values, size_hw)) if spectral else (lambda values: values)
    )
    origin, values = encode(base), encode(first)
    drawn = torch.randn(values.shape, generator=generator)
    values = values + (noise if spectral else 5 * noise) * drawn.to(values.device)
    values.requires_grad_()
    adam = torch.optim.Adam([values], made.rate, maximize=True)
    for _ in range(made.steps):
        reach = torch.randint(-made.jitter, made.jitter + 1, (2,), generator=generator).tolist()
        with torch.enable_grad():
            image = decode(values)
            number = objective(image.roll(reach, (-2, -1)))
            score = number - made.tv * total_variation(image) if made.tv else number
            (values.grad,) = torch.autograd.grad(score, values)
        with torch.no_grad():
            if spectral:
                adam.step()
            else:
                values += made.rate * values.grad / values.grad.abs().mean().clamp(min=1e-12)
                values.clamp_(0, 1)
            values.copy_(origin + _kept(values - origin, made, spectral, size_hw))
            on_step(decode(values).clone(), float(number))
    return decode(values.detach())


def _kept(change: Tensor, made: Settings, spectral: bool, size_hw: tuple[int, int]) -> Tensor:
    """Return what blur and decay leave of a change of values."""
    if spectral:
        passed = torch.exp(-2 * (math.pi * made.blur * frequencies(size_hw)) ** 2)
        return change * passed[..., None].to(change.device) * (1 - made.decay)
    return blurred(change, made.blur) * (1 - made.decay)
