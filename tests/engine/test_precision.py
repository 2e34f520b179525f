"""Training in 16 bits: every task can, and what is not multiplied keeps its 32."""

import copy
import json

import pytest
import torch
from networks import clip_network
from torch import nn

from cvkit import catalog
from cvkit.engine.processes import Layout
from cvkit.engine.runtime import choose_device, make_fabric
from cvkit.errors import UsageError
from cvkit.models.layers import Conv3d


@pytest.mark.parametrize("task", catalog.TASKS)
def test_every_task_trains_in_bf16(cvkit, data_of, flags_of, run_of, tmp_path, task):
    flags = flags_of(task, data=data_of(task), epochs=1, precision="bf16", out=tmp_path)
    done = cvkit(task, "train", *flags)
    assert done.code == 0, done.err
    (run,) = tmp_path.iterdir()
    in_32, in_16 = (
        json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])["loss"]
        for folder in (run_of(task), run)
    )
    assert in_16 != in_32
    assert in_16 == pytest.approx(in_32, rel=0.2)


class Box(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 1))

    def forward(self, box, matrix):
        return box * self.weight, matrix @ self.weight


@pytest.mark.parametrize(("precision", "wanted"), [("fp32", 1e-6), ("bf16", 1e-2)])
def test_coordinates_keep_32_bits_in_every_precision(precision, wanted):
    model = make_fabric(torch.device("cpu"), Layout(), precision).setup(Box())
    box = torch.tensor([[937.3, 1021.7]])
    same, product = model(box, torch.full((1, 1), 1 / 3))
    assert torch.equal(same, box)
    error = abs(float(product) - 1 / 3)
    assert error < wanted and (error > 1e-4) == (precision == "bf16")


OF_FRAMES = ("models.video.frames", "models.video.recurrent", "models.video.attention")
VOLUMES = [
    arch
    for arch, entry in catalog.ARCHS["video"].items()
    if not any(module in entry.target for module in OF_FRAMES)
]


@pytest.mark.usefixtures("quick_weights")
@pytest.mark.parametrize("arch", VOLUMES)
def test_gradients_of_thin_clips_are_those_of_32_bits(arch):
    torch.manual_seed(0)
    model = clip_network(arch, None, 3)
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv3d)]
    assert convolutions
    for layer in convolutions:
        assert isinstance(layer, Conv3d), "a plain one trains on garbage"
    kinds = {(each.kernel_size, each.stride): each for each in convolutions}
    for layer in kinds.values():
        clips = torch.randn(2, layer.in_channels, max(2, layer.kernel_size[0] - 1), 3, 3)
        layer.zero_grad()
        exact = copy.deepcopy(layer).double()
        exact(clips.double()).square().mean().backward()
        found = [exact.weight.grad.float()]
        for precision in ("fp32", "bf16"):
            layer.zero_grad()
            with make_fabric(torch.device("cpu"), Layout(), precision).autocast():
                maps = layer(clips)
            maps.square().mean().backward()
            found.append(layer.weight.grad)
        for other in found[1:]:  # garbage is 1e30, or NaN
            torch.testing.assert_close(other, found[0], rtol=1e-3, atol=1e-5)
        with torch.no_grad(), make_fabric(torch.device("cpu"), Layout(), "bf16").autocast():
            assert layer(clips).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "cards", "hint"),
    [
        ("gpu", 2, "did you mean cuda?"),
        ("cuda/0", 2, "did you mean cuda?"),
        ("gpu", 0, "available: 1 cpu"),
        ("cuda", 0, "available: 1 cpu"),
        ("cuda:2", 2, "available: 1 cpu, 2 cuda"),
        ("cpuu", 0, "did you mean cpu?"),
    ],
)
def test_a_device_that_is_not_there_is_answered_with_one_that_is(monkeypatch, name, cards, hint):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: cards)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UsageError) as caught:
        choose_device(name)
    assert caught.value.hint == hint
