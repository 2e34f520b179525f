"""Bilinear resizing by matrix products equals torch's."""

import pytest
import torch
from torch.nn import functional as F

from cvkit.ops.resize import resize_bilinear, resize_by_products


def interpolate(maps, size):
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (33, 20), (64, 65), (3, 40)])
def test_products_give_what_torch_interpolates(size):
    torch.manual_seed(0)
    maps, weight = torch.randn(2, 3, 7, 9), torch.randn(2, 3, *size)
    results = []
    for resize, exact in (
        (resize_by_products, maps.clone().requires_grad_()),
        (interpolate, maps.double().requires_grad_()),
    ):
        resized = resize(exact, size)
        (resized * weight).sum().backward()
        results.append((resized.detach().double(), exact.grad.double()))
    (found, gradient), (wanted, expected) = results
    assert torch.allclose(found, wanted, rtol=1e-6, atol=2e-6)  # a few roundings of float32
    assert torch.allclose(gradient, expected, rtol=1e-5, atol=1e-5)


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
