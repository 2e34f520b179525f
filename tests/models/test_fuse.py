"""Fused layers: used where they pay and agree, refused where there are none, never in silence."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvkit import catalog, load
from cvkit.errors import UsageError
from cvkit.models import fuse
from cvkit.models.engines import FEW, available, require_available, usual_engine
from cvkit.models.fuse import FusedLayer, Fusion, supported
from cvkit.options.described import hints
from cvkit.options.tree import OPTIONS

CPU = torch.device("cpu")


def images(count=2, channels=8, side=9):
    torch.manual_seed(1)
    return torch.randn(count, channels, side, side).contiguous(memory_format=torch.channels_last)


class Outer(nn.Module):
    """The network; the part in it is what becomes fused."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, *inputs):
        return self.part(*inputs)


@torch.inference_mode()
def run_fused(part, *inputs, precision="fp32"):
    """Return the part's output, that of its fused form, and what was fused."""
    model = Outer(part.eval())
    expected = model(*(each.clone() for each in inputs))
    fusion = Fusion(model, precision)
    for _ in range(2):  # the first call is a trial of its own
        found = model(*(each.clone() for each in inputs))
    return expected, found, fusion


def same(one, two, tolerance=1e-5):
    return (one - two).abs().max() <= tolerance * two.abs().max()


class Block(nn.Module):
    """Convolution, norm, sum with the input and an activation, in the order given."""

    def __init__(self, activation=F.relu, bias=False):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 3, padding=1, bias=bias), nn.BatchNorm2d(8)
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)
        nn.init.uniform_(self.norm.weight)
        nn.init.uniform_(self.norm.bias)
        self.activation = activation

    def forward(self, maps):
        return self.activation(self.norm(self.conv(maps)) + maps)


class PreActivation(nn.Module):
    """Changes its input in place between the convolution that reads it and the sum."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, maps):
        maps = maps * 2
        found = self.conv(maps)
        return found + F.relu_(maps)


class Spread(nn.Module):
    """Adds a map that has one row, column or channel for all."""

    def __init__(self, *dims):
        super().__init__()
        self.conv, self.dims = nn.Conv2d(8, 8, 1), dims

    def forward(self, maps):
        return self.conv(maps) + maps.mean(self.dims, keepdim=True)


class SpreadOutput(nn.Module):
    """Spreads the output of its convolution, which the operators cannot."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, maps):
        return self.conv(maps.mean((2, 3), keepdim=True)) + maps


class TwoUsers(nn.Module):
    """The output of its convolution is needed beside the norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.norm.running_mean.uniform_(-1, 1)

    def forward(self, maps):
        found = self.conv(maps)
        return self.norm(found) + found.relu()


class Shared(nn.Module):
    """Calls one layer twice, on maps of different sizes."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1)

    def forward(self, maps):
        return self.conv(maps).mean() + self.conv(maps[..., ::2, ::2]).relu()


class Optional(nn.Module):
    """Has an argument that is rarely given."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 1)

    def forward(self, maps, scale=None):
        found = self.conv(maps)
        return found if scale is None else found * scale


class Untraceable(nn.Module):
    """Looks into its input, so only its parts can be fused."""

    def __init__(self):
        super().__init__()
        self.block, self.conv = Block(), nn.Conv2d(8, 4, 1)

    def forward(self, maps):
        maps = self.block(maps)
        return self.conv(maps) if maps.sum() > -1e9 else maps


ACTIVATIONS = {
    "relu": nn.ReLU(inplace=True),
    "relu6": nn.ReLU6(),
    "hardswish": nn.Hardswish(),
    "silu": nn.SiLU(),
    "sigmoid": nn.Sigmoid(),
    "gelu": nn.GELU(),
    "gelu tanh": nn.GELU(approximate="tanh"),
    "leaky": nn.LeakyReLU(0.2),
    "tanh": nn.Tanh(),
}


def chains():
    for name, activation in ACTIVATIONS.items():
        for kind in (nn.Conv2d(8, 8, 3, groups=2), nn.Conv2d(8, 8, 3, dilation=2, bias=False)):
            yield f"{name} {kind}", nn.Sequential(kind, activation)
        yield f"{name} sum", Block(activation)
        yield f"{name} linear", nn.Sequential(nn.Flatten(), nn.Linear(8 * 81, 5), activation)


@pytest.mark.parametrize("part", [pytest.param(part, id=name) for name, part in chains()])
def test_layers_with_every_activation(part):
    expected, found, fusion = run_fused(part, images())
    assert fusion.replaced == ["part"] and not fusion.rejected
    assert same(found, expected)


@pytest.mark.parametrize(
    "part", [Block(), Block(bias=True), PreActivation(), TwoUsers(), Shared(), Optional()]
)
def test_what_is_moved_or_folded_changes_no_number(part):
    expected, found, fusion = run_fused(part, images())
    assert fusion.replaced == ["part"] and not fusion.rejected
    assert same(found, expected)


def test_a_given_argument_is_used():
    part = Optional()
    expected, found, fusion = run_fused(part, images(), images())
    assert fusion.replaced and same(found, expected)


@pytest.mark.parametrize("dims", [(2, 3), (1,), (0,), (0, 1, 2, 3), (2,)])
def test_sums_that_spread_their_other_part_change_no_number(dims):
    expected, found, fusion = run_fused(Spread(*dims), images())
    assert "part" in fusion.replaced or fusion.replaced == ["part.conv"]
    assert same(found, expected)


def test_a_sum_that_spreads_the_output_is_left_to_the_parts():
    expected, found, fusion = run_fused(SpreadOutput(), images())
    assert fusion.rejected == ["part"] and fusion.replaced == ["part.conv"]
    assert same(found, expected)


def test_parts_of_what_cannot_be_traced_are_fused():
    expected, found, fusion = run_fused(Untraceable(), images())
    assert fusion.replaced == ["part.block", "part.conv"]
    assert same(found, expected)


@torch.inference_mode()
def test_layers_are_joined_not_only_replaced():
    """A block is one fused layer: no norm, no sum and no activation is left."""
    graph = fuse._fused(Block().eval(), (images(),), torch.float32).__self__.graph
    calls = [node for node in graph.nodes if node.op.startswith("call")]
    assert len(calls) == 1 and len(calls[0].args) == 2


@torch.inference_mode()
def test_other_sizes_and_batches_come_later():
    model = Outer(Block().eval())
    given = [images(*shape) for shape in ((2, 8, 9), (1, 8, 9), (5, 8, 20), (1, 8, 3))]
    expected = [model(each) for each in given]
    Fusion(model, "fp32")
    for each, wanted in zip(given, expected, strict=True):
        assert same(model(each), wanted)


@torch.inference_mode()
def test_16_bits_differ_by_rounding_alone():
    part = Block().eval()
    with torch.autocast("cpu", torch.bfloat16):
        expected, found, fusion = run_fused(part, images(), precision="bf16")
    assert bool(fusion.replaced) == available("fused", "bf16", torch.device("cpu"))
    if not fusion.replaced:  # the CPU does not multiply in bf16
        assert torch.equal(found, expected)
        return
    assert found.dtype == torch.bfloat16
    exact = part.activation(part.norm(part.conv(images())) + images())
    assert same(found.float(), exact, 2e-2) and not torch.equal(found.float(), exact)


@pytest.mark.parametrize("error", [0.01, float("nan")])
def test_a_part_that_differs_runs_its_own_layers(monkeypatch, error):
    right = FusedLayer.forward
    monkeypatch.setattr(FusedLayer, "forward", lambda *given: right(*given) * (1 + error))
    part = Untraceable()
    expected, found, fusion = run_fused(part, images())
    assert torch.equal(found, expected)
    assert fusion.used == "eager" and not fusion.replaced
    assert set(fusion.rejected) == {"part.block", "part.block.conv", "part.conv"}


def test_an_operator_that_fails_is_not_used(monkeypatch):
    def fails(*given):
        raise RuntimeError("could not create a primitive")

    monkeypatch.setattr(FusedLayer, "forward", fails)
    expected, found, fusion = run_fused(Block(), images())
    assert torch.equal(found, expected) and fusion.used == "eager"


@pytest.mark.parametrize("wrong", ["raises", "differs"])
def test_a_trial_decides_what_is_supported(monkeypatch, wrong):
    right = FusedLayer.forward

    def other(*given):
        if wrong == "raises":
            raise AttributeError("no such operator")
        return right(*given) + 0.1

    supported.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(FusedLayer, "forward", other)
        assert not supported("fp32")
        assert usual_engine("fp32", CPU, 1000) == "eager"
        with pytest.raises(UsageError, match="--engine fused is not available in fp32"):
            require_available("fused", "fp32", CPU)
    supported.cache_clear()


def test_the_help_names_the_limit_of_auto():
    for verb in ("eval", "predict"):
        option = hints(OPTIONS["segment"][verb])["engine"].__metadata__[-1]
        assert f"up to {FEW} samples" in option.help


def test_auto_fuses_on_a_cpu_where_it_pays():
    assert supported("fp32")
    assert usual_engine("fp32", CPU, FEW + 1) == "fused"
    assert usual_engine("fp32", CPU, FEW) == "eager"
    assert usual_engine("fp32", torch.device("cuda"), 1000) == "eager"
    assert usual_engine("fp16", CPU, 1000) == "eager"
    with pytest.raises(UsageError, match="not available on cuda in fp32"):
        require_available("fused", "fp32", torch.device("cuda"))


@pytest.mark.parametrize("task", catalog.TASKS)
def test_commands_name_the_engine_and_say_what_was_rejected(
    cvkit, run_of, data_of, tmp_path, monkeypatch, task
):
    model = run_of(task) / "last.safetensors"
    flags = ("--weights", model, "--json", "--workers", 0)
    places = [data_of(task) / "images" / "val", data_of(task) / "val"]
    inputs = next(place for place in places if place.is_dir())
    found = {}
    for engine in ("eager", "fused"):
        asked = (*flags, "--engine", engine)
        measured = cvkit(task, "eval", "--data", data_of(task), *asked, "--no-files")
        predicted = cvkit(task, "predict", inputs, *asked, "--out", tmp_path / engine)
        assert measured.json["engine"] == predicted.json["engine"] == engine
        assert "differed" not in measured.err + predicted.err
        lines = (tmp_path / engine / "predictions.jsonl").read_text().splitlines()
        found[engine] = [score for line in lines for score in json.loads(line)["scores"]]
    assert found["fused"] == pytest.approx(found["eager"], abs=1e-4)
    right = FusedLayer.forward
    monkeypatch.setattr(FusedLayer, "forward", lambda *given: right(*given) + 1)
    wrong = cvkit(task, "predict", inputs, *flags, "--engine", "fused", "--out", tmp_path / "x")
    assert wrong.json["engine"] == "eager"
    assert "differed, so their own layers were used" in wrong.err
    lines = (tmp_path / "x" / "predictions.jsonl").read_text().splitlines()
    assert lines == (tmp_path / "eager" / "predictions.jsonl").read_text().splitlines()


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_predictor_takes_the_engine(run_of, data_of, monkeypatch, task):
    suffix = "mp4" if task == "video" else "png"
    path = next(each for each in sorted(data_of(task).rglob(f"*.{suffix}")) if "val" in each.parts)
    used = []
    right = FusedLayer.forward

    def noted(*given):
        used.append(1)
        return right(*given)

    monkeypatch.setattr(FusedLayer, "forward", noted)
    scores = {}
    for engine in ("auto", "fused"):
        used.clear()
        predictor = load(run_of(task) / "last.safetensors", engine=engine, precision="fp32")
        (result,) = predictor.predict([path])
        scores[engine] = result.confidence if task == "segment" else result.scores
        assert bool(used) == (engine == "fused")
    np.testing.assert_allclose(scores["fused"], scores["auto"], atol=1e-4)
