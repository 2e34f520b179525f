"""A plain recurrent cell, and attention over frames, against loops and torch's own layers."""

import math
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cvkit.errors import UsageError
from cvkit.explain.attention import head_maps, rollout
from cvkit.models.video import attention, recurrent
from cvkit.models.video.attention import FrameTransformer, sine_positions
from cvkit.models.video.recurrent import RecurrentFusion

CLIPS = torch.rand(2, 3, 5, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def means(monkeypatch):
    """Frames are known by the means of their channels."""

    def parts(backbone, num_classes, image_size):
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return pool, nn.Linear(3, num_classes)

    for module in (attention, recurrent):
        monkeypatch.setattr(module, "image_parts", parts)
    torch.manual_seed(0)


def transformer(**more):
    usual = {"hidden": 8, "heads": 2, "depth": 2} | more
    return FrameTransformer("resnet18", 4, 5, 8, **usual).eval()


def test_the_plain_cell_is_tanh_of_two_sums():
    network = RecurrentFusion("resnet18", 4, 8, cell="rnn", hidden=6).eval()
    reader = network.reader
    for clip, found in zip(CLIPS, network(CLIPS)["out"], strict=True):
        state = torch.zeros(6)
        for frame in clip.mean((2, 3)).T:
            state = torch.tanh(
                reader.weight_ih_l0 @ frame
                + reader.bias_ih_l0
                + reader.weight_hh_l0 @ state
                + reader.bias_hh_l0
            )
        assert torch.allclose(found, network.head.weight @ state + network.head.bias, atol=1e-6)


@pytest.mark.parametrize("width", [6, 7])
def test_sine_positions_are_those_of_the_paper(width):
    found = sine_positions(9, width)
    for place in range(9):
        for column in range(width):
            angle = place / 10_000 ** (2 * (column // 2) / width)
            wanted = math.cos(angle) if column % 2 else math.sin(angle)
            assert float(found[place, column]) == pytest.approx(wanted, abs=1e-5)


def test_the_blocks_are_torchs_encoder_layers():
    network = transformer()
    tokens = network.project(CLIPS.mean((3, 4)).transpose(1, 2)) + network.positions
    tokens = torch.cat((network.class_token.expand(2, -1, -1), tokens), 1)
    for block in network.blocks:
        layer = nn.TransformerEncoderLayer(
            8, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        ).train()  # in evaluation torch takes another way
        names = {"attention": "self_attn", "mlp.0": "linear1", "mlp.2": "linear2"}
        state = {}
        for name, value in block.state_dict().items():
            first = next((old for old in names if name.startswith(f"{old}.")), None)
            state[name.replace(first, names[first], 1) if first else name] = value
        layer.load_state_dict(state)
        tokens = layer(tokens)
    wanted = network.head(network.norm(tokens[:, 0]))
    assert torch.allclose(network(CLIPS)["out"], wanted, atol=1e-5)


@pytest.mark.parametrize("positions", ["sine", "learned"])
def test_the_order_of_frames_counts_by_their_positions_alone(positions):
    network = transformer(positions=positions)
    turned = CLIPS.flip(2)
    assert not torch.allclose(network(CLIPS)["out"], network(turned)["out"], atol=1e-5)
    network.positions.data.zero_()
    assert torch.allclose(network(CLIPS)["out"], network(turned)["out"], atol=1e-5)
    network.train()(CLIPS)["out"].sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    learned = "positions" in dict(network.named_parameters())
    assert learned == (positions == "learned") == ("positions" in network.state_dict())


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(UsageError, match="--hidden 10 is no multiple of --heads 4") as refused:
        transformer(hidden=10, heads=4)
    assert refused.value.hint == "--hidden 12"


def test_attention_is_shown_by_frame():
    network = transformer()
    clip = CLIPS[:1]
    question = SimpleNamespace(
        pixels=clip, score=lambda x: network(x)["out"][:, 0], size=(5, 8, 8), region=None
    )
    tokens = network.project(clip.mean((3, 4)).transpose(1, 2)) + network.positions
    tokens = torch.cat((network.class_token, tokens), 1)
    wanted = []
    for block in network.blocks:
        normed = block.norm1(tokens)
        kept = block.attention(normed, normed, normed, average_attn_weights=False)[1]
        wanted.append(kept[0])  # [heads, L, L]
        tokens = block(tokens)
    for place, weights in enumerate(wanted):
        found = head_maps(network, question, f"blocks.{place}.attention")
        assert found.shape == (2, 5, 1, 1)
        assert torch.allclose(found[..., 0, 0], weights[:, 0, 1:], atol=1e-6)
    first, last = (0.5 * torch.eye(6) + 0.5 * weights.mean(0) for weights in wanted)
    shares = (last @ first)[0, 1:]
    assert torch.allclose(rollout(network, question)[:, 0, 0], shares, atol=1e-6)
