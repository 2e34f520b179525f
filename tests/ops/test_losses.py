"""Losses against hand-written sums, and their behaviour where nothing is labelled."""

import math

import pytest
import torch
from torch.nn import functional as F

from cvkit.ops.losses import (
    LOSSES,
    balanced_weights,
    combined_loss,
    cross_entropy,
    dice_loss,
    focal_loss,
    ohem_cross_entropy,
    parse_loss,
)

LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.0, 1.0, 3.0]])[None, :, None, :]  # [1, 2, 1, 3]
TRUTH = torch.tensor([[[0, 1, 255]]])
P_FIRST = 1 / (1 + math.exp(-2))  # probability of class 0 in the first pixel
P_SECOND = 1 / (1 + math.exp(-1))  # probability of class 1 in the second pixel


def test_cross_entropy_is_the_mean_over_labelled_pixels():
    expected = -(math.log(P_FIRST) + math.log(P_SECOND)) / 2
    assert cross_entropy(LOGITS, TRUTH).item() == pytest.approx(expected, abs=1e-6)
    weighted = -(3 * math.log(P_FIRST) + math.log(P_SECOND)) / 2
    found = cross_entropy(LOGITS, TRUTH, torch.tensor([3.0, 1.0])).item()
    assert found == pytest.approx(weighted, abs=1e-6)


def test_dice_sums_over_the_batch():
    first = 1 - (2 * P_FIRST + 1) / (P_FIRST + (1 - P_SECOND) + 1 + 1)
    second = 1 - (2 * P_SECOND + 1) / (P_SECOND + (1 - P_FIRST) + 1 + 1)
    assert dice_loss(LOGITS, TRUTH).item() == pytest.approx((first + second) / 2, abs=1e-6)
    only_first = TRUTH.where(TRUTH != 1, 255)
    alone = 1 - (2 * P_FIRST + 1) / (P_FIRST + 1 + 1)
    assert dice_loss(LOGITS, only_first).item() == pytest.approx(alone, abs=1e-6)


def test_dice_sums_over_all_images_of_a_batch():
    """Not over each image: a mean of their coefficients would be another number."""
    sizes = (9, 2)  # labelled pixels of class 1 in each image
    truth, logits = torch.zeros(2, 1, 10, dtype=torch.long), torch.zeros(2, 2, 1, 10)
    for image, size in enumerate(sizes):
        truth[image, 0, :size] = 1
        logits[image, 1] = math.log(3) * (1 - 2 * image)  # class 1 has 3/4, and 1/4
    hits = 9 * 0.75 + 2 * 0.25, 1 * 0.25 + 8 * 0.75
    sums = 10 * 0.75 + 10 * 0.25 + 11, 10 * 0.25 + 10 * 0.75 + 9
    wanted = sum(1 - (2 * hit + 1) / (total + 1) for hit, total in zip(hits, sums, strict=True)) / 2
    assert dice_loss(logits, truth).item() == pytest.approx(wanted, abs=1e-6)


def test_focal_scales_each_pixel_by_its_doubt():
    expected = sum(-((1 - p) ** 2) * math.log(p) for p in (P_FIRST, P_SECOND)) / 2
    assert focal_loss(LOGITS, TRUTH).item() == pytest.approx(expected, abs=1e-6)
    assert focal_loss(LOGITS, TRUTH, gamma=0.0) == pytest.approx(cross_entropy(LOGITS, TRUTH))


def test_ohem_keeps_hard_pixels_and_at_least_a_share():
    torch.manual_seed(0)
    logits, truth = torch.randn(2, 3, 8, 8) * 3, torch.randint(0, 3, (2, 8, 8))
    losses = F.cross_entropy(logits, truth, reduction="none").flatten()
    hard = losses[losses >= -math.log(0.7)]
    assert 0.25 * losses.numel() < hard.numel() < losses.numel()
    assert ohem_cross_entropy(logits, truth) == pytest.approx(hard.mean().item(), abs=1e-6)
    easy = F.one_hot(truth, 3).movedim(-1, 1) * torch.linspace(3, 9, 64).view(8, 8)
    kept = F.cross_entropy(easy, truth, reduction="none").flatten().topk(32).values.mean()
    assert ohem_cross_entropy(easy, truth) == pytest.approx(kept.item(), abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_ignores_unlabelled_pixels_and_weights_classes(name):
    torch.manual_seed(1)
    logits, truth = torch.randn(2, 4, 6, 6, requires_grad=True), torch.randint(0, 4, (2, 6, 6))
    truth[:, :2] = 255
    changed = logits.detach().clone()
    changed[:, :, :2] += 100 * torch.randn(2, 4, 2, 6)
    assert LOSSES[name](changed, truth).item() == pytest.approx(
        LOSSES[name](logits, truth).item(), abs=1e-6
    )
    ones = LOSSES[name](logits, truth, torch.ones(4)).item()
    assert ones == pytest.approx(LOSSES[name](logits, truth).item(), abs=1e-6)
    tilted = LOSSES[name](logits, truth, torch.tensor([9.0, 1.0, 1.0, 1.0])).item()
    assert abs(tilted - ones) > 1e-3
    nothing = LOSSES[name](logits, torch.full_like(truth, 255))
    nothing.backward()
    assert nothing.item() == 0
    assert torch.isfinite(logits.grad).all()
    weightless = LOSSES[name](logits, truth.clamp(max=0), torch.tensor([0.0, 1.0, 1.0, 1.0]))
    assert weightless.item() == 0


def test_sums_are_parsed_and_added():
    assert parse_loss("ce + 0.5*dice") == {"ce": 1.0, "dice": 0.5}
    total = combined_loss({"ce": 1.0, "dice": 0.5}, LOGITS, TRUTH)
    expected = cross_entropy(LOGITS, TRUTH) + 0.5 * dice_loss(LOGITS, TRUTH)
    assert total.item() == pytest.approx(expected.item(), abs=1e-6)
    smooth = combined_loss({"ce": 1.0}, LOGITS, TRUTH, label_smoothing=0.2)
    assert smooth == cross_entropy(LOGITS, TRUTH, label_smoothing=0.2)
    for text in ("", "ce+", "magic", "ce+ce", "x*ce", "ce-dice"):
        with pytest.raises(ValueError, match="is not one of"):
            parse_loss(text)


def test_balanced_weights_are_median_frequency():
    weights = balanced_weights(torch.tensor([10, 20, 70, 0]))
    assert weights.tolist() == pytest.approx([2.0, 1.0, 2 / 7, 1.0])
