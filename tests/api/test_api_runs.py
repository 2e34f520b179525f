"""`cvkit.train` and `cvkit.evaluate` do what the commands do, and return it."""

import json
import shutil

import pytest

import cvkit as package
from cvkit.catalog import TASKS
from cvkit.errors import DataError, GateFailed, UsageError

ON_CPU = {"device": "cpu", "precision": "fp32"}


@pytest.fixture
def flags(task, smallest, data_of, tmp_path):
    """Flags of a short training, as a program gives them."""
    sizes = smallest[task] | {"batch_size": 6, "workers": 0, "epochs": 1}
    return sizes | ON_CPU | {"data": data_of(task), "out": tmp_path}


@pytest.mark.parametrize("task", TASKS)
def test_a_program_trains_continues_evaluates_and_predicts(task, flags, capsys):
    trained = package.train(task, **flags)
    assert trained.run.parent == flags["out"] and trained.model.is_file()
    assert len(trained.history) == 1 and trained.metrics
    assert all(trained.history[0][name] == value for name, value in trained.metrics.items())
    found = package.evaluate(trained.run, data=flags["data"], out=flags["out"], workers=0, **ON_CPU)
    assert found.rules.keys() >= found.metrics.keys() >= trained.metrics.keys()
    for name, value in trained.metrics.items():
        assert found.metrics[name] == value, name
    stored = json.loads((found.folder / "report.json").read_text())
    assert stored == json.loads(json.dumps(found.report))
    longer = package.train(task, resume=trained.run, epochs=2)
    assert longer.run == trained.run and len(longer.history) == 2
    assert longer.history[0] == trained.history[0]
    model = package.load(longer.model, device="cpu")
    assert model.task == task and len(model.classes) > 1
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""  # nothing is printed unless asked for


@pytest.mark.parametrize("task", ["segment"])
def test_files_are_evaluated_and_gates_fail(flags, task, tmp_path):
    truth = flags["data"] / "masks" / "val"
    found = package.evaluate(task=task, predictions=truth, truth=flags["data"], files=False)
    assert found.metrics["miou"] == 1 and found.folder is None
    shifted = tmp_path / "shifted"
    shutil.copytree(truth, shifted)
    first, second = sorted(shifted.iterdir())[:2]
    shutil.copy(first, second)
    with pytest.raises(GateFailed, match=r"^miou is 0\.\d+, below 1$") as caught:
        package.evaluate(
            task=task, predictions=shifted, truth=flags["data"], out=tmp_path, fail_under=["miou=1"]
        )
    assert not caught.value.content["gates"]["passed"]
    assert len(list(tmp_path.glob("*/report.json"))) == 1  # the report is there


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: package.train("segmen"), "task='segmen' is not a task (did you mean segment?)"),
        (lambda: package.train(None), "task=None is not a task"),
        (lambda: package.train("segment", epochs=-1), "cvkit.train: epochs: -1 is not at least 1"),
        (lambda: package.train("segment", epoch=1), "did you mean epochs?"),
        (lambda: package.train("segment", json=True), "cvkit.train: json is for the command line"),
        (lambda: package.train("segment", devices=2), "cvkit.train: devices=2 is for the command"),
        (lambda: package.train("segment", find_lr=True), "find_lr is for the command line"),
        (lambda: package.train("segment", fold="all"), "fold='all' is for the command line"),
        (lambda: package.evaluate(), "neither weights nor task is given"),
        (lambda: package.evaluate("shapes", nodes=2), "cvkit.evaluate: nodes=2 is for the command"),
        (lambda: package.evaluate("shapes", debug=True), "debug is for the command line"),
        (lambda: package.evaluate("shapes", dat="x"), "did you mean data?"),
    ],
)
def test_what_a_program_cannot_ask_for_is_named(call, words):
    with pytest.raises(UsageError) as caught:
        call()
    assert words in str(caught.value)


def test_defects_of_data_are_raised_together(tmp_path):
    with pytest.raises(DataError):
        package.train("classify", data=tmp_path / "none", out=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_the_package_names_what_it_offers():
    assert {"load", "train", "evaluate"} <= set(package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fit'"):
        package.fit  # noqa: B018
