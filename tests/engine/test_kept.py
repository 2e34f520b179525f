"""Which model a run keeps, for all tasks: the best one, of equal ones the surest, and the last."""

import json

import pytest
import torch

from cvkit import catalog
from cvkit.console import Reporter
from cvkit.engine.evaluate import MeanLoss, Measured, Part
from cvkit.engine.loader import in_order, load
from cvkit.engine.progress import Progress
from cvkit.engine.runtime import choose_device
from cvkit.model_files import read_model
from cvkit.models.weights import find_model
from cvkit.options.tree import OPTIONS
from cvkit.output import curves
from cvkit.storage import write_file


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("values", "kept", "improved"),
    [
        ([(0.5, 1.0), (0.5, 0.8), (0.4, 0.1)], 2, 1),  # equal: the smaller loss
        ([(0.5, 0.8), (0.5, 1.0)], 1, 1),
        ([(0.5, 0.8), (0.5, 0.8)], 2, 1),  # equal loss, too: the later one
        ([(0.5, 0.1), (0.6, 9.0), (0.6, 9.5)], 2, 2),
        ([(None, 2.0), (None, 1.0), (None, 3.0)], 2, 1),
        ([(None, 1.0), (0.0, 5.0)], 2, 2),
        ([(0.5, None), (0.5, 7.0), (0.5, None)], 2, 1),
    ],
)
def test_of_equal_epochs_the_smaller_loss_is_kept_then_the_later_one(values, kept, improved):
    progress, flags = Progress(), []
    for metric, loss in values:
        progress.sums = {"out": 1.0}
        flags.append(progress.finish_epoch(1, 0.1, Measured({"m": metric}, loss, 0.5), "m"))
    assert (progress.best_epoch, progress.improved) == (kept, improved)
    assert [n for n, better in enumerate(flags, 1) if better][-1] == kept
    assert progress.kept("best")["epoch"] == kept
    assert progress.kept("last")["epoch"] == len(values)


@pytest.mark.parametrize("task", catalog.TASKS)
def test_every_epoch_has_a_validation_loss_and_a_training_metric(run_of, task):
    best = catalog.resolve(catalog.TASKS[task]).best
    first, second = lines(run_of(task))
    for line in (first, second):
        assert line["val_loss"] > 0
        assert line[f"train_{best}"] is None or 0 <= line[f"train_{best}"] <= 1
    assert first["val_loss"] != second["val_loss"]


@pytest.mark.parametrize("task", catalog.TASKS)
def test_the_best_and_the_last_model_both_evaluate(run_of, data_of, cvkit, tmp_path, task):
    folder = run_of(task)
    best, last = (read_model(folder / f"{name}.safetensors")[1] for name in ("best", "last"))
    assert last["training"]["epoch"] == 2
    assert last["training"]["val_loss"] == lines(folder)[1]["val_loss"]
    assert best["training"]["epoch"] in (1, 2)
    done = cvkit(
        *(task, "eval", "--weights", folder / "last.safetensors", "--data", data_of(task)),
        *("--out", tmp_path, "--json", "--quiet", "--workers", 0),
    )
    assert done.code == 0, done.err


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_run_that_keeps_the_last_model_holds_that_one(data_of, flags_of, cvkit, tmp_path, task):
    more = flags_of(task, epochs=2, data=data_of(task), out=tmp_path, keep="last")
    done = cvkit(task, "train", *more, "--quiet", "--json")
    assert done.code == 0, done.err
    (folder,) = tmp_path.iterdir()
    assert not (folder / "best.safetensors").exists()
    assert find_model(str(folder)) == folder / "last.safetensors"
    assert done.json["best"]["epoch"] == 2


def test_a_run_folder_stands_for_its_best_model(run_of):
    assert find_model(str(run_of("classify"))).name == "best.safetensors"


@pytest.mark.parametrize("task", catalog.TASKS)
def test_validation_gives_predicts_results_and_the_loss_of_training(
    run_of, data_of, smallest, task
):
    options = OPTIONS[task]["train"](**smallest[task], data=str(data_of(task)))
    made = catalog.resolve(catalog.TASKS[task]).for_training(options, Reporter(quiet=True))
    model = made.build()
    model.load_state_dict(read_model(run_of(task) / "last.safetensors")[0])
    device = choose_device("auto")
    model.to(device).eval()
    metric, loss = made.metric(), MeanLoss()
    data = made.dataset("val", training=False)
    with torch.inference_mode(), load(data, in_order(len(data), 6), 0) as loaded:
        for batch in (batch for found in loaded for batch in found):
            torch.manual_seed(0)
            batch = batch.to(device)
            results, value = made.validate(model, batch)
            loss.add(float(value), len(batch))
            pairs = zip(batch.samples, results, made.predict(model, batch), strict=True)
            for sample, result, plain in pairs:
                metric.update(result, sample.truth)
                for name, content in vars(result).items():
                    if hasattr(content, "shape"):
                        assert (content == getattr(plain, name)).all(), name
    line, computed = lines(run_of(task))[1], metric.compute()
    assert {name: line[name] for name in computed} == computed
    # The regions of a detector's loss are drawn.
    drawn = 0.3 if task in ("detect", "instance") else 1e-5
    assert loss.compute() == pytest.approx(line["val_loss"], rel=drawn)


def test_losses_are_averaged_over_samples_not_batches():
    loss = MeanLoss()
    assert loss.compute() is None
    loss.add(1.0, 3)
    loss.add(5.0, 1)
    assert loss.compute() == 2.0
    loss.add(float("inf"), 1)
    assert loss.compute() is None


@pytest.mark.parametrize(("count", "wanted"), [(10, 4), (3, 100), (7, 7), (1, 1)])
def test_a_part_of_a_dataset_comes_evenly_from_all_of_it(count, wanted):
    part = Part(list(range(count)), wanted)
    assert len(part) == len(set(part.indices)) == min(count, wanted)
    steps = {b - a for a, b in zip(part.indices, part.indices[1:], strict=False)}
    assert not steps or max(steps) - min(steps) <= 1
    assert part.indices[0] == 0
    assert count - part.indices[-1] <= -(-count // len(part))


@pytest.mark.parametrize("task", catalog.TASKS)
def test_curves_show_training_and_validation(run_of, monkeypatch, tmp_path, task):
    from matplotlib import pyplot as plt

    shown = {}

    def keep(figure, path):
        for axis in figure.axes:
            shown[axis.get_title()] = {line.get_label(): line for line in axis.lines}
        plt.close(figure)
        write_file(path, b"")

    monkeypatch.setattr(curves, "_save", keep)
    best, history = catalog.resolve(catalog.TASKS[task]).best, lines(run_of(task))
    curves.write_curves(tmp_path / "c.png", history, best)
    for title, training, validation in (
        ("loss", "loss", "val_loss"),
        (best, f"train_{best}", best),
    ):
        for label, name in (("training", training), ("validation", validation)):
            wanted = [line[name] for line in history]
            drawn = shown[title][label].get_ydata().tolist()
            assert [None if y != y else y for y in drawn] == wanted
