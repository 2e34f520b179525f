"""Attention of ViT and Swin: computed again, rolled out, and split into heads."""

from dataclasses import replace

import pytest
import torch
from questions import question_of, whole
from torch import nn
from torchvision.models import swin_transformer, vision_transformer

from cvkit.errors import UsageError
from cvkit.explain import attention
from cvkit.explain.layers import default_layer, find_layers
from cvkit.explain.methods import TABLE, Settings, Subject


def vit(size=32):
    """Return a small ViT and a question about an image."""
    torch.manual_seed(1)
    net = vision_transformer.VisionTransformer(size, 8, 3, 2, 16, 32, num_classes=3)
    torch.nn.init.normal_(net.heads.head.weight)
    for block in net.encoder.layers:
        torch.nn.init.normal_(block.self_attention.in_proj_weight)
    net = net.eval().requires_grad_(False)
    return net, question_of(net, torch.rand(1, 3, size, size))


def swin(block=None, size_hw=(40, 56), **more):
    """Return a small Swin and a question about an image whose maps are no whole windows."""
    torch.manual_seed(2)
    net = swin_transformer.SwinTransformer(
        [4, 4], 8, [2, 2], [2, 2], [4, 4], num_classes=3, block=block, **more
    )
    for module in net.modules():
        if isinstance(module, swin_transformer.ShiftedWindowAttention):
            nn.init.normal_(module.qkv.weight)
            nn.init.normal_(module.qkv.bias)
    net = net.eval().requires_grad_(False)
    return net, question_of(net, torch.rand(1, 3, *size_hw))


SWINS = {
    "v1": lambda: swin(),
    "v2": lambda: swin(
        swin_transformer.SwinTransformerBlockV2,
        downsample_layer=swin_transformer.PatchMergingV2,
    ),
}


@pytest.mark.parametrize("name", SWINS)
def test_the_attention_of_windows_gives_the_layers_output(name):
    """Applied to the values, it is what torchvision's layer computes: shifted, padded, masked."""
    net, question = SWINS[name]()
    given = {}

    def keep(module, inputs, output):
        given[module] = inputs[0], output

    layers = [m for m in net.modules() if isinstance(m, swin_transformer.ShiftedWindowAttention)]
    for layer in layers:
        layer.register_forward_hook(keep)
    net(question.pixels)
    shifted = 0
    for layer in layers:
        maps, wanted = given[layer]
        found = attention.window_attention(layer, maps)
        shifted += any(found.shift_hw)
        assert torch.allclose(found.weights.sum(-1), torch.ones(()), atol=1e-5)
        channels, heads = maps.shape[-1], layer.num_heads
        values = nn.functional.linear(
            found.cut(maps), layer.qkv.weight[2 * channels :], layer.qkv.bias[2 * channels :]
        ).unflatten(-1, (heads, -1))  # [T, W, S, heads, C]
        mixed = torch.einsum("nwhst,nwthc->nwshc", found.weights, values).flatten(-2)
        mixed = layer.proj(mixed)
        again = torch.stack([found.joined(part) for part in mixed.unbind(-1)], -1)
        assert torch.allclose(again, wanted, atol=1e-4)
    assert shifted


def test_a_rollout_of_tokens_is_the_product_of_matrices():
    net, question = vit()
    seen = []
    for block in net.encoder.layers:
        layer = block.self_attention

        def keep(module, args, named, output):
            found = module.__class__.forward(module, *args, need_weights=True)
            seen.append(found[1][0])

        layer.register_forward_hook(keep, with_kwargs=True)
    net(question.pixels)
    product = torch.eye(17)
    for weights in seen:
        product = (0.5 * weights + 0.5 * torch.eye(17)) @ product
    found = attention.rollout(net, question)
    assert torch.allclose(found, product[0, 1:].view(1, 4, 4), atol=1e-5)


@pytest.mark.parametrize("name", SWINS)
def test_a_rollout_through_windows_is_the_product_of_dense_matrices(name):
    net, question = SWINS[name]()
    steps = [step for _, step in attention.steps_of(net, question)]
    product = None
    for step in steps:
        height, width = step.size_hw
        if product is None:
            product = torch.eye(height * width)
        if isinstance(step, attention.Merge):
            rows, columns = -(-height // 2), -(-width // 2)
            dense = torch.zeros(rows * columns, height * width)
            for y in range(height):
                for x in range(width):
                    dense[(y // 2) * columns + x // 2, y * width + x] = 0.25
        else:
            dense = 0.5 * torch.eye(height * width)
            padded = -(-height // 4) * 4, -(-width // 4) * 4
            places = torch.full(padded, -1)
            places[:height, :width] = torch.arange(height * width).view(height, width)
            places = torch.roll(places, [-shift for shift in step.shift_hw], (0, 1))
            windows = places.unflatten(1, (-1, 4)).unflatten(0, (-1, 4)).transpose(1, 2)
            for number, window in enumerate(windows.flatten(0, 1).flatten(1)):
                for row, source in enumerate(window.tolist()):
                    for column, target in enumerate(window.tolist()):
                        if source >= 0 and target >= 0:
                            weight = step.weights[0, number, :, row, column].mean()
                            dense[source, target] += 0.5 * weight
        product = dense @ product
    wanted = product.mean(0).view(steps[0].size_hw)
    assert torch.allclose(attention.rollout(net, question)[0], wanted, atol=1e-6)


def test_a_rollout_through_windows_begins_in_the_region_of_the_question():
    net, question = SWINS["v1"]()
    region = torch.zeros(40, 56, dtype=torch.bool)
    region[:8, :8] = True
    there = replace(question, region=region.numpy())
    found = attention.rollout(net, there)[0]
    assert float(found[:4, :4].sum()) > 0.5 * float(found.sum())
    assert float(attention.rollout(net, question)[0][:4, :4].sum()) < 0.3


def test_heads_are_the_rows_of_the_class_token_or_what_places_get():
    net, question = vit()
    name = "encoder.layers.encoder_layer_1.self_attention"
    assert attention.require_attention(net, "") == "encoder.layers.encoder_layer_2.self_attention"
    maps = attention.head_maps(net, question, name)
    assert maps.shape == (2, 1, 4, 4)
    weights = dict(attention.steps_of(net, question))[name].weights
    assert torch.allclose(maps[1, 0].flatten(), weights[0, 1, 0, 1:])
    net, question = SWINS["v1"]()
    last = attention.require_attention(net, "")
    maps = attention.head_maps(net, question, last)
    step = dict(attention.steps_of(net, question))[last]
    assert maps.shape == (2, 1, *step.size_hw)
    wanted = step.joined(step.weights[:, :, 1].mean(-2))
    assert torch.allclose(maps[1], wanted)


@pytest.mark.parametrize("make", [vit, *SWINS.values()], ids=["vit", *SWINS])
def test_every_method_works_on_networks_with_attention(make):
    net, question = make()
    layers = find_layers(net, whole(net), question)
    layer = default_layer(net, whole(net), layers, question)
    settings = Settings(steps=2, samples=2, patch=16, stride=16)
    for name, method in TABLE.items():
        there = attention.require_attention(net, "") if name == "attention" else layer
        found = method(Subject(net, question, there, settings))
        assert found.shape == question.size
        assert float(found.abs().max()) > 0, name


def test_the_default_layer_of_vit_is_the_last_one_that_the_class_token_looks_at():
    net, question = vit()
    layers = find_layers(net, whole(net), question)
    assert default_layer(net, whole(net), layers, question) == "encoder.layers.encoder_layer_2.ln_1"


def test_a_wrong_layer_names_the_nearest_or_all():
    net, _ = vit()
    with pytest.raises(UsageError, match=r"did you mean encoder\.layers\.encoder_layer_1\.self"):
        attention.require_attention(net, "encoder.layers.encoder_layer_1.self_attn")
    with pytest.raises(UsageError, match=r"known: .*encoder_layer_0.*encoder_layer_2"):
        attention.require_attention(net, "zzz")
