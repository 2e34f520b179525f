"""Networks that torch's compiler translates in training; tests/effects has whole trainings."""

import copy
import shutil

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch._dynamo.exc import Unsupported

from cvkit import catalog
from cvkit.commands.train import run_training
from cvkit.commands.training_job import TrainingJob
from cvkit.console import Reporter
from cvkit.data.synthetic.samples import WRITERS
from cvkit.engine.norms import rest_where_alone
from cvkit.errors import UsageError
from cvkit.models import compiled
from cvkit.options.job import with_given
from cvkit.options.tree import OPTIONS


class Small(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.5))


@pytest.fixture
def graphs(monkeypatch):
    """What the compiler translates; it runs as it is, not as C++."""
    found = []

    def translate(graph, inputs):
        found.append(graph)
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "BACKEND", translate)
    monkeypatch.setattr(compiled, "has_compiler", lambda: True)
    return found


def step(model, images):
    """Return the output, gradients and buffers of a step."""
    torch.manual_seed(3)
    model.zero_grad()
    output = model.train()(images)
    output.square().sum().backward()
    return [output, *(p.grad for p in model.parameters()), *model.buffers()]


def equal(one, other):
    return all(map(torch.equal, one, other))


def test_names_copies_and_passes_without_gradients_are_as_before(graphs):
    model = Small()
    rest_where_alone(model)
    names, twin = list(model.state_dict()), copy.deepcopy(model)
    compiled.compile_training(model, pytest.fail)
    assert list(model.state_dict()) == names
    shadow = copy.deepcopy(model)  # as for an average of the weights
    assert shadow.forward.part is shadow
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.manual_seed(0)
        found = model.eval()(images)
        assert torch.equal(found, twin.eval()(images)) and not graphs
    assert equal(step(model, images), step(twin, images)) and len(graphs) == 1
    images = torch.randn(3, 3, 8, 8)  # a batch of another size
    assert equal(step(model, images), step(twin, images))
    with torch.no_grad():
        for weight in shadow.parameters():
            weight.fill_(0.5)
    twin.load_state_dict(shadow.state_dict())
    assert equal(step(shadow, images), step(twin, images))


@pytest.mark.parametrize("failure", ["translation", "backend"])
def test_what_cannot_be_compiled_runs_as_it_is_and_says_so_once(monkeypatch, graphs, failure):
    def fails(graph, inputs):
        raise RuntimeError("no code for this")

    model, said = Small(), []
    twin = copy.deepcopy(model)
    compiled.compile_training(model, said.append)
    if failure == "backend":
        monkeypatch.setattr(compiled, "BACKEND", fails)
    else:
        model[2].forward = torch._dynamo.disable(model[2].forward)
    images = torch.randn(2, 3, 8, 8)
    for _ in range(2):
        assert equal(step(model, images), step(twin, images))
    (line,) = said
    assert line.startswith("--compile: torch cannot compile the network, which runs as it is: ")
    assert "\n" not in line


def test_an_error_in_the_network_is_not_one_of_the_compiler(graphs):
    model, said = Small(), []
    compiled.compile_training(model, said.append)
    with pytest.raises((RuntimeError, Unsupported)) as caught:
        step(model, torch.randn(2, 5, 8, 8))
    assert "channels" in str(caught.value)


@pytest.mark.parametrize("task", catalog.TASKS)
def test_without_a_compiler_compile_is_refused_before_any_work(monkeypatch, tmp_path, task):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    options = OPTIONS[task]["train"](compile=True, device="cpu", out=tmp_path / "runs")
    with pytest.raises(UsageError) as caught:
        TrainingJob(options, task, Reporter(quiet=True))
    error = caught.value
    assert (error.code, error.hint) == ("compile.missing", "install g++, or set CXX")
    assert str(error).startswith("--compile is not available without a C++ compiler")
    assert not (tmp_path / "runs").exists()


def test_other_devices_are_refused_by_name():
    with pytest.raises(UsageError, match="on mps"):
        compiled.require_compiler(torch.device("mps"))


def test_a_compiled_training_is_resumed(graphs, tmp_path):
    """One epoch and then another, compiled, are two epochs that are not."""
    WRITERS["classify"](tmp_path / "data", {"train": 6, "val": 2}, 5, (32, 32))
    common = {"arch": "lenet", "image_size": "32", "precision": "fp32", "workers": 0, "epochs": 2}
    common |= {"schedule": "constant", "keep_states": True, "device": "cpu"}
    common |= {"data": str(tmp_path / "data"), "out": tmp_path / "runs"}

    def run(**more):
        options = with_given(OPTIONS["classify"]["train"](**common | more), common | more)
        made = run_training(options, "classify", Reporter(quiet=True)).run
        return made, load_file(made / "last.safetensors")

    (_, wanted), (first, _) = run(), run(compile=True, epochs=1)
    translated = len(graphs)
    torch._dynamo.reset()
    _, found = run(compile=True, resume=first)
    assert 0 < translated < len(graphs)
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_a_step_in_machine_code_has_the_gradients_of_the_layers():
    torch._dynamo.reset()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU())
    twin, images = copy.deepcopy(model), torch.randn(2, 3, 9, 9)
    compiled.compile_training(model, pytest.fail)
    for one, other in zip(step(model, images), step(twin, images), strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-5)
