"""Masks: codes as pycocotools writes them, layers, and torchvision's pixels and targets."""

import io

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from pycocotools import mask as coco
from torch.nn import functional as F
from torchvision.models.detection import roi_heads as tv

from cvkit.ops import mask_pasting
from cvkit.ops import rle as ops
from cvkit.ops.mask_extents import mask_extents
from cvkit.ops.mask_pasting import mask_targets, paste_masks


def reference(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"]


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (5, 7), (40, 30)])
@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 1])
def test_codes_are_those_of_pycocotools(size, share):
    masks = np.random.default_rng(0).random((4, *size)) < share
    found = ops.encode(masks)
    assert [bytes(code) for code in found.codes] == [reference(mask) for mask in masks]
    assert np.array_equal(ops.decode(found), masks)
    for code in found.codes:
        runs = ops.run_lengths(code)
        assert sum(runs) == size[0] * size[1] and ops.compress(runs, size) == code


@pytest.mark.parametrize("corner", [(0, 0), (3, 5), (0, 4), (4, 0), (8, 9)])
@pytest.mark.parametrize("height", [1, 6, 12])
def test_a_part_is_encoded_as_the_whole(corner, height):
    """Parts as high as the image too, whose runs go on in the next column."""
    size = (20, 21) if height < 12 else (12, 21)
    corner = corner if height < 12 else (0, corner[1])
    part = np.random.default_rng(1).random((height, 7)) < 0.7
    whole = np.zeros(size, bool)
    whole[corner[0] : corner[0] + height, corner[1] : corner[1] + 7] = part
    assert ops.encode_part(part, corner, size) == reference(whole)


def test_parts_are_encoded_together_as_one_by_one():
    rng, size = np.random.default_rng(2), (30, 700)  # runs of one to three groups of five bits
    parts, wholes = [], []
    for height, width, share in [(30, 9, 0.9), (0, 4, 1), (1, 1, 1), (30, 700, 1), (7, 3, 0)] * 3:
        free = (size[0] - height, size[1] - width)
        corner = tuple(int(rng.integers(0, each + 1)) for each in free)
        part = rng.random((height, width)) < share
        whole = np.zeros(size, bool)
        whole[corner[0] : corner[0] + height, corner[1] : corner[1] + width] = part
        parts.append((part, corner))
        wholes.append(whole)
    found = ops.encode_parts(iter(parts), size)
    assert list(found.codes) == [reference(whole) for whole in wholes]
    assert len(ops.encode_parts([], size)) == 0


def test_a_full_mask_is_one_run():
    assert ops.run_lengths(ops.encode_part(np.ones((4, 5), bool), (0, 0), (4, 5))) == [0, 20]


@pytest.mark.parametrize("code", [b"", b"1P", b"\xff\xff", b" ", b"PPPPPPPPPPP1"])
def test_garbage_is_no_code(code):
    with pytest.raises(ValueError):
        ops.run_lengths(code)
    good = ops.compress([3, 5, 4], (3, 4))
    assert mask_extents([good, code], [[3, 4]] * 2) is None
    assert mask_extents([code], [[3, 4]]) is None


def random_code(rng, size_hw):
    """A mask, or run lengths with 0s anywhere, as other programs may write them."""
    if rng.random() < 0.7:
        return ops.encode(rng.random((1, *size_hw)) < rng.random()).codes[0]
    cuts = np.sort(rng.integers(0, np.prod(size_hw) + 1, rng.integers(0, 9)))
    runs = np.diff(cuts, prepend=0, append=np.prod(size_hw)).tolist()
    return ops.compress(runs + [0] * int(rng.integers(0, 3)), size_hw)


@pytest.mark.parametrize("most, count", [(30, 5000), (3, 500), (3000, 30)])
def test_many_codes_are_measured_as_one_by_one(most, count):
    rng = np.random.default_rng(most)
    sizes = [tuple(map(int, rng.integers(1, most, 2))) for _ in range(count)]
    codes = [random_code(rng, size) for size in sizes]
    rles = [{"size": list(size), "counts": code} for size, code in zip(sizes, codes, strict=True)]
    found = mask_extents(codes, sizes)
    assert found is not None
    assert found[:, :4].tolist() == [coco.toBbox(rle).tolist() for rle in rles]
    assert found[:, 4].tolist() == [int(coco.area(rle)) for rle in rles]
    for place in (0, count // 2, count - 1):  # one that does not fill its image
        wrong = np.array(sizes)
        wrong[place] += 1
        assert mask_extents(codes, wrong) is None


def test_no_codes_have_no_extents():
    found = mask_extents([], np.zeros((0, 2)))
    assert found is not None and found.shape == (0, 5)


def test_runs_that_are_not_lengths_are_no_mask():
    assert ops.run_lengths(b"8N7") == [8, -2, 7]
    good = ops.compress([3, 5, 4], (3, 4))
    assert mask_extents([good], [[3, 4]]) is not None and mask_extents([b"8N7"], [[1, 13]]) is None
    runs = [k * (2**29 - 1) for k in (1, 1, 1, 2, 2, 3)]  # their sum is right in 32 bits only
    assert mask_extents([ops.compress(runs, (1, 1))], [[1, 2**30 - 10]]) is None


def test_areas_boxes_and_centres():
    mask = np.zeros((3, 10, 12), bool)
    mask[0, 2:5, 3:9] = True
    mask[1, 9, 11] = True
    found = ops.encode(mask)
    assert ops.mask_areas(found).tolist() == [18, 1, 0]
    assert ops.mask_boxes(found).tolist() == [[3, 2, 6, 3], [11, 9, 1, 1], [0, 0, 0, 0]]
    centres = ops.centroids(found)
    assert centres[:2].tolist() == [[6, 3.5], [11.5, 9.5]] and np.isnan(centres[2]).all()
    none = found[np.zeros(3, bool)]
    assert len(none) == 0 and ops.mask_areas(none).shape == (0,)
    assert ops.decode(none).shape == (0, 10, 12) and ops.mask_boxes(none).shape == (0, 4)


def test_hundreds_of_masks_are_measured_at_once():
    masks = np.zeros((600, 6, 200), bool)
    masks[np.arange(600), 3, np.arange(600) % 200] = True
    found = ops.encode(masks)
    assert ops.mask_areas(found).tolist() == [1.0] * 600
    assert ops.mask_boxes(found)[450].tolist() == [50, 3, 1, 1]
    iou = ops.mask_iou(found, found[np.arange(300)], np.zeros(300, bool))
    assert iou.shape == (600, 300) and iou.sum() == 600 + 300


def test_overlaps_are_of_pixels_and_of_the_detection_alone_for_crowds():
    masks = np.zeros((2, 4, 6), bool)
    masks[0, :, :3], masks[1, :, 1:] = True, True
    found = ops.encode(masks)
    own, other = found[np.array([0])], found[np.array([1, 1])]
    iou = ops.mask_iou(own, other, np.array([False, True]))
    assert iou.tolist() == [[8 / 24, 8 / 12]]
    assert ops.mask_iou(found[np.zeros(2, bool)], other, np.zeros(2, bool)).shape == (0, 2)


def test_objects_that_overlap_lie_in_different_layers():
    masks = np.zeros((4, 8, 8), bool)
    masks[0, :4], masks[1, 4:], masks[2, 2:6], masks[3, 7, 7] = True, True, True, True
    layers = ops.to_layers(ops.encode(masks))
    assert len(layers.maps) == 2 and layers.layers.tolist() == [0, 0, 1, 1]
    for place in range(4):
        shown = layers.maps[layers.layers[place]] == layers.values[place]
        assert np.array_equal(shown, masks[place])
    assert ops.layer_boxes(layers)[2].tolist() == [0, 2, 8, 6]
    some = layers[np.array([3, 1])]
    assert ops.layer_boxes(some).tolist() == [[7, 7, 8, 8], [0, 4, 8, 8]]
    none = ops.to_layers(ops.encode(masks[:0]))
    assert none.maps.shape == (1, 8, 8) and ops.layer_boxes(none).shape == (0, 4)


@pytest.mark.parametrize("count, kind", [(255, np.uint8), (256, np.uint16)])
def test_index_maps_are_wide_enough(count, kind):
    index = np.zeros((20, 20), np.int32)
    index.flat[:count] = np.arange(1, count + 1)
    numbers, masks = ops.from_index_map(index)
    assert numbers.tolist() == list(range(1, count + 1))
    shown = ops.index_map(masks)
    assert shown.dtype == kind and np.array_equal(shown, index)


def test_index_maps_may_have_gaps_no_background_and_overlaps():
    numbers, masks = ops.from_index_map(np.array([[7, 7], [3000, 7]], np.uint16))
    assert numbers.tolist() == [7, 3000] and ops.mask_areas(masks).tolist() == [3, 1]
    both = ops.encode(np.array([[[1, 1, 0]], [[0, 1, 1]]], bool))
    assert ops.index_map(both).tolist() == [[1, 1, 2]]
    numbers, masks = ops.from_index_map(np.zeros((2, 3), np.uint8))
    assert len(numbers) == len(masks) == 0


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_masks_turn_as_images_do(orientation):
    mask = np.random.default_rng(2).random((6, 9)) < 0.4
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(stream, "PNG", exif=exif)
    wanted = np.asarray(ImageOps.exif_transpose(Image.open(stream))) > 0
    found = ops.turned(ops.encode(mask[None]), orientation)
    assert found.size_hw == (9, 6) and np.array_equal(ops.decode(found)[0], wanted)


def boxes_around(size_hw, count, seed):
    """Boxes of all sizes, some of them partly outside the image."""
    rng = np.random.default_rng(seed)
    limit = np.array([size_hw[1], size_hw[0]])
    low = rng.uniform(-10, limit - 1, (count, 2))
    high = low + np.exp(rng.uniform(np.log(0.3), np.log(1.2 * limit.max()), (count, 2)))
    high = np.maximum(high, 0.5)
    return torch.tensor(np.concatenate([low, np.minimum(high, limit + 15)], 1), dtype=torch.float32)


@pytest.mark.parametrize("size_hw, side", [((97, 131), 28), ((240, 80), 28), ((33, 50), 14)])
def test_pasted_masks_have_torchvisions_pixels(size_hw, side):
    boxes = boxes_around(size_hw, 80, seed=3)
    grids = torch.rand(80, 1, side, side, generator=torch.Generator().manual_seed(0))
    wanted = tv.paste_masks_in_image(grids, boxes, size_hw)[:, 0] > 0.5
    found = paste_masks(grids[:, 0], boxes, size_hw)
    assert wanted.sum() > 1000
    assert np.array_equal(ops.decode(found), wanted.numpy())
    assert [bytes(code) for code in found.codes] == [reference(mask.numpy()) for mask in wanted]


def test_a_box_outside_the_image_has_an_empty_mask():
    found = paste_masks(torch.ones(1, 28, 28), torch.tensor([[200.0, 5, 220, 30]]), (50, 60))
    assert ops.mask_areas(found).tolist() == [0]


def test_a_full_grid_paints_one_pixel_more_than_its_box_is_wide():
    found = paste_masks(torch.ones(1, 28, 28), torch.tensor([[10.0, 10, 38, 38]]), (50, 60))
    assert ops.mask_areas(found).tolist() == [841]  # 29 x 29


def test_the_threshold_is_exclusive():
    grid, box = torch.full((1, 28, 28), 0.5), torch.tensor([[10.0, 10, 38, 38]])
    assert ops.mask_areas(paste_masks(grid, box, (50, 60)))[0] == 0
    assert ops.mask_areas(paste_masks(grid, box, (50, 60), 0.49))[0] > 700


def test_probabilities_at_the_threshold_are_compared_as_torch_computes_them():
    generator = torch.Generator().manual_seed(0)
    grid, box = torch.rand(1, 28, 28, generator=generator), torch.tensor([[3.0, 5, 83, 72]])
    exact = tv.paste_masks_in_image(grid[:, None], box, (90, 95))[0, 0]
    for threshold in exact[20:60:4, 30:60:5].flatten().tolist():
        found = paste_masks(grid, box, (90, 95), threshold)
        assert np.array_equal(ops.decode(found)[0], (exact > threshold).numpy())


@pytest.mark.parametrize(("height", "width"), [(7, 300), (64, 91), (213, 120)])
def test_a_point_whose_side_of_the_threshold_is_sure_is_where_torch_computes_it(height, width):
    """Thresholds lie as close to a probability as its rounding, so that about half are unsure."""
    rng = np.random.default_rng(height)
    grid = cv2.GaussianBlur(rng.random((30, 30), np.float32), (5, 5), 1)
    exact = F.interpolate(torch.from_numpy(grid)[None, None], (height, width), mode="bilinear")
    points = np.stack((rng.integers(0, height, 150), rng.integers(0, width, 150)), 1)
    values = exact[0, 0].double().numpy()[points[:, 0], points[:, 1]]
    sure, wrong = [], 0
    for point, value in zip(points, values, strict=True):
        for step in (-3e-6, -1e-7, 0.0, 1e-7, 3e-6):
            more, known = mask_pasting._bilinear(
                grid[None], np.array([[height, width]]), np.zeros(1, int), point[None], value + step
            )
            sure.append(bool(known[0]))
            wrong += sure[-1] and bool(more[0]) != (step < 0)
    assert wrong == 0 and 0.1 < np.mean(sure) < 0.9


def test_masks_are_pasted_in_groups_as_one_by_one(monkeypatch):
    size_hw = (90, 120)
    boxes, grids = boxes_around(size_hw, 25, seed=6), torch.rand(25, 14, 14)
    boxes[[0, 9, 24], 0::2] += 500  # outside the image, the first and the last too
    wanted = [paste_masks(grids[n : n + 1], boxes[n : n + 1], size_hw).codes[0] for n in range(25)]
    assert len(set(wanted)) > 15
    for most in (1, 3000, 2**20):
        monkeypatch.setattr(mask_pasting, "GROUP", most)
        assert list(paste_masks(grids, boxes, size_hw).codes) == wanted
    assert len(paste_masks(grids[:0], boxes[:0], size_hw)) == 0


@pytest.mark.parametrize("size_hw", [(60, 90), (41, 73), (150, 203)])
def test_targets_are_torchvisions_of_resized_masks(size_hw):
    rng = np.random.default_rng(4)
    small = F.interpolate(torch.tensor(rng.normal(size=(6, 1, 6, 9))), size=(60, 90))[:, 0]
    masks = (small > 0.2).numpy()
    resized = F.interpolate(torch.tensor(masks)[:, None].float(), size=size_hw)[:, 0]
    regions = boxes_around(size_hw, 40, seed=5).clamp(min=0)
    regions = torch.minimum(regions, torch.tensor([*size_hw[::-1], *size_hw[::-1]]).float())
    objects = torch.tensor(rng.integers(0, 6, 40))
    wanted = tv.project_masks_on_boxes(resized.byte(), regions, objects, 28)
    layers = ops.to_layers(ops.encode(masks))
    found = mask_targets(layers, objects.numpy(), regions.numpy(), size_hw, 28)
    assert 0.1 < wanted.mean() < 0.9 and ((wanted > 0) & (wanted < 1)).any()
    assert np.abs(found - wanted.numpy()).max() < 1e-6
