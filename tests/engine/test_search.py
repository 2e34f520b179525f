"""Learning rate test and search: what they try, what they conclude, and going on."""

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cvkit.commands import tune as tune_command
from cvkit.data.synthetic.samples import write_classification
from cvkit.engine.lr_range import conclude
from cvkit.engine.search import Choices, Range, edges, halving, parse_range, ranking, trials
from cvkit.errors import TrainingDiverged, UsageError

SPACE = {"lr": Range(1e-4, 1e-2), "batch_size": Choices((4, 8))}


def test_random_trials_are_log_uniform_and_depend_on_seed_and_number_alone():
    many = trials(SPACE, "random", 600, 3, seed=1)
    assert trials(SPACE, "random", 5, 3, seed=1) == many[:5]
    assert trials(SPACE, "random", 5, 3, seed=2) != many[:5]
    places = np.log10([trial["lr"] for trial in many])
    assert places.min() >= -4 - 1e-9
    assert places.max() <= -2 + 1e-9
    assert np.histogram(places, 4, (-4, -2))[0].min() > 100
    assert {trial["batch_size"] for trial in many} == {4, 8}


def test_a_grid_has_every_combination():
    found = trials(SPACE, "grid", 1, 3, seed=0)
    assert len(found) == 6
    assert sorted({trial["lr"] for trial in found}) == [1e-4, 1e-3, 1e-2]


def test_the_best_at_an_edge_is_told():
    assert edges(SPACE, {"lr": 1.1e-4, "batch_size": 4})[0].startswith("the best lr 0.00011")
    assert "high edge" in edges(SPACE, {"lr": 9.9e-3, "batch_size": 4})[0]
    assert edges(SPACE, {"lr": 1e-3, "batch_size": 8}) == []


def test_ranking_puts_diverged_trials_last():
    results = [{"value": 0.2}, {"value": None}, {"value": 0.7}]
    assert [r["value"] for r in ranking(results)] == [0.7, 0.2, None]


def test_ranking_compares_trials_of_one_length():
    results = [{"value": v, "epochs": e} for v, e in ((0.9, 1), (0.5, 3), (None, 3), (0.4, 3))]
    assert [r["value"] for r in ranking(results)] == [0.5, 0.4, 0.9, None]


def halved(count, value, epochs=2):
    """All results of a search by halving whose trials have these values."""
    results = []
    while len(results) < len(plan := halving(SPACE, results, count, epochs, seed=1)):
        assert plan[: len(results)] == [{k: r[k] for k in (*SPACE, "epochs")} for r in results]
        settings = plan[len(results)]
        results.append(settings | {"value": value(settings)})
    return results


def near_a_thousandth(settings):
    return 1 / (1 + abs(math.log10(settings["lr"] / 1e-3))) + settings["batch_size"] / 1000


@pytest.mark.parametrize(
    ("count", "lengths"),
    [
        (1, [2, 2]),
        (3, [2] * 4),
        (4, [2] * 4 + [6] * 2 + [6] * 2),
        (9, [2] * 9 + [6] * 3 + [6] * 3),
        (10, [2] * 10 + [6] * 4 + [18] * 2 + [18] * 4),
        (27, [2] * 27 + [6] * 9 + [18] * 3 + [18] * 9),
    ],
)
def test_a_third_goes_on_for_three_times_as_long(count, lengths):
    results = halved(count, near_a_thousandth)
    assert [line["epochs"] for line in results] == lengths
    first, kept = results[:count], results[count : count + math.ceil(count / 3)]
    assert [{n: line[n] for n in SPACE} for line in first] == trials(SPACE, "random", count, 3, 1)
    if count > 3:
        best = ranking(first)[: len(kept)]
        assert [line["lr"] for line in kept] == [line["lr"] for line in best]


def test_the_fine_stage_is_around_the_best():
    results = halved(27, near_a_thousandth)
    best = max(results[36:39], key=lambda line: line["value"])
    fine = results[39:]
    assert {line["batch_size"] for line in fine} == {best["batch_size"]}
    off = [math.log10(line["lr"] / best["lr"]) for line in fine]
    assert -1 / 3 - 0.01 < min(off) < -0.05
    assert 0.05 < max(off) < 1 / 3 + 0.01
    assert len({line["lr"] for line in results[:27] + fine}) == 36


def test_a_range_near_a_value_stays_inside():
    for value, low, high in (
        *((1e-3, 10**-3.3333, 10**-2.6667), (1e-4, 1e-4, 10**-3.3333)),
        *((1e-2, 10**-2.6667, 1e-2), (1.2e-4, 1e-4, 10**-3.3333)),
    ):
        found = SPACE["lr"].near(value)
        assert (found.low, found.high) == pytest.approx((low, high), rel=1e-3)


def test_diverged_trials_do_not_go_on():
    results = halved(9, lambda s: 0.5 if s["lr"] < 3e-4 and s["epochs"] == 2 else None)
    assert 9 < len(results) <= 12
    assert all(line["lr"] < 3e-4 for line in results[9:])
    assert len(halved(9, lambda _: None)) == 9


@pytest.mark.parametrize(
    "text", ["1e-2,1e-4", "0,1", "a,b", "1,2,3", "-1", "1,inf", "inf", "nan", "0"]
)
def test_impossible_ranges_are_refused(text):
    with pytest.raises(UsageError, match="--lr"):
        parse_range(text, "lr", zero=False)
    assert parse_range("0", "weight-decay") == Choices((0.0,))


def test_the_suggestion_is_where_the_loss_falls_fastest():
    rates = [10 ** (-6 + i / 10) for i in range(60)]
    # Flat at 2, falls around 1e-3, lowest at 1e-2, then explodes.
    losses = [
        2 - 1.5 / (1 + math.exp(-8 * (math.log10(r) + 3))) + max(0, math.log10(r) + 2) ** 2 * 4
        for r in rates
    ]
    found = conclude(rates, losses, None)
    assert 5e-4 < found.suggested < 2e-3
    lowest = rates[losses.index(min(losses))]
    assert found.largest == pytest.approx(lowest / 3)
    # A last steep step just before the minimum must not be taken for the best rate.
    late = conclude([1e-4, 1e-3, 5e-3, 1e-2, 3e-2], [2.0, 1.9, 1.9, 1.0, 3.0], None)
    assert late.suggested == late.largest == pytest.approx(1e-2 / 3)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    write_classification(folder, {"train": 24, "val": 6}, seed=3, size_hw=(32, 32))
    return folder


def test_find_lr_draws_and_names_a_rate(cvkit, shapes, tmp_path):
    done = cvkit(
        *("classify", "train", "--data", shapes, "--out", tmp_path, "--arch", "lenet"),
        *("--batch-size", 8, "--find-lr", "--json", "--workers", 0),
    )
    assert done.code == 0, done.err
    found = done.json["find_lr"]
    assert 1e-6 < found["suggested"] < 1
    assert len(found["rates"]) == len(found["losses"]) > 20
    run = tmp_path / "classify-lenet-001"
    assert Image.open(run / "lr.png").size[0] > 300
    assert not (run / "best.safetensors").exists()


def tune(cvkit, shapes, out, *more):
    return cvkit(
        *("tune", "classify", "--data", shapes, "--out", out, "--epochs", 1, "--trials", 3),
        *("--set", "arch=lenet", "--set", "workers=0", "--batch-size", "6,12", "--quiet", "--json"),
        *more,
    )


def test_a_study_is_ranked_and_goes_on_where_it_stopped(cvkit, shapes, tmp_path, monkeypatch):
    whole = tune(cvkit, shapes, tmp_path / "a").json
    values = [trial["value"] for trial in whole["ranking"]]
    assert values == sorted(values, reverse=True)
    assert len(values) == 3
    real, calls = tune_command.run_training, []

    def second_fails(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(tune_command, "run_training", second_fails)
        assert tune(cvkit, shapes, tmp_path / "b").code == 130
    study = tmp_path / "b" / "tune-classify-001"
    assert len((study / "trials.jsonl").read_text().splitlines()) == 1
    resumed = cvkit("tune", "classify", "--resume", study, "--quiet", "--json").json
    strip = [{k: v for k, v in trial.items() if k != "run"} for trial in resumed["ranking"]]
    assert strip == [{k: v for k, v in t.items() if k != "run"} for t in whole["ranking"]]
    assert json.loads((study / "study.json").read_text())["ranking"] == resumed["ranking"]


def test_a_study_by_halving_goes_on_where_it_stopped(cvkit, tmp_path, monkeypatch):
    asked = []

    def training(options, *_):
        asked.append((options.lr, options.batch_size, options.epochs))
        if len(asked) == stop:
            raise KeyboardInterrupt
        value = 1 - abs(math.log10(options.lr) + 3) / 3
        kept = SimpleNamespace(kept=lambda which: {"top1": value})
        return SimpleNamespace(run=Path("r"), progress=kept, task=SimpleNamespace(best="top1"))

    monkeypatch.setattr(tune_command, "run_training", training)
    flags = ("--strategy", "halving", "--trials", 9, "--epochs", 2, "--quiet", "--json")
    stop = 0
    whole = cvkit("tune", "classify", *flags, "--out", tmp_path / "a").json
    every = list(asked)
    assert [epochs for *_, epochs in every] == [2] * 9 + [6] * 6
    assert [line["epochs"] for line in whole["ranking"]] == [6] * 6 + [2] * 9
    best = max(every[9:], key=lambda each: -abs(math.log10(each[0]) + 3))
    assert whole["ranking"][0]["lr"] == best[0]
    for stop in (4, 11, 14):
        asked.clear()
        out = tmp_path / f"b{stop}"
        assert cvkit("tune", "classify", *flags, "--out", out).code == 130
        begun, asked[:] = asked[: stop - 1], []
        wanted, stop = stop, 0
        again = cvkit("tune", "classify", "--resume", next(out.iterdir()), "--quiet", "--json").json
        assert begun + asked == every, wanted
        assert again["ranking"] == whole["ranking"]


def test_a_diverged_trial_does_not_end_the_study(cvkit, shapes, tmp_path, monkeypatch):
    real, calls = tune_command.run_training, []

    def first_diverges(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise TrainingDiverged("loss is nan", code="diverged")
        return real(*arguments)

    monkeypatch.setattr(tune_command, "run_training", first_diverges)
    ranked = tune(cvkit, shapes, tmp_path).json["ranking"]
    assert ranked[-1]["value"] is None
    assert "loss is nan" in ranked[-1]["reason"]
    assert ranked[0]["value"] is not None


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--set", "arhc=lenet"), ["arhc", "arch"]),
        (("--set", "arch"), ["NAME=VALUE"]),
        (("--set", "lr=1"), ["lr", "is set by the study"]),
        (("--lr", "1,0.1"), ["--lr", "LOW,HIGH"]),
        (("--batch-size", "4,x"), ["4,x"]),
    ],
)
def test_a_study_that_cannot_work_is_one_line(cvkit, shapes, tmp_path, more, words):
    done = tune(cvkit, shapes, tmp_path / "runs", *more)
    assert done.code == 2
    for word in words:
        assert word in done.err
    assert not (tmp_path / "runs").exists()


def test_tune_works_on_segmentation_too(cvkit, scenes, tmp_path):
    done = cvkit(
        *("tune", "segment", "--data", scenes, "--out", tmp_path, "--epochs", 1),
        *("--strategy", "grid", "--lr", "1e-4,1e-2", "--points", 2, "--weight-decay", "0.01"),
        *("--set", "backbone=mobilenet_v3_small", "--set", "image_size=32x32"),
        *("--set", "workers=0", "--json", "--quiet"),
    )
    assert done.code == 0, done.err
    assert sorted(trial["lr"] for trial in done.json["ranking"]) == [1e-4, 1e-2]
    assert done.json["warnings"]


def test_a_study_does_not_begin_in_several_processes_of_a_launcher(cvkit, monkeypatch, tmp_path):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    done = cvkit("tune", "classify", "--trials", 1, "--out", tmp_path / "runs", "--json")
    assert done.code == 2
    assert done.json["error"]["code"] == "tune.processes"
    assert not (tmp_path / "runs").exists()
