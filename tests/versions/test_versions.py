"""Models and runs of every released version load in this one."""

import json
import shutil
from pathlib import Path

import pytest

import cvkit as package
from cvkit.engine.checkpoint import damage_of_states
from cvkit.model_files import read_model

FOLDER = Path(__file__).parent
VERSIONS = sorted(path.name for path in FOLDER.iterdir() if (path / "config.yaml").is_file())
DATA = FOLDER.parents[1] / "samples" / "classify"


def test_this_version_is_kept_for_the_next():
    assert package.__version__ in VERSIONS, "run tests/versions/make.py"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_model_of_a_version_has_the_metrics_that_it_had(cvkit, tmp_path, version):
    model = FOLDER / version / "best.safetensors"
    _, header = read_model(model)
    done = cvkit(
        *("classify", "eval", "--weights", model, "--data", DATA, "--json", "--quiet"),
        *("--out", tmp_path, "--workers", 0, "--device", "cpu", "--engine", "eager"),
    )
    assert done.code == 0, done.err
    found = done.json["metrics"]
    for name, value in header["metrics"].items():
        assert found[name] == pytest.approx(value, abs=1e-6), name


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run_of_a_version_is_resumed(cvkit, tmp_path, version):
    run = shutil.copytree(FOLDER / version, tmp_path / "run")
    assert set(damage_of_states(run).values()) == {""}
    before = (run / "metrics.jsonl").read_text().splitlines()
    done = cvkit("classify", "train", "--resume", run, "--data", DATA, "--epochs", 3, "--quiet")
    assert done.code == 0, done.err
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert lines[:2] == before[:2]
    assert [json.loads(line)["epoch"] for line in lines] == [1, 2, 3]
