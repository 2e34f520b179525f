"""Each sanity check passes on a sound run, and fails on the bug that it is there for."""

import copy
import json
from dataclasses import fields, replace

import pytest
import torch
from torch import nn

from cvkit.cli import run as command_line
from cvkit.commands.training_job import _settings
from cvkit.console import Reporter
from cvkit.data.synthetic.samples import write_classification
from cvkit.engine import checks as checking
from cvkit.engine.checks import run_checks
from cvkit.engine.processes import Layout
from cvkit.engine.runtime import make_fabric
from cvkit.options.classify import ClassifyTrain
from cvkit.tasks.classify.task import Classify
from cvkit.tasks.common import LogitsTask

NAMES = (
    "initial loss",
    "gradients reach every weight",
    "samples are independent",
    "size of the updates",
    "one batch can be learned",
    "the input matters",
)


@pytest.fixture(scope="module")
def setting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_classification(folder, {"train": 24, "val": 6}, seed=3, size_hw=(32, 32))
    options = ClassifyTrain(
        data=str(folder), arch="lenet", mixup=0.4, label_smoothing=0.1, dropout=0.5
    )
    task = Classify.for_training(options, Reporter(quiet=True))
    torch.manual_seed(0)
    fabric = make_fabric(torch.device("cpu"), Layout(), "fp32")
    return task, task.build(), options, fabric


@pytest.fixture(autouse=True)
def fewer_steps(monkeypatch):
    """Give up after 100 steps, not 300: a sound network of these tests needs about 50."""
    monkeypatch.setattr(LogitsTask, "overfit_goal", (0.01, 0.1, 100))


def failed(setting, *, task=None, model=None, **changes):
    made_task, made_model, options, fabric = setting
    settings = _settings(replace(options, **changes), made_task)
    task, model = task or made_task, model or made_model
    data = task.dataset("train", training=True)
    seen = []
    before = {k: v.clone() for k, v in model.state_dict().items()}
    checks = run_checks(task, model, data, settings, fabric, 0, lambda n, _: seen.append(n))
    assert [check.name for check in checks] == list(NAMES)
    assert seen == [1, 2, 3, 4, 5, 6]
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    return {check.name for check in checks if not check.passed}


def test_a_sound_run_passes(setting):
    assert failed(setting) == set()


def test_a_last_layer_that_is_too_sure(setting):
    model = copy.deepcopy(setting[1])
    nn.init.normal_(model.head.weight, std=3.0)
    assert "initial loss" in failed(setting, model=model)


def test_a_layer_that_is_cut_off(setting):
    model = copy.deepcopy(setting[1])
    model.extra = nn.Linear(3, 3)
    assert failed(setting, model=model) == {"gradients reach every weight"}


class Mixed(nn.Module):
    """Gives every sample the mean of the batch."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return {"out": self.model(images)["out"] + self.model(images)["out"].mean(0)}


class Blind(nn.Module):
    """Does not look at the images."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 6)

    def forward(self, images):
        return {
            "out": self.layer(images.new_ones(len(images), 4) + 0 * images.mean((1, 2, 3))[:, None])
        }


def test_samples_that_are_mixed_up(setting):
    assert "samples are independent" in failed(setting, model=Mixed(copy.deepcopy(setting[1])))


def test_a_network_that_sees_nothing(setting):
    assert {"the input matters", "one batch can be learned"} <= failed(setting, model=Blind())


@pytest.mark.parametrize("lr", [1e-7, 1.0])
def test_a_learning_rate_far_off(setting, lr):
    assert "size of the updates" in failed(setting, lr=lr)


class Shuffled(Classify):
    """Gives the labels no part in the loss that training could use."""

    def criterion(self, outputs, target):
        return super().criterion({k: v.detach() + 0 * v for k, v in outputs.items()}, target)


def test_a_loss_that_leads_nowhere(setting):
    made = setting[0]
    task = Shuffled(**{each.name: getattr(made, each.name) for each in fields(made)})
    assert {"one batch can be learned", "gradients reach every weight"} <= failed(
        setting, task=task
    )


@pytest.mark.parametrize("task", ["classify", "segment"])
def test_check_prints_a_table_and_keeps_it(capsys, scenes, setting, tmp_path, monkeypatch, task):
    # Whether a batch is learned is not asked here, and 300 steps take long.
    monkeypatch.setattr(LogitsTask, "overfit_goal", (0.01, 0.1, 30))
    monkeypatch.setattr(checking, "BASELINE_STEPS", 10)
    data = setting[2].data if task == "classify" else scenes
    small = {
        "classify": ["--arch", "lenet", "--image-size", "32"],
        "segment": ["--backbone", "mobilenet_v3_small", "--image-size", "32x32"],
    }
    flags = [*small[task], "--epochs", "1", "--workers", "0", "--check", "--batch-size", "4"]
    code = command_line([task, "train", "--data", str(data), "--out", str(tmp_path), *flags])
    shown = capsys.readouterr()
    assert code == 0, shown.err
    (path,) = tmp_path.glob("*/checks.json")
    checks = json.loads(path.read_text())
    assert [check["name"] for check in checks] == list(NAMES)
    assert "meaning of a failure" in shown.err
    words = {check["name"]: check for check in checks}
    for name in ("gradients reach every weight", "samples are independent"):
        assert words[name]["passed"], words[name]
    assert not {"check", "find_lr"} & set((path.parent / "config.yaml").read_text().split(":"))
