"""A test split that training divides off: nobody trains on it, and eval counts who looks at it."""

import json
from pathlib import Path

import pytest

from cvkit.console import Reporter
from cvkit.data.division import Division
from cvkit.data.synthetic.samples import WRITERS
from cvkit.dividing import model_division, training_division
from cvkit.errors import DataError, UsageError
from cvkit.options.tree import OPTIONS
from cvkit.scoring import uses
from cvkit.scoring.uses import Uses, is_test, note_use
from cvkit.tasks.classify.task import Classify

CLASSED = ("classify", "video")
TASKS = ("classify", "segment", "detect", "instance", "video")
FLAGS = {
    "classify": {"arch": "lenet", "image_size": "32"},
    "segment": {"arch": "fcn-32s", "backbone": "mobilenet_v3_small", "image_size": "32x32"},
    "detect": {"backbone": "mobilenet_v3_small", "channels": 16, "min_size": "32"},
    "instance": {"backbone": "mobilenet_v3_small", "channels": 16, "min_size": "32"},
    "video": {"arch": "r3d-small", "frames": 4, "image_size": "16"},
}


@pytest.fixture(scope="module")
def heap_of(tmp_path_factory):
    """Data of a task that are not divided."""
    made = {}

    def get(task):
        if task not in made:
            made[task] = tmp_path_factory.mktemp(f"heap-{task}")
            WRITERS[task](made[task], {"train": 21 if task in CLASSED else 12}, 9, (32, 32))
            if task in CLASSED:
                for folder in (made[task] / "train").iterdir():
                    folder.rename(made[task] / folder.name)
                (made[task] / "train").rmdir()
        return made[task]

    return get


def options_of(task, heap, **more):
    usual = {"data": str(heap), "val_fraction": 0.3, "test_fraction": 0.3, "workers": 0}
    return OPTIONS[task]["train"](**FLAGS[task] | usual | more)


def keys(task, split):
    data = task.dataset(split, training=False)
    return {data.key(index) for index in range(len(data))}


@pytest.mark.parametrize("name", TASKS)
def test_eval_finds_the_test_samples_that_training_never_saw(name, heap_of):
    from cvkit import catalog

    options = options_of(name, heap_of(name))
    kind = catalog.resolve(catalog.TASKS[name])
    task = kind.for_training(options, Reporter(quiet=True))
    header = json.loads(json.dumps(task.header(options)))
    assert header["labels"]["test_fraction"] == 0.3
    train, val = keys(task, "train"), keys(task, "val")
    found = {}
    for split in ("val", "test", "testing", "all"):
        asked = OPTIONS[name]["eval"](data=str(heap_of(name)), split=split)
        ready = kind.for_model(asked, header).with_data(asked, header, Reporter(quiet=True))
        found[split] = keys(ready, split)
    assert found["val"] == val
    assert found["test"] == found["testing"]
    assert found["all"] == train | val | found["test"]
    assert len(found["all"]) == len(train) + len(val) + len(found["test"])
    assert abs(len(found["test"]) - 0.3 * len(found["all"])) <= 2


def test_every_split_has_every_class_and_groups_stay_together(heap_of):
    options = options_of("classify", heap_of("classify"), group_by=r"regex:[0-9]\.")
    task = Classify.for_training(options, Reporter(quiet=True))
    header = task.header(options)
    assert header["labels"]["group_by"] == options.group_by
    asked = OPTIONS["classify"]["eval"](data=options.data, split="test")
    tested = Classify.for_model(asked, header).with_data(asked, header, Reporter(quiet=True))
    sides = [keys(task, "train"), keys(task, "val"), keys(tested, "test")]
    last = [{Path(key).stem[-1] for key in side} for side in sides]
    assert all(last)
    assert not last[0] & last[1] and not last[0] & last[2] and not last[1] & last[2]


def test_without_the_flag_nothing_changes(heap_of):
    header = {"labels": {"val_fraction": 0.3, "split_seed": 4}}
    asked = OPTIONS["classify"]["eval"](data="x", split="val")
    assert model_division(asked, header) == Division(0.3, 4)
    plain = options_of("classify", heap_of("classify"), test_fraction=0.0)
    assert training_division(plain) == Division(0.3, 0)
    task = Classify.for_training(plain, Reporter(quiet=True))
    header = task.header(plain)
    assert not {"test_fraction", "group_by"} & header["labels"].keys()
    asked = OPTIONS["classify"]["eval"](data=plain.data, split="test")
    with pytest.raises(DataError, match="has no split 'test'"):
        Classify.for_model(asked, header).with_data(asked, header, Reporter(quiet=True))


def test_a_second_test_split_is_refused(tmp_path):
    WRITERS["classify"](tmp_path, {"train": 12, "test": 6}, 3, (32, 32))
    options = options_of("classify", tmp_path)
    with pytest.raises(DataError, match="has a split 'test', and --test-fraction"):
        Classify.for_training(options, Reporter(quiet=True))


def test_a_fraction_has_no_effect_on_listed_splits(heap_of, tmp_path):
    for name, value in (("test_fraction", 0.3), ("group_by", "folder")):
        usual = {"data": str(heap_of("classify")), "splits": tmp_path / "s.json"}
        with pytest.raises(UsageError) as refused:
            training_division(OPTIONS["classify"]["train"](**usual, **{name: value}))
        assert refused.value.code == f"{name}.idle"


def test_test_splits_are_known_in_any_spelling():
    assert [is_test(name) for name in ("test", "Testing", "val", "train", "contest")] == [
        *(True, True, False, False, False)
    ]


def test_looks_are_counted_by_place_split_and_samples(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    place = str(tmp_path / "data")
    assert note_use(place, "test", ["b", "a"], "one") == Uses(1, 1)
    assert note_use(place, "test", ["a", "b"], "one") == Uses(2, 1)
    assert note_use(place, "test", ["a", "b"], "two") == Uses(3, 2)
    assert note_use(place, "test", ["a"], "two") == Uses(1, 1)
    assert note_use(place, "testing", ["a", "b"], "two") == Uses(1, 1)
    assert note_use(str(tmp_path / "other"), "test", ["a", "b"], "two") == Uses(1, 1)
    monkeypatch.setattr(uses, "cache_trouble", lambda name: "it is read-only")
    assert note_use(place, "test", ["a", "b"], "two") == "it is read-only"


def test_eval_says_how_often_the_test_split_was_used(cvkit, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    WRITERS["classify"](tmp_path / "data", {"train": 40, "val": 6, "test": 6}, 3, (32, 32))
    flags = ("classify", "eval", "--weights", "shapes", "--data", tmp_path / "data", "--no-files")
    first, second = (cvkit(*flags, "--split", "test") for _ in range(2))
    assert "first evaluation on it" in first.err
    assert "evaluation number 2 on it, of 1 model; what is chosen by these" in second.err
    assert cvkit(*flags, "--split", "test", "--json").json["test_uses"] == {
        "evaluations": 3,
        "models": 1,
    }
    assert "test_uses" not in cvkit(*flags, "--split", "val", "--json").json
