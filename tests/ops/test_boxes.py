"""Box coding, overlaps, matching and sampling, against values worked out by hand."""

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder, Matcher
from torchvision.ops import box_iou as reference_iou
from torchvision.ops import clip_boxes_to_image

from cvkit.ops.boxes import (
    LOG_CLAMP,
    box_iou,
    clip_boxes,
    decode_boxes,
    encode_boxes,
    large_enough,
    scale_boxes,
)
from cvkit.ops.matching import BELOW, BETWEEN, match, sample_balanced

PLAIN, WEIGHTED = (1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)


def boxes(*rows):
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def random_boxes(count, seed=0, side=100.0):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * side
    return torch.cat((corner, corner + 1 + torch.rand(count, 2, generator=generator) * side), 1)


@pytest.mark.parametrize(
    "weights, wanted",
    [(PLAIN, (0.25, 0, 0, -0.287682)), (WEIGHTED, (2.5, 0, 0, -1.438410))],
)
def test_encoding_gives_the_specified_deltas(weights, wanted):
    found = encode_boxes(boxes((10, 20, 50, 80)), boxes((0, 10, 40, 90)), weights)
    assert found[0].tolist() == pytest.approx(wanted, abs=1e-6)


def test_decoding_clamps_the_growth_of_a_box():
    assert pytest.approx(4.135166556742356) == LOG_CLAMP
    found = decode_boxes(boxes((0, 0, 100, 100)), boxes((0, 0, 10, 10)), WEIGHTED)
    assert found[0, 0].tolist() == pytest.approx((-307.5, -307.5, 317.5, 317.5))


@pytest.mark.parametrize("weights", [PLAIN, WEIGHTED])
def test_decoding_undoes_encoding_and_equals_torchvision(weights):
    truths, references = random_boxes(50), random_boxes(50, seed=1)
    deltas = encode_boxes(truths, references, weights)
    assert torch.equal(deltas, BoxCoder(weights).encode_single(truths, references))
    assert torch.allclose(decode_boxes(deltas, references, weights)[:, 0], truths, atol=1e-3)
    several = torch.randn(50, 12)
    expected = BoxCoder(weights).decode_single(several, references).view(50, 3, 4)
    assert torch.equal(decode_boxes(several, references, weights), expected)


def test_iou_and_clipping_equal_torchvision():
    one, two = random_boxes(20), random_boxes(30, seed=2)
    assert torch.equal(box_iou(one, two), reference_iou(one, two))
    assert torch.equal(clip_boxes(one, (60, 80)), clip_boxes_to_image(one, (60, 80)))
    assert box_iou(boxes(), two).shape == (0, 30)


def test_small_boxes_are_found_by_either_side():
    given = boxes((0, 0, 5, 5), (0, 0, 5, 0.5), (0, 0, 0.5, 5), (0, 0, 1, 1))
    assert large_enough(given, 1.0).nonzero().flatten().tolist() == [0, 3]


def test_boxes_follow_a_resize_with_a_factor_for_each_axis():
    found = scale_boxes(boxes((10, 10, 20, 30)), (100, 200), (50, 400))
    assert found[0].tolist() == [20, 5, 40, 15]


IOU = torch.tensor([[0.9, 0.65, 0.2, 0.0, 0.3], [0.1, 0.0, 0.4, 0.0, 0.69]])


def test_matching_separates_matches_background_and_what_lies_between():
    assert match(IOU, 0.7, 0.3).tolist() == [0, BETWEEN, BETWEEN, BELOW, BETWEEN]
    assert match(IOU, 0.5, 0.5).tolist() == [0, 0, BELOW, BELOW, 1]
    exact = torch.tensor([[0.75, 0.25, 0.2499]])
    assert match(exact, 0.75, 0.25).tolist() == [0, BETWEEN, BELOW]


def test_each_truth_keeps_its_best_boxes_ties_included():
    assert match(IOU, 0.7, 0.3, keep_best=True).tolist() == [0, BETWEEN, BETWEEN, BELOW, 1]
    tied = torch.tensor([[0.2, 0.2, 0.1]])
    assert match(tied, 0.7, 0.3, keep_best=True).tolist() == [0, 0, BELOW]
    assert torch.equal(match(IOU, 0.7, 0.3, keep_best=True), Matcher(0.7, 0.3, True)(IOU))


def test_a_truth_that_touches_no_box_claims_none():
    lost = torch.tensor([[0.0, 0.0, 0.0, 0.0], [0.8, 0.1, 0.0, 0.5]])
    assert match(lost, 0.7, 0.3, keep_best=True).tolist() == [1, BELOW, BELOW, BETWEEN]
    # Torchvision's matcher makes every box positive that touches nothing.
    assert Matcher(0.7, 0.3, True)(lost).tolist() == [1, 1, 0, 1]


def test_sampling_fills_up_with_negatives_and_comes_back_in_order():
    labels = torch.tensor([1, 0, 0, -1, 2, 0, -2, 1, 0, 0])
    chosen = sample_balanced(labels, 4, 0.25)
    assert len(chosen) == 4 and chosen.tolist() == sorted(chosen.tolist())
    assert (labels[chosen] >= 1).sum() == 1
    few = sample_balanced(torch.tensor([1] + [0] * 20), 8, 0.5)
    assert len(few) == 8 and few[0] == 0
    everything = sample_balanced(labels, 100, 0.5)
    assert everything.tolist() == [0, 1, 2, 4, 5, 7, 8, 9]
    assert len(sample_balanced(torch.full((5,), -1), 4, 0.5)) == 0
