"""`weights average`: the mean of the weights of several models, for every task."""

from pathlib import Path

import pytest
import torch

from cvkit import catalog, load
from cvkit.commands import evaluate
from cvkit.commands.reports import Measured
from cvkit.engine.checkpoint import save_model
from cvkit.model_files import read_model


@pytest.fixture
def changed(run_of, tmp_path):
    """Return what writes a model of a task with other weights and header."""

    def get(task, name, change=lambda tensor: tensor, /, **more):
        tensors, header = read_model(run_of(task) / "last.safetensors")
        path = tmp_path / f"{name}.safetensors"
        floats = {n: change(t) if t.is_floating_point() else t for n, t in tensors.items()}
        save_model(path, floats, header | more)
        return path

    return get


@pytest.mark.parametrize("task", catalog.TASKS)
def test_weights_of_every_task_are_averaged(cvkit, changed, data_of, tmp_path, task):
    paths = [changed(task, f"{n}", lambda t, n=n: t + n) for n in (0, 1, 5)]
    out = tmp_path / "soup.safetensors"
    done = cvkit("weights", "average", *paths, "--out", out, "--json")
    assert done.code == 0, done.err
    assert done.json["averaged"] == [str(path) for path in paths]
    (first, header), (found, about) = read_model(paths[0]), read_model(out)
    assert found.keys() == first.keys()
    for name, tensor in first.items():
        wanted = tensor + 2 if tensor.is_floating_point() else tensor
        torch.testing.assert_close(found[name], wanted, rtol=1e-6, atol=1e-6)
        assert found[name].dtype == tensor.dtype
    assert about["averaged"] == {"method": "uniform", "models": [str(path) for path in paths]}
    assert not {"metrics", "training", "proven"} & about.keys()
    left = {"metrics", "training", "sha256", "averaged"}
    assert {n: v for n, v in about.items() if n not in left} == {
        n: v for n, v in header.items() if n not in left
    }
    same = cvkit("weights", "average", paths[0], paths[0], "--out", tmp_path / "same.safetensors")
    assert same.code == 0
    again = read_model(tmp_path / "same.safetensors")[0]
    assert all(torch.equal(again[name], tensor) for name, tensor in first.items())
    folder = next(
        p for p in (data_of(task) / "images" / "val", data_of(task) / "val") if p.is_dir()
    )
    inputs = sorted(p for p in folder.rglob("*") if p.is_file())[:1]
    (one,), (two,) = (load(p).predict(inputs) for p in (paths[0], tmp_path / "same.safetensors"))
    assert repr(one) == repr(two)


@pytest.mark.parametrize(
    ("alone", "together", "kept"),
    [
        ([0.1, 0.6, 0.3], [0.7, 0.65], [1, 2]),  # with the third 0.7, with the first less
        ([0.1, 0.6, 0.3], [0.6, 0.6], [1, 2, 0]),
        ([0.1, 0.6, 0.3], [0.5, 0.59], [1]),
        ([None, 0.0, None], [0.0, 0.1], [1, 0, 2]),
        ([0.5, 0.5, 0.5], [0.4, 0.9], [0, 2]),
    ],
)
def test_greedy_keeps_what_does_not_lower_the_metric(
    cvkit, changed, monkeypatch, tmp_path, alone, together, kept
):
    paths = [changed("classify", f"{n}", lambda t, n=n: t + n) for n in range(3)]
    values, seen = iter([*alone, *together]), []

    def measure(options, task, *_):
        seen.append((task, options.data, read_model(Path(options.weights))[0]))
        return Measured({"metrics": {"top1": next(values)}}, None, {})

    monkeypatch.setattr(evaluate, "measure_model", measure)
    out = tmp_path / "soup.safetensors"
    flags = ("--method", "greedy", "--data", "d", "--out", out, "--json")
    done = cvkit("weights", "average", *paths, *flags)
    assert done.code == 0, done.err
    assert done.json["averaged"] == [str(paths[place]) for place in kept]
    assert done.json["measured"] == dict(zip(map(str, paths), alone, strict=True))
    assert {(task, data) for task, data, _ in seen} == {("classify", "d")}
    first, found = read_model(paths[0])[0], read_model(out)[0]
    name = next(name for name, tensor in first.items() if tensor.is_floating_point())
    torch.testing.assert_close(found[name], first[name] + sum(kept) / len(kept))
    order = sorted(range(3), key=lambda n: -1.0 if alone[n] is None else alone[n], reverse=True)
    torch.testing.assert_close(seen[3][2][name], first[name] + (order[0] + order[1]) / 2)


def test_a_soup_of_runs_is_measured_by_eval(cvkit, run_of, data_of, tmp_path):
    run, data, out = run_of("classify"), data_of("classify"), tmp_path / "soup.safetensors"
    paths = (run / "last.safetensors", run / "best.safetensors")
    flags = ("--method", "greedy", "--data", data, "--split", "train", "--workers", 0)
    done = cvkit("weights", "average", *paths, *flags, "--out", out, "--json")
    assert done.code == 0, done.err
    evaluated = ("--data", data, "--split", "train", "--workers", 0, "--no-files", "--json")
    for path, value in done.json["measured"].items():
        measured = cvkit("classify", "eval", "--weights", path, *evaluated)
        assert measured.json["metrics"]["top1"] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("network", {"arch": "lenet"}),
        ("preprocessing", {"mean": [0, 0, 0]}),
        ("classes", []),
        ("task", "video"),
    ],
)
def test_other_models_are_refused(cvkit, changed, tmp_path, name, value):
    paths = changed("classify", "a"), changed("classify", "b", **{name: value})
    done = cvkit("weights", "average", *paths, "--out", tmp_path / "soup.safetensors")
    assert done.code == 2
    other = "other" if name == "classes" else "another"
    assert f"{paths[1]} has {other} {name} than {paths[0]}" in done.err
    assert not (tmp_path / "soup.safetensors").exists()


def test_what_is_not_made_of_weights_is_refused(cvkit, changed, tmp_path):
    out = tmp_path / "soup.safetensors"
    for task, arch in (("classify", "knn"), ("detect", "rcnn"), ("classify", "unknown")):
        paths = [changed(task, name, network={"arch": arch}) for name in "ab"]
        done = cvkit("weights", "average", *paths, "--out", out)
        assert done.code == 2
        assert f"a model of {task} with --arch {arch} cannot be averaged" in done.err
    tensors, header = read_model(changed("classify", "a"))
    save_model(tmp_path / "b.safetensors", {n: t[..., :1] for n, t in tensors.items()}, header)
    paths = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    assert "has other tensors than" in cvkit("weights", "average", *paths, "--out", out).err
    assert not out.exists()
