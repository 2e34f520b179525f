"""From pixels to network inputs."""

import torch
from torch import Tensor

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (x / 255 - mean) / std of NCHW or NCTHW uint8 images, float32 in the same order."""
    return standardize(images.float() / 255, mean, std)


def standardize(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (x - mean) / std of NCHW or NCTHW pixels in [0, 1]."""
    shape = (1, -1, *[1] * (pixels.ndim - 2))
    mean_, std_ = (torch.tensor(v, device=pixels.device).view(shape) for v in (mean, std))
    return (pixels - mean_) / std_


def input_scale(
    size_hw: tuple[int, int], shorter: int | None, longest: int, scale: float = 1.0
) -> float:
    """Return the scale factor from an image to a detector's input; no side becomes 0.

    Args:
        size_hw: of the image.
        shorter: length of its shorter side; None: use `scale`.
        longest: limit of its longer side.
        scale: factor, if `shorter` is None.
    """
    short, long = min(size_hw), max(size_hw)
    wanted = min(scale if shorter is None else shorter / short, longest / long)
    return max(wanted, (1 + 1e-6) / short)
