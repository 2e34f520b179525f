"""How an image becomes the square that a classifier sees, by hand."""

import numpy as np
import pytest

from cvkit.data.datasets import CropRule
from cvkit.data.resize import centre_crop, short_side_hw


def ramp(height, width):
    """Return an image whose red is the column and whose green is the row."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("size_hw", "short", "wanted"),
    [((40, 80), 20, (20, 40)), ((80, 40), 20, (40, 20)), ((50, 50), 7, (7, 7))]
    + [((30, 40), 10, (10, 13)), ((40, 30), 10, (13, 10)), ((4, 7), 6, (6, 10))],
)
def test_the_shorter_side_gets_the_length_and_the_other_one_is_cut_off(size_hw, short, wanted):
    assert short_side_hw(size_hw, short) == wanted


def test_the_middle_is_cut_out():
    found = centre_crop(ramp(20, 40), (10, 8))
    assert found.shape == (10, 8, 3)
    assert found[0, 0].tolist() == [16, 5, 0]
    assert found[-1, -1].tolist() == [23, 14, 0]


def test_black_is_added_around_what_is_too_small():
    found = centre_crop(np.full((4, 20, 3), 9, np.uint8), (7, 10))
    assert found[:, 0, 0].tolist() == [0, 9, 9, 9, 9, 0, 0]
    assert found.shape == (7, 10, 3)


def test_a_rule_resizes_then_cuts_and_says_from_what():
    made, geometry = CropRule(8, 16, "bilinear")(ramp(32, 64))
    assert made.shape == (8, 8, 3)
    assert geometry.original_hw == (32, 64)
    assert abs(int(made[..., 0].mean()) - 31) <= 1
    assert abs(int(made[..., 1].mean()) - 15) <= 1
    made, _ = CropRule(8, 16, "bilinear", whole=True)(ramp(32, 64))
    assert made.shape == (16, 32, 3)
