"""Numbers of labelled samples, against numbers worked out by hand."""

import tracemalloc

import numpy as np
import pytest

from cvkit.data.statistics import Measured, collect, colours, drawn, each_on_all_cores, summary
from cvkit.errors import DataError


def measured(item):
    if item == 3:
        raise DataError("cannot be read", code="image.bad")
    return Measured(item, {"width": item, "object_side": [item, item]}, {"objects": {item % 2: 2}})


def test_values_and_counts_are_those_of_the_readable_samples_in_their_order():
    found = collect(range(6), lambda item: f"key {item}", measured, 2)
    assert found.items == [0, 1, 2, 4, 5]
    assert found.values["width"].tolist() == [0, 1, 2, 4, 5]
    assert found.values["object_side"].tolist() == [0, 0, 1, 1, 2, 2, 4, 4, 5, 5]
    assert found.per_class["objects"].tolist() == [6, 4]
    assert [(each.path, each.code) for each in found.failures] == [("key 3", "image.bad")]


def test_a_number_takes_a_few_bytes():
    """A dataset may have millions of objects."""
    numbers = np.arange(4, dtype=np.float32)
    made = Measured(0, {"object_side": numbers}, {})
    tracemalloc.start()
    try:
        found = collect(range(10_000), str, lambda item: made, 1)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(found.values["object_side"]) == 40_000
    assert held < 40_000 * 4 + 10_000 * 8 + 100_000  # the numbers, and the list of the samples


def test_a_split_without_samples_has_no_numbers():
    found = collect([], str, measured, 2)
    assert (found.items, found.values, found.per_class, found.failures) == ([], {}, {}, [])


def test_progress_counts_every_sample_including_the_unreadable():
    steps = []
    collect(range(5), str, measured, 2, steps.append)
    assert steps == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 1000])
def test_each_item_comes_once_and_in_order_however_many_there_are(count):
    found = [(item, twice) for item, twice in each_on_all_cores(lambda n: 2 * n, range(count))]
    assert found == [(n, 2 * n) for n in range(count)]


def test_the_summary_has_percentiles_and_the_mean():
    found = summary(np.arange(101, dtype=np.float32))
    assert found == {
        **{"min": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "max": 100},
        "mean": 50,
    }


def test_colours_are_of_all_pixels_in_the_range_from_0_to_1():
    """Images of different sizes: pixels count, not images."""
    small = np.full((1, 1, 3), (255, 0, 51), np.uint8)
    large = np.zeros((1, 3, 3), np.uint8)
    found = colours([small, large], lambda image: image, 10, 0)
    assert (found.images, found.of, found.grey) == (2, 2, 1)
    assert found.mean == pytest.approx((0.25, 0, 0.05))
    # Of one pixel v and three of 0 the deviation is v * sqrt(3) / 4.
    assert found.std == pytest.approx((3**0.5 / 4, 0, 0.2 * 3**0.5 / 4))


def test_colours_leave_out_what_cannot_be_read_and_are_none_without_images():
    def picture(item):
        if item:
            return np.full((2, 2, 3), 255, np.uint8)
        raise DataError("cannot be read", code="image.bad")

    found = colours([0, 1], picture, 10, 0)
    assert (found.images, found.of, found.mean) == (1, 2, (1, 1, 1))
    assert colours([0], picture, 10, 0) is None
    assert colours([1], picture, 0, 0) is None


def test_the_sample_is_a_function_of_the_seed_and_is_everything_if_there_is_less():
    assert drawn(5, 9, 1) == drawn(5, 5, 2) == [0, 1, 2, 3, 4]
    found = drawn(1000, 10, 1)
    assert found == drawn(1000, 10, 1) == sorted(set(found))
    assert len(found) == 10
    assert found != drawn(1000, 10, 2)
