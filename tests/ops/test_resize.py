"""Bilinear resizing by matrix products equals torch's."""

import pytest
import torch
from torch.nn import functional as F

from cvkit.ops.resize import resize_bilinear, resize_by_products


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (33, 20), (64, 65), (3, 40)])
def test_products_give_what_torch_interpolates(size):
    maps = torch.randn(2, 3, 7, 9, dtype=torch.float32, requires_grad=True)
    weight = torch.randn(2, 3, *size)
    results = []
    for resized in (
        resize_by_products(maps, size),
        F.interpolate(maps, size=size, mode="bilinear", align_corners=False),
    ):
        maps.grad = None
        (resized * weight).sum().backward()
        results.append((resized.detach(), maps.grad.clone()))
    (found, gradient), (wanted, expected) = results
    assert torch.allclose(found, wanted, atol=1e-6)
    assert torch.allclose(gradient, expected, atol=1e-4)


def test_matrices_made_in_inference_serve_training():
    with torch.inference_mode():
        resize_by_products(torch.rand(1, 1, 5, 6), (11, 13))
    maps = torch.rand(1, 1, 5, 6, requires_grad=True)
    resize_by_products(maps, (11, 13)).sum().backward()
    assert torch.isfinite(maps.grad).all()


def test_maps_of_the_wanted_size_and_half_precision_stay_what_they_are():
    maps = torch.rand(1, 2, 5, 6)
    assert resize_bilinear(maps, (5, 6)) is maps
    assert resize_by_products(maps.bfloat16(), (9, 9)).dtype == torch.bfloat16
