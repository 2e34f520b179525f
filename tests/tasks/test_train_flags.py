"""Flags that contradict each other are refused; those without effect are named in a warning."""

import dataclasses
import shutil
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest

from cvkit.catalog import ARCHS, TASKS
from cvkit.data.synthetic.samples import write_classification, write_videos
from cvkit.errors import UsageError
from cvkit.options.described import hints
from cvkit.options.panels import TRAINING
from cvkit.options.tree import OPTIONS
from cvkit.tasks.train_flags import idle_flags, idle_words, require_sense

TRAIN = {task: OPTIONS[task]["train"] for task in TASKS}


FACTORS = ("lr", "weight_decay", "l1", "l2", "clip_grad")


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"momentum": 1.0}, ["--momentum 1", "0.9"]),
        ({"ema": 1.0}, ["--ema 1", "0.999"]),
        ({"epochs": 3, "warmup_epochs": 3.5}, ["--warmup-epochs 3.5", "--epochs 3"]),
        ({"epochs": 3, "unfreeze_at": 4}, ["--unfreeze-at 4", "--epochs 3"]),
        ({"unfreeze_at": 1}, ["--unfreeze-at 1", "first epoch"]),
        ({"epochs": 3, "schedule": "step:1,3"}, ["no epoch follows epoch 3", "--epochs 3"]),
        ({"weights": ""}, ["--weights is empty"]),
        ({"pretrained": ""}, ["--pretrained is empty"]),
        *(({name: 1e38}, [f"--{name.replace('_', '-')} 1e+38"]) for name in FACTORS),
    ],
    ids=str,
)
def test_numbers_that_cannot_mean_what_they_say_are_refused(cvkit, tmp_path, task, flags, words):
    with pytest.raises(UsageError) as refused:
        require_sense(TRAIN[task](**flags))
    done = cvkit(
        *(task, "train", "--out", tmp_path / "runs", "--freeze", "backbone"),
        *(part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", value)),
    )
    assert done.code == 2
    assert done.err.strip() == f"error: {refused.value}"
    for word in words:
        assert word in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("task", TASKS)
def test_infinite_factors_are_refused(cvkit, task):
    for name in FACTORS:
        done = cvkit(task, "train", f"--{name.replace('_', '-')}", "inf")
        assert (done.code, "inf is not a finite number" in done.err) == (2, True), name


@pytest.mark.parametrize("task", TASKS)
def test_the_largest_numbers_that_mean_something_are_taken(task):
    require_sense(TRAIN[task]())
    numbers = {"momentum": 0.99, "ema": 0.9999, "warmup_epochs": 3.0, "unfreeze_at": 3}
    require_sense(TRAIN[task](epochs=3, schedule="step:1,2@0.9", **numbers))


def changed(kind, name):
    """Return a value of a flag that is not its default."""
    field = kind.__dataclass_fields__[name]
    annotation = hints(kind)[name]
    choices = [annotation.__origin__, *get_args(annotation.__origin__)]
    for each in choices:
        if get_origin(each) is Literal:
            return next(value for value in get_args(each) if value != field.default)
    special = {"class_weights": "balanced", "augment": "none", "lr": 0.1, "weight_decay": 0.1}
    special |= {
        "schedule": "cosine",
        "dropout": 0.1,
        "stochastic_depth": 0.1,
        "freeze": "backbone",
        "aux_weight": 0.1,
    }
    if name in special:
        return special[name]
    return (not field.default) if isinstance(field.default, bool) else field.default + 0.5


def test_knn_names_every_flag_of_training_by_steps():
    """Two training flags are its own: how many images it looks at together, and the seed."""
    kind = TRAIN["classify"]
    panels = {name: hint.__metadata__[0].rich_help_panel for name, hint in hints(kind).items()}
    names = {name for name, panel in panels.items() if panel == TRAINING}
    names -= {"batch_size", "seed"}
    names |= {"augment", "erasing", "freeze", "freeze_backbone", "dropout", "stochastic_depth"}
    assert len(names) > 20
    for name in names:
        options = kind(arch="knn", **{name: changed(kind, name)})
        flag = f"--{name.replace('_', '-')}"
        assert idle_flags(options, "adamw") == {"--arch knn": [flag]}, name
        other = kind(arch="resnet18", **{name: changed(kind, name)})
        assert name == "momentum" or not idle_flags(other, "adamw"), name


RULES = [
    ("classify", {"neighbors": 3}, "--neighbors", "--arch resnet18"),
    ("classify", {"distance": "l1", "arch": "lenet"}, "--distance", "--arch lenet"),
    ("classify", {"votes": "distance", "backbone": "vgg11"}, "--votes", "--arch vgg11"),
    ("classify", {"stem": "imagenet", "arch": "mlp"}, "--stem", "--arch mlp"),
    ("classify", {"init": "normal", "arch": "knn"}, "--init", "--arch knn"),
    ("segment", {"scale": "0.9,1.1", "augment": "none"}, "--scale", "--augment none"),
    ("segment", {"scale": "0.9,1.1", "augment": "a.yaml"}, "--scale", "--augment a.yaml"),
    ("segment", {"scale": "0.9,1.1", "augment": "lecture"}, "--scale", "--augment lecture"),
    ("segment", {"label_smoothing": 0.1, "loss": "dice"}, "--label-smoothing", "--loss dice"),
    ("segment", {"output_stride": 8, "backbone": "unet-bn"}, "--output-stride", "unet-bn"),
    ("detect", {"roi_samples": 9, "arch": "rcnn"}, "--roi-samples", "--arch rcnn"),
    ("detect", {"max_size": 900, "arch": "rcnn"}, "--max-size", "--arch rcnn"),
    ("detect", {"proposal_mode": "quality"}, "--proposal-mode", "--arch faster-rcnn"),
    (
        "detect",
        {"proposal_mode": "quality", "arch": "rcnn", "proposals": Path("p.npz")},
        "--proposal-mode",
        "--proposals",
    ),
    ("video", {"flip": 0.5, "augment": "none"}, "--flip", "--augment none"),
    ("video", {"flip": 0.5, "augment": "a.yaml"}, "--flip", "--augment a.yaml"),
    ("video", {"stride": 2, "sampling": "uniform"}, "--stride", "--sampling uniform"),
    ("video", {"fps": 5.0, "arch": "cnn-lstm"}, "--fps", "--arch cnn-lstm"),
    *((task, {"patience": 9, "epochs": 9}, "--patience", "--epochs 9") for task in TASKS),
    *((task, {"momentum": 0.5}, "--momentum", "--optimizer adamw") for task in TASKS),
]


@pytest.mark.parametrize(("task", "flags", "flag", "reason"), RULES, ids=str)
def test_a_flag_without_effect_is_named_with_its_reason(task, flags, flag, reason):
    (line,) = idle_words(TRAIN[task](**flags), "adamw")
    assert line.startswith(f"{flag} has no effect with ")
    assert reason in line


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("classify", {"arch": "knn", "neighbors": 3, "distance": "l1", "votes": "distance"}),
        ("classify", {"arch": "knn", "backbone": "resnet18", "init": "normal"}),
        ("segment", {"scale": "0.9,1.1", "augment": "strong"}),
        ("segment", {"label_smoothing": 0.1}),
        ("segment", {"output_stride": 8}),
        ("detect", {"proposal_mode": "quality", "arch": "rcnn"}),
        ("detect", {"roi_samples": 9, "max_size": 900}),
        ("video", {"stride": 2}),
        ("video", {"flip": 0.5}),
        ("video", {"flip": 0.5, "augment": "strong"}),
        ("video", {"flip": 0.5, "augment": "lecture"}),
        ("video", {"fps": 5.0, "arch": "cnn-lstm", "sampling": "clip"}),
        *((task, {"patience": 8, "epochs": 9}) for task in TASKS),
    ],
    ids=str,
)
def test_a_flag_with_an_effect_is_not_warned_of(task, flags):
    assert idle_flags(TRAIN[task](**flags), "adamw") == {}


@pytest.mark.parametrize("optimizer", ["sgd", "rmsprop"])
@pytest.mark.parametrize("task", TASKS)
def test_momentum_counts_where_the_optimizer_has_it(task, optimizer):
    assert idle_flags(TRAIN[task](momentum=0.5), optimizer) == {}


@pytest.mark.parametrize("task", TASKS)
def test_defaults_are_never_warned_of(task):
    for arch in ARCHS[task]:
        assert idle_flags(TRAIN[task](arch=arch), "adamw") == {}
    names = {field.name for field in dataclasses.fields(TRAIN[task])}
    for words in idle_words(TRAIN[task](momentum=0.5, patience=90), "adamw"):
        assert words.split()[0][2:] in names


@pytest.fixture(scope="module")
def heaps(tmp_path_factory):
    """Images and videos in one heap each, to be divided, and the same images split."""
    root = tmp_path_factory.mktemp("heaps")
    write_classification(root / "split", {"train": 24, "val": 6}, seed=3, size_hw=(32, 32))
    shutil.copytree(root / "split" / "train", root / "classify")
    write_videos(root / "videos", {"train": 28, "val": 7}, seed=3, size_hw=(32, 32))
    shutil.copytree(root / "videos" / "train", root / "video")
    return root


def test_knn_says_what_it_does_not_look_at_and_a_check_leaves_nothing(cvkit, heaps, tmp_path):
    common = ("classify", "train", "--data", heaps / "split", "--arch", "knn", "--workers", 0)
    more = ("--augment", "strong", "--mixup", 0.2, "--epochs", 3, "--ema", 0.9)
    done = cvkit(*common, *more, "--val-fraction", 0.5, "--out", tmp_path / "runs")
    assert done.code == 0, done.err
    warnings = [line for line in done.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 2
    assert "--val-fraction has no effect: the data are already split" in warnings[0]
    for flag in more[::2]:
        assert flag in warnings[1]
    assert "no effect with --arch knn" in warnings[1]
    refused = cvkit(*common, "--check", "--out", tmp_path / "none")
    assert refused.code == 2
    assert "--check needs a model that is trained in steps" in refused.err
    assert not (tmp_path / "none").exists()


def test_a_resumed_run_is_not_checked_and_says_so(cvkit, trained):
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("*")}
    done = cvkit("segment", "train", "--resume", trained, "--check")
    assert done.code == 2
    assert "--check" in done.err
    assert "--resume" in done.err
    assert before == {path: path.stat().st_mtime_ns for path in trained.rglob("*")}


def test_flags_of_an_older_run_do_not_keep_it_from_going_on(cvkit, trained, tmp_path):
    """What is refused today may have been begun before; what it did then it goes on doing."""
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    for name, key in (("config.yaml", "warmup_epochs"), ("environment.json", '"warmup_epochs"')):
        text = (run / name).read_text()
        (run / name).write_text(text.replace(f"{key}: 1.0", f"{key}: 9.0"))
        assert f"{key}: 9.0" in (run / name).read_text()
    done = cvkit("segment", "train", "--resume", run, "--workers", 0)
    assert done.code == 0, done.err


def test_a_study_of_what_has_no_effect_is_refused(cvkit, heaps, tmp_path):
    common = ("tune", "classify", "--data", heaps / "split", "--out", tmp_path / "studies")
    done = cvkit(*common, "--set", "arch=knn")
    assert done.code == 2
    assert "--lr has no effect with --arch knn" in done.err
    done = cvkit(*common, "--set", "ema=1.0")
    assert done.code == 2
    assert "--ema 1" in done.err
    assert not (tmp_path / "studies").exists()


OWN = {
    "classify": ("--arch", "lenet", "--batch-size", 8),
    "video": ("--arch", "r3d-small", "--frames", 4, "--image-size", 32, "--batch-size", 8),
}


@pytest.mark.parametrize("task", OWN)
def test_a_share_given_to_eval_is_that_one_also_where_it_is_0(cvkit, heaps, tmp_path, task):
    data = heaps / task
    done = cvkit(
        *(task, "train", "--data", data, "--out", tmp_path, "--epochs", 1, "--workers", 0),
        *("--quiet", "--json", *OWN[task]),
    )
    assert done.code == 0, done.err

    def evaluated(*more):
        flags = ("--data", data, "--no-files", "--json", "--workers", 0, *more)
        return cvkit(task, "eval", "--weights", done.json["run"], *flags)

    def count(*more):
        found = evaluated(*more)
        assert found.code == 0, found.err
        return found.json["counts"]["evaluated"]

    whole = count("--split", "all")
    own = count("--split", "train")
    assert 0 < own < whole
    assert count("--split", "train", "--val-fraction", 0) == whole
    assert count("--split", "val", "--val-fraction", 1) == whole
    for split, share in (("val", 0), ("train", 1)):
        refused = evaluated("--split", split, "--val-fraction", share)
        assert refused.code == 2
        assert refused.json["error"]["message"].startswith(f"--val-fraction {share} leaves nothing")
        assert "--split all" in refused.err


def test_scoring_files_refuses_a_share_that_leaves_nothing(cvkit, heaps, tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("path,ring,star\na.png,0.5,0.5\n")
    done = cvkit(
        *("classify", "eval", "--predictions", table, "--truth", heaps / "classify"),
        *("--val-fraction", 0, "--no-files"),
    )
    assert done.code == 2
    assert "--val-fraction 0 leaves nothing in split 'val'" in done.err
