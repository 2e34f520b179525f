"""The five best of five classes or fewer are all of them: nothing is reported about them."""

import pytest

from cvkit.catalog import TASKS, resolve
from cvkit.data.classes import make_classes

NAMES = {"classify": "top5", "video": "video_top5"}
COUNTS = (2, 3, 5, 6)
CASES = [(task, count) for task in NAMES for count in COUNTS]


@pytest.fixture
def scored(cvkit, tmp_path):
    """Score one sample of each class with a table that is right; return what is printed."""

    def call(task, count, *flags):
        labels = [f"c{number}" for number in range(count)]
        rows = [
            ",".join([f"{label}.png", label, *("1" if other == label else "0" for other in labels)])
            for label in labels
        ]
        table = tmp_path / f"{count}.csv"
        table.write_text("\n".join([",".join(["path", "label", *labels]), *rows]) + "\n")
        given = ("--predictions", table, "--truth", table, "--no-files")
        return cvkit(task, "eval", *given, *flags)

    return call


@pytest.mark.parametrize(("task", "count"), CASES)
def test_top5_is_reported_for_more_than_five_classes(scored, task, count):
    name, done = NAMES[task], scored(task, count, "--json")
    assert done.code == 0, done.err
    assert (name in done.json["metrics"]) == (name in done.json["rules"]) == (count > 5)
    assert "top5" not in scored(task, 5).out and "top5" in scored(task, 6).out


@pytest.mark.parametrize(("task", "count"), CASES)
def test_top5_is_a_gate_for_more_than_five_classes(scored, task, count):
    done = scored(task, count, "--fail-under", f"{NAMES[task]}=0.5")
    if count > 5:
        assert done.code == 0, done.err
    else:
        assert done.code == 2
        assert f"{NAMES[task]}: there is no such metric (it is reported for more than 5" in done.err


@pytest.mark.parametrize(("task", "count"), CASES)
def test_a_task_names_the_metrics_that_its_runs_and_models_hold(task, count):
    kind = resolve(TASKS[task])
    classes = make_classes([str(number) for number in range(count)])
    network = kind.network_class(
        arch="r3d" if task == "video" else "lenet",
        backbone=None,
        image_size=32,
        **({"frames": 4} if task == "video" else {"small": False}),
    )
    made = kind(classes=classes, network=network, preprocessing=None)
    assert tuple(made.metric().compute()) == made.metric_names
    assert (NAMES[task] in made.metric_names) == (count > 5)
    assert made.best in made.metric_names
