"""Overlays: what is drawn, where, how large and in which colours."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from cvkit.ops.rle import encode
from cvkit.output.canvas import Canvas, enlarged_hw
from cvkit.output.draw import draw_boxes, draw_instances, draw_segmentation
from cvkit.output.lettering import text_size
from cvkit.output.plates import Covers, Plates
from cvkit.structures import ClassList, Instances, SegMap, voc_color

CLASSES = ClassList(("none", "cat", "dog"), (7, 8, 9), ((0, 0, 0), (200, 10, 40), (30, 20, 200)))
THINGS = ClassList(("cat", "dog"), (8, 9), ((200, 10, 40), (30, 20, 200)))
SIZES = [(28, 28), (64, 100), (97, 61), (300, 400), (480, 640), (700, 500)]


@pytest.mark.parametrize(
    ("size_hw", "expected"),
    [
        ((28, 28), (504, 504)),  # 480 / 28 = 17.1
        ((64, 100), (512, 800)),
        ((240, 300), (480, 600)),
        ((300, 400), (480, 640)),  # 1.6 times, no more
        ((480, 640), (480, 640)),
        ((4000, 6000), (4000, 6000)),
        ((100, 1000), (400, 4000)),  # a fivefold one would be longer than 4096
        ((300, 3000), (410, 4096)),
        ((10, 5000), (10, 5000)),
    ],
)
def test_small_images_are_enlarged(size_hw, expected):
    assert enlarged_hw(size_hw) == expected
    picture = Canvas(np.zeros((*size_hw, 3), np.uint8)).picture
    assert picture.shape[:2] == expected


@pytest.mark.parametrize("size_hw", SIZES)
def test_parts_of_a_mask_are_enlarged_without_gaps_and_mixtures(size_hw):
    labels = np.random.default_rng(0).integers(0, 9, size_hw).astype(np.uint8)
    canvas = Canvas(np.zeros((*size_hw, 3), np.uint8))
    whole, corner = canvas.enlarge_part(labels)
    assert whole.shape == canvas.picture.shape[:2] and corner == (0, 0)
    factor = whole.shape[0] // size_hw[0]
    if whole.shape == (factor * size_hw[0], factor * size_hw[1]):
        assert np.array_equal(whole, labels.repeat(factor, 0).repeat(factor, 1))
    joined, cuts = np.full_like(whole, 255), (0, 7, 20, None)
    for top, bottom in itertools.pairwise(cuts):
        for left, right in itertools.pairwise(cuts):
            part, (y, x) = canvas.enlarge_part(labels[top:bottom, left:right], (top, left))
            place = joined[y : y + part.shape[0], x : x + part.shape[1]]
            assert (place == 255).all()
            place[:] = part
    assert np.array_equal(joined, whole)


@pytest.mark.parametrize(
    ("size_hw", "line", "text"),
    [((28, 28), 2, 14), ((480, 640), 2, 13), ((900, 700), 2, 19), ((4500, 6000), 15, 125)],
)
def test_lines_and_letters_grow_with_the_picture(size_hw, line, text):
    canvas = Canvas(np.zeros((*size_hw, 3), np.uint8))
    assert (canvas.line, canvas.text) == (line, text)
    assert text_size("x", text)[1] == pytest.approx(1.17 * text, abs=2)


def blocks(size_hw):
    """Return a label map: its left half is cats, its right half dogs, between margins of none."""
    height, width = size_hw
    labels = np.zeros(size_hw, np.uint8)
    labels[height // 4 : 3 * height // 4, width // 8 : width // 2] = 1
    labels[height // 4 : 3 * height // 4, width // 2 : 7 * width // 8] = 2
    labels[: height // 8] = 255
    return labels


@pytest.mark.parametrize("opacity", [0.5, 0.25])
@pytest.mark.parametrize("size_hw", SIZES)
def test_each_pixel_has_the_colour_of_its_class(size_hw, opacity):
    labels, image = blocks(size_hw), np.full((*size_hw, 3), 100, np.uint8)
    drawn = draw_segmentation(image, SegMap(labels), CLASSES, opacity)
    height, width = enlarged_hw(size_hw)
    assert drawn.shape[1] == width and drawn.shape[0] > height
    mixed = [np.rint(100 + opacity * (np.array(c) - 100)) for c in CLASSES.colors]
    expected = {0: [100] * 3, 1: mixed[1], 2: mixed[2], 255: [100] * 3}
    rows = ((np.arange(height) + 0.5) * size_hw[0] / height).astype(int)
    columns = ((np.arange(width) + 0.5) * size_hw[1] / width).astype(int)
    enlarged = labels[rows[:, None], columns]
    for value, color in expected.items():
        place = drawn[:height][enlarged == value].astype(int)
        share = (np.abs(place - color) <= 1).all(1).mean()
        assert share > 0.9, value  # all but the outlines
    seen = np.unique(drawn[:height].astype(int) @ [1, 256, 65536])
    assert len(seen) == 5, "grey, two mixtures and two outlines: no mixed borders"
    assert (image == 100).all(), "the input is not drawn on"


@pytest.mark.parametrize("size_hw", SIZES)
def test_the_legend_names_what_is_there_and_fits(size_hw):
    names = ("none", "Кошка", "a name that is much longer than any picture is wide " * 9)
    classes = ClassList(names, CLASSES.ids, CLASSES.colors)
    image = np.full((*size_hw, 3), 100, np.uint8)
    height, _ = enlarged_hw(size_hw)
    legend = draw_segmentation(image, SegMap(blocks(size_hw)), classes)[height:]
    for color in CLASSES.colors[1:]:
        assert (legend == color).all(2).sum() > 50
    assert not (legend == 0).all(2).any(), "the background is as uncoloured as in the picture"
    assert (legend[:, -2:] == 255).all() and (legend[-2:] == 255).all(), "nothing is cut off"
    only = draw_segmentation(image, SegMap(np.ones(size_hw, np.uint8)), classes)[height:]
    assert not (only == CLASSES.colors[2]).all(2).any()


def objects(size_hw):
    """Return a cat and a dog with boxes, scores and masks."""
    height, width = size_hw
    masks = np.zeros((2, height, width), bool)
    masks[0, height // 2 : 3 * height // 4, width // 8 : 3 * width // 8] = True
    masks[1, height // 2 : 3 * height // 4, 5 * width // 8 : 7 * width // 8] = True
    boxes = [[m.nonzero()[1].min(), m.nonzero()[0].min()] for m in masks]
    ends = [[m.nonzero()[1].max() + 1, m.nonzero()[0].max() + 1] for m in masks]
    return Instances(
        np.concatenate([boxes, ends], 1).astype(np.float32),
        np.array([1, 2]),
        scores=np.array([0.9, 0.8], np.float32),
        masks=encode(masks),
    )


@pytest.mark.parametrize("size_hw", SIZES)
def test_frames_stand_at_the_objects_in_the_colours_of_their_classes(size_hw):
    image, found = np.full((*size_hw, 3), 100, np.uint8), objects(size_hw)
    drawn = draw_boxes(image, found, THINGS)
    assert drawn.shape[:2] == enlarged_hw(size_hw) and (image == 100).all()
    scale = np.array(drawn.shape[1::-1]) / size_hw[::-1]
    for box, color in zip(found.boxes, THINGS.colors, strict=True):
        (x1, y1), (x2, y2) = np.rint(box[:2] * scale), np.rint(box[2:] * scale)
        x, y = int(x1 + x2) // 2, int(y1 + y2) // 2
        for column, row in ((x1, y), (x2 - 1, y), (x, y1), (x, y2 - 1)):
            assert drawn[int(row), int(column)].tolist() == list(color)
        inner = drawn[int(y1) + 9 : int(y2) - 9, int(x1) + 9 : int(x2) - 9]
        assert inner.size and (inner == 100).all(), "nothing stands inside where there is room"


@pytest.mark.parametrize("size_hw", SIZES)
def test_objects_are_painted_where_their_masks_are(size_hw):
    image, found = np.full((*size_hw, 3), 100, np.uint8), objects(size_hw)
    drawn = draw_instances(image, found, THINGS, opacity=0.4)
    assert drawn.shape[:2] == enlarged_hw(size_hw) and (image == 100).all()
    scale = np.array(drawn.shape[1::-1]) / size_hw[::-1]
    for index, box in enumerate(found.boxes):
        (x1, y1), (x2, y2) = np.rint(box[:2] * scale) + 9, np.rint(box[2:] * scale) - 9
        inner = drawn[int(y1) : int(y2), int(x1) : int(x2)]
        color = 0.6 * 100 + 0.4 * np.array(voc_color(1 + index))
        assert inner.size and np.abs(inner - color).max() <= 1
    changed = (drawn != 100).any(2)
    assert not changed[-5:].any() and not changed[:, -5:].any()


def over_each_other(size_hw):
    """Return two objects that share a quarter of the picture's middle, the best one first."""
    height, width = size_hw
    masks = np.zeros((2, height, width), bool)
    masks[0, height // 2 :, width // 4 : 3 * width // 4] = True
    masks[1, height // 4 : 3 * height // 4, width // 2 :] = True
    boxes = [
        [width // 4, height // 2, 3 * width // 4, height],
        [width // 2, height // 4, width, 3 * height // 4],
    ]
    return replace(objects(size_hw), boxes=np.array(boxes, np.float32), masks=encode(masks))


@pytest.mark.parametrize("size_hw", SIZES)
def test_the_best_object_lies_on_top(size_hw, monkeypatch):
    monkeypatch.setattr(Plates, "draw", lambda *_: None)
    image, found = np.full((*size_hw, 3), 100, np.uint8), over_each_other(size_hw)
    drawn = draw_boxes(image, found, THINGS)
    scale = np.array(drawn.shape[1::-1]) / size_hw[::-1]
    x, y = np.rint(found.boxes[1, 0] * scale[0]), np.rint(found.boxes[0, 1] * scale[1])
    assert drawn[int(y), int(x)].tolist() == list(THINGS.colors[0]), "where the frames cross"
    drawn = draw_instances(image, found, THINGS, opacity=1.0)
    height, width = drawn.shape[:2]
    both = drawn[height // 2 + 9 : 3 * height // 4 - 9, width // 2 + 9 : 3 * width // 4 - 9]
    painted = (both == voc_color(1)).all(2)
    assert painted.mean() > 0.7, "all but the outline of the other one"


@pytest.mark.parametrize("draw", [draw_boxes, draw_instances])
def test_words_name_the_class_and_the_score(draw, monkeypatch):
    found, said = objects((480, 640)), []
    monkeypatch.setattr(Plates, "draw", lambda _, words, *__: said.append(words))
    image = np.zeros((480, 640, 3), np.uint8)
    draw(image, found, THINGS)
    draw(image, replace(found, scores=None), THINGS)
    assert said == ["cat 0.90", "dog 0.80", "cat", "dog"]


def test_words_in_instance_pictures_cover_no_small_objects():
    masks = np.zeros((2, 480, 640), bool)
    masks[0, 200:400, 100:400], masks[1, 5:12, 600:610] = True, True
    boxes = np.array([[100, 200, 400, 400], [600, 5, 610, 12]], np.float32)
    found = Instances(
        boxes, np.array([1, 1]), np.array([0.9, 0.8], np.float32), masks=encode(masks)
    )
    picture = draw_instances(np.full((480, 640, 3), 100, np.uint8), found, THINGS)
    painted = (picture[5:12, 600:610] != 100).any(2)
    assert painted.all() and not (picture[7:10, 603:607] == voc_color(2)).all(2).any()
    solid = [(picture == voc_color(number)).all(2).sum() for number in (1, 2)]
    assert min(solid) > 300, "both have a plate"
    # Where everything is covered, a small object has none.
    masks[0] = True
    crowded = Instances(boxes, found.labels, found.scores, masks=encode(masks))
    picture = draw_instances(np.full((480, 640, 3), 100, np.uint8), crowded, THINGS)
    solid = [(picture == voc_color(number)).all(2).sum() for number in (1, 2)]
    assert solid[0] > 300 and solid[1] == 0


def test_no_objects_leave_the_image_as_it_is():
    image = np.random.default_rng(0).integers(0, 255, (480, 500, 3), np.uint8)
    none = Instances(np.zeros((0, 4), np.float32), np.zeros(0, int), np.zeros(0, np.float32))
    assert np.array_equal(draw_boxes(image, none, THINGS), image)
    empty = Instances(none.boxes, none.labels, none.scores, masks=encode(np.zeros((0, 480, 500))))
    assert np.array_equal(draw_instances(image, empty, THINGS), image)


def test_an_empty_mask_is_no_failure():
    found, image = objects((64, 64)), np.zeros((64, 64, 3), np.uint8)
    empty = replace(found, masks=encode(np.zeros((2, 64, 64), bool)))
    drawn = draw_instances(image, empty, THINGS)
    assert drawn.shape == (512, 512, 3)


# Plates. A picture of 200x300 pixels; letters of 16.


def plates(*boxes, size_hw=(200, 300), step=1):
    covers = Covers((size_hw[0] // step, size_hw[1] // step))
    for box in boxes:
        covers.add_box(np.array(box) / step)
    return Plates(np.zeros((*size_hw, 3), np.uint8), 16, covers)


def placed(board, words, box, step=1):
    """Return the place for the plate of an object that fills its box."""
    size_hw = (board.picture.shape[0] // step, board.picture.shape[1] // step)
    return board.place(words, box, Covers(size_hw).add_box(np.array(box) / step))


OBJECT = (100, 80, 220, 130)
ABOVE, BELOW = (0, 0, 300, 79), (0, 131, 300, 200)
LEFT, RIGHT = (0, 79, 99, 131), (221, 79, 300, 131)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    ("others", "where"),
    [
        ([], "above"),
        ([ABOVE], "below"),
        ([ABOVE, BELOW], "beside"),
        ([ABOVE, BELOW, RIGHT], "beside"),
        ([ABOVE, BELOW, RIGHT, LEFT], "inside"),  # one's own object rather than others
    ],
)
def test_the_first_free_place_is_taken(others, where, step):
    board = plates(OBJECT, *others, step=step)
    (x1, y1, x2, y2), over_plate, over_object = placed(board, "cat", OBJECT, step)
    wide, high = board.size("cat")
    assert (x2 - x1, y2 - y1) == (wide, high) and not over_plate
    places = {
        "above": y2 == 80 and x1 == 100,
        "below": y1 == 130 and x1 == 100,
        "beside": x1 == 220 or x2 == 100,
        "inside": x1 >= 100 and y1 >= 80 and x2 <= 220 and y2 <= 130,
    }
    assert [name for name, true in places.items() if true] == [where]
    assert over_object == (where == "inside")


def test_plates_do_not_cover_each_other():
    board = plates(OBJECT, OBJECT, OBJECT)
    for _ in range(7):  # twelve places, of which some touch each other
        where, over_plate, _ = placed(board, "cat", OBJECT)
        assert not over_plate
        board.draw("cat", where, (200, 0, 0))
    area = sum((x2 - x1) * (y2 - y1) for x1, y1, x2, y2 in board.taken)
    assert (board.picture != 0).any(2).sum() == area


@pytest.mark.parametrize("size_hw", [(30, 40), (200, 300), (480, 15)])
def test_plates_stay_inside_the_picture(size_hw):
    rng = np.random.default_rng(1)
    height, width = size_hw
    for _ in range(60):
        corners = rng.integers(-50, 350, (2, 2))
        box = (*corners.min(0), *(corners.max(0) + 1))
        board = plates(box, size_hw=size_hw)
        words = board.fit(str(rng.choice(["cat 0.5", "a very long name of a class 0.93"])))
        (x1, y1, x2, y2), _, _ = placed(board, words, box)
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        if width > 20:
            assert x2 - x1 == board.size(words)[0] <= width, "words are shortened, not cut"
        board.draw(words, (x1, y1, x2, y2), (200, 0, 0))


@pytest.mark.parametrize("step", [1, 2])
def test_a_corner_of_the_box_that_another_object_fills_is_no_place(step):
    """Of an L only the mask is the object's, not the box: a small one lies in the notch."""
    shape = np.zeros((100 // step, 120 // step), bool)
    shape[80 // step :] = shape[:, : 20 // step] = True
    covers = Covers((200 // step, 300 // step))
    part = covers.add_part(shape, (60 // step, 100 // step))
    for box in ((0, 0, 300, 60), (0, 160, 300, 200), (0, 60, 100, 160), (195, 60, 205, 80)):
        covers.add_box(np.array(box) / step)
    board = Plates(np.zeros((200, 300, 3), np.uint8), 16, covers)
    (x1, y1, x2, y2), _, over_object = board.place("cat", (100, 60, 220, 160), part)
    assert x1 == 220 and not over_object, "the free place beside it"
    assert part.within(x1 // step, y1 // step, x2 // step, y2 // step) == 0


def test_large_images_are_looked_at_in_steps():
    covers = Covers((3000, 4500))
    assert covers.step == 4
    covers.add_box((401, 399, 803, 1202))
    seen = np.argwhere(covers.grid) * 4
    assert seen.min(0).tolist() == [400, 404] and seen.max(0).tolist() == [1200, 800]
    mask = np.zeros((803, 402), bool)
    mask[:] = True
    other = Covers((3000, 4500))
    other.add_part(mask, (399, 401))
    assert np.array_equal(other.grid, covers.grid)
