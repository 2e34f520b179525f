"""Pictures of confusion matrices: nothing cut off, everything in its place."""

import numpy as np
import pytest
from PIL import Image

from cvkit.data.classes import make_classes
from cvkit.metrics.confusion import ConfusionMatrix
from cvkit.output.confusion_picture import (
    CELL,
    EDGE,
    LETTERS,
    LONGEST,
    NAMED,
    SMALL,
    TITLE,
    _short,
    draw_confusion,
)
from cvkit.output.lettering import fit, text_size, write_text
from cvkit.scoring.contract import Scored
from cvkit.scoring.segment import write_report
from cvkit.structures import SegMap


def words(text):
    """Return the picture of a line on white."""
    wide, high = text_size(text, LETTERS)
    picture = np.full((high, wide, 3), 255, np.uint8)
    write_text(picture, text, (0, 0), LETTERS)
    return picture


def places(picture, text):
    """Return where a line stands in a picture: y, x of its corner."""
    patch = words(text)[..., 0]
    if patch.shape[0] > picture.shape[0] or patch.shape[1] > picture.shape[1]:
        return []
    windows = np.lib.stride_tricks.sliding_window_view(picture[..., 0], patch.shape)
    probe = np.argwhere(patch < 100)[:12]
    fine = np.ones(windows.shape[:2], bool)
    for y, x in probe:
        fine &= windows[:, :, y, x] == patch[y, x]
    return [tuple(p) for p in np.argwhere(fine).tolist() if (windows[tuple(p)] == patch).all()]


def grid(picture, names):
    """Return the matrix alone, and the side of a cell."""
    count = len(names)
    margin = max(text_size(fit(name, LETTERS, LONGEST), LETTERS)[0] for name in names) + EDGE
    cell = max(NAMED, min(CELL, 1600 // count))
    side = cell * count
    return picture[-EDGE - side : -EDGE, margin : margin + side], cell


@pytest.mark.parametrize("count", [1, 2, 12, 101, 250])
def test_title_and_names_are_whole(count):
    names = [f"dish {index}" for index in range(count)]
    picture = draw_confusion(np.eye(count, dtype=int), names)
    assert picture.shape[0] < 4400 and picture.shape[1] < 4400
    assert places(picture[:60], TITLE) == [(EDGE, EDGE)]
    square, cell = grid(picture, names)
    top = picture.shape[0] - EDGE - len(square)
    left = max(text_size(name, LETTERS)[0] for name in names) + EDGE
    for index in {0, count // 2, count - 1}:
        patch = words(names[index])
        high, wide = patch.shape[:2]
        at = index * cell + (cell - high) // 2
        beside = picture[top + at : top + at + high, left - 2 - wide : left - 2]
        assert np.array_equal(beside, patch), "to the left of its row"
        above = picture[top - 2 - wide : top - 2, left + at : left + at + high]
        assert np.array_equal(np.rot90(above, -1), patch), "above its column, read upwards"


@pytest.mark.parametrize("count", [2, 12, 101])
def test_a_cell_is_darkest_where_the_counts_are(count):
    matrix = np.eye(count, dtype=int) * 9
    matrix[0, 1] = 3
    names = [f"class {index}" for index in range(count)]
    square, cell = grid(draw_confusion(matrix, names), names)
    cells = square[3::cell, 3::cell].astype(int).sum(2)  # beside lines and numbers
    assert cells.shape == (count, count)
    assert (cells.argmin(1) == np.arange(count)).all()
    assert cells[0, 1] < cells[1, 0] == 3 * 255


def test_a_thousand_classes_are_a_picture_that_can_be_opened():
    matrix = np.eye(1000, dtype=int)
    matrix[0, 999] = 1
    picture = draw_confusion(matrix, [f"class {index}" for index in range(1000)])
    assert max(picture.shape) < 4400
    square = picture[-EDGE - 4000 : -EDGE]
    left = text_size("999", LETTERS)[0] + EDGE
    dark = square[2::4, left + 2 : left + 4000 : 4].astype(int).sum(2)
    assert dark.shape == (1000, 1000) and dark[0, 999] == dark[0, 0] > dark[5, 5]
    assert (dark[1:].argmin(1) == np.arange(1, 1000)).all()
    assert len(places(picture[:, :left], "990")) == 1


def test_long_names_keep_their_ends_and_stay_different():
    names = [
        "a class with a very long name, number " + 3 * "and more of it " + str(k) for k in "12"
    ]
    alike = [f"{'x' * 60}{k}{'y' * 60}" for k in "12"]
    for given in (names, alike):
        picture = draw_confusion(np.eye(2, dtype=int), given)
        assert picture.shape[1] < LONGEST + 2 * CELL + 4 * EDGE
        rows = picture[-EDGE - 2 * CELL : -EDGE, :LONGEST]
        assert not np.array_equal(rows[:CELL], rows[CELL:])


@pytest.mark.parametrize("shares", [False, True])
def test_numbers_stand_in_their_cells(shares):
    matrix = np.array([[1234567, 0], [3, 1]])
    names = ["a", "b"]
    square, cell = grid(draw_confusion(matrix, names, shares=shares), names)
    texts = [["100.0", ""], ["75.0", "25.0"]] if shares else [["1234k", ""], ["3", "1"]]
    for (row, column), count in np.ndenumerate(matrix):
        place = square[row * cell : (row + 1) * cell, column * cell : (column + 1) * cell]
        wide, high = text_size(texts[row][column], SMALL)
        expected = np.full_like(place[2:-2, 2:-2], place[2, 2])
        share = count / matrix[row].sum()
        corner = ((cell - wide) // 2 - 2, (cell - high) // 2 - 2)
        ink = (255, 255, 255) if share > 0.5 else (20, 20, 20)
        write_text(expected, texts[row][column], corner, SMALL, ink)
        assert np.array_equal(place[2:-2, 2:-2], expected)


def test_segment_eval_draws_the_shares_of_each_true_class(tmp_path):
    metric = ConfusionMatrix(2)
    truth, found = np.array([[0, 0, 0, 1]], np.uint8), np.array([[0, 0, 1, 1]], np.uint8)
    images = [("a.png", metric.update(SegMap(found), SegMap(truth)))]
    classes = make_classes(["road", "sky"])
    report = write_report(Scored(metric, classes, images, []), tmp_path)
    drawn = np.asarray(Image.open(report["files"]["confusion_picture"]))
    expected = draw_confusion(np.array([[2, 1], [0, 1]]), ["road", "sky"], shares=True)
    assert np.array_equal(drawn, expected)
    assert not np.array_equal(drawn, draw_confusion(metric.matrix, ["road", "sky"]))


def test_every_count_fits_into_its_cell():
    for digits in range(1, 16):
        for count in (10**digits - 1, 10**digits):
            assert text_size(_short(count), SMALL)[0] < CELL
