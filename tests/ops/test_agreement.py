"""How far two results agree: values worked out by hand, for every type of result."""

import numpy as np
import pytest

from cvkit.ops.agreement import agreement
from cvkit.ops.rle import encode
from cvkit.structures import Classes, Instances, SegMap


def objects(*rows, masks=None):
    """Objects of (box, label, score)."""
    boxes, labels, scores = zip(*rows, strict=True) if rows else ((), (), ())
    return Instances(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(labels, np.int64),
        np.array(scores, np.float32),
        masks=masks,
    )


ONE, OTHER = [0, 0, 10, 10], [20, 20, 40, 40]


def test_classes_agree_if_the_best_ones_are_equal():
    one = Classes(1, np.array([0.2, 0.8], np.float32))
    assert agreement(one, Classes(1, np.array([0.4, 0.6], np.float32))) == 1
    assert agreement(one, Classes(0, np.array([0.6, 0.4], np.float32))) == 0


def test_label_maps_agree_by_pixels():
    one, other = np.zeros((4, 5), np.uint8), np.zeros((4, 5), np.uint8)
    other[0, :3] = 1
    assert agreement(SegMap(one), SegMap(other)) == 17 / 20


@pytest.mark.parametrize(
    ("found", "expected", "value"),
    [
        ([], [], 1.0),
        ([(ONE, 1, 0.9)], [], 0.0),
        ([], [(ONE, 1, 0.9)], 0.0),
        ([(ONE, 1, 0.9)], [(ONE, 1, 0.6)], 1.0),
        ([(ONE, 2, 0.9)], [(ONE, 1, 0.9)], 0.0),
        ([([0, 0, 10, 8], 1, 0.9)], [(ONE, 1, 0.9)], 0.0),  # an IoU of 0.8
        ([([0, 0, 10, 9.5], 1, 0.9)], [(ONE, 1, 0.9)], 1.0),
        ([(ONE, 1, 0.9), (OTHER, 1, 0.8)], [(ONE, 1, 0.9)], 2 / 3),
        ([(ONE, 1, 0.9), (OTHER, 1, 0.49)], [(ONE, 1, 0.9), (OTHER, 1, 0.51)], 1.0),
        ([(ONE, 1, 0.9), (OTHER, 1, 0.3)], [(ONE, 1, 0.9), (OTHER, 1, 0.51)], 2 / 3),
        ([(ONE, 1, 0.1)], [], 1.0),  # nothing sure
    ],
)
def test_objects_agree_by_class_place_and_score(found, expected, value):
    assert agreement(objects(*found), objects(*expected)) == pytest.approx(value)


def test_masks_decide_where_there_are_masks():
    whole, half = np.zeros((2, 1, 20, 20), bool)
    whole[:, :10, :10] = True
    half[:, :5, :10] = True
    row = (ONE, 1, 0.9)
    one, other = (objects(row, masks=encode(layers)) for layers in (whole, half))
    assert agreement(one, other) == 0
    assert agreement(one, one) == 1


def test_an_unknown_type_says_nothing():
    assert agreement(0.5, 0.5) is None
