"""What is said of the curves of a training, from curves drawn by hand and from trainings."""

from types import SimpleNamespace

import pytest

from cvkit import catalog
from cvkit.commands import train as command
from cvkit.engine.curve_reading import read_curves
from cvkit.engine.progress import Progress


def lines(loss, val, trained=0.95, validated=0.7):
    """A history with these losses and the same metrics in every epoch."""
    return [
        {"epoch": n, "loss": a, "val_loss": b, "train_top1": trained, "top1": validated}
        for n, (a, b) in enumerate(zip(loss, val, strict=True), 1)
    ]


FALLING = [1.0, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]
CURVES = {
    "unstable": [
        (FALLING[:-1] + [1.1], FALLING),
        ([1.0, 0.5, 0.9, 0.5, 0.9, 0.5, 0.9, 0.5], FALLING),
    ],
    "overfitting": [
        (FALLING, [1.0, 0.8, 0.7, 0.6, 0.7, 0.8, 0.9, 1.0]),
        (FALLING, [1.0, 0.8, 0.7, 0.6, 0.59, 0.58, 0.65, 0.66]),
    ],
    "improving": [(FALLING, FALLING), (FALLING, [1.0, 0.9, 0.8, 0.7, 0.62, 0.62, 0.61, 0.59])],
    "level": [
        (FALLING, [1.0, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]),
        (FALLING, [1.0, 0.7, 0.6, 0.6, 0.61, 0.62, 0.63, 0.64]),  # not a tenth above its lowest
        ([1.0, 0.5, 0.4, 0.41, 0.42, 0.43, 0.44, 0.45], [1.0, 0.8, 0.5] + [0.6] * 5),
        ([1.0, 0.5, 0.9, 0.5, 0.9, 0.5, 0.5, 0.5], [0.6] * 8),  # two rises in seven
    ],
}
CASES = [(name, *pair) for name, pairs in CURVES.items() for pair in pairs]


@pytest.mark.parametrize(("name", "loss", "val"), CASES)
def test_curves_drawn_by_hand_are_read(name, loss, val):
    assert read_curves(lines(loss, val), "top1").name == name


def test_the_evidence_are_the_numbers_of_the_curves():
    over = read_curves(lines(FALLING, [1.0, 0.8, 0.7, 0.6, 0.7, 0.8, 0.9, 1.0]), "top1")
    assert over.sentence() == (
        "curves: over-fitting: the validation loss was lowest in epoch 4 (0.6) and ended at 0.9, "
        "while the training loss fell from 0.5 to 0.1; more data, stronger --augment or "
        "--weight-decay, or fewer epochs"
    )
    wild = read_curves(lines([1.0, 0.5, 0.9, 0.5, 0.75, 0.5, 0.9], [0.6] * 7), "top1")
    assert "rose in 3 of 6 epochs, by up to 80%" in wild.sentence()
    more = read_curves(lines(FALLING, FALLING), "top1")
    assert "validation loss 0.15 in the last 2 epochs, 0.35 in the 2 epochs before" in more.evidence


@pytest.mark.parametrize(
    ("trained", "validated", "name"),
    [
        *((0.5, 0.48, "underfitting"), (0.48, 0.5, "underfitting"), (0.5, 0.4, "level")),
        *((0.95, 0.95, "level"), (None, 0.5, "level"), (0.5, None, "level")),
    ],
)
def test_equal_metrics_that_are_low_mean_underfitting(trained, validated, name):
    found = read_curves(lines(FALLING, [0.6] * 8, trained, validated), "top1")
    assert found.name == name
    assert ("top1 is 0.5" in found.evidence) == (name == "underfitting" and trained == 0.5)


@pytest.mark.parametrize("bad", [None, float("nan"), float("inf")])
def test_too_little_is_not_read(bad):
    assert read_curves(lines([1.0] * 4, [1.0] * 4), "top1") is None
    assert read_curves([], "top1") is None
    assert read_curves(lines([1.0] * 8, [1.0] * 7 + [bad]), "top1") is None


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_training_ends_with_the_sentence(cvkit, monkeypatch, tmp_path, task):
    best = catalog.resolve(catalog.TASKS[task]).best
    history = [
        {**line, best: line["top1"], f"train_{best}": 0.9}
        for line in lines(FALLING, [1.0, 0.8, 0.7, 0.6, 0.7, 0.8, 0.9, 1.0])
    ]

    def training(options, *_):
        kind = SimpleNamespace(best=best, metric_names=(best,))
        progress = Progress(epoch=8, best_epoch=4, history=history)
        return command.Outcome(tmp_path, kind, progress, True)

    monkeypatch.setattr(command, "run_training", training)
    plain, coded = cvkit(task, "train"), cvkit(task, "train", "--json")
    assert "curves: over-fitting: the validation loss was lowest in epoch 4" in plain.err
    assert coded.json["curves"]["name"] == "overfitting"
    assert "epoch 4" in coded.json["curves"]["evidence"]
    history[4:] = []
    plain, coded = cvkit(task, "train"), cvkit(task, "train", "--json")
    assert "curves:" not in plain.err
    assert coded.json["curves"] is None
