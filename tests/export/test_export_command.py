"""`cvkit export`: what is written computes what the network does, or it does not get its name."""

import errno
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from cvkit.commands import export as command
from cvkit.data.decode import read_image
from cvkit.errors import DataError
from cvkit.export import formats, networks, proof
from cvkit.export.detectors import matched
from cvkit.export.formats import FORMATS
from cvkit.export.forms import Form
from cvkit.export.table import FORMS, scale_of
from cvkit.options import export as options
from cvkit.options.tree import task_options
from cvkit.tasks.trained import load_trained

pytestmark = pytest.mark.apart
REFUSED = {(task, "torch-export") for task in ("detect", "instance")}
SHIPPED = {"detect": "boxes", "instance": "masks"}
"""Detectors that find objects; those of a few steps find noise, whose scores are all alike."""
PAIRS = [
    pytest.param(
        *(task, name),
        marks=[pytest.mark.slow] if task in SHIPPED or name == "torch-export" else [],
        id=f"{task}-{name}",
    )
    for task in FORMS
    for name in FORMATS
    if (task, name) not in REFUSED
]
STACKED = tuple(task for task, form in FORMS.items() if form.stacks)


@pytest.fixture
def exported(cvkit, run_of, data_of, tmp_path):
    """Export the small model of a task; return the outcome and the path of the file."""

    def call(task, name="onnx", *more, data=True):
        out = tmp_path / f"model{FORMATS[name].suffix}"
        words = [
            "export",
            "--weights",
            SHIPPED.get(task) or run_of(task),
            "--format",
            name,
            "--out",
            out,
            "--json",
        ]
        words += ["--data", data_of(task)] if data else []
        return cvkit(*words, "--images", 3, *more), out

    return call


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_flags_name_every_format_and_axis():
    assert tuple(FORMATS) == options.FORMATS
    assert set(options.DYNAMIC) == {axis for form in FORMS.values() for axis in form.dynamic}
    assert set(networks.SERVED) == set(FORMS)
    assert {kind.extra for kind in FORMATS.values()} == {"", "onnx", "openvino"}


@pytest.mark.parametrize(("task", "name"), PAIRS)
def test_every_task_and_format_computes_the_same(exported, run_of, data_of, task, name):
    few = ["--images", 1] if task in SHIPPED else []  # in four sizes each
    done, out = exported(task, name, *few)
    assert done.code == 0, done.err
    content = json.loads(out.with_name(f"{out.name}.export.json").read_text())
    assert done.json == {"ok": True, "schema_version": done.json["schema_version"], **content}
    assert names(out.parent) == sorted(
        [*(path.name for path in FORMATS[name].files(out)), f"{out.name}.export.json"]
    )
    found = content["proof"]
    assert found["tolerance"] == proof.TOLERANCES["fp32"] and not found["reasons"]
    if FORMS[task].stacks:  # labels and masks of detections are compared in pairs
        assert found["outputs"].keys() == set(content["outputs"])
    assert found["outputs"]
    assert all(row["relative"] <= 1e-4 for row in found["outputs"].values())
    assert found["samples"] >= 3
    if FORMS[task].stacks:
        counts = {shape.partition("x")[0] for shape in found["inputs"]}
        assert len(counts) > 1, "one number of samples only"
    if FORMS[task].varies:
        assert len({shape.rpartition("x")[2] for shape in found["inputs"]}) > 1, "one width only"
    if task in SHIPPED:
        compared = {"boxes", "scores", *(["mask_probabilities"] if task == "instance" else [])}
        assert found["outputs"].keys() == compared and content["metric"]["network"] > 0.1
        assert 0 < found["outputs"]["boxes"]["largest"] < 0.01
    metric, best = content["metric"], content["metric"]["name"]
    assert metric["drop"] is None or abs(metric["drop"]) <= 1e-3
    assert metric["all"]["file"][best] == metric["file"] and content["passed"] is True
    assert content["bytes"] == sum(path.stat().st_size for path in FORMATS[name].files(out))
    assert content["versions"].keys() == {"torch", *FORMATS[name].packages}
    header, signature = formats.read_header(out)
    assert header["classes"] and header["task"] == task
    assert signature.outputs == tuple(content["outputs"])


@pytest.mark.parametrize(("task", "name"), sorted(REFUSED))
def test_what_a_format_cannot_hold_is_refused_by_name(exported, monkeypatch, task, name):
    monkeypatch.setattr(formats, "convert", None)
    done, out = exported(task, name)
    assert done.code == 2 and done.json["error"]["code"] == "export.unsupported"
    assert "--arch" in done.json["error"]["message"]
    assert not list(out.parent.iterdir())


def test_detections_without_a_counterpart_are_counted():
    box = torch.tensor([[0.0, 0, 10, 10]])
    one = {"boxes": box, "scores": torch.tensor([0.9]), "labels": torch.tensor([1])}
    none = {name: value[:0] for name, value in one.items()}
    limits = {"limits": torch.tensor([0.05, 100.0])}
    near = one | {"boxes": box + 0.5}
    other = one | {"labels": torch.tensor([2])}
    low = one | {"scores": torch.tensor([0.0505])}
    assert matched(one, one | limits, 1e-4) == ([(0, 0)], 0)
    assert matched(near, one | limits, 1e-4) == ([(0, 0)], 0), (
        "paired, and the distance is the error"
    )
    assert matched(other, one | limits, 1e-4) == ([], 2)
    assert matched(none, one | limits, 1e-4) == ([], 1)
    assert matched(one, none | limits, 1e-4) == ([], 1)
    assert matched(none, low | limits, 1e-4) == ([], 0), "its score is as good as the smallest"


def test_onnx_runtime_alone_classifies_a_picture(exported, run_of, data_of):
    """What a user does who has the file only: pixel values in, probabilities out."""
    import onnxruntime

    _, out = exported("classify", "onnx", data=False)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    about = json.loads(session.get_modelmeta().custom_metadata_map["cvkit"])
    side = about["preprocessing"]["image_size"]
    picture = read_image(next((data_of("classify") / "val").rglob("*.*")))
    assert picture.shape[:2] == (side, side), "no resizing is needed"
    pixels = picture.transpose(2, 0, 1)[None].astype(np.float32)
    (scores,) = session.run(["probabilities"], {"images": pixels})
    asked = task_options("classify", "predict")(precision="fp32", workers=0)
    trained = load_trained(str(run_of("classify")), asked)
    made = about["preprocessing"]
    normal = (torch.from_numpy(pixels) / 255 - torch.tensor(made["mean"])[:, None, None]) / (
        torch.tensor(made["std"])[:, None, None]
    )
    expected = trained.model(normal)["out"].softmax(1)
    assert np.abs(scores - expected.numpy()).max() < 1e-5
    assert len(about["classes"]) == scores.shape[1]


@pytest.mark.parametrize("name", FORMATS)
def test_a_wrong_constant_is_found(exported, monkeypatch, name):
    convert = formats.convert

    def planted(path, form, *rest):
        with torch.no_grad():
            next(form.network.parameters()).mul_(1.01)
        convert(path, form, *rest)

    monkeypatch.setattr(formats, "convert", planted)
    done, out = exported("classify", name)
    assert done.code == 4
    assert done.json["error"]["code"] == "export.differs"
    assert not out.exists()
    failed = [f"{path.name}.failed" for path in FORMATS[name].files(out)]
    assert names(out.parent) == sorted([*failed, f"{out.name}.failed.export.json"])
    failed_report = out.with_name(f"{out.name}.failed.export.json")
    content = json.loads(failed_report.read_text())
    assert content["passed"] is False
    assert content["reasons"][0].startswith("probabilities differs by")
    assert content["file"].endswith(".failed")


@pytest.mark.parametrize("task", STACKED[:1])
def test_a_file_for_one_number_of_samples_is_found(exported, monkeypatch, task):
    """A graph that contains the number of samples as a constant works for no other one."""

    write = FORMATS["onnx"].write

    def constant(path, form, inputs, told, header):
        closed = {
            n: tuple(2 if a == "batch" else a for a in axes) for n, axes in told.inputs.items()
        }
        write(path, form, inputs, replace(told, inputs=closed), header)

    monkeypatch.setitem(formats.FORMATS, "onnx", replace(FORMATS["onnx"], write=constant))
    done, _ = exported(task, "onnx", data=False)
    assert done.code == 4
    assert "the file cannot compute inputs of" in done.json["error"]["message"]


def test_an_error_of_cvkit_is_not_renamed_by_the_conversion(exported, monkeypatch):
    def broken(*_):
        raise DataError("a.png is damaged", code="image.corrupt")

    monkeypatch.setitem(formats.FORMATS, "onnx", replace(FORMATS["onnx"], write=broken))
    done, out = exported("classify", "onnx", data=False)
    assert done.json["error"]["code"] == "image.corrupt" and not out.exists()


def test_a_lower_metric_is_found(exported, monkeypatch):
    class Shifted(networks.ServedClassifier):
        def scored(self, images):
            scores, features = super().scored(images)
            return scores.roll(1, 1), features

    monkeypatch.setitem(networks.SERVED, "classify", Shifted)
    done, out = exported("classify", "onnx")
    failed = out.with_name(f"{out.name}.failed.export.json")
    metric = json.loads(failed.read_text())["metric"]
    dropped = metric["network"] - metric["file"]
    assert metric["drop"] == pytest.approx(dropped)
    assert dropped > 0.05 and done.code == 4
    assert "top1 is" in done.json["error"]["message"]
    done, _ = exported("classify", "onnx", "--max-drop", 1)  # nothing is in its way
    assert done.code == 0, done.err
    assert names(out.parent) == [out.name, f"{out.name}.export.json"]  # the rest has gone


@pytest.mark.parametrize("task", STACKED)
def test_nothing_left_open_is_a_fixed_shape(exported, task):
    done, out = exported(task, "onnx", "--dynamic", "none")
    assert done.code == 0, done.err
    _, signature = formats.read_header(out)
    (axes,) = signature.inputs.values()
    assert axes[0] == 1 and all(isinstance(size, int) for size in axes)
    assert done.json["dynamic"] == []
    metric = done.json["metric"]
    assert metric["file"] == pytest.approx(metric["network"], abs=1e-3)


def test_a_network_for_one_size_is_not_left_open(exported):
    done, _ = exported("classify", "onnx", "--dynamic", "batch,size", data=False)  # LeNet
    assert done.code == 2 and done.json["error"]["code"] == "dynamic.unsupported"
    assert "32x32" in done.json["error"]["message"]


def test_not_a_number_is_no_agreement():
    found = proof.Differences()
    found.add("a", torch.tensor([1.0, float("nan")]), torch.tensor([1.0, 2.0]))
    assert found.relative()["a"] == float("inf")
    found.add("b", torch.zeros(2, 3), torch.zeros(2, 4))
    assert found.problems == ["b is 2x3 instead of 2x4"]


def test_a_full_disk_leaves_nothing(exported, monkeypatch):
    def full(path, *rest):
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "full")

    kind = replace(FORMATS["onnx"], write=full)
    monkeypatch.setitem(formats.FORMATS, "onnx", kind)
    done, out = exported("classify", "onnx", data=False)
    assert done.code == 6, done.err
    assert names(out.parent) == []


def test_what_cannot_be_converted_is_refused_and_leaves_nothing(
    cvkit, exported, run_of, data_of, tmp_path, monkeypatch
):
    def unable(*_):
        raise NotImplementedError("no such operator")

    kind = replace(FORMATS["onnx"], write=unable)
    monkeypatch.setitem(formats.FORMATS, "onnx", kind)
    done, out = exported("classify", "onnx", data=False)
    assert done.code == 2 and done.json["error"]["code"] == "export.unsupported"
    assert "no such operator" in done.json["error"]["message"]
    assert names(out.parent) == []
    monkeypatch.chdir(tmp_path)
    words = ("export", "--weights", run_of("classify"), "--data", data_of("classify"))
    assert cvkit(*words, "--images", 1).code == 2
    assert not list((tmp_path / "runs").iterdir())


def test_a_broken_picture_costs_one_comparison(cvkit, run_of, data_of, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(data_of("classify"), data)
    sorted((data / "val").rglob("*.*"))[0].write_bytes(b"no picture")
    out = tmp_path / "m.onnx"
    words = ("export", "--weights", run_of("classify"), "--data", data, "--out", out)
    done = cvkit(*words, "--images", 7, "--json")
    if done.code == 2:  # the dataset is checked as a whole before it is evaluated
        assert "picture" in done.err or "image" in done.json["error"]["code"]
        assert names(tmp_path) == ["data"]
        return
    assert done.code == 3 and out.exists()
    assert len(done.json["failures"]) == 1


def test_without_a_place_the_file_is_in_a_new_numbered_folder(
    cvkit, run_of, data_of, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    words = ("export", "--weights", run_of("classify"), "--data", data_of("classify"))
    for number in (1, 2):
        done = cvkit(*words, "--images", 1)
        assert done.code == 0, done.err
        folder = tmp_path / "runs" / f"classify-export-00{number}"
        assert names(folder) == ["lenet.onnx", "lenet.onnx.export.json"]


def test_forms_do_not_change_the_network(run_of):
    asked = task_options("segment", "predict")(precision="fp32", workers=0)
    trained = load_trained(str(run_of("segment")), asked)
    before = {name: value.clone() for name, value in trained.model.state_dict().items()}
    form: Form = FORMS["segment"](trained.model, scale_of(trained.task))
    with torch.no_grad():
        next(form.network.parameters()).add_(1)
    assert not form.training, "the exporter would set the parts to training"
    assert all(torch.equal(before[n], v) for n, v in trained.model.state_dict().items())


def test_refused_before_the_model_is_read(cvkit, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "_source", None)
    monkeypatch.setattr("cvkit.models.engines.missing_package", lambda *names: names[0])
    done = cvkit("export", "--weights", "shapes", "--format", "openvino", "--json")
    assert done.code == 2 and done.json["error"]["code"] == "export.missing"
    assert "pip install 'cvkit[openvino]'" in done.json["error"]["hint"]
