"""`weights list` and `weights verify`, and the models that come with cvkit."""

import shutil
from pathlib import Path

import pytest

from cvkit import storage
from cvkit.models.weights import published_versions, shipped_models

ROOT = Path(__file__).parents[1]
SHIPPED = {path.stem: path for path in shipped_models()}


def test_list_names_what_came_with_cvkit_and_what_is_published(cvkit):
    listed = cvkit("weights", "list", "--json").json
    shapes = next(model for model in listed["shipped"] if model["name"] == "shapes")
    assert shapes["task"] == "classify"
    assert shapes["classes"] == 6
    published = {(p["backbone"], p["version"]): p for p in listed["published"]}
    assert published["resnet50", "imagenet:v2"]["url"].endswith("resnet50-11ad3fa6.pth")
    assert {version for name, version in published if name == "resnet50"} == set(
        published_versions("resnet50")
    )
    assert "shapes" in cvkit("weights", "list").out


def test_verify_finds_damage(cvkit, tmp_path):
    good = cvkit("weights", "verify", SHIPPED["shapes"])
    assert good.code == 0
    assert good.out.startswith("intact")
    copy = tmp_path / "copy.safetensors"
    shutil.copy(SHIPPED["shapes"], copy)
    content = bytearray(copy.read_bytes())
    content[-100] ^= 1
    copy.write_bytes(content)
    published = tmp_path / "resnet18-f37072fd.pth"
    published.write_bytes(b"not the weights")
    for path in (copy, published, tmp_path / "missing.pth"):
        bad = cvkit("weights", "verify", SHIPPED["shapes"], path)
        assert bad.code == 2
        assert path.name in bad.err
        assert "intact" in bad.out
    assert cvkit("weights", "verify", copy, "--json").code == 2


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_models_are_small_and_intact(cvkit, name):
    assert SHIPPED[name].stat().st_size < 5_000_000
    assert cvkit("weights", "verify", SHIPPED[name]).code == 0


def test_published_weights_are_found_in_the_checkouts_weights(cvkit, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CVKIT_WEIGHTS", str(tmp_path / "cache"))
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "resnet18-f37072fd.pth"
    path.write_bytes(b"damaged")
    listed = cvkit("weights", "list", "--json").json["published"]
    row = next(p for p in listed if p["version"] == "imagenet:v1" and p["backbone"] == "resnet18")
    assert row["path"] == "weights/resnet18-f37072fd.pth"
    done = cvkit("weights", "verify")
    assert done.code == 2
    assert storage.sha256(path)[:8] in done.err


@pytest.mark.parametrize(
    ("name", "task", "metric", "least"),
    [("shapes", "classify", "top1", 0.98), ("scenes", "segment", "miou", 0.79)],
)
def test_a_shipped_model_reaches_its_number(cvkit, name, task, metric, least):
    done = cvkit(task, "eval", "--weights", name, "--data", "samples", "--no-files", "--json")
    assert done.code == 0, done.err
    assert done.json["metrics"][metric] >= least


def test_the_readmes_first_prediction_works(cvkit, tmp_path):
    done = cvkit(
        "classify",
        "predict",
        ROOT / "samples" / "classify",
        "--weights",
        "shapes",
        "--out",
        tmp_path / "out",
        "--json",
    )
    assert done.code == 0, done.err
    assert done.json["counts"]["predicted"] == 12
