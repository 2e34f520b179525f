"""Tiles of an image, the blend of their probabilities, and the objects of several tiles as one."""

import numpy as np
import pytest
import torch

from cvkit.ops.blending import Blend
from cvkit.ops.joining import join_objects
from cvkit.ops.reducing import reduced_map, reduced_objects
from cvkit.ops.rle import decode, encode
from cvkit.ops.tiling import Tile, blend_weights, grid_of
from cvkit.structures import Instances

SIZES = [
    ((50, 70), (20, 30), 0.2),
    ((21, 20), (20, 20), 0.2),
    ((39, 97), (20, 20), 0.5),
    ((10, 64), (20, 20), 0.2),
    ((20, 20), (20, 20), 0.05),
    ((37, 41), (36, 8), 0.33),
]


@pytest.mark.parametrize(("size_hw", "tile_hw", "overlap"), SIZES)
def test_tiles_cover_the_image_and_overlap_by_enough(size_hw, tile_hw, overlap):
    grid = grid_of(size_hw, tile_hw, overlap)
    count = np.zeros(size_hw, int)
    for tile in grid.tiles:
        count[tile.rows, tile.columns] += 1
        assert tile.size_hw == tuple(map(min, size_hw, tile_hw))
    assert count.min() >= 1
    for starts, side, have in zip((grid.ys, grid.xs), grid.tile_hw, size_hw, strict=True):
        assert starts[0] == 0 and starts[-1] + side == have
        gaps = np.diff(starts)
        assert len(starts) == 1 or (side - gaps.max() >= int(side * overlap) and gaps.min() > 0)


def test_tiles_are_evenly_spaced():
    assert grid_of((256, 100), (100, 100), 0.2).ys == [0, 78, 156]
    assert grid_of((260, 100), (100, 100), 0.2).ys == [0, 80, 160]
    assert grid_of((261, 100), (100, 100), 0.2).ys == [0, 54, 107, 161]


def test_weights_rise_to_the_middle_and_add_up_to_one():
    found = blend_weights([0, 2], 4, 6)
    # Tents of 0.5, 1.5, 1.5, 0.5 that are divided by their sums 0.5, 1.5, 2, 2, 1.5, 0.5.
    np.testing.assert_allclose(found, [[1, 1, 0.75, 0.25], [0.25, 0.75, 1, 1]])


@pytest.mark.parametrize(("size_hw", "tile_hw", "overlap"), SIZES)
def test_a_blend_is_the_weighted_mean_of_all_tiles(size_hw, tile_hw, overlap):
    torch.manual_seed(0)
    grid = grid_of(size_hw, tile_hw, overlap)
    rows, columns = grid.weights()
    total, weight = torch.zeros(3, *size_hw), torch.zeros(size_hw)
    blend = Blend(grid, kept=True)
    for number, tile in enumerate(grid.tiles):
        scores = torch.randn(3, *tile.size_hw).softmax(0)
        blend.add(scores)
        row, column = divmod(number, len(grid.xs))
        part = torch.from_numpy(np.outer(rows[row], columns[column]))
        total[:, tile.rows, tile.columns] += scores * part
        weight[tile.rows, tile.columns] += part
    torch.testing.assert_close(weight, torch.ones(size_hw))
    best, label = total.max(0)
    clear = total.sort(0).values
    sure = (clear[2] - clear[1] > 1e-5).numpy()
    np.testing.assert_array_equal(blend.labels[sure], label.numpy()[sure])
    np.testing.assert_allclose(blend.confidence, best.numpy(), atol=1e-3)
    assert blend.pixels.tolist() == np.bincount(blend.labels.ravel(), minlength=3).tolist()
    sums = [best[torch.from_numpy(blend.labels == k)].sum() for k in range(3)]
    np.testing.assert_allclose(blend.sums, sums, rtol=1e-4)


def objects(*rows, masks=None):
    """Return objects of rows of x1, y1, x2, y2, score and optionally a label."""
    table = np.array([[*row, 1][:6] for row in rows], np.float64).reshape(-1, 6)
    return Instances(
        boxes=table[:, :4].astype(np.float32),
        labels=table[:, 5].astype(np.int64),
        scores=table[:, 4].astype(np.float32),
        masks=masks,
    )


LEFT, RIGHT = Tile(0, 0, 100, 100), Tile(0, 80, 100, 100)
SIZE_HW = (100, 180)
"""Two tiles with the columns 80 to 100 in common."""


def joined(left, right, nms=0.5, size_hw=SIZE_HW):
    found = join_objects([(LEFT, left), (RIGHT, right)], size_hw, nms)
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.labels.tolist(), strict=True)
    return [(*box, round(score, 4), label) for box, score, label in rows]


def test_an_object_that_is_whole_in_two_tiles_is_one_the_better():
    found = joined(objects((84, 20, 94, 30, 0.8)), objects((4, 20, 14, 31, 0.9)))
    assert found == [(84, 20, 94, 31, 0.9, 1)]
    apart = joined(objects((84, 20, 94, 30, 0.8)), objects((4, 26, 14, 36, 0.9)))
    assert len(apart) == 2, "an IoU of 0.25 is not above the limit"
    assert len(joined(objects((84, 20, 94, 30, 0.8)), objects((4, 26, 14, 36, 0.9)), nms=0.2)) == 1


def test_objects_of_other_classes_stay():
    found = joined(objects((84, 20, 94, 30, 0.8, 1)), objects((4, 20, 14, 30, 0.9, 2)))
    assert [row[5] for row in found] == [2, 1]


def test_a_cut_object_is_dropped_for_the_whole_one_however_low_its_score():
    whole = (5, 20, 45, 60, 0.6)  # columns 85 to 125 of the image
    found = joined(objects((85, 20, 100, 60, 0.99)), objects(whole))
    assert found == [(85, 20, 125, 60, 0.6, 1)]


def test_a_cut_object_that_no_whole_one_covers_stays():
    found = joined(objects((85, 20, 100, 60, 0.9)), objects((10, 50, 40, 90, 0.8)))
    assert found == [(85, 20, 100, 60, 0.9, 1), (90, 50, 120, 90, 0.8, 1)]


def test_an_object_that_is_whole_in_no_tile_is_joined():
    found = joined(objects((10, 20, 100, 60, 0.7)), objects((0, 21, 70, 62, 0.9)))
    assert found == [(10, 20, 150, 62, 0.9, 1)]


def test_two_long_objects_side_by_side_stay_two():
    left = objects((10, 20, 100, 40, 0.9), (10, 38, 100, 58, 0.8))
    right = objects((0, 21, 70, 41, 0.7), (0, 37, 70, 57, 0.6))
    assert joined(left, right) == [(10, 20, 150, 41, 0.9, 1), (10, 37, 150, 58, 0.8, 1)]


def test_no_two_objects_of_a_tile_are_joined():
    left = objects((10, 20, 100, 60, 0.9), (40, 22, 100, 62, 0.8))
    found = joined(left, objects((0, 20, 70, 60, 0.7)))
    assert found == [(10, 20, 150, 60, 0.9, 1), (40, 22, 100, 62, 0.8, 1)]


def test_a_border_of_the_image_cuts_nothing():
    found = joined(objects((0, 0, 30, 30, 0.9)), objects((60, 70, 100, 100, 0.8)))
    assert found == [(0, 0, 30, 30, 0.9, 1), (140, 70, 180, 100, 0.8, 1)]


def test_nothing_found_is_no_object():
    found = join_objects([(LEFT, objects()), (RIGHT, objects())], SIZE_HW, 0.5)
    assert found.boxes.shape == (0, 4) and len(found.labels) == len(found.scores) == 0


def test_objects_of_tiles_are_those_of_the_image_over_four_tiles():
    """Each object is seen by every tile through its window, as a perfect detector would."""
    rng = np.random.default_rng(0)
    size_hw = (300, 340)
    corners = [(x, y) for x in range(5, 300, 48) for y in range(5, 260, 48)]
    sizes = rng.integers(8, 40, (len(corners), 2))
    truth = np.array([(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners, sizes, strict=True)])
    truth = np.concatenate([truth, [(2, 292, 338, 299)]])  # longer than any tile
    canvas = np.zeros((len(truth), *size_hw), bool)
    for number, (x1, y1, x2, y2) in enumerate(truth):
        canvas[number, y1:y2, x1:x2] = True
        canvas[number, y1, x1] = False  # no mask is a rectangle
    found = []
    for tile in grid_of(size_hw, (100, 100), 0.2).tiles:
        x1, y1, x2, y2 = tile.xyxy
        boxes = np.clip(truth, (x1, y1, x1, y1), (x2, y2, x2, y2)) - (x1, y1, x1, y1)
        seen = ((boxes[:, 2:] - boxes[:, :2]) > 2).all(1)
        rows = [(*box, 0.5 + 0.001 * n) for n, box in enumerate(boxes) if seen[n]]
        masks = encode(canvas[seen][:, tile.rows, tile.columns])
        found.append((tile, objects(*rows, masks=masks)))
    result = join_objects(found, size_hw, 0.5)
    np.testing.assert_array_equal(result.boxes, truth[::-1].astype(np.float32))
    np.testing.assert_array_equal(decode(result.masks), canvas[::-1])
    assert result.masks.size_hw == size_hw


def test_masks_decide_whether_cut_objects_are_one():
    """Two diagonals whose boxes are the same in the area of both tiles."""
    down, up = np.zeros((2, 100, 100), bool)
    for step in range(20):
        down[40 + step, 80 + step] = True
        up[60 - step, step] = True
    left = objects((80, 40, 100, 61, 0.9), masks=encode(down[None]))
    right = objects((0, 40, 20, 61, 0.8), masks=encode(up[None]))
    assert len(joined(left, right)) == 2
    same = encode(np.roll(down, -80, 1)[None])
    assert len(joined(left, objects((0, 40, 20, 61, 0.8), masks=same))) == 1


def test_reduced_results_are_those_of_the_middle_pixels():
    values = np.arange(7 * 9).reshape(7, 9).astype(np.uint8)
    np.testing.assert_array_equal(reduced_map(values, 3), values[1:6:3, 1:9:3])
    assert reduced_map(values, 1) is values
    masks = np.random.default_rng(0).random((5, 40, 50)) > 0.4
    masks[0] = False
    masks[1, :11], masks[1, :, 30:] = False, False
    made = objects(*[(0, 0, 40, 20, 0.5)] * 5, masks=encode(masks))
    for factor in (2, 3, 7):
        found = reduced_objects(made, factor)
        expected = [reduced_map(mask, factor) for mask in masks]
        np.testing.assert_array_equal(decode(found.masks), expected)
        np.testing.assert_allclose(found.boxes[0], np.array([0, 0, 40, 20]) / factor, rtol=1e-6)
