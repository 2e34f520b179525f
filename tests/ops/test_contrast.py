"""Contrastive losses, queue and average against loops by hand, and Lab against scikit-image."""

import math

import numpy as np
import pytest
import torch
from skimage.color import rgb2lab

from cvkit.ops.colours import rgb_to_lab
from cvkit.ops.contrast import enqueue, follow, info_nce, nt_xent


def cosine(one, other):
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_is_the_sum_over_all_pairs_but_a_view_with_itself(count, temperature):
    views = drawn(2 * count, 5)
    losses, nearest = [], []
    for i in range(2 * count):
        partner = (i + count) % (2 * count)
        scores = {j: cosine(views[i], views[j]) / temperature for j in range(2 * count) if j != i}
        losses.append(math.log(sum(map(math.exp, scores.values()))) - scores[partner])
        nearest.append(max(scores, key=scores.get) == partner)
    for dtype, near in ((torch.double, {"abs": 1e-9}), (torch.float, {"rel": 1e-6, "abs": 1e-6})):
        loss, found = nt_xent(*torch.tensor(views).to(dtype).chunk(2), temperature)
        assert float(loss) == pytest.approx(np.mean(losses), **near)
        assert found.T.flatten().tolist() == nearest


def test_info_nce_is_the_sum_over_the_key_and_the_queue():
    queries, keys, queue = drawn(4, 6), drawn(4, 6, seed=1), drawn(9, 6, seed=2)
    losses, nearest = [], []
    for query, key in zip(queries, keys, strict=True):
        positive = cosine(query, key) / 0.2
        negatives = [cosine(query, other) / 0.2 for other in queue]
        losses.append(math.log(math.exp(positive) + sum(map(math.exp, negatives))) - positive)
        nearest.append(positive > max(negatives))
    unit = torch.nn.functional.normalize(torch.tensor(queue).float())
    tensors = (torch.tensor(each).float() for each in (queries, keys))
    loss, found = info_nce(*tensors, unit, 0.2)
    assert float(loss) == pytest.approx(np.mean(losses), abs=1e-6)
    assert found.tolist() == nearest


def test_a_queue_forgets_the_oldest_first():
    queue, place = torch.arange(5.0)[:, None], torch.zeros(1, dtype=torch.long)
    by_hand, number = list(range(5)), 5
    for size in (3, 3, 1, 5, 2):
        keys = torch.arange(number, number + size).float()[:, None]
        enqueue(queue, place, keys)
        for key in keys[:, 0].tolist():
            by_hand = [*by_hand[1:], key]
        number += size
        turned = torch.cat([queue[place:], queue[:place]])
        assert turned[:, 0].tolist() == by_hand


def test_an_average_follows_by_one_minus_its_momentum():
    average, weight = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -2.0])
    by_hand = [1.0, 2.0]
    for _ in range(3):
        follow([average], [weight], 0.9)
        by_hand = [0.9 * a + 0.1 * w for a, w in zip(by_hand, weight.tolist(), strict=True)]
    assert average.tolist() == pytest.approx(by_hand, rel=1e-6)
    follow([average], [weight], 0.0)
    assert torch.equal(average, weight)


def test_lab_is_that_of_scikit_image():
    pixels = np.random.default_rng(0).random((2, 6, 7, 3)).astype(np.float32)
    pixels[0, 0] = [[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.02] * 3, [0.5] * 3]
    found = rgb_to_lab(torch.from_numpy(pixels).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    np.testing.assert_allclose(found.numpy(), rgb2lab(pixels), atol=5e-3)
