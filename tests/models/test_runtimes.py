"""Other programs run a network with its own numbers, or its layers run and it is said so."""

import json
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cvkit import catalog, load
from cvkit.errors import UsageError
from cvkit.models import runtimes
from cvkit.models.engines import ENGINES, require_available, run_as_it_is, run_on
from cvkit.options import base

pytestmark = pytest.mark.apart
CPU = torch.device("cpu")
PROGRAMS = [name for name in ENGINES if name != "fused"]
REQUIRED = {"openvino": "openvino", "onnxruntime": "onnx"}
"""Engines of packages, and the extra that installs them."""


def images(count=2, side=9):
    torch.manual_seed(1)
    return torch.randn(count, 8, side, side).contiguous(memory_format=torch.channels_last)


class Outer(nn.Module):
    """The network, which reads the values of its input; the part in it is what is converted."""

    def __init__(self, part):
        super().__init__()
        self.part = part

    def forward(self, *inputs):
        return self.part(*inputs) if (inputs[0] < 1e9).all() else None


class ReadsItsSize(nn.Module):
    """Does for some sizes what it does not for others."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 1)

    def forward(self, maps):
        found = F.relu(self.one(maps))
        if maps.shape[2] % 2:
            found = F.interpolate(found, size=(maps.shape[2] + 1, maps.shape[3] + 1))
        return {"out": self.two(found)}


class Block(nn.Module):
    """Nested outputs, one of them no tensor."""

    def __init__(self):
        super().__init__()
        self.one, self.norm = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.two = nn.Linear(8, 4)
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, maps, scale=None):
        found = F.relu(self.norm(self.one(maps)) + maps)
        wide = F.interpolate(found, size=(maps.shape[2] * 2, maps.shape[3] * 2), mode="bilinear")
        return {"maps": wide, "scores": [self.two(found.mean((2, 3)))], "none": scale}


class ReadsItsInput(nn.Module):
    """Depends on the values of its input, so only the parts in it are converted."""

    def __init__(self):
        super().__init__()
        self.block, self.conv = Block(), nn.Conv2d(8, 4, 1)

    def forward(self, maps):
        found = self.block(maps)["maps"]
        return self.conv(found) if maps.sum() > -1e9 else found


def require_same(found, expected, tolerance=1e-4):
    one, two = (torch.utils._pytree.tree_flatten(each) for each in (found, expected))
    assert one[1] == two[1]
    for a, b in zip(one[0], two[0], strict=True):
        if isinstance(b, torch.Tensor):
            assert a.shape == b.shape and a.dtype == b.dtype
            assert not b.numel() or (a - b).abs().max() <= tolerance * b.abs().max()
        else:
            assert a is b


@torch.inference_mode()
def run(engine, part, given, precision="fp32"):
    """Check the outputs of all inputs on an engine; return its parts."""
    model = Outer(part.eval())
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        expected = [model(each.clone()) for each in given]
        parts = run_on(engine, model, precision)
        for each, wanted in zip(given, expected, strict=True):
            require_same(model(each.clone()), wanted, 1e-4 if precision == "fp32" else 5e-2)
    return parts


def test_the_flag_names_every_engine():
    assert ("auto", "eager", *ENGINES) == base.ENGINES
    assert {form.engine for form, _ in ENGINES.values()} == set(ENGINES)


@pytest.mark.parametrize("engine", PROGRAMS)
def test_sizes_batches_and_nested_outputs(engine):
    sizes = [images(), images(), images(1), images(5, 12), images(0)]
    parts = run(engine, Block(), sizes if engine != "compile" else sizes[:2])
    assert parts.replaced == ["part"] and not parts.rejected and parts.used == engine


@pytest.mark.parametrize("engine", ["openvino"])
def test_16_bits_differ_by_rounding_alone(engine):
    block = Block()
    parts = run(engine, block, [images()], "bf16")
    assert parts.used == engine


@pytest.mark.parametrize("engine", PROGRAMS)
def test_a_size_that_a_graph_keeps_as_a_number_runs_on_its_layers(monkeypatch, engine):
    def converted(self, network, inputs):
        side = inputs[0].shape[2]
        return lambda tensors: [each * tensors[0].shape[2] / side for each in network(*tensors)]

    monkeypatch.setattr(ENGINES[engine][0], "converted", converted)
    parts = run(engine, Block(), [images(), images(2, 12), images(3, 12), images()])
    assert parts.replaced == ["part"]
    assert parts.rejected == ["part for inputs of 2x8x12x12"]


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
@torch.inference_mode()
def test_a_network_that_follows_from_the_size_of_its_input_is_converted_whole(engine):
    model, given = ReadsItsSize().eval(), [images(), images(3), images(2, 12), images()]
    expected = [model(each.clone()) for each in given]
    parts = run_on(engine, model, "fp32")
    for each, wanted in zip(given, expected, strict=True):
        require_same(model(each.clone()), wanted)
    assert parts.replaced == ["the whole network"]
    assert parts.rejected == ["the whole network for inputs of 2x8x12x12"]


def test_values_that_decide_are_noticed():
    assert runtimes.follows_sizes(ReadsItsSize(), (images(),))
    assert not runtimes.follows_sizes(Outer(nn.Identity()), (images(),))


@pytest.mark.parametrize("engine", ["openvino", "onnxruntime"])
def test_parts_of_what_cannot_be_traced_are_converted(engine):
    parts = run(engine, ReadsItsInput(), [images()])
    assert parts.replaced == ["part.block"]


@pytest.mark.parametrize("engine", PROGRAMS)
@pytest.mark.parametrize("wrong", ["differs", "nan", "fails", "cannot convert"])
@torch.inference_mode()
def test_a_program_that_is_wrong_is_not_used(monkeypatch, engine, wrong):
    kind = ENGINES[engine][0]

    def converted(self, network, inputs):
        if wrong == "cannot convert":
            raise ValueError("no such operator")

        def computed(tensors):
            if wrong == "fails":
                raise RuntimeError("no such primitive")
            error = 0.01 if wrong == "differs" else float("nan")
            return [each + error for each in network(*tensors)]

        return computed

    monkeypatch.setattr(kind, "converted", converted)
    model = Outer(Block().eval())
    expected = model(images())
    parts = run_on(engine, model, "fp32")
    require_same(model(images()), expected, 0)
    assert parts.used == "eager" and parts.called
    assert parts.rejected == ([] if wrong == "cannot convert" else ["part"])


@torch.inference_mode()
def test_a_network_runs_on_its_layers_again():
    model = Outer(Block().eval())
    expected = model(images())
    run_on("openvino", model, "fp32")
    model(images())
    run_as_it_is(model)
    require_same(model(images()), expected, 0)


def test_what_is_not_available_is_refused(monkeypatch):
    for engine, extra in REQUIRED.items():
        with monkeypatch.context() as patch:
            patch.setattr(runtimes, "find_spec", lambda name: None)
            with pytest.raises(UsageError, match=f"--engine {engine} .* without the package") as it:
                require_available(engine, "fp32", CPU)
        assert it.value.hint == f"pip install 'cvkit[{extra}]'"
        require_available(engine, "fp32", CPU)
        with pytest.raises(UsageError, match="on cuda"):
            require_available(engine, "fp32", torch.device("cuda"))
    with pytest.raises(UsageError, match="onnxruntime is not available in bf16"):
        require_available("onnxruntime", "bf16", CPU)
    require_available("compile", "fp32", torch.device("cuda"))
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UsageError, match="without a C\\+\\+ compiler"):
        require_available("compile", "fp32", CPU)


def test_openvino_reports_nothing_to_anybody():
    """Its converter takes a stub if the package that sends events cannot be imported."""
    runtimes.imported_openvino()
    assert sys.modules["openvino_telemetry"] is None
    from openvino.tools.ovc import telemetry_utils

    assert telemetry_utils.tm.__name__ == "openvino.tools.ovc.telemetry_stub"


@pytest.mark.parametrize("task", catalog.TASKS)
def test_commands_run_on_openvino(cvkit, run_of, data_of, tmp_path, task):
    """Scores as of the network's own layers, in eval, predict and from Python."""
    model = run_of(task) / "last.safetensors"
    places = [data_of(task) / "images" / "val", data_of(task) / "val"]
    inputs = next(place for place in places if place.is_dir())
    found = {}
    for engine in ("eager", "openvino"):
        asked = ("--weights", model, "--json", "--workers", 0, "--engine", engine)
        predicted = cvkit(task, "predict", inputs, *asked, "--out", tmp_path / engine)
        assert predicted.json["engine"] == engine
        lines = (tmp_path / engine / "predictions.jsonl").read_text().splitlines()
        found[engine] = [score for line in lines for score in json.loads(line)["scores"]]
    assert found["openvino"] == pytest.approx(found["eager"], abs=1e-4)
    measured = cvkit(task, "eval", "--data", data_of(task), *asked, "--no-files")
    assert measured.json["engine"] == "openvino"
    path = next(each for each in sorted(inputs.rglob("*.*")) if each.is_file())
    (result,) = load(model, engine="openvino", precision="fp32").predict([path])
    assert result is not None
