"""Mixup and CutMix, decided by each sample's own seed."""

import pytest
import torch
from torch.nn import functional as F

from cvkit.ops.losses import class_loss, multiclass_hinge
from cvkit.ops.mixing import mix


@pytest.fixture
def batch():
    images = torch.stack([torch.full((3, 16, 16), float(value)) for value in (1, 2, 4, 8)])
    return images, F.one_hot(torch.tensor([0, 1, 2, 3]), 4).float()


def test_without_either_nothing_changes(batch):
    images, targets = mix(*batch, [1, 2, 3, 4], 0.0, 0.0)
    assert images is batch[0]
    assert targets is batch[1]


@pytest.mark.parametrize(("mixup", "cutmix"), [(1.0, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_pixels_and_targets_are_mixed_in_the_same_share(batch, mixup, cutmix):
    images, targets = batch
    changed = 0
    for first in range(0, 80, 4):
        mixed, soft = mix(images, targets, range(first, first + 4), mixup, cutmix)
        torch.testing.assert_close(soft.sum(1), torch.ones(4))
        for index in range(4):
            share = soft[index, index].item()
            partner = (index + 1) % 4
            assert soft[index, partner].item() == pytest.approx(1 - share, abs=1e-6)
            other = images[partner].mean()
            expected = share * images[index].mean() + (1 - share) * other
            assert mixed[index].mean().item() == pytest.approx(expected.item(), rel=1e-5)
            changed += share < 1
    assert changed > 60


def test_cutmix_replaces_one_rectangle_and_mixup_all_pixels(batch):
    images, targets = batch
    mixed, _ = mix(images, targets, [5, 6, 7, 8], 0.0, 1.0)
    for index in range(4):
        replaced = mixed[index, 0] == images[(index + 1) % 4, 0, 0, 0]
        kept = mixed[index, 0] == images[index, 0, 0, 0]
        assert (replaced ^ kept).all()
        rows, columns = replaced.any(1), replaced.any(0)
        assert torch.equal(replaced, rows[:, None] & columns)
    blended, _ = mix(images, targets, [5, 6, 7, 8], 1.0, 0.0)
    assert all(picture.unique().numel() == 1 for picture in blended)


def test_a_sample_is_mixed_by_its_own_seed_alone(batch):
    images, targets = batch
    _, soft = mix(images, targets, [11, 12, 13, 14], 0.3, 0.7)
    _, again = mix(images, targets, [11, 12, 99, 14], 0.3, 0.7)
    assert torch.equal(soft[[0, 1, 3]], again[[0, 1, 3]])
    assert not torch.equal(soft[2], again[2])


def test_class_loss_equals_torchs_cross_entropy():
    torch.manual_seed(0)
    logits, labels = torch.randn(9, 4), torch.randint(0, 4, (9,))
    hard, soft = F.one_hot(labels, 4).float(), torch.rand(9, 4).softmax(1)
    weight = torch.tensor([1.0, 2.0, 0.5, 3.0])
    for w, smoothing in ((None, 0.0), (None, 0.1), (weight, 0.0), (weight, 0.1)):
        total = F.cross_entropy(logits, labels, w, label_smoothing=smoothing, reduction="sum")
        torch.testing.assert_close(class_loss("ce", logits, hard, w, smoothing), total / 9)
    torch.testing.assert_close(class_loss("ce", logits, soft), F.cross_entropy(logits, soft))


def test_hinge_by_hand():
    logits = torch.tensor([[2.0, 1.5, -3.0], [0.0, 0.0, 0.0]])
    targets = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5]])
    # First: max(0, 1 + 1.5 - 2) + max(0, 1 - 3 - 2) = 0.5; second: two others, margin 1 each.
    assert multiclass_hinge(logits, targets).tolist() == [0.5, 2.0]
    assert class_loss("hinge", logits, targets).item() == pytest.approx(1.25)
    theirs = F.multi_margin_loss(logits[:1], torch.tensor([0])) * 3  # torch divides by classes
    torch.testing.assert_close(multiclass_hinge(logits[:1], targets[:1])[0], theirs)


def test_squared_hinge_by_hand_and_by_torch():
    logits = torch.tensor([[2.0, 1.5, -3.0], [0.0, 0.5, 0.0]])
    labels = torch.tensor([0, 2])
    # First: (1 + 1.5 - 2)^2; second: (1 + 0)^2 + (1 + 0.5)^2.
    hard = F.one_hot(labels, 3).float()
    assert multiclass_hinge(logits, hard, 2).tolist() == [0.25, 3.25]
    theirs = F.multi_margin_loss(logits, labels, p=2) * 3  # torch divides by classes
    torch.testing.assert_close(class_loss("squared-hinge", logits, hard), theirs)
