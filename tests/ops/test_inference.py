"""Label maps at original size, sliding windows and test-time augmentation."""

import pytest
import torch
import torchvision
from torch.nn import functional as F

from cvkit.ops import inference
from cvkit.ops.images import normalize
from cvkit.ops.inference import class_probabilities, ten_crops


def test_enlarged_argmax_equals_enlarging_first_in_any_chunks(monkeypatch):
    torch.manual_seed(0)
    logits = torch.randn(7, 9, 11)
    whole = F.interpolate(logits[None], size=(40, 57), mode="bilinear", align_corners=False)
    expected = whole[0].argmax(0).to(torch.uint8)
    for limit in (2**25, 40 * 57 * 3, 1):
        monkeypatch.setattr(inference, "MAX_CHUNK", limit)
        assert torch.equal(inference.enlarged_argmax(logits, (40, 57)), expected)
    late = F.interpolate(logits.argmax(0)[None, None].float(), size=(40, 57))[0, 0]
    assert not torch.equal(late.to(torch.uint8), expected), "argmax first would be another result"


def test_ties_go_to_the_lowest_class():
    assert inference.enlarged_argmax(torch.zeros(5, 2, 2), (4, 4)).unique().tolist() == [0]


def pointwise(images):
    """A network without context: three classes from three channels."""
    return images * 3.0


def test_windows_and_augmentation_change_nothing_for_a_pointwise_network():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 23, 31)
    expected = pointwise(images).log_softmax(1)
    for window in ((8, 8), (23, 31), (100, 100), (5, 40)):
        found = inference.sliding_window(pointwise, images, window)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    found = inference.augmented(pointwise, images, flip=True, scales=(1.0,))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_windows_step_by_two_thirds_and_end_at_the_border():
    assert inference._starts(20, 9) == [0, 6, 11]
    assert inference._starts(9, 9) == [0]
    assert inference._starts(5, 9) == [0]
    assert inference._starts(15, 9) == [0, 6]


def numbered(images):
    """A network whose answer is another one for every size and place: two classes."""
    first = images[:, :1] * images.shape[-1] + images.mean()
    return torch.cat([first, 1 - first], 1)


def test_views_are_averaged_as_probabilities():
    torch.manual_seed(0)
    images = torch.randn(1, 1, 6, 8)
    plain = numbered(images).softmax(1)
    mirrored = numbered(images.flip(-1)).flip(-1).softmax(1)
    small = F.interpolate(images, (3, 4), mode="bilinear")
    enlarged = F.interpolate(numbered(small).softmax(1), (6, 8), mode="bilinear")
    found = inference.augmented(numbered, images, flip=True, scales=(1.0,)).exp()
    torch.testing.assert_close(found, (plain + mirrored) / 2)
    found = inference.augmented(numbered, images, flip=False, scales=(1.0, 0.5)).exp()
    torch.testing.assert_close(found, (plain + enlarged) / 2)


def test_overlapping_windows_are_averaged():
    torch.manual_seed(0)
    images = torch.randn(1, 1, 4, 8)
    found = inference.sliding_window(numbered, images, (4, 6)).exp()
    windows = [(left, numbered(images[..., left : left + 6]).softmax(1)) for left in (0, 2)]
    total = sum(F.pad(scores, (left, 2 - left)) for left, scores in windows)
    count = sum(F.pad(torch.ones(6), (left, 2 - left)) for left, _ in windows)
    torch.testing.assert_close(found, total / count)


def test_flip_is_undone_and_scales_are_averaged():
    seen = []

    def predict(images):
        seen.append(tuple(images.shape[-2:]))
        column = torch.arange(images.shape[-1]).expand(images[:, :1].shape).float()
        return torch.cat([column, -column], 1)

    images = torch.zeros(1, 3, 4, 8)
    found = inference.augmented(predict, images, flip=True, scales=(1.0,)).exp()
    torch.testing.assert_close(found[..., 0], found[..., -1], atol=1e-5, rtol=0)
    seen.clear()
    inference.augmented(predict, images, flip=False, scales=(0.5, 1.0, 1.5))
    assert seen == [(2, 4), (4, 8), (6, 12)]


def test_scaled_sides_are_rounded_to_the_nearest_pixel():
    seen = []

    def predict(images):
        seen.append(tuple(images.shape[-2:]))
        return images

    scales = (0.5, 0.75, 1.0, 1.25, 1.75, 0.01)
    inference.augmented(predict, torch.zeros(1, 2, 7, 10), flip=False, scales=scales)
    # 3.5 and 5; 5.25 and 7.5; 8.75 and 12.5; 12.25 and 17.5: of two nearest ones the even.
    assert seen == [(4, 5), (5, 8), (7, 10), (9, 12), (12, 18), (1, 1)]


def test_confidence_is_the_largest_probability():
    logits = torch.tensor([2.0, 0.0]).view(2, 1, 1)
    expected = torch.tensor(2.0).exp() / (1 + torch.tensor(2.0).exp())
    found = inference.confidence(logits, (3, 3))
    assert found.flatten().tolist() == pytest.approx([expected.item()] * 9)


def test_normalize_keeps_memory_order():
    images = torch.full((2, 4, 4, 3), 255, dtype=torch.uint8).permute(0, 3, 1, 2)
    result = normalize(images, (0.5, 0.5, 0.0), (0.5, 0.25, 1.0))
    assert result[0, :, 0, 0].tolist() == [1.0, 2.0, 1.0]
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("size_hw", [(9, 12), (8, 8), (11, 8)])
def test_ten_crops_are_torchvisions(size_hw):
    images = torch.randn(2, 3, *size_hw)
    theirs = torchvision.transforms.functional.ten_crop(images, [8, 8])
    ours = ten_crops(images, 8)
    assert len(ours) == 10
    for mine in ours:
        assert any(torch.equal(mine, other) for other in theirs)
    for other in theirs:
        assert any(torch.equal(mine, other) for mine in ours)


def test_ten_crops_round_the_middle_as_torchvision_does():
    for height in range(8, 14):
        images = torch.arange(height * 11.0).view(1, 1, height, 11)
        middle = torchvision.transforms.functional.center_crop(images, [8, 8])
        assert torch.equal(ten_crops(images, 8)[4], middle)


def test_class_probabilities_are_the_mean_over_views():
    class Model:
        def scored(self, images):
            features = images[:, :, 0, 0]
            return features.softmax(1), features

    images = torch.randn(2, 3, 4, 6)
    scores, features = class_probabilities(Model(), images, 4, flip=True, ten_crop=False)
    left, right = images[:, :, 0, 0], images[:, :, 0, -1]
    torch.testing.assert_close(scores, (left.softmax(1) + right.softmax(1)) / 2)
    torch.testing.assert_close(features, (left + right) / 2)
    scores, _ = class_probabilities(Model(), images, 4, flip=False, ten_crop=True)
    views = [crop[:, :, 0, 0] for crop in ten_crops(images, 4)]
    torch.testing.assert_close(scores, torch.stack(views).softmax(2).mean(0))
