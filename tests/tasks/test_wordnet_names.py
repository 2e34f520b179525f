"""Models and data that call ImageNet's classes by their WordNet ids, with or without words."""

import dataclasses
import shutil

import numpy as np
import pytest
from PIL import Image

from cvkit.data.classes import class_key
from cvkit.data.classified import ClassifiedImage, Collection, called_as

WORDS = {"n01440764": "tench, Tinca tinca", "n01443537": "goldfish"}
TRAIN = ("--arch", "mlp", "--epochs", 1, "--workers", 0, "--image-size", 16, "--quiet")


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """The same images with ids and with words as the names of their classes."""
    root = tmp_path_factory.mktemp("imagenet")
    lines = []
    for number, wnid in enumerate(sorted(WORDS) * 4):
        place = root / "ids" / (f"train/{wnid}" if number < 4 else "val")
        place.mkdir(parents=True, exist_ok=True)
        color = np.full((16, 16, 3), 30 * number + 5, np.uint8)
        Image.fromarray(color).save(place / f"{number}.png")
        lines += [f"{number},{wnid} 1 1 5 5"] * (number >= 4)
    text = "\n".join(["ImageId,PredictionString", *lines, ""])
    (root / "ids" / "LOC_val_solution.csv").write_text(text)
    shutil.copytree(root / "ids", root / "words")
    names = "".join(f"{wnid} {words}\n" for wnid, words in WORDS.items())
    (root / "words" / "LOC_synset_mapping.txt").write_text(names)
    return root


@pytest.mark.parametrize(("trained", "measured"), [("ids", "words"), ("words", "ids")])
def test_classes_match_by_their_wordnet_ids(cvkit, datasets, tmp_path, trained, measured):
    runs, place = tmp_path / "runs", datasets / measured
    made = cvkit("classify", "train", "--data", datasets / trained, "--out", runs, *TRAIN)
    assert made.code == 0, made.err
    (run,) = runs.iterdir()
    flags = ("--weights", run, "--no-files", "--engine", "eager", "--json")
    own, other = (
        cvkit("classify", "eval", "--data", datasets / name, *flags) for name in (trained, measured)
    )
    assert own.code == other.code == 0, other.err
    assert own.json["metrics"] == other.json["metrics"]
    assert own.json["per_class"] == other.json["per_class"]
    out = tmp_path / "out"
    cvkit("classify", "predict", datasets / trained, "--weights", run, "--out", out)
    scored = cvkit(
        *("classify", "eval", "--predictions", out, "--truth", place, "--no-files", "--json")
    )
    assert scored.code == 0, scored.err
    assert scored.json["counts"]["evaluated"] == 4
    assert scored.json["metrics"]["top1"] == own.json["metrics"]["top1"]
    again = cvkit(
        *("classify", "train", "--data", place, "--weights", run, "--out", tmp_path / "more"),
        *("--epochs", 1, "--workers", 0),
    )
    assert again.code == 0, again.err
    assert "initial weights" in again.err and "the classes differ" not in again.err


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("n01440764", "n01440764"),
        ("n01440764 tench", "n01440764"),
        ("n01440764x", "n01440764x"),
        ("n0144076 tench", "n0144076 tench"),
        ("tench n01440764", "tench n01440764"),
        ("cat", "cat"),
    ],
)
def test_only_a_whole_wordnet_id_is_a_key(name, key):
    assert class_key(name) == key


def test_classes_that_an_id_does_not_tell_apart_keep_their_names(tmp_path):
    names = ("n01440764 a", "n01440764 b")
    items = [ClassifiedImage(name, tmp_path, name) for name in names]
    data = Collection("folders", names, False, {"val": items}, None)
    assert called_as(data, ("n01440764", "cat")) == data
    assert (
        called_as(dataclasses.replace(data, names=names[:1], splits={}), names).names == names[:1]
    )
