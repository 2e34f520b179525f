"""Parts of inputs at which channels are largest, against brute force."""

import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from questions import MODELS, loaded, scene
from torch import nn

from cvkit.commands.explain_patches import parse_channels
from cvkit.engine.loader import stack
from cvkit.errors import UsageError
from cvkit.explain.encoding import Encoder, Output, outputs_of
from cvkit.explain.patches import Field, Fields, Strongest, strongest
from cvkit.structures import Batch, Failure
from cvkit.tasks.explainable import Seen
from cvkit.tasks.explained import explainable_of


class Net(nn.Module):
    """Layers with strides, padding, dilation, a shortcut and pooling, and none that ends at 0."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.pool = nn.AvgPool2d(3, 1, 1)
        self.wide = nn.Conv2d(4, 4, (3, 1), padding=(2, 0), dilation=(2, 1))
        self.last = nn.Conv2d(4, 5, 2, stride=2)

    def forward(self, pixels):
        maps = torch.tanh(self.first(pixels))
        return self.last(maps + torch.tanh(self.wide(self.pool(maps))))


class Plain:
    """A network as explanations see it."""

    def __init__(self, model):
        self.model = self.mapped = self.body = model

    def encode(self, batch):
        self.model(batch.images.float())
        return Seen((1, *batch.images.shape[-2:]))


def test_fields_are_those_of_changing_one_pixel_after_the_other():
    net = Net().double().eval()
    pixels = torch.rand(1, 3, 18, 23, dtype=torch.double)
    batch = Batch(pixels, None, (), None)
    for name in ("first", "pool", "wide", "last"):
        kept = []
        handle = net.get_submodule(name).register_forward_hook(lambda *a, k=kept: k.append(a[2]))
        net(pixels)
        depends = torch.zeros(*kept[0].shape[2:], 18, 23, dtype=torch.bool)
        for y in range(18):
            for x in range(23):
                moved = pixels.clone()
                moved[..., y, x] += 1
                net(moved)
                depends[..., y, x] = (kept[-1] != kept[0]).any(1)[0]
        handle.remove()
        fields = Fields(Plain, net.float(), Output(name, 4, 1), batch)
        net.double()
        for row in range(depends.shape[0]):
            for column in range(depends.shape[1]):
                rows, columns = depends[row, column].nonzero().T
                wanted = Field(
                    int(rows.min()), int(columns.min()), int(rows.max()) + 1, int(columns.max()) + 1
                )
                net.float()
                assert fields.of(row, column) == wanted, (name, row, column)
                net.double()


@pytest.mark.parametrize("task", MODELS)
def test_a_place_depends_on_its_field_and_on_nothing_else(task):
    trained = loaded(task)
    batch = stack([trained.task.source([scene(task, 0)[0]]).read(0)])[0]
    explained = explainable_of(trained.task, trained.model)
    maps = [o for o in outputs_of(trained.model, explained, batch) if o.places > 4]
    layer = maps[1]
    fields = Fields(partial(explainable_of, trained.task), trained.model, layer, batch)
    field = fields.of(1, 2)
    encoder = made(trained.model, explained, layer)
    before = encoder.maps(batch)[0][:, :, 1, 2]
    outside = torch.ones(batch.images.shape[-2:], dtype=torch.bool)
    outside[field.top : field.bottom, field.left : field.right] = False
    assert outside.any()
    noisy = batch.images.clone()
    noisy[..., outside] = 255 - noisy[..., outside]
    other = encoder.maps(Batch(noisy, None, batch.samples))[0][:, :, 1, 2]
    assert torch.allclose(before, other, atol=1e-4)
    noisy = batch.images.clone()
    noisy[..., ~outside] = 255 - noisy[..., ~outside]
    other = encoder.maps(Batch(noisy, None, batch.samples))[0][:, :, 1, 2]
    assert not torch.allclose(before, other, atol=1e-3)


def made(model, explained, layer, batch_size=3):
    fabric = SimpleNamespace(device=torch.device("cpu"), autocast=torch.inference_mode)
    return Encoder(
        model=model,
        explained=explained,
        fabric=fabric,
        layer=layer,
        batch_size=batch_size,
        workers=0,
        pause=lambda: None,
    )


@pytest.mark.parametrize("count", [1, 4, 50])
def test_the_strongest_are_those_of_sorting_everything(count):
    torch.manual_seed(0)
    every = torch.randn(20, 2, 3, 4, 5).round(decimals=1)  # with ties
    found = Strongest.empty(3, count)
    for number, maps in enumerate(every):
        found.add(number, maps)
    for channel in range(3):
        peaks = [(-float(maps[:, channel].max()), number) for number, maps in enumerate(every)]
        wanted = sorted(peaks)[:count]
        inputs = found.inputs[channel].tolist()
        assert inputs[: len(wanted)] == [number for _, number in wanted]
        assert set(inputs[len(wanted) :]) <= {-1}
        for rank, (value, number) in enumerate(wanted):
            frame, row, column = found.places[channel, rank].tolist()
            assert float(found.values[channel, rank]) == pytest.approx(-value)
            assert float(every[number, frame, channel, row, column]) == pytest.approx(-value)


def test_inputs_of_several_sizes_and_failures_are_looked_at_in_order(monkeypatch):
    monkeypatch.setattr(
        Encoder,
        "batches",
        lambda self, data: iter([([0, 2], "ab"), ([3], Failure("x", "c", "r")), ([1, 4], "cd")]),
    )
    ones = torch.ones(1, 2, 1, 1)
    monkeypatch.setattr(Encoder, "maps", lambda self, item: [ones] * 2)
    encoder = made(None, None, None)
    found, failed = strongest(encoder, range(5), [1], 3, lambda done: None)
    assert found.inputs.tolist() == [[0, 1, 2]]  # equal ones: the first inputs
    assert [each.path for each in failed] == ["x"]


def test_channels_are_numbers_and_ranges():
    assert parse_channels("", 64, "x") == [0, 9, 18, 27, 36, 45, 54, 63]
    assert parse_channels("", 3, "x") == [0, 1, 2]
    assert parse_channels("5, 0,2-4,3", 6, "x") == [5, 0, 2, 3, 4]
    for text, code in (("a", "syntax"), ("1-", "syntax"), ("6", "unknown"), ("3-2", "unknown")):
        with pytest.raises(UsageError) as found:
            parse_channels(text, 6, "body.conv")
        assert found.value.code == f"channels.{code}"
    assert "channels are 0 to 5" in found.value.hint


@pytest.mark.parametrize("task", ["classify", "video"])
def test_sheets_and_lines_are_written_for_each_channel(cvkit, tmp_path, task):
    folder = tmp_path / "in"
    folder.mkdir()
    if task == "video":
        from cvkit.data.synthetic.samples import write_videos

        write_videos(folder, {"train": 1, "val": 1}, 7, (32, 32))
    else:
        for number in range(3):
            Image.fromarray(scene(task, number)[0].content).save(folder / f"{number}.png")
        (folder / "bad.png").write_bytes(b"x")
    done = cvkit(
        *("explain", folder, "--weights", MODELS[task], "--method", "patches", "--json"),
        *("--channels", "0,2", "--top", 2, "--out", tmp_path / "out"),
    )
    assert done.code == (0 if task == "video" else 3), done.err
    lines = [json.loads(text) for text in (tmp_path / "out" / "patches.jsonl").open()]
    assert [(line["channel"], line["rank"]) for line in lines] == [(0, 1), (0, 2), (2, 1), (2, 2)]
    for first, second in (lines[:2], lines[2:]):
        assert first["value"] >= second["value"]
        assert first["path"] != second["path"]
        left, top, right, bottom = first["box"]
        assert 0 <= left < right <= first["input_hw"][1]
        assert 0 <= top < bottom <= first["input_hw"][0]
    sheets = sorted(path.name for path in (tmp_path / "out" / "patches").iterdir())
    assert sheets == ["channel-0.png", "channel-2.png"]
    assert np.asarray(Image.open(tmp_path / "out" / "patches" / "channel-0.png")).std() > 5
    assert done.json["layers"]["patches"]
    assert done.json["counts"]["failed"] == (task != "video")


def test_inputs_of_which_none_can_be_read_are_refused(cvkit, tmp_path):
    (tmp_path / "bad.png").write_bytes(b"x")
    flags = ("--weights", "shapes", "--method", "patches", "--out", tmp_path / "out")
    done = cvkit("explain", tmp_path / "bad.png", *flags)
    assert (done.code, "no input can be read" in done.err) == (2, True)
    assert not (tmp_path / "out").exists()
