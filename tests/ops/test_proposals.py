"""Selective search, against what follows from its definition."""

import numpy as np
import pytest

from cvkit.data.synthetic.scenes import make_scene
from cvkit.metrics.coverage import coverage
from cvkit.ops import proposals
from cvkit.ops.proposals import (
    describe,
    group,
    hierarchies,
    neighbours,
    selective_search,
    to_space,
)


@pytest.fixture(scope="module", autouse=True)
def search_as_users_do(true_search_width):
    """Search images at the width that users get."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(proposals, "WORK_WIDTH", true_search_width)
        yield


def quadrants(side=200):
    image = np.zeros((side, side, 3), np.uint8)
    half = side // 2
    for (row, column), color in zip(
        [(0, 0), (0, 1), (1, 0), (1, 1)],
        [(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 30)],
        strict=True,
    ):
        image[row * half : row * half + half, column * half : column * half + half] = color
    return image


def test_flat_quadrants_and_the_whole_are_found():
    found = selective_search(quadrants()).round().astype(int).tolist()
    for box in ([0, 0, 100, 100], [100, 0, 200, 100], [0, 100, 100, 200], [100, 100, 200, 200]):
        assert any(np.abs(np.subtract(box, other)).max() <= 1 for other in found), box
    assert [0, 0, 200, 200] in found


def regions_of(image, labels):
    pixels = to_space(image, "hsv")
    return describe(labels, pixels, proposals._orientation_responses(pixels))


def random_labels(seed=0):
    """A map of 24 connected patches."""
    rng = np.random.default_rng(seed)
    labels = np.arange(24).reshape(4, 6).repeat(12, 0).repeat(10, 1)
    return labels, rng.integers(0, 256, (*labels.shape, 3), dtype=np.uint8)


def test_regions_are_described_exactly():
    labels, image = random_labels()
    found = regions_of(image, labels)
    assert found.boxes[0].tolist() == [0, 0, 10, 12]
    assert found.boxes[23].tolist() == [50, 36, 60, 48]
    assert found.sizes.tolist() == [120.0] * 24
    assert found.colors.shape == (24, 75) and found.textures.shape == (24, 240)
    assert np.allclose(found.colors.sum(1), 1) and np.allclose(found.textures.sum(1), 1)
    values = to_space(image, "hsv")[:12, :10, 0] * 25 / 256
    first = np.bincount(values.astype(int).ravel(), minlength=25) / 360
    assert np.allclose(found.colors[0, :25], first)


def test_neighbours_touch_at_sides_and_corners():
    labels = np.array([[0, 0, 1], [2, 0, 1], [2, 3, 3]])
    assert neighbours(labels).tolist() == [[0, 1], [0, 2], [0, 3], [1, 3], [2, 3]]
    four = neighbours(np.array([[0, 1], [2, 3]]))
    assert four.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]


@pytest.mark.parametrize("similarity", [proposals.CTSF, proposals.TSF, "f", "s"])
def test_n_regions_give_2n_minus_1_boxes_that_end_with_the_image(similarity):
    labels, image = random_labels()
    boxes = group(regions_of(image, labels), similarity)
    assert len(boxes) == 2 * 24 - 1
    assert boxes[-1].tolist() == [0, 0, 60, 48]
    assert (boxes[:24] == regions_of(image, labels).boxes).all()


def test_similarities_lie_between_0_and_1_and_merges_keep_the_mass():
    labels, image = random_labels()
    regions = regions_of(image, labels)
    one, two = regions.pairs.T
    for letter in "ctsf":
        values = proposals._Grouping(regions, letter).similarities(one, two)
        assert (values >= 0).all() and (values <= 1 + 1e-6).all(), letter
    state = proposals._Grouping(regions, "ctsf")
    near = state.merge(0, 1, 24)
    assert [table[24].sum() for table in state.histograms] == pytest.approx([1, 1], abs=1e-5)
    assert state.sizes[24] == 240 and 0 not in near and 1 not in near
    # Two patches of 120 pixels of 2880, side by side without a gap.
    assert proposals._Grouping(regions, "s").similarities(np.array([0]), np.array([1]))[
        0
    ] == pytest.approx(1 - 240 / 2880)
    assert proposals._Grouping(regions, "f").similarities(np.array([0]), np.array([1]))[0] == 1
    assert proposals._Grouping(regions, "f").similarities(np.array([0]), np.array([7]))[
        0
    ] == pytest.approx(1 - (480 - 240) / 2880)


def test_a_merged_region_has_the_histogram_of_its_pixels():
    labels, image = random_labels()
    labels[labels == 2] = 1  # two patches of one region: twice the others' pixels
    labels[labels > 2] -= 1
    state = proposals._Grouping(regions_of(image, labels), "ctsf")
    state.merge(0, 1, 23)
    joined = np.where(labels == 1, 0, labels)
    wanted = regions_of(image, np.where(joined > 0, joined - 1, 0))
    for table, whole in zip(state.histograms, (wanted.colors, wanted.textures), strict=True):
        np.testing.assert_allclose(table[23], whole[0], atol=1e-6)


def test_the_most_similar_neighbours_merge_first():
    image = np.zeros((40, 120, 3), np.uint8)
    image[:, :40], image[:, 40:80], image[:, 80:] = (10, 10, 10), (12, 12, 12), (250, 250, 0)
    labels = np.arange(3)[None].repeat(40, 0).repeat(40, 1)
    assert group(regions_of(image, labels), "c")[3].tolist() == [0, 0, 80, 40]


@pytest.fixture(scope="module")
def scene():
    return make_scene(5, 0).render().image


def test_proposals_are_unique_inside_and_large_enough(scene):
    found = selective_search(scene)
    height, width = scene.shape[:2]
    assert len(np.unique(found, axis=0)) == len(found) > 50
    assert found.min() >= 0 and found[:, 2].max() <= width and found[:, 3].max() <= height
    shortest = proposals.MIN_SIDE * width / proposals.WORK_WIDTH
    assert (found[:, 2:] - found[:, :2]).min() >= shortest - 1e-3


def test_a_seed_decides_the_order_and_nothing_else(scene):
    first, again, other = (selective_search(scene, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert sorted(map(tuple, first)) == sorted(map(tuple, other))
    assert np.array_equal(selective_search(scene, seed=1, max_boxes=20), first[:20])


def test_the_most_promising_boxes_come_first(monkeypatch):
    """A box ranks by its place in the hierarchy, the whole image's being 1, times a random number.

    So the whole image, which has a chance in each of eight hierarchies, is among the first ones,
    and what was merged last stands before the first regions.
    """
    sides = np.stack([np.linspace(40 + n, 500, 100).round().astype(int) for n in range(8)])
    nested = [np.stack([0 * row, 0 * row, row, row], 1) for row in sides]
    monkeypatch.setattr(proposals, "hierarchies", lambda *_: nested)
    for seed in range(5):
        found = selective_search(np.zeros((500, 500, 3), np.uint8), seed=seed)
        (whole,) = np.flatnonzero(found[:, 2] == 500)
        assert whole < 30  # of 790
        assert found[:30, 2].mean() > 1.5 * found[-200:, 2].mean()


def test_fast_mode_has_8_strategies_and_quality_80(scene):
    assert len(list(hierarchies(scene, "fast"))) == 8
    spaces, similarities, sizes = proposals.MODES["quality"]
    assert len(spaces) * len(similarities) * len(sizes) == 80


@pytest.mark.parametrize(
    "image", [np.zeros((1, 1, 3)), np.zeros((30, 7, 3)), np.full((9, 80, 3), 9)]
)
def test_tiny_and_flat_images_give_themselves(image):
    found = selective_search(image.astype(np.uint8))
    height, width = image.shape[:2]
    assert found.tolist() == [[0, 0, width, height]]


@pytest.mark.parametrize("space", ["hsv", "lab", "rgi", "h", "i"])
def test_colour_spaces_stay_in_range(space, scene):
    pixels = to_space(scene, space)
    assert pixels.shape[:2] == scene.shape[:2] and pixels.ndim == 3
    assert pixels.min() >= 0 and pixels.max() <= 255.01


def test_most_shapes_of_the_scenes_are_covered():
    regions, boxes, labels = [], [], []
    for index in range(12):
        scene = make_scene(11, index)
        frame = scene.render()
        own = []
        for number in range(len(scene.shapes)):
            y, x = np.nonzero(frame.visible == number)
            if len(y) >= 16:
                own.append([x.min(), y.min(), x.max() + 1, y.max() + 1])
        regions.append(selective_search(frame.image))
        boxes.append(np.array(own, float))
        labels.append(np.ones(len(own), int))
    found = coverage(regions, boxes, labels)
    assert found["recall"] >= 0.95 and found["boxes"] <= 2000


def test_coverage_is_worked_out_by_hand():
    regions = [np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]]), np.zeros((0, 4))]
    boxes = [np.array([[0.0, 0, 10, 8], [0, 0, 10, 4]]), np.array([[1.0, 1, 2, 2]])]
    labels = [np.array([1, 2]), np.array([2])]
    found = coverage(regions, boxes, labels)
    assert found["recall"] == pytest.approx(1 / 3)
    assert found["mabo"] == pytest.approx((0.8 + (0.4 + 0) / 2) / 2)
    assert found["boxes"] == 1
    assert coverage([], [], []) == {"recall": None, "mabo": None, "boxes": None}


def test_a_proposal_must_cover_more_than_half():
    regions = np.array([[0.0, 0, 10, 5], [20, 0, 30, 5.1]])
    boxes = np.array([[0.0, 0, 10, 10], [20, 0, 30, 10]])
    found = coverage([regions], [boxes], [np.array([1, 1])])
    assert found == {"recall": 0.5, "mabo": pytest.approx(0.505), "boxes": 2}
