"""The numbers that judge maps, and that the methods pass them where a random map fails."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from questions import MODELS, asked, loaded, question_of, small_subject
from scipy.stats import spearmanr

from cvkit.explain import numbers
from cvkit.explain.layers import default_layer, find_layers
from cvkit.explain.methods import TABLE, Settings, Subject, random_map
from cvkit.options.explain import METHODS


def test_the_pointing_game_looks_at_the_maximum():
    found = torch.zeros(2, 3, 4)
    found[1, 2, 3] = 5
    region = np.zeros((3, 4), bool)
    assert not numbers.points_at(found, region)
    region[2, 3] = True
    assert numbers.points_at(found, region)
    clip = np.zeros((2, 3, 4), bool)
    clip[0, 2, 3] = True
    assert not numbers.points_at(found, clip)
    clip[1, 2, 3] = True
    assert numbers.points_at(found, clip)


def shares(pixels):
    """Return the probability of one class: the share of the first 25 of 100 pixels that is left."""
    left = (pixels[:, 0, :5, :5] == 1).float().mean((1, 2))
    return torch.stack((left, 1 - left), 1)


def counting_question(index=0):
    pixels = torch.ones(1, 3, 10, 10)
    made = question_of(shares, pixels, index)
    return replace(made, probability=lambda inputs: shares(inputs)[:, index])


def test_deletion_and_insertion_are_the_areas_under_the_probability(monkeypatch):
    monkeypatch.setattr(numbers, "blurred", torch.zeros_like)
    question = counting_question()
    best = torch.zeros(1, 10, 10)
    best[0, :5, :5] = 1
    drawn = numbers.curves(question, best, 0.5, 4)
    # Of 25 important pixels 5 go with each of the first five steps of 20.
    assert drawn.deletion == pytest.approx([1, 0.8, 0.6, 0.4, 0.2, *[0] * 16])
    assert drawn.insertion == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, *[1] * 16])
    assert drawn.areas == pytest.approx((2.5 / 20, 17.5 / 20))
    worst = numbers.curves(question, -best, 0.5, 4)
    assert worst.areas == pytest.approx((17.5 / 20, 2.5 / 20))


def test_curves_of_clips_delete_places_in_time():
    given = small_subject(clip=True)
    found = torch.rand(given.question.size)
    drawn = numbers.curves(given.question, found, 0.5, 4)
    order = (-found.flatten()).argsort()
    pixels = given.question.pixels.clone().flatten(2)
    pixels[:, :, order[: round(len(order) / 2)]] = 0.5
    half = given.question.probability(pixels.view(given.question.pixels.shape))
    assert drawn.deletion[10] == pytest.approx(float(half), abs=1e-5)


def test_insertion_begins_with_a_blurred_input():
    given = small_subject()
    found = torch.rand(given.question.size)
    drawn = numbers.curves(given.question, found, 0.5, 4)
    soft = numbers.blurred(given.question.pixels)
    assert drawn.insertion[0] == pytest.approx(float(given.question.probability(soft)), abs=1e-5)
    assert drawn.insertion[-1] == drawn.deletion[0]
    assert float(soft.std()) < 0.5 * float(given.question.pixels.std())


def test_correlation_is_spearmans_of_absolute_values():
    generator = np.random.default_rng(1)
    for _ in range(5):
        one, other = generator.integers(-4, 5, (2, 1, 6, 7))
        wanted = spearmanr(np.abs(one).ravel(), np.abs(other).ravel()).statistic
        found = numbers.correlation(torch.from_numpy(one).float(), torch.from_numpy(other).float())
        assert found == pytest.approx(wanted)
        region = generator.random((6, 7)) < 0.5
        wanted = spearmanr(*(np.abs(each[:, region]).ravel() for each in (one, other))).statistic
        given = (torch.from_numpy(each).float() for each in (one, other))
        assert numbers.correlation(*given, region) == pytest.approx(wanted)
    assert numbers.correlation(torch.zeros(1, 2, 2), torch.rand(1, 2, 2)) == 0


def test_weights_become_random_from_the_last_layer_on_and_return():
    net = small_subject().model
    before = {name: weight.clone() for name, weight in net.named_parameters()}
    stages = []
    with numbers.randomised(net, 3) as names:
        for name in names:
            same = [n for n, w in net.named_parameters() if torch.equal(w, before[n])]
            stages.append((name, sorted({n.partition(".")[0] for n in same})))
    assert stages == [("head", ["first", "second"]), ("second", ["first"]), ("first", [])]
    assert all(torch.equal(w, before[n]) for n, w in net.named_parameters())


def test_random_weights_keep_mean_and_deviation():
    net = torch.nn.Linear(400, 300)
    torch.nn.init.normal_(net.weight, 2.0, 0.3)
    with numbers.randomised(net.requires_grad_(False), 3) as names:
        assert list(names) == [""]  # the network is one layer


FEW = {"samples": 4, "noise": 0.05, "steps": 6}
"""Settings of cheap maps."""
SCENES = {"video": (1,)}
"""Which scenes are explained, if it is not the first two."""


@pytest.fixture(scope="module")
def judged():
    """Return, for each method on a built-in model, how much of its maps lies in the shapes.

    It is divided by their share of the area, which is that of a random map: of the trained network,
    of the random one, and the correlation of both.
    """
    made = {}

    def get(task):
        if task in made:
            return made[task]
        model, found = loaded(task).model, {}
        for index in SCENES.get(task, (1, 2)):
            question, truth, explained = asked(task, index)
            side = question.size[1] // (2 if task == "video" else 4)
            settings = Settings(patch=side, stride=side, **FEW)
            layers = find_layers(model, explained, question)
            layer = default_layer(model, explained, layers, question)
            given = Subject(model, question, layer, settings)
            maps = {name: TABLE[name](given) for name in METHODS[:6]}
            maps["random"] = random_map(given)
            with numbers.randomised(model, 0) as stages:
                assert len(list(stages)) == numbers.STAGES
                again = {name: TABLE[name](given) for name in METHODS[:6]}
            for name, each in maps.items():
                other = again.get(name, each)
                values = [numbers.share_inside(one, truth) / truth.mean() for one in (each, other)]
                found.setdefault(name, []).append(
                    [*values, numbers.correlation(each, other, question.region)]
                )
        made[task] = {name: np.mean(rows, 0) for name, rows in found.items()}
        return made[task]

    return get


@pytest.mark.parametrize("name", METHODS[:6])
@pytest.mark.parametrize("task", MODELS)
def test_every_method_beats_the_random_map_and_random_weights_do_not(judged, task, name):
    inside, inside_random_weights, correlation = judged(task)[name]
    random_map_inside, *_ = judged(task)["random"]
    assert random_map_inside == pytest.approx(1, abs=0.35)  # its share of the area
    assert inside > 1.1 * random_map_inside
    assert abs(correlation) < 0.8
    if loaded(task).task.name in ("classify", "video"):  # regions make every network look there
        assert inside_random_weights < inside


def test_the_share_inside_ignores_what_is_negative():
    found = torch.tensor([[[1.0, -5.0], [2.0, 1.0]]])
    region = np.array([[True, True], [False, True]])
    assert numbers.share_inside(found, region) == pytest.approx(2 / 4)
    assert numbers.share_inside(-found.abs(), region) == 0
