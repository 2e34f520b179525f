"""Bilinear resizing of maps."""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F


def height_width(maps: Tensor) -> tuple[int, int]:
    """Return height and width of [..., H, W] maps."""
    height, width = maps.shape[-2:]
    return height, width


def resize_bilinear(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return NCHW maps resized bilinearly with pixel centres aligned (`align_corners=False`).

    On CUDA it is a product with two matrices, equal up to the rounding of float32: the gradient of
        torch's kernel is summed in no fixed order, and torch's own exact replacement takes ten
        times as long.
    """
    if tuple(maps.shape[-2:]) == tuple(size_hw):
        return maps
    if maps.device.type != "cuda":
        return F.interpolate(maps, size=size_hw, mode="bilinear", align_corners=False)
    return resize_by_products(maps, size_hw)


def resize_by_products(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """Return the result of `resize_bilinear`, on any device, by two matrix products in float32."""
    height, width = maps.shape[-2:]
    down = _weights(height, size_hw[0], maps.device)
    across = _weights(width, size_hw[1], maps.device)
    with torch.autocast(maps.device.type, enabled=False):
        return (down @ maps.float() @ across.T).to(maps.dtype)


@lru_cache(maxsize=64)
def _weights(size: int, wanted: int, device: torch.device) -> Tensor:
    """Return the [wanted, size] weights of the old cells in each new one."""
    with torch.inference_mode(
        False
    ):  # a gradient may need them later even if evaluation created them
        places = (torch.arange(wanted, dtype=torch.float64) + 0.5) * (size / wanted) - 0.5
        places = places.clamp(min=0)
        low = places.long().clamp(max=size - 1)
        share = (places - low).clamp(max=1)
        weights = torch.zeros(wanted, size, dtype=torch.float64)
        rows = torch.arange(wanted)
        weights[rows, low] += 1 - share
        weights[rows, (low + 1).clamp(max=size - 1)] += share
        return weights.float().to(device)
