"""Precision and recall of each class against the rest, against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support

from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.one_vs_rest import one_vs_rest
from cvkit.metrics.video import VideoMetric
from cvkit.structures import Classes

DRAW = np.random.default_rng(2)
LABELS = DRAW.integers(0, 4, 60)  # of 5 classes
SCORES = DRAW.random((60, 5)).round(1)  # many are equal
SCORES[LABELS == 2, 2] += 0.3
HITS = np.eye(5, dtype=int)[LABELS]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_averages_are_those_of_scikit_learn(kind):
    scores = SCORES.astype(kind)
    found = one_vs_rest(scores, LABELS)
    wanted = [average_precision_score(HITS[:, place], scores[:, place]) for place in range(4)]
    assert found.average_precisions()[:4] == pytest.approx(wanted, abs=1e-12)
    assert np.isnan(found.average_precisions()[4])  # is not in the truth
    content = found.as_json()
    assert content["macro_ap"]["value"] == pytest.approx(np.mean(wanted))
    micro = average_precision_score(HITS, scores, average="micro")
    assert content["micro_ap"]["value"] == pytest.approx(micro, abs=1e-12)
    assert 0.2 < micro < np.mean(wanted) < 0.9


def test_numbers_over_the_smallest_score_are_those_of_scikit_learn():
    scores = DRAW.random((60, 5))
    limits, *values = one_vs_rest(scores, LABELS).by_threshold()
    for place in (0, 37, 80, 99):
        said = (scores >= limits[place]).astype(int)
        wanted = precision_recall_fscore_support(HITS, said, average="micro", zero_division=np.nan)
        assert [value[place] for value in values] == pytest.approx(wanted[:3])
    assert np.isnan(values[0][-1]) and values[1][-1] == values[2][-1] == 0  # no score is 1


def test_nothing_and_unknown_scores_have_no_curves():
    assert one_vs_rest(np.array([[0.5, np.nan]]), np.array([0])) is None
    nothing = one_vs_rest(np.zeros((0, 3)), np.zeros(0, int))
    assert {each["value"] for each in nothing.as_json().values()} == {None}
    assert ClassificationMetric(3).one_vs_rest().as_json() == nothing.as_json()


@pytest.mark.parametrize("make", [ClassificationMetric, VideoMetric])
def test_processes_together_have_the_curves_of_one(make):
    whole, parts, places = make(5), [make(5), make(5)], [[0, 3], [2, 1]]
    for place in range(4):
        whole.update(Classes(-1, SCORES[place]), Classes(LABELS[place]))
    for part, mine in zip(parts, places, strict=True):
        for place in mine:
            part.update(Classes(-1, SCORES[place]), Classes(LABELS[place]))
    parts[0].merge([part.state() for part in parts], places)
    assert np.array_equal(parts[0].scores, whole.scores) and parts[0].labels == whole.labels
    assert parts[0].one_vs_rest().as_json() == whole.one_vs_rest().as_json()
