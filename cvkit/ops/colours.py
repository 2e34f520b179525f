"""Colour spaces."""

import torch
from torch import Tensor

_XYZ = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
"""From linear sRGB to CIE XYZ."""
_WHITE = (0.95047, 1.0, 1.08883)
"""D65, 2 degrees."""


def rgb_to_lab(pixels: Tensor) -> Tensor:
    """Return N3HW sRGB pixels in [0, 1] as CIE L*a*b*: L in [0, 100], a and b about [-110, 110]."""
    linear = torch.where(pixels > 0.04045, ((pixels + 0.055) / 1.055) ** 2.4, pixels / 12.92)
    xyz = torch.einsum("ij,njhw->nihw", pixels.new_tensor(_XYZ), linear)
    xyz = xyz / pixels.new_tensor(_WHITE).view(1, 3, 1, 1)
    roots = xyz.clamp(min=0.008856) ** (1 / 3)
    f = torch.where(xyz > 0.008856, roots, 7.787 * xyz + 16 / 116)
    x, y, z = f.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)
