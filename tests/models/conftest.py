"""What the tests of networks share."""

import pytest
import torch
from torch import nn

BLOCK = 8191
"""Numbers that a large tensor gets again and again; a prime, so that no two rows are equal."""


def repeated(draw):
    """Return a function that draws the first numbers of a large tensor and repeats them."""

    def fill(tensor, *own, **more):
        if tensor.numel() <= BLOCK or tensor.is_meta or not tensor.is_contiguous():
            return draw(tensor, *own, **more)
        flat = tensor.detach().view(-1)
        block, times = flat[:BLOCK], len(flat) // BLOCK
        draw(block, *own, **more)
        flat[: times * BLOCK].view(times, BLOCK)[1:] = block
        flat[times * BLOCK :] = block[: len(flat) % BLOCK]
        return tensor

    return fill


@pytest.fixture
def quick_weights(monkeypatch):
    """Begin networks with few random numbers: drawing them all is a third of a test's time.

    Not for tests of what weights begin with.
    """
    for owner, name in (
        (torch.Tensor, "normal_"),
        (torch.Tensor, "uniform_"),
        (nn.init, "trunc_normal_"),
    ):
        monkeypatch.setattr(owner, name, repeated(getattr(owner, name)))
