"""RoI Align and Pool: the goldens, and torchvision's kernels."""

import pytest
import torch
import torchvision
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops import roi_align as kernel

from cvkit.models.detection.roi_heads import RoIFeatures
from cvkit.ops.roi import _ExactPool, pyramid_level, roi_align, roi_pool

RAMP = torch.arange(16.0).view(1, 1, 4, 4)


def align(box, samples, side=2):
    boxes = torch.tensor([box], dtype=torch.float32)
    return roi_align(RAMP, boxes, torch.zeros(1), side=side, scale=1.0, samples=samples)


@pytest.mark.parametrize(
    "samples, wanted", [(2, [5.0, 6.75, 12.0, 13.75]), (1, [5.0, 7.0, 13.0, 15.0])]
)
def test_align_gives_the_goldens(samples, wanted):
    assert align((0, 0, 4, 4), samples).flatten().tolist() == wanted


def test_a_box_of_no_size_is_seen_as_one_pixel():
    assert align((1.2, 1.2, 1.3, 1.3), 2, side=1).item() == pytest.approx(8.5)


@pytest.mark.parametrize(
    "box, wanted", [((0, 0, 4, 4), [10, 11, 14, 15]), ((0, 0, 3, 3), [5, 7, 13, 15])]
)
def test_pool_gives_the_goldens(box, wanted):
    boxes = torch.tensor([box], dtype=torch.float32)
    found = roi_pool(RAMP, boxes, torch.zeros(1), side=2, scale=1.0)
    assert found.flatten().tolist() == wanted


def many_boxes(count=300):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(count, 2, generator=generator) * 220 - 30
    size = torch.rand(count, 2, generator=generator) ** 3 * 200
    return torch.cat((corner, corner + size), 1)  # some tiny, some outside, some all around


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("side", [7, 14])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_lookup_equals_the_kernel_forward_and_backward(samples, side, layout):
    maps = torch.randn(2, 8, 33, 41).to(memory_format=layout).requires_grad_()
    boxes = many_boxes()
    image = torch.arange(len(boxes)) % 2
    rois = torch.cat((image[:, None], boxes), 1)
    wanted = kernel(maps, rois, (side, side), 0.25, samples, False)
    weight = torch.randn_like(wanted)
    (gradient,) = torch.autograd.grad((wanted * weight).sum(), maps)
    found = roi_align(maps, boxes, image, side=side, scale=0.25, samples=samples)
    (own,) = torch.autograd.grad((found * weight).sum(), maps)
    assert wanted.abs().max() > 1
    assert torch.allclose(found, wanted, atol=1e-5)
    assert torch.allclose(own, gradient, atol=1e-4)


def test_gradients_are_right_by_finite_differences():
    maps = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[0.0, 1, 9, 8], [3, 3, 4, 12]], dtype=torch.float64)

    def cut(values):
        return roi_align(values, boxes, torch.zeros(2), side=2, scale=0.5, samples=2)

    assert torch.autograd.gradcheck(cut, (maps,), eps=1e-6)


def test_no_boxes_give_no_features():
    empty = torch.zeros(0, 4)
    for cut, own in ((roi_align, {"samples": 2}), (roi_pool, {})):
        found = cut(RAMP, empty, torch.zeros(0), side=7, scale=1.0, **own)
        assert found.shape == (0, 1, 7, 7)


@pytest.mark.parametrize(
    "width, height, level",
    [(112, 112, 3), (111.9, 112, 2), (224, 224, 4), (448, 448, 5), (1, 1, 2), (4000, 4000, 5)],
)
def test_a_box_goes_to_the_level_of_its_size(width, height, level):
    assert pyramid_level(torch.tensor([[0, 0, width, height]]), 2, 5).item() + 2 == level


def test_features_of_several_levels_come_in_the_order_of_the_boxes():
    maps = {str(i): torch.randn(2, 4, 64 >> i, 80 >> i) for i in range(4)}
    boxes = [many_boxes(40).clamp(min=0), many_boxes(60)[40:].clamp(min=0)]
    reference = MultiScaleRoIAlign(["0", "1", "2", "3"], 7, 2)
    wanted = reference(maps, boxes, [(256, 320), (256, 320)])
    found = RoIFeatures([4, 8, 16, 32], 7, "align")(list(maps.values()), boxes)
    assert torch.allclose(found, wanted, atol=1e-5)


def test_the_exact_roi_pool_is_torchvisions_with_its_gradient():
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 16, 20, requires_grad=True)
    boxes = torch.cat((many_boxes(30), torch.tensor([[500.0, 500.0, 600.0, 600.0]])))  # off the map
    image = torch.randint(0, 2, (31,))
    rois = torch.cat((image[:, None].to(boxes), boxes), 1)
    weight = torch.randn(31, 3, 4, 4)
    results = []
    for pooled in (
        _ExactPool.apply(maps, rois, 4, 0.25),
        torchvision.ops.roi_pool(maps, rois, (4, 4), 0.25),
    ):
        maps.grad = None
        (pooled * weight).sum().backward()
        results.append((pooled.detach(), maps.grad.clone()))
    (found, gradient), (wanted, expected) = results
    assert torch.equal(found, wanted)
    assert torch.allclose(gradient, expected, atol=1e-5) and expected.abs().max() > 1


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("channels, side", [(3, 1), (70, 7), (9, 14)])
def test_pooling_without_a_gradient_gives_the_bits_of_the_kernel(channels, side, layout):
    generator = torch.Generator().manual_seed(side)
    maps = torch.randn(2, channels, 33, 41, generator=generator).to(memory_format=layout)
    maps[0, :, 5:9], maps[1, :, 20], maps[1, :, :, 30] = torch.nan, -torch.inf, torch.inf
    odd = [[0, 0, 164, 132], [-50, -50, 300, 300], [400, 0, 500, 20], [9, 9, 9, 9], [-6, -2, 2, 6]]
    boxes = torch.cat((many_boxes(600), torch.tensor(odd)))
    boxes = torch.cat((boxes, (boxes / 2).round() * 2))  # halves of the map's pixels
    image = torch.arange(len(boxes)) % 2
    rois = torch.cat((image[:, None], boxes), 1)
    wanted = torchvision.ops.roi_pool(maps, rois, (side, side), 0.25)
    found = roi_pool(maps, boxes, image, side=side, scale=0.25)
    assert (wanted == 0).any() and torch.isinf(wanted).any() and wanted.isfinite().any()
    assert torch.equal(found, wanted)


def test_pooling_with_and_without_a_gradient_is_the_same(monkeypatch):
    maps, boxes = torch.randn(1, 4, 20, 30), many_boxes(50)
    wanted = roi_pool(maps.clone().requires_grad_(), boxes, torch.zeros(50), side=7, scale=0.25)
    assert wanted.requires_grad
    monkeypatch.setattr("cvkit.ops.roi.kernel_pool", None)  # it is not needed
    for features in (maps, maps.clone().requires_grad_()):
        with torch.no_grad():
            found = roi_pool(features, boxes, torch.zeros(50), side=7, scale=0.25)
        assert torch.equal(found, wanted)
