"""Networks that are built without setting weights, and tried without computing anything."""

import signal

import pytest
import torch
from networks import segmenter
from torch import nn

from cvkit.models.trials import on_meta, strip, try_out, undrawn


def test_what_replaces_weights_need_not_wait_until_they_are_drawn():
    drawn = segmenter("unet", "resnet18").state_dict()
    before = torch.get_rng_state()
    with undrawn():
        state = segmenter("unet", "resnet18").state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert [(n, v.shape) for n, v in state.items()] == [(n, v.shape) for n, v in drawn.items()]
    assert all(value.device.type == "cpu" for value in state.values())
    layer = nn.Linear(3, 4)  # which has its own again
    assert not torch.equal(torch.get_rng_state(), before) and layer.weight.abs().max() < 1


def pooled(side):
    return nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(side), nn.BatchNorm2d(4)),
        *(nn.Flatten(), nn.Linear(4 * (8 // side) ** 2, 2)),
    )


def test_a_trial_says_what_a_batch_would():
    try_out(lambda: pooled(8), (2, 3, 8, 8))
    try_out(lambda: pooled(4), (1, 3, 8, 8))
    with pytest.raises(ValueError, match="one value per channel"):
        try_out(lambda: pooled(8), (1, 3, 8, 8))
    with pytest.raises(RuntimeError):
        try_out(lambda: pooled(8), (2, 3, 16, 16))


def test_a_norm_that_does_not_train_takes_one_value():
    with on_meta():
        network = pooled(8).eval()
    strip(network)
    assert network(torch.empty(1, 3, 8, 8, device="meta")).shape == (1, 2)


@pytest.mark.parametrize("bounds", [(-2, 2), (0.5, 1.5)])
def test_values_of_reused_memory_do_not_keep_a_network_from_being_built(bounds):
    """What draws anew until all values are near waits for ever if nothing is drawn."""

    def expired(*_):
        raise AssertionError("still drawing")

    weights = torch.full((1000,), 5.0)
    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(20)
    try:
        with undrawn():
            nn.init.trunc_normal_(weights, mean=1.0, std=0.5, a=bounds[0], b=bounds[1])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert weights.tolist() == [1.0] * 1000
