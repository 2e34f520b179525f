"""The networks of pretraining: what they ask, how they move, and what gets a gradient."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvkit.models.pretraining.base import Body, PretextSpec, build_pretext
from cvkit.models.pretraining.contrast import MoCo
from cvkit.models.pretraining.puzzles import Jigsaw, Rotation, tile_orders, tile_side
from cvkit.models.pretraining.reconstruction import Inpainting, explained
from cvkit.pretext_table import PRETEXTS


def spec(method, **more):
    usual = {
        **{"arch": method, "backbone": "mobilenet_v3_small", "small": False, "image_size": 32},
        **{"temperature": 0.2, "projection": 8, "queue": 6, "key_momentum": 0.75},
        **{"permutations": 4, "hole": 0.5},
    }
    return PretextSpec(**usual | more)


class Mean(nn.Module):
    """Three numbers of an image, scaled by a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))

    def forward(self, images):
        return images.mean((2, 3)) * self.weight


@pytest.mark.parametrize("method", PRETEXTS)
def test_every_weight_that_is_trained_gets_a_gradient_and_every_image_a_score(method):
    torch.manual_seed(0)
    network = build_pretext(spec(method)).train()
    network.begin()
    shape = (4, 3, 2, 32, 32) if PRETEXTS[method].views == 2 else (4, 3, 32, 32)
    loss, score = network(torch.rand(shape))
    loss.backward()
    trained = {name for name, p in network.named_parameters() if p.requires_grad}
    assert {name for name, p in network.named_parameters() if p.grad is not None} == trained
    assert any(name.startswith("backbone.") for name in trained)
    assert score.shape == (4, 2)
    assert (score[:, 1] > 0).all()
    before = copy.deepcopy(network.state_dict())
    again = [network.eval()(torch.full(shape, 0.3)).score for _ in range(2)]
    if method != "jigsaw":  # draws an order
        assert torch.equal(*again)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def moco(**more):
    network = MoCo(Body(Mean(), 3), spec("moco-v2", **more))
    network.begin()
    return network


def test_the_encoder_of_keys_follows_and_the_queue_holds_its_keys():
    torch.manual_seed(0)
    network, pixels = moco().train(), torch.rand(4, 3, 2, 4, 4)
    average = [p.clone() for p in network.momentum_encoder.parameters()]
    for step in range(3):
        with torch.no_grad():
            for parameter in (*network.backbone.parameters(), *network.projector.parameters()):
                parameter += 0.1 * (step + 1)
        followed = [*network.backbone.parameters(), *network.projector.parameters()]
        average = [0.75 * a + 0.25 * w for a, w in zip(average, followed, strict=True)]
        place, queue = int(network.queue_ptr), network.queue.clone()
        network(pixels)
        moved = list(network.momentum_encoder.parameters())
        assert all(torch.allclose(a, m, atol=1e-6) for a, m in zip(average, moved, strict=True))
        replaced = [(place + n) % 6 for n in range(4)]
        kept = [n for n in range(6) if n not in replaced]
        assert torch.equal(network.queue[kept], queue[kept])
        assert (network.queue[replaced] != queue[replaced]).any(1).all()
        assert torch.allclose(network.queue[replaced].norm(dim=1), torch.ones(4), atol=1e-5)
        assert int(network.queue_ptr) == (place + 4) % 6
        assert all(p.grad is None and not p.requires_grad for p in moved)


def test_a_key_keeps_the_place_of_its_image_although_keys_are_shuffled():
    torch.manual_seed(0)
    network, images = moco().eval(), torch.rand(7, 3, 4, 4)
    encoder = network.momentum_encoder
    by_hand = torch.stack(
        [encoder["projector"](encoder["backbone"](image[None]))[0] for image in images]
    )
    assert torch.allclose(network._keys(images), F.normalize(by_hand), atol=1e-6)


def test_the_encoder_of_keys_normalises_in_training_as_the_encoder_does():
    network = moco().train()
    network.momentum_encoder.eval()  # as the loop leaves norms without trainable weights
    before = network.momentum_encoder["projector"][1].num_batches_tracked.clone()
    network(torch.rand(4, 3, 2, 4, 4))
    assert network.momentum_encoder["projector"][1].num_batches_tracked > before


def test_all_four_rotations_are_asked_for_each_image():
    class Corner(nn.Module):
        """Which corner of an image is the brightest, as the logits of the head."""

        def forward(self, images):
            top, bottom = images[:, 0, 0], images[:, 0, -1]
            return torch.stack([top[:, 0], bottom[:, 0], bottom[:, -1], top[:, -1]], 1) * 100

    network = Rotation(Body(Corner(), 4), spec("rotation"))
    network.head = nn.Identity()
    pixels = torch.zeros(3, 3, 5, 5)
    pixels[:2, :, 0, 0] = 1  # upper left; turned by 90 degrees to the left it is the lower left
    pixels[2, :, 0, -1] = 1
    loss, score = network(pixels)
    assert score.tolist() == [[4, 4], [4, 4], [0, 4]]
    assert loss > 1


def test_orders_of_tiles_differ_in_all_places_as_long_as_they_can():
    orders = tile_orders(9)
    assert orders[0].tolist() == list(range(9))
    assert all(sorted(order) == list(range(9)) for order in orders.tolist())
    distances = (orders[:, None] != orders[None]).sum(-1)
    assert (distances[~torch.eye(9, dtype=torch.bool).numpy()] == 9).all()


def test_tiles_come_in_the_order_that_is_asked_for():
    """A tile is recognised by its only bright row: standardising would hide its brightness."""
    side = tile_side(48)
    assert side == 14
    pixels = torch.zeros(2, 3, 48, 48)
    for number in range(9):
        row, column = divmod(number, 3)
        pixels[..., 16 * row + 1 + number, 16 * column : 16 * column + 16] = 1
    seen = []

    class Look(nn.Module):
        def forward(self, tiles):
            assert tiles.shape[1:] == (3, side, side)
            seen.append(tiles[:, 0].sum(2).argmax(1).view(2, 9))
            return tiles.mean((2, 3))

    network = Jigsaw(Body(Look(), 3), spec("jigsaw")).eval()
    torch.manual_seed(3)
    target = torch.randint(4, (2,))
    torch.manual_seed(3)
    network(pixels)
    assert torch.equal(seen[0], network.orders[target])


def test_what_is_explained_is_what_counts():
    target, where = torch.full((1, 2, 2, 2), 2.0), torch.zeros(1, 1, 2, 2)
    where[..., 0, 0] = 1
    found = target.clone()
    found[..., 0, 0] -= 1  # the error in the place that counts
    found[..., 1, 1] += 9
    loss, score = explained(found, target, where)
    assert float(loss) == 1
    assert score.tolist() == [[8 - 2, 8]]


def test_the_hidden_square_is_not_seen():
    seen = []

    class Look(nn.Module):
        def forward(self, images):
            seen.append(images)
            return [images.mean((2, 3), keepdim=True)]

    network = Inpainting(Body(Look(), 3, 8), spec("inpainting"))
    pixels = torch.rand(5, 3, 8, 8)
    for mode in (True, False):
        hidden = network.train(mode)._hidden(pixels)
        assert hidden.sum((1, 2, 3)).tolist() == [16] * 5
        torch.manual_seed(1)
        network(pixels)
    assert torch.equal(seen[1][..., 2:6, 2:6], torch.zeros(5, 3, 4, 4))
    assert (seen[1][..., :2, :] != 0).all()
    assert ((seen[0] == 0).all(1).sum((1, 2)) == 16).all()
