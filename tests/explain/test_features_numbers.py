"""Neighbours, near duplicates, clusters and maps of features, against computations of their own."""

import itertools
import math
import sys
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.decomposition import PCA

from cvkit.explain import neighbours, projections
from cvkit.explain.clusters import cluster, clustering_accuracy, mutual_information
from cvkit.explain.extract import SIDE, evenly, thumbnail
from cvkit.output.scatter import draw_scatter, group_colours, sprite_of


def unit(count, width=6, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32)
    neighbours.scale_to_unit(rows)
    return rows


@pytest.fixture(params=[2**24, 20], ids=["one block", "blocks"])
def blocks(request, monkeypatch):
    monkeypatch.setattr(neighbours, "BLOCK", request.param)


def test_rows_are_scaled_to_length_1_and_zeros_stay():
    rows = np.array([[3, 4], [0, 0], [-2, 0]], np.float32)
    neighbours.scale_to_unit(rows)
    assert np.allclose(rows, [[0.6, 0.8], [0, 0], [-1, 0]])


def test_neighbours_are_those_of_a_loop_over_all_pairs(blocks):
    rows, queries = unit(17), unit(5, seed=1)
    queries[2] = rows[4]
    same = np.array([-1, -1, 4, -1, 0])
    places, cosines = neighbours.nearest_rows(queries, rows, 3, same)
    for number, query in enumerate(queries):
        pairs = [
            (-sum(float(a) * float(b) for a, b in zip(query, row, strict=True)), place)
            for place, row in enumerate(rows)
            if place != same[number]
        ]
        wanted = sorted(pairs)[:3]
        assert places[number].tolist() == [place for _, place in wanted]
        assert cosines[number] == pytest.approx([-value for value, _ in wanted], abs=1e-6)


def test_of_few_inputs_there_are_fewer_neighbours_and_equal_ones_come_in_order():
    rows = np.array([[1, 0], [0, 1], [0, 1]], np.float32)
    places, cosines = neighbours.nearest_rows(rows[1:2], rows, 7, np.array([1]))
    assert places.tolist() == [[2, 0, -1]]
    assert cosines.tolist() == [[1, 0, 0]]
    places, _ = neighbours.nearest_rows(rows[1:2], rows, 2, np.array([-1]))
    assert places.tolist() == [[1, 2]]


def test_groups_of_duplicates_are_the_components_of_the_pairs(blocks):
    rows = unit(40, width=3)
    pairs = {
        (a, b) for a, b in itertools.combinations(range(40), 2) if float(rows[a] @ rows[b]) >= 0.95
    }
    groups = [{n} for n in range(40)]
    for a, b in pairs:  # merged by hand, one pair after the other
        one, two = (next(g for g in groups if n in g) for n in (a, b))
        if one is not two:
            groups.remove(two)
            one |= two
    wanted = sorted(sorted(group) for group in groups if len(group) > 1)
    found = neighbours.duplicate_groups(rows, 0.95)
    assert found == wanted
    assert len(found) > 2
    assert any(len(group) > 2 for group in found)


def test_the_seed_decides_where_clusters_begin():
    rows = unit(60)
    assert np.array_equal(cluster(rows, 12, 0), cluster(rows, 12, 0))
    assert any(not np.array_equal(cluster(rows, 12, 0), cluster(rows, 12, n)) for n in (1, 2))


def test_clusters_are_numbered_by_size():
    centres = np.eye(3, 8, dtype=np.float32) * 9
    labels = np.repeat([0, 1, 2], [4, 9, 6])
    rows = centres[labels] + np.random.default_rng(0).normal(size=(19, 8)).astype(np.float32) / 9
    assert cluster(rows, 3, 0).tolist() == np.array([2, 0, 1])[labels].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_mutual_information_and_accuracy_are_those_of_their_definitions(seed):
    random = np.random.default_rng(seed)
    clusters, labels = random.integers(0, 4, 30).tolist(), random.choice(list("abc"), 30).tolist()

    def entropy(values):
        return -sum(n / 30 * math.log(n / 30) for n in Counter(values).values())

    both = entropy(list(zip(clusters, labels, strict=True)))
    mutual = entropy(clusters) + entropy(labels) - both
    wanted = 2 * mutual / (entropy(clusters) + entropy(labels))
    assert mutual_information(clusters, labels) == pytest.approx(wanted)
    best = max(
        sum(each[c] == name for c, name in zip(clusters, labels, strict=True)) / 30
        for each in itertools.permutations(["a", "b", "c", None])
    )
    assert clustering_accuracy(clusters, labels) == pytest.approx(best)
    assert clustering_accuracy(clusters, [str(n) for n in clusters]) == 1


def test_principal_components_are_those_of_scikit_learn():
    rows = unit(30)
    wanted = PCA(2).fit_transform(rows.astype(np.float64))
    found = projections.principal(rows, 2)
    assert np.allclose(np.abs(found), np.abs(wanted), atol=1e-6)
    assert projections.principal(rows[:, :1], 2)[:, 1].tolist() == [0] * 30


@pytest.mark.parametrize("how", ["tsne", "pca"])
def test_maps_keep_groups_together_fill_the_square_and_repeat(how):
    labels = np.repeat([0, 1, 2], 12)
    rows = np.eye(3, 5, dtype=np.float32)[labels] + unit(36, 5) / 20
    places = projections.project(rows, how, 30, 0)
    assert np.array_equal(places, projections.project(rows, how, 30, 0))
    span = places.max(0) - places.min(0)
    assert span.max() == pytest.approx(1)
    assert np.allclose((places.max(0) + places.min(0)) / 2, 0.5, atol=1e-6)
    far = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(far, np.inf)
    assert (labels[far.argmin(1)] == labels).all()
    assert projections.project(rows[:4], how, 30, 0).shape == (4, 2)


def test_umap_is_asked_for_cosines_of_as_many_neighbours(monkeypatch):
    asked = {}

    class Umap:
        def __init__(self, **flags):
            asked.update(flags)

        def fit_transform(self, rows):
            return rows[:, :2]

    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Umap))
    rows = unit(40)
    found = projections.project(rows, "umap", 12, 5)
    assert (asked["n_neighbors"], asked["metric"], asked["random_state"]) == (12, "cosine", 5)
    assert np.allclose(np.diff(found[:, 0]) / np.diff(rows[:, 0]), 1 / np.ptp(rows[:, :2], 0).max())
    projections.project(rows[:5], "umap", 30, 0)
    assert asked["n_neighbors"] == 4


def test_places_are_spread_over_all_inputs():
    assert evenly(5, 10) == [0, 1, 2, 3, 4]
    assert evenly(9, 3) == [0, 4, 8]
    assert evenly(0, 3) == []


@pytest.mark.parametrize("size_hw", [(30, 90), (90, 30), (64, 64), (1, 200), (8, 8)])
def test_thumbnails_are_squares_with_the_whole_picture(size_hw):
    made = thumbnail(np.zeros((*size_hw, 3), np.uint8))
    assert made.shape == (SIDE, SIDE, 3)
    high, wide = (max(1, round(SIDE * side / max(size_hw))) for side in size_hw)
    assert (made == 0).all(-1).sum() == high * wide


def test_pictures_lie_at_their_places_and_what_would_cover_others_is_a_dot():
    colours = [(20 * n, 77, 7) for n in range(3)]  # none is that of a letter
    squares = [np.full((10, 10, 3), colour, np.uint8) for colour in colours]
    places = np.array([[0, 0], [1, 0.5], [0, 0.001]])
    drawn = draw_scatter("three", places, squares, ["a", None, "a"])
    assert ((drawn == colours[0]).all(-1)).sum() >= 100 - 49
    rows, columns = np.nonzero((drawn == colours[1]).all(-1))
    assert (np.ptp(rows), np.ptp(columns)) == (9, 9)
    low, left = np.nonzero((drawn[200:] == colours[0]).all(-1))
    assert columns.min() > left.max() + 1000  # x grows to the right
    assert rows.max() < 200 + low.min()  # y grows to the top
    assert not (drawn == colours[2]).all(-1).any()
    assert len({*group_colours(300)}) > 250


def test_a_sprite_has_the_squares_row_by_row():
    squares = [np.full((4, 4, 3), n, np.uint8) for n in range(1, 6)]
    sheet, columns = sprite_of(squares)
    assert columns == 3
    assert sheet.shape == (8, 12, 3)
    for number, square in enumerate(squares):
        top, left = 4 * (number // 3), 4 * (number % 3)
        assert np.array_equal(sheet[top : top + 4, left : left + 4], square)
