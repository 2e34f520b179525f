"""How an image becomes the square that a classifier sees, by hand."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as reference

from cvkit.data.clips import FrameRule
from cvkit.data.datasets import CropRule
from cvkit.data.resize import centre_crop, input_size_hw, short_side_hw


def ramp(height, width):
    """Return an image whose red is the column and whose green is the row."""
    y, x = np.mgrid[:height, :width]
    return np.stack([x, y, np.zeros_like(x)], -1).astype(np.uint8)


@pytest.mark.parametrize(
    ("size_hw", "short", "wanted"),
    [((40, 80), 20, (20, 40)), ((80, 40), 20, (40, 20)), ((50, 50), 7, (7, 7))]
    + [((30, 40), 10, (10, 13)), ((40, 30), 10, (13, 10)), ((4, 7), 6, (6, 10))]
    + [((427, 640), 256, (256, 383)), ((640, 427), 256, (383, 256))],  # 383.7
)
def test_the_shorter_side_gets_the_length_and_the_other_one_is_cut_off(size_hw, short, wanted):
    assert short_side_hw(size_hw, short) == wanted
    assert input_size_hw(size_hw, (short, 2 * short), "short") == wanted
    image = torch.empty(1, *size_hw, dtype=torch.uint8)
    assert tuple(reference.resize(image, [short]).shape[1:]) == wanted


@pytest.mark.parametrize(
    ("size_hw", "room_wh", "wanted"),
    [((427, 640), (256, 256), (171, 256)), ((640, 427), (256, 192), (256, 171))]  # 170.8
    + [((300, 401), (200, 150), (150, 200)), ((101, 400), (100, 100), (25, 100))],  # 25.25
)
def test_an_image_that_fits_in_keeps_its_shape_to_half_a_pixel(size_hw, room_wh, wanted):
    assert input_size_hw(size_hw, room_wh, "fit") == wanted


def test_frames_keep_their_shape_to_half_a_pixel():
    rule = FrameRule(224, (256,))
    assert rule.resized(np.zeros((427, 640, 3), np.uint8)).shape == (256, 384, 3)  # 383.7
    assert rule.resized(np.zeros((401, 300, 3), np.uint8)).shape == (342, 256, 3)  # 342.2
    assert rule.resized(np.zeros((256, 300, 3), np.uint8)).shape == (256, 300, 3)
    assert FrameRule(224, (128, 171)).resized(rule.resized(ramp(90, 80))).shape == (128, 171, 3)


@pytest.mark.parametrize("size_hw", [(h, w) for h in range(8, 14) for w in (8, 9, 10, 11)])
def test_the_middle_is_where_torchvision_has_it(size_hw):
    image = ramp(*size_hw)
    theirs = reference.center_crop(torch.from_numpy(image).permute(2, 0, 1), [8, 8])
    assert np.array_equal(centre_crop(image, (8, 8)), theirs.permute(1, 2, 0).numpy())
    for crops in (1, 3):
        views = FrameRule(8, size_hw, crops).views([image])
        assert np.array_equal(views[crops // 2, 0], theirs.permute(1, 2, 0).numpy())


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
