"""Confusions of single images: sparse, and their errors by kind, against pixel-by-pixel loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from cvkit.metrics.confusion import ConfusionMatrix, image_counts, image_matrix
from cvkit.metrics.image_counts import KINDS, near_outlines
from cvkit.structures import SegMap

MAPS = arrays.arrays(np.uint8, (7, 9), elements=st.integers(0, 3))


def kinds(truth, found, reach=1):
    """Return the number of pixels of each kind, pixel by pixel."""
    counts = dict.fromkeys(KINDS, 0)
    labelled = truth != 255
    for y, x in zip(*np.nonzero(labelled & (truth != found)), strict=True):
        true, guess = truth[y, x], found[y, x]
        seen, there = true in found[labelled], guess in truth[labelled]
        around = truth[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        if seen and there:
            counts["boundary" if (around != true).any() else "confused"] += 1
        else:
            counts["spurious" if seen else "missed" if there else "confused"] += 1
    return list(counts.values())


@settings(max_examples=150, deadline=None)
@given(truth=MAPS, found=MAPS, void=arrays.arrays(bool, (7, 9), elements=st.booleans()))
def test_errors_and_counts_are_those_of_a_loop_over_pixels(truth, found, void):
    truth = np.where(void & (truth > 1), 255, truth).astype(np.uint8)
    image, matrix = image_counts(found, truth, 4), image_matrix(found, truth, 4)
    assert image.errors().tolist() == kinds(truth, found)
    assert image.dense().tolist() == matrix.tolist()
    columns = [np.diag(matrix), matrix.sum(1), matrix.sum(0)]
    assert np.array_equal(image.of_classes(), columns)
    assert (image.pixels > 0).all() and (image.near <= image.pixels).all()


@pytest.mark.parametrize(("side", "reach"), [(40, 1), (149, 1), (151, 2), (260, 3)])
def test_an_outline_is_as_wide_as_a_hundredth_of_the_shorter_side(side, reach):
    truth = np.zeros((side, 300), np.uint8)
    truth[:, 150:] = 1
    assert np.flatnonzero(near_outlines(truth)[0]).tolist() == [*range(150 - reach, 150 + reach)]
    found = truth.copy()
    found[0, 140:150] = 1
    wrong = image_counts(found, truth, 2).errors()
    assert dict(zip(KINDS, wrong.tolist(), strict=True)) == {
        "missed": 0,
        "spurious": 0,
        "boundary": reach,
        "confused": 10 - reach,
    }


def test_memory_follows_the_pairs_of_classes_that_occur():
    image = image_counts(np.full((5, 5), 7, np.uint8), np.full((5, 5), 149, np.uint8), 150)
    assert [len(part) for part in (image.cells, image.pixels, image.near)] == [1, 1, 1]
    metric = ConfusionMatrix(150)
    kept = metric.update(SegMap(np.eye(5, dtype=np.uint8)), SegMap(np.full((5, 5), 255, np.uint8)))
    assert not len(kept.cells) and not kept.errors().any()
