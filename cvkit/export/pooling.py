"""Adaptive pooling that every format can hold.

ONNX has no adaptive pooling; its exporter only knows bins of equal size. The mean over each bin is
a product with one matrix per axis, whose weights follow from the size of the map.
"""

from typing import Any

import torch
from torch import Tensor, nn


class BinMeans(nn.Module):
    """`nn.AdaptiveAvgPool2d` as a product with two matrices, equal up to the rounding of float32.

    Args:
        size_hw: of the result.
    """

    def __init__(self, size_hw: tuple[int, int]) -> None:
        super().__init__()
        self.size_hw = size_hw

    def forward(self, maps: Tensor) -> Tensor:
        """Return [N, C, *size_hw] means of NCHW maps over bins that may overlap."""
        rows = _bins(maps, -2, self.size_hw[0])
        columns = _bins(maps, -1, self.size_hw[1])
        return rows @ maps @ columns.transpose(0, 1)


def _bins(maps: Tensor, axis: int, count: int) -> Tensor:
    """Return the [count, size] weights of the cells of an axis in each bin."""
    places = torch.arange(maps.shape[axis], device=maps.device)[None]
    size = maps.shape[axis]
    number = torch.arange(count, device=maps.device)[:, None]
    start = torch.div(number * size, count, rounding_mode="floor")
    end = torch.div((number + 1) * size + count - 1, count, rounding_mode="floor")
    inside = ((places >= start) & (places < end)).to(maps.dtype)
    return inside / (end - start).to(maps.dtype)


def with_exportable_pooling(network: nn.Module) -> nn.Module:
    """Replace in place every adaptive mean of a network over more than one bin; return it."""
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.AdaptiveAvgPool2d):
                size: Any = layer.output_size
                height, width = (size, size) if isinstance(size, int) else size
                if (height, width) != (1, 1):
                    setattr(parent, name, BinMeans((height, width)))
    return network
