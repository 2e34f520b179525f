"""What commands do with what the engine tells them: exit codes, reports, refusals."""

import json

import pytest

from cvkit.catalog import TASKS
from cvkit.commands import evaluate as module
from cvkit.commands.printing import nested
from cvkit.commands.reports import Measured


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """Let eval find this content, half of it right."""

    def find(failures=(), **more):
        content = {"metrics": {"top1": 0.5, "mask.AP": 0.25, "mask.AP50": 0.75}, "rules": {}}
        content |= {"per_class": {}, "counts": {"evaluated": 2, "failed": len(failures)}}
        content |= {"failures": [{"path": p, "reason": f"{p} is damaged"} for p in failures]}
        content |= {"precision": None, "engine": "files"} | more
        monkeypatch.setattr(module, "_measure_files", lambda *_: Measured(content, None, {}))

    monkeypatch.chdir(tmp_path)
    return find


EVAL = ("classify", "eval", "--predictions", "p.csv", "--truth", "t.csv", "--json")


@pytest.mark.parametrize(
    ("gate", "code"),
    [("top1=0.5", 0), ("top1=0.49", 0), ("top1=0.500001", 4), ("mask.AP50=0.7", 0)],
)
def test_a_gate_is_passed_by_its_own_number(cvkit, measured, gate, code):
    measured()
    done = cvkit(*EVAL, "--fail-under", gate)
    assert done.code == code
    first = json.loads(done.out.splitlines()[0])
    assert first["gates"]["passed"] == (code == 0)
    assert ("error: " in done.err) == (code == 4)


def test_images_that_failed_make_exit_code_3_and_are_told(cvkit, measured):
    measured(["a.png", "b.png"])
    done = cvkit(*EVAL)
    assert done.code == 3
    assert done.json["ok"] is True
    for name in ("a.png", "b.png"):
        assert f"not evaluated: {name} is damaged" in done.err
    assert cvkit(*EVAL, "--fail-under", "top1=0.9").code == 4, "a failed gate counts more"
    measured()
    assert cvkit(*EVAL).code == 0


def test_the_report_is_what_json_prints(cvkit, measured, tmp_path):
    measured(folder=str(tmp_path))
    shown = cvkit(*EVAL, "--fail-under", "top1=0.1").json
    report = json.loads((tmp_path / "report.json").read_text())
    assert shown == {"ok": True, "schema_version": 1, **report}
    assert report["metrics"] == {"top1": 0.5, "mask": {"AP": 0.25, "AP50": 0.75}}
    assert (report["task"], report["command"], report["split"]) == ("classify", "eval", "val")
    (gate,) = report["gates"].pop("checked")
    assert report["gates"] == {"passed": True, "failed": []}
    assert (gate["name"], gate["value"], gate["limit"], gate["passed"]) == ("top1", 0.5, 0.1, True)


def test_groups_of_metrics_become_objects():
    values = {"a.x": 1, "b": 2, "a.y": 3, "c.d.e": 4}
    assert nested(values) == {"a": {"x": 1, "y": 3}, "b": 2, "c": {"d.e": 4}}


@pytest.mark.parametrize("flags", [[], ["--weights", "x", "--predictions", "y"]])
def test_eval_wants_a_model_or_files(cvkit, flags):
    done = cvkit("segment", "eval", *flags, "--json")
    assert (done.code, done.json["error"]["code"]) == (2, "eval.what")


@pytest.mark.parametrize(
    ("flags", "code"),
    [(["--resume", "--overwrite"], "out.resume"), (["--resume"], "inputs.missing")]
    + [(["--overwrite"], "inputs.missing"), ([], "inputs.missing")],
)
def test_predict_goes_on_or_begins_anew(cvkit, tmp_path, monkeypatch, flags, code):
    monkeypatch.chdir(tmp_path)
    done = cvkit(
        "segment", "predict", "none.png", "--weights", "scenes", "--out", "out", "--json", *flags
    )
    assert (done.code, done.json["error"]["code"]) == (2, code)


def test_an_imported_model_replaces_nothing_unasked(cvkit, tmp_path):
    out = tmp_path / "m.safetensors"
    out.write_text("mine")
    words = ("weights", "import", tmp_path / "none.pth", "--out", out, "--json")
    assert cvkit(*words).json["error"]["code"] == "out.exists"
    assert cvkit(*words, "--overwrite").json["error"]["code"] == "model.missing"
    assert out.read_text() == "mine"
    words = ("weights", "import", tmp_path / "none.pth", "--out", tmp_path / "m.pth", "--json")
    assert cvkit(*words).json["error"]["code"] == "out.suffix"


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("out", ["in", "."])
def test_a_folder_of_inputs_is_refused_as_that_of_the_results(cvkit, tmp_path, task, out):
    (tmp_path / "in").mkdir()
    done = cvkit(task, "predict", tmp_path / "in", "--out", tmp_path / out, "--weights", "x")
    assert done.code == 2 and f"--out {tmp_path / out} is the input folder" in done.err
