"""Masks of other programs: their names, and how they write classes."""

import threading

import numpy as np
import pytest
from PIL import Image

from cvkit.errors import DataError
from cvkit.scoring import segment
from cvkit.scoring.mask_names import joined_without_endings
from cvkit.structures import VOC_PALETTE

DRAW = np.random.default_rng(5)
TRUTH = {name: DRAW.integers(0, 3, (6, 8)).astype(np.uint8) for name in ("aa_1", "ab_2", "b")}
FOUND = {name: np.where(labels == 2, 1, labels) for name, labels in TRUTH.items()}
COLORS = np.array([[0, 0, 0], [250, 20, 30], [20, 200, 90]], np.uint8)


def write(folder, labels, name="{}.png", form=lambda array: Image.fromarray(array)):
    for stem, array in labels.items():
        path = folder / name.format(stem)
        path.parent.mkdir(parents=True, exist_ok=True)
        form(array).save(path)


def palette(array):
    image = Image.fromarray(array)
    image.putpalette(VOC_PALETTE)
    return image


@pytest.fixture
def score(cvkit, tmp_path):
    def call(*flags):
        flags = ("--truth", tmp_path / "gt", "--no-files", "--json", *flags)
        return cvkit("segment", "eval", "--predictions", tmp_path / "found", *flags)

    return call


@pytest.fixture
def wanted(score, tmp_path):
    """The metrics of equally named index masks."""
    write(tmp_path / "gt", TRUTH)
    write(tmp_path / "found", FOUND)
    metrics = score().json["metrics"]
    for path in [*(tmp_path / "gt").iterdir(), *(tmp_path / "found").iterdir()]:
        path.unlink()
    assert 0.1 < metrics["miou"] < 1
    return metrics


@pytest.mark.parametrize(
    ("truth", "found"),
    [
        ("city/{}_gtFine_labelIds.png", "{}_leftImg8bit.png"),
        ("{}_labels.png", "deep/{}_pred.png"),
        ("{}.png", "{}-out.bmp"),
        ("{}_mask.png", "{}.png"),
    ],
)
def test_names_are_joined_without_the_ending_of_each_side(score, wanted, tmp_path, truth, found):
    write(tmp_path / "gt", TRUTH, truth)
    write(tmp_path / "found", FOUND, found)
    if "labelIds" in truth:  # Cityscapes has more files of the same image
        for other in ("color", "instanceIds"):
            write(tmp_path / "gt", TRUTH, truth.replace("labelIds", other))
    done = score("--missing", "error", "--extra", "error")
    assert done.code == 0, done.err
    assert done.json["metrics"] == wanted
    assert "joined without their endings" in done.err


def test_pairs_are_compared_in_threads_but_told_in_order(score, tmp_path, monkeypatch):
    """The first wrong pair is told, though a later one is read earlier; few are read ahead."""
    labels = {f"{number:03}": np.full((4, 4), number % 2, np.uint8) for number in range(90)}
    write(tmp_path / "gt", labels)
    write(tmp_path / "found", labels | {"020": np.full((5, 4), 1, np.uint8)})
    read, first, seen = segment._score, threading.Event(), []

    def slowly(pair, *more):
        seen.append(pair.key)
        if pair.key == "020":
            first.wait(20)
        if pair.key == "021":
            first.set()
            raise DataError("later", code="later")
        return read(pair, *more)

    monkeypatch.setattr(segment, "cores", lambda: 3)
    monkeypatch.setattr(segment, "_score", slowly)
    refused = score()
    assert refused.json["error"]["code"] == "prediction.mismatch" and "020" in refused.err
    assert len(seen) < 60


@pytest.mark.parametrize("count", [0, 1, 9, 90])
def test_threads_keep_the_order_of_pairs(monkeypatch, count):
    monkeypatch.setattr(segment, "cores", lambda: 2)
    assert list(segment._in_threads(lambda number: -number, range(count))) == [
        -number for number in range(count)
    ]


def test_two_kinds_of_label_masks_are_refused(score, tmp_path):
    for kind in ("labelIds", "labelTrainIds"):
        write(tmp_path / "gt", TRUTH, "{}_gtFine_" + kind + ".png")
    write(tmp_path / "found", FOUND)
    refused = score()
    assert (refused.code, refused.json["error"]["code"]) == (2, "truth.ambiguous")


def test_a_missing_mask_is_said_with_endings_too(score, tmp_path):
    write(tmp_path / "gt", TRUTH, "{}_gt.png")
    write(tmp_path / "found", {name: FOUND[name] for name in ("aa_1", "b")}, "{}_pred.png")
    done = score()
    assert done.code == 3
    assert [row["path"] for row in done.json["failures"]] == ["ab_2_gt"]
    assert done.json["evaluated"] == "evaluated 2 of 3 images, 1 without prediction"


@pytest.mark.parametrize("form", [palette, lambda array: Image.fromarray(COLORS[array])])
def test_palettes_and_the_colours_of_the_classes_are_read(score, wanted, tmp_path, form):
    write(tmp_path / "gt", TRUTH)
    write(tmp_path / "found", FOUND, form=form)
    rows = [
        f"{name} {' '.join(map(str, color))}" for name, color in zip("abc", COLORS, strict=True)
    ]
    (tmp_path / "gt" / "classes.txt").write_text("\n".join(rows) + "\n")
    done = score()
    assert done.code == 0, done.err
    assert done.json["metrics"] == wanted


def test_grey_of_0_and_255_is_the_second_of_two_classes(score, tmp_path):
    (tmp_path / "gt").mkdir()
    (tmp_path / "gt" / "classes.txt").write_text("back\nfore\n")
    truth = {name: np.minimum(labels, 1) for name, labels in TRUTH.items()}
    found = {name: np.roll(labels, 1) for name, labels in truth.items()}
    write(tmp_path / "gt", truth)
    write(tmp_path / "found", found)
    wanted = score().json["metrics"]
    write(tmp_path / "found", {name: labels * 255 for name, labels in found.items()})
    assert score().json["metrics"] == wanted
    mixed = found["b"].copy()
    mixed[0, 0], mixed[0, 1] = 1, 255
    write(tmp_path / "found", {"b": mixed})
    refused = score()
    assert refused.code == 2 and "255" in refused.err


def test_endings_never_make_names_equal_or_empty():
    assert joined_without_endings(["a_x", "b_x"], ["a_y", "b_y"]) == {"a_x": "a_y", "b_x": "b_y"}
    assert joined_without_endings(["_x", "b_x"], ["_y", "b_y"]) == {}
    assert joined_without_endings(["a"], ["a_y"]) == {}
    nested = joined_without_endings(["p/1_gt", "q/1_gt"], ["p/1_out", "q/1_out"])
    assert nested == {"p/1_gt": "p/1_out", "q/1_gt": "q/1_out"}
