"""Contact sheets, of every task."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cvkit.catalog import TASKS
from cvkit.output.lettering import text_size
from cvkit.output.sheet import CAPTION, GAP, SIDE, TITLE, Tile, draw_sheet, grid_of_four

ROOT = Path(__file__).parents[2]
MODELS = {
    "classify": ("shapes", "classify/val"),
    "segment": ("scenes", "segment/images"),
    "detect": ("boxes", "detect/images"),
    "instance": ("masks", "detect/images"),
    "video": ("motions", "video/val"),
}


def plain(color, size_hw=(480, 480)):
    return np.full((*size_hw, 3), color, np.uint8)


def test_pictures_stand_in_rows_with_their_captions():
    colors = [(10 * number, 200, 0) for number in range(6)]
    tiles = [Tile(plain(color), (f"picture {n}", "x" * 200)) for n, color in enumerate(colors)]
    sheet = draw_sheet("six of them", tiles)
    head = GAP + text_size("", TITLE)[1]
    row = SIDE + 4 + 2 * text_size("", CAPTION)[1] + GAP
    assert sheet.shape == (head + 2 * row, GAP + 4 * (SIDE + GAP), 3)
    assert (sheet[:head] < 100).any()
    for number, color in enumerate(colors):
        top, left = head + GAP + number // 4 * row, GAP + number % 4 * (SIDE + GAP)
        assert (sheet[top : top + SIDE, left : left + SIDE] == color).all()
        caption = sheet[top + SIDE : top + row - GAP, left : left + SIDE]
        assert (caption < 100).any() and (caption == caption[..., :1]).all()
    assert (sheet[:, :GAP] == 255).all() and (sheet[:, -GAP:] == 255).all()


@pytest.mark.parametrize("size_hw", [(8, 8), (64, 100), (3000, 2000), (200, 5000), (1, 900)])
def test_pictures_of_any_size_fit(size_hw):
    sheet = draw_sheet("one", [Tile(plain((200, 0, 0), size_hw), ("name",))])
    assert sheet.shape[1] == SIDE + 2 * GAP
    rows, columns = np.nonzero((sheet == (200, 0, 0)).all(2))
    high, wide = np.ptp(rows) + 1, np.ptp(columns) + 1
    assert max(high, wide) == SIDE
    assert wide / high == pytest.approx(size_hw[1] / size_hw[0], rel=0.05) or min(high, wide) < 25
    assert abs((columns.min() + columns.max() + 1) - sheet.shape[1]) <= 2, "in the middle"


def test_a_long_title_is_broken_into_lines():
    short, long = (draw_sheet("word " * count, [Tile(plain(0), ())]) for count in (3, 60))
    assert long.shape[0] > short.shape[0] + 2 * text_size("", TITLE)[1]


def test_four_frames_stand_in_their_order():
    frames = [plain((50 * number, 1, 2), (64, 96)) for number in range(4)]
    grid = grid_of_four(frames)
    corners = grid[0, 0, 0], grid[0, -1, 0], grid[-1, 0, 0], grid[-1, -1, 0]
    assert [int(value) for value in corners] == [0, 50, 100, 150]
    assert (grid[:, 96] == 255).all() and (grid[64] == 255).all()


@pytest.mark.parametrize("task", TASKS)
def test_predict_draws_a_sheet(cvkit, tmp_path, task):
    weights, place = MODELS[task]
    out = tmp_path / "out"
    begin = (task, "predict", ROOT / "samples" / place, "--weights", weights, "--out", out)
    begin += ("--json", "--quiet", "--workers", 0)
    done = cvkit(*begin, "--contact-sheet", 2)
    assert done.code == 0 and done.json["contact_sheet"] == str(out / "contact_sheet.png")
    sheet = np.asarray(Image.open(out / "contact_sheet.png"))
    assert sheet.shape[1] == GAP + 2 * (SIDE + GAP)
    for left in (GAP, SIDE + 2 * GAP):
        tile = sheet[60 : 60 + SIDE // 2, left : left + SIDE]
        assert tile.std() > 5, "something is shown"
    if task in ("segment", "detect", "instance"):  # the overlay of the last result
        line = json.loads((out / "predictions.jsonl").read_text().splitlines()[-1])
        overlay = np.asarray(Image.open(out / line["overlay"]))
        block = draw_sheet("", [Tile(overlay, (line["path"],))])[-GAP - SIDE - 20 : -GAP, GAP:-GAP]
        column = sheet[:, SIDE + 2 * GAP : -GAP]  # under a title of one or two lines
        starts = range(len(column) - len(block) + 1)
        assert any(np.array_equal(column[at : at + len(block)], block) for at in starts)
    done = cvkit(*begin, "--contact-sheet", 0, "--overwrite")
    assert done.code == 0 and done.json["contact_sheet"] is None
    assert not (out / "contact_sheet.png").exists(), "one of other results would be wrong"


def seven(folder):
    """Write seven images of one colour each."""
    folder.mkdir()
    for number in range(7):
        Image.new("RGB", (64, 64), (30 * number, 0, 90)).save(folder / f"{number}.png")
    return folder


def test_the_pictures_are_taken_evenly_also_of_resumed_results(cvkit, tmp_path):
    photos, out = seven(tmp_path / "photos"), tmp_path / "out"
    begin = ("classify", "predict", "--weights", "shapes", "--out", out, "-q", "--workers", 0)
    assert cvkit(*begin, photos / "0.png", photos / "3.png").code == 0
    done = cvkit(*begin, photos, "--resume", "--contact-sheet", 3)
    assert done.code == 0
    sheet = np.asarray(Image.open(out / "contact_sheet.png"))
    middles = [GAP + SIDE // 2 + number * (SIDE + GAP) for number in range(3)]
    shown = [int(sheet[GAP * 4 + SIDE // 2, middle, 0]) for middle in middles]
    lines = map(json.loads, (out / "predictions.jsonl").read_text().splitlines())
    order = [30 * int(line["path"][0]) for line in lines]
    assert shown == [order[0], order[3], order[6]]


def test_an_input_that_is_gone_is_told_on_the_sheet(cvkit, tmp_path):
    photos, out = seven(tmp_path / "photos"), tmp_path / "out"
    begin = ("classify", "predict", photos, "--weights", "shapes", "--out", out, "-q")
    assert cvkit(*begin, "--workers", 0).code == 0
    before = np.asarray(Image.open(out / "contact_sheet.png"))
    (photos / "2.png").write_bytes(b"no image")  # its result is there
    done = cvkit(*begin, "--workers", 0, "--resume")
    assert done.code == 0, done.err
    after = np.asarray(Image.open(out / "contact_sheet.png"))
    assert before.shape == after.shape
    left = GAP + 2 * (SIDE + GAP)
    changed = (before != after).any((0, 2)).nonzero()[0]
    assert left <= changed.min() and changed.max() < left + SIDE


@pytest.mark.parametrize("task", ["segment", "detect", "instance"])
def test_a_sheet_of_no_overlays_is_refused(cvkit, tmp_path, task):
    begin = (task, "predict", tmp_path, "--weights", "none", "--overlay", "none")
    done = cvkit(*begin, "--contact-sheet", 3)
    assert done.code == 2 and "--contact-sheet shows overlays" in done.err
    weights, place = MODELS[task]
    begin = (task, "predict", ROOT / "samples" / place / "val", "--weights", weights)
    done = cvkit(*begin, "--overlay", "none", "--out", tmp_path / "out", "-q", "--workers", 0)
    assert done.code == 0 and not (tmp_path / "out" / "contact_sheet.png").exists()
