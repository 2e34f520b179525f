"""What `make demo` shows: real photographs, right labels, known commands, sheets of all tasks."""

import re
import runpy
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.data.formats.coco import read_coco
from cvkit.data.video import all_frames, index_video
from cvkit.ops.rle import decode
from cvkit.options.described import hints
from cvkit.options.tree import OPTIONS

ROOT = Path(__file__).parents[1]
DEMO = runpy.run_path(str(ROOT / "docs" / "demo.py"))
RECIPE = re.search(r"\ndemo: .*?\n\n", (ROOT / "Makefile").read_text(), flags=re.DOTALL)[0]
COMMANDS = re.findall(r"\$\(BIN\)/cvkit (.*)", RECIPE)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network is used"))


def test_the_demo_predicts_with_every_task_in_scenes_and_photographs():
    predictions = re.findall(r"(\w+) predict .* --out demo/(\w+)/(\w+)$", "\n".join(COMMANDS), re.M)
    assert {(task, kind) for task, kind, _ in predictions} == {
        (task, kind) for task in TASKS for kind in ("scenes", "photographs")
    }
    assert all(task == folder for task, _, folder in predictions)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_demo_have_their_flags(command):
    task, verb, *words = command.split()
    known = hints(OPTIONS[task][verb])
    flags = [word[2:].replace("-", "_") for word in words if word.startswith("--")]
    assert flags and set(flags) <= known.keys()


@pytest.mark.parametrize("name", DEMO["PHOTOGRAPHS"])
def test_photographs_are_there_without_a_download(name):
    image = DEMO["photograph"](name)
    assert image.dtype == np.uint8 and image.shape[2] == 3 and min(image.shape[:2]) >= 300
    assert image.std() > 20
    assert name in DEMO["__doc__"], "its licence is told"


def test_coins_have_masks_and_boxes_and_no_part_is_in_both_splits(tmp_path):
    DEMO["write_coins"](tmp_path)
    assert len(np.unique(DEMO["coins"]()[1])) == 1 + 24
    height, width = DEMO["coins"]()[1].shape
    for split, y, x, high, wide in DEMO["cuts"](height, width):
        assert y >= DEMO["COIN_ROWS"] if split == "val" else y + high <= DEMO["COIN_ROWS"]
        assert x >= 0 and x + wide <= width and y + high <= height
    for split in ("train", "val"):
        truth = tmp_path / "annotations" / f"instances_{split}.json"
        found = read_coco(truth, tmp_path / "images" / split, tmp_path, masks=True)
        assert len(found.images) > 1
        for image in found.images:
            area = np.asarray(Image.open(tmp_path / "masks" / split / image.path.name)) == 1
            masks = decode(image.truth.masks)
            assert (masks.sum(0) <= 1).all() and not (masks.any(0) & ~area).any()
            assert (masks.any(0) ^ area).mean() < 0.01  # crumbs of coins at the border
            for mask, (x1, y1, x2, y2) in zip(masks, image.truth.boxes, strict=True):
                y, x = np.nonzero(mask)
                assert (x.min(), y.min(), x.max() + 1, y.max() + 1) == (x1, y1, x2, y2)


@pytest.mark.parametrize("name", DEMO["MOTIONS"])
def test_photographs_move_as_their_class_says(tmp_path, name):
    moving = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    frames = DEMO["moving"](name, np.random.default_rng(3))
    assert frames.shape == (16, 64, 64, 3) and frames.dtype == np.uint8
    still = np.median(frames, 0)  # what most frames show: the ground, but where nothing moves
    first, last = ((np.abs(f - still).max(2) > 20) for f in frames[[0, -1]].astype(int))
    if name in moving:
        way = np.mean(np.nonzero(last), 1) - np.mean(np.nonzero(first), 1)
        assert way[::-1] @ moving[name] > 10  # of 30, as the middle is covered most
    assert (frames[0] != frames[-1]).any()


def test_videos_of_photographs_can_be_read(tmp_path, monkeypatch):
    monkeypatch.setitem(DEMO["write_motions"].__globals__, "MOTIONS", ("up",))
    DEMO["write_motions"](tmp_path)
    paths = sorted(tmp_path.rglob("*.mp4"))
    assert [p.parts[-3] for p in paths] == ["train"] * 10 + ["val"] * 2
    assert len(list(all_frames(paths[0], index_video(paths[0])))) == 16


def test_tiles_come_from_different_places_of_each_photograph(tmp_path, monkeypatch):
    monkeypatch.setitem(DEMO["write_tiles"].__globals__, "PHOTOGRAPHS", ("coffee",))
    DEMO["write_tiles"](tmp_path)
    paths = {split: sorted(tmp_path.glob(f"{split}/coffee/*.png")) for split in ("train", "val")}
    assert {split: len(found) for split, found in paths.items()} == {"train": 24, "val": 8}
    tiles = {Image.open(p).tobytes() for found in paths.values() for p in found}
    assert len(tiles) == 32


@pytest.fixture
def picture(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    return runpy.run_path(str(ROOT / "docs" / "picture.py"))


def test_the_picture_is_of_every_task_with_images_and_its_trainings_have_their_flags(picture):
    assert set(picture["TRAININGS"]) == set(picture["TITLES"]) == set(TASKS) - {"video"}
    for task, (_, words) in picture["TRAININGS"].items():
        flags = [word[2:] for word in words.split() if word.startswith("--")]
        assert flags and set(flags) <= hints(OPTIONS[task]["train"]).keys()


def test_the_picture_shows_the_validation_split_only(picture, tmp_path, monkeypatch):
    for split in ("train", "val"):
        for name in ("a", "b"):
            DEMO["write"](
                tmp_path / picture["COINS"] / "images" / split / f"{name}-{split}.png",
                np.full((16, 16, 3), 100, np.uint8),
            )
        for name in DEMO["PHOTOGRAPHS"]:
            level = 200 if split == "val" else 0
            tile = np.full((8, 8, 3), level, np.uint8)
            DEMO["write"](tmp_path / picture["TILES"] / split / name / "00.png", tile)
    shown = []

    def predicted(task, inputs, folder, out):
        shown.extend((task, path) for path in inputs)
        for path in inputs:
            DEMO["write"](out / f"{path.name}.png", np.full((20, 16, 3), 50, np.uint8))
        return [{"labels": ["rocket"], "scores": [0.5], "overlay": f"{p.name}.png"} for p in inputs]

    parts = picture["main"].__globals__
    monkeypatch.setitem(parts, "predicted", predicted)
    picture["main"]([str(tmp_path), str(tmp_path / "picture.jpg")])
    assert {task for task, _ in shown} == set(picture["TITLES"])
    for task, path in shown:
        if task != "classify":
            assert "train" not in path.parts and "train" not in path.name
    image = np.asarray(Image.open(tmp_path / "picture.jpg"))
    assert image.shape[1] > 2 * picture["WIDTH"]
    assert (np.abs(image.astype(int) - 200).max(2) < 4).sum() > 1000, "tiles of val are bright"


def test_a_wrong_class_is_marked_in_the_picture(picture):
    line = {"labels": ["cat", "dog"], "scores": [0.75, 0.25]}
    assert picture["caption"](line, Path("val/cat/1.png")) == "cat 0.75"
    assert picture["caption"](line, Path("val/dog/1.png")) == "cat 0.75 (wrong)"


def test_sheets_of_all_tasks_are_joined(tmp_path):
    for number, task in enumerate(TASKS):
        for kind, width in (("scenes", 30 + number), ("photographs", 20)):
            folder = tmp_path / kind / task
            folder.mkdir(parents=True)
            Image.new("RGB", (width, 10), (200, number, 9)).save(folder / "contact_sheet.png")
    DEMO["main"](["sheets", str(tmp_path)])
    for number, task in enumerate(TASKS):
        sheet = np.asarray(Image.open(tmp_path / "sheets" / f"{task}.png"))
        assert sheet.shape == (20, 30 + number, 3)
        assert (sheet[:10] == (200, number, 9)).all() and (sheet[10:, :20, 0] == 200).all()
        assert (sheet[10:, 20:] == 255).all()
    assert not list(tmp_path.rglob("contact_sheet.png")), "each picture is there once"
