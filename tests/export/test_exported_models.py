"""Exported files in the place of models: eval, predict and `cvkit.load`."""

import json

import numpy as np
import pytest

import cvkit as package
from cvkit.errors import ModelFileError
from cvkit.export.formats import FORMATS
from cvkit.export.table import FORMS

pytestmark = pytest.mark.apart
SAFE = [name for name, kind in FORMATS.items() if kind.safe]
SHIPPED = {"detect": "boxes", "instance": "masks"}
"""Detectors that find objects; those of a few steps find noise, whose scores are all alike."""
PAIRS = [(task, name) for task in FORMS for name in SAFE]


@pytest.fixture(scope="module")
def file_of(run_of, data_of, tmp_path_factory):
    """Return the exported file of a task's small model, made once."""
    from cvkit.cli import run

    made = {}

    def get(task, name):
        if (task, name) not in made:
            out = tmp_path_factory.mktemp(f"{task}-{name}") / f"m{FORMATS[name].suffix}"
            model = SHIPPED.get(task) or run_of(task)
            words = ["export", "--weights", model, "--format", name, "--out", out, "--quiet"]
            words += ["--data", data_of(task), "--images", 1]
            assert run([str(word) for word in words]) == 0
            made[task, name] = out
        return made[task, name]

    return get


@pytest.mark.parametrize(("task", "name"), PAIRS)
def test_eval_measures_what_the_network_does(cvkit, run_of, data_of, file_of, task, name):
    words = (task, "eval", "--data", data_of(task), "--no-files", "--json", "--workers", 0)
    one = cvkit(*words, "--weights", SHIPPED.get(task) or run_of(task), "--engine", "eager").json
    two = cvkit(*words, "--weights", file_of(task, name))
    assert two.code == 0, two.err
    two = two.json
    assert two["engine"] == FORMATS[name].runtime and two["precision"] == "fp32"
    assert two["inference"] == one["inference"] and two["counts"] == one["counts"]
    assert two["model"] != one["model"], "the hash of the file"

    def flat(values):
        parts = [flat(v) if isinstance(v, dict) else [v] for v in values.values()]
        return [value for part in parts for value in part]

    assert flat(two["metrics"]) == pytest.approx(flat(one["metrics"]), abs=2e-3)


@pytest.mark.parametrize(("task", "name"), PAIRS)
def test_predict_writes_the_files_of_the_network(
    cvkit, run_of, data_of, file_of, tmp_path, task, name
):
    root = data_of(task)
    place = next(p for p in (root / "images" / "val", root / "val") if p.is_dir())
    for out, model in (("a", SHIPPED.get(task) or run_of(task)), ("b", file_of(task, name))):
        words = (task, "predict", place, "--weights", model, "--out", tmp_path / out)
        done = cvkit(*words, "--workers", 0, "--quiet")
        assert done.code == 0, done.err
    names = [
        sorted(str(p.relative_to(tmp_path / out)) for p in (tmp_path / out).rglob("*"))
        for out in "ab"
    ]
    assert names[0] == names[1]
    lines = [
        [json.loads(x) for x in (tmp_path / out / "predictions.jsonl").read_text().splitlines()]
        for out in "ab"
    ]
    for one, two in zip(*lines, strict=True):
        assert one.keys() == two.keys() and one["path"] == two["path"]
        assert one["labels"] == two["labels"]
        for key in ("scores", "boxes"):
            assert key not in one or np.allclose(one[key], two[key], atol=1e-2)


@pytest.mark.parametrize("name", SAFE)
def test_views_of_a_picture_are_pixel_values_again(cvkit, run_of, data_of, file_of, name):
    """Flipped and rescaled views are made of normalised pixels, which the file takes back."""
    words = ("segment", "eval", "--data", data_of("segment"), "--no-files", "--json")
    words += ("--workers", 0, "--tta", "flip,scales")
    found = [
        cvkit(*words, "--weights", model).json["metrics"]
        for model in (run_of("segment"), file_of("segment", name))
    ]
    assert list(found[0].values()) == pytest.approx(list(found[1].values()), abs=2e-3)


@pytest.mark.parametrize("name", SAFE)
def test_python_loads_a_file(data_of, file_of, name):
    predictor = package.load(file_of("classify", name))
    picture = next((data_of("classify") / "val").rglob("*.*"))
    (result,) = predictor.predict([picture])
    assert result.scores.sum() == pytest.approx(1, abs=1e-5)
    assert len(predictor.classes) == len(result.scores)


@pytest.mark.parametrize(
    ("task", "flag", "value"),
    [
        *(("classify", *each) for each in (("engine", "fused"), ("device", "cuda"))),
        ("classify", "precision", "bf16"),
        *((task, "threshold", 0.3) for task in ("detect", "instance")),
        *(("detect", *each) for each in (("nms", 0.3), ("max_detections", 3))),
        *(("detect", *each) for each in (("image_size", 64), ("min_size", 64))),
    ],
)
def test_flags_that_a_file_decides_are_refused(cvkit, data_of, file_of, task, flag, value):
    words = (task, "eval", "--data", data_of(task), "--weights")
    typed = f"--{flag.replace('_', '-')}"
    done = cvkit(*words, file_of(task, "onnx"), typed, value, "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == f"{flag}.exported"
    assert "onnxruntime" in done.json["error"]["message"]


@pytest.mark.parametrize("name", [name for name in FORMATS if name not in SAFE])
@pytest.mark.parametrize("verb", ["eval", "predict"])
def test_a_file_that_can_contain_code_is_not_opened(cvkit, tmp_path, monkeypatch, verb, name):
    path = tmp_path / f"m{FORMATS[name].suffix}"
    path.write_bytes(b"anything")
    monkeypatch.setattr("torch.jit.load", None)
    monkeypatch.setattr("torch.export.load", None)
    done = cvkit("classify", verb, "--weights", path, "--json", *["x.jpg"][: verb == "predict"])
    assert done.code == 2 and done.json["error"]["code"] == "model.unsafe"
    with pytest.raises(ModelFileError, match="contain code"):
        package.load(path)


@pytest.mark.parametrize("name", SAFE)
def test_files_that_are_no_models_are_refused(cvkit, data_of, file_of, tmp_path, name):
    def told(path, task="classify"):
        words = (task, "eval", "--data", data_of("classify"), "--weights", path, "--json")
        done = cvkit(*words)
        assert done.code == 2, done.err
        assert str(path) in done.json["error"]["message"]
        return done.json["error"]["code"]

    suffix, whole = FORMATS[name].suffix, file_of("classify", name)
    assert told(tmp_path / f"none{suffix}") == "model.missing"
    for number, content in enumerate((b"", b"<xml", whole.read_bytes()[:200])):
        path = tmp_path / f"bad{number}{suffix}"
        for each in FORMATS[name].files(path):
            each.write_bytes(content)
        assert told(path) in ("model.corrupt", "model.foreign")
    assert told(whole, "video") == "model.task"
    if FORMATS[name].beside:
        (tmp_path / f"alone{suffix}").write_bytes(whole.read_bytes())
        words = ("classify", "eval", "--data", data_of("classify"), "--json", "--weights")
        done = cvkit(*words, tmp_path / f"alone{suffix}")
        assert done.json["error"]["code"] == "model.missing"


def test_an_onnx_file_of_another_program_is_refused(cvkit, data_of, file_of, tmp_path):
    import onnx

    model = onnx.load_model(str(file_of("classify", "onnx")))
    for content, code in ((None, "model.foreign"), ("{}", "model.header"), ("[", "model.corrupt")):
        del model.metadata_props[:]
        if content is not None:
            onnx.helper.set_model_props(model, {"cvkit": content})
        onnx.save_model(model, str(tmp_path / "other.onnx"))
        words = ("classify", "eval", "--data", data_of("classify"), "--json", "--weights")
        done = cvkit(*words, tmp_path / "other.onnx")
        assert done.code == 2 and done.json["error"]["code"] == code
