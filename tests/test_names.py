"""Misspelt names: of choices, of what a text may name, of variables of the environment."""

import dataclasses
import re
import typing
from pathlib import Path

import pytest
import typer
from command_lines import NEEDED

from cvkit import cli
from cvkit.catalog import ARCHS, TASKS, closest
from cvkit.config import VARIABLES, from_config, misnamed_variables, variable
from cvkit.errors import UsageError
from cvkit.options.described import choices_of, hints
from cvkit.options.tree import commands

COMMANDS = dict(commands())


@pytest.fixture(scope="module")
def tree():
    """The command tree, built once."""
    return typer.main.get_command(cli.build_app())


@pytest.fixture(autouse=True)
def one_tree(tree, monkeypatch):
    monkeypatch.setattr(cli, "build_app", lambda *_: tree)


def chosen(path):
    """Return the flags of a command that take one of some names, with these."""
    types = hints(COMMANDS[path])
    return {
        name: names
        for name, annotation in types.items()
        if name != "given" and (names := choices_of(annotation))
    }


def misspelt(name):
    """Yield spellings that differ in case or separators only, then one that lacks a letter."""
    yield name.upper()
    yield name.replace("_", "-") if "_" in name else name.replace("-", "_")
    yield re.sub(r"[-_]", "", name)
    yield re.sub(r"(?<=[a-z])(?=\d)", "-", name)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_choice_is_found_from_near_spellings(path):
    for names in chosen(path).values():
        for name in names:
            assert {closest(text, names) for text in misspelt(name)} == {name}
            if len(name) >= 6:
                assert closest(name[:3] + name[4:], names) is not None


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_misspelt_choice_is_told_with_the_nearest_before_anything_begins(
    cvkit, path, monkeypatch
):
    monkeypatch.delattr(cli, "assemble")  # nothing begins where a mistake is overlooked
    for name, names in chosen(path).items():
        wrong = names[-1].upper()
        argument = name == "task" and path in (("tune",), ("bench",), ("models",))
        words = [*path, wrong] if argument else [*path, *NEEDED.get(path, [])]
        done = cvkit(*words, *([] if argument else [f"--{name.replace('_', '-')}", wrong]))
        assert done.code == 2
        assert done.err.endswith(f"(did you mean {names[-1]}?)\n"), done.err


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_misspelt_choice_in_a_configuration_is_told_with_the_nearest(path):
    for name, names in chosen(path).items():
        with pytest.raises(UsageError, match=rf"did you mean {re.escape(names[-1])}\?"):
            from_config(COMMANDS[path], {name: names[-1].upper()}, "c.yaml")


MODELS = {
    "classify": ("shapes", "shaps"),
    "segment": ("scenes", "scense"),
    "detect": ("boxes", "boxs"),
    "instance": ("masks", "maks"),
    "video": ("motions", "motion"),
}
"""A model of each task that comes with cvkit, and its name misspelt."""
PUBLISHED = {
    "classify": ("imagenet:resnet-50", "imagenet:resnet50"),
    "segment": ("coco-vok", "coco-voc"),
    "detect": ("cocoo", "coco"),
    "instance": ("coco:resnet-50", "coco:resnet50"),
    "video": ("kinetcs", "kinetics"),
}
GATES = {
    "classify": ("topp1", "top1"),
    "segment": ("miu", "miou"),
    "detect": ("APP50", "AP50"),
    "instance": ("mask.APP50", "mask.AP50"),
    "video": ("video-top1", "video_top1"),
}
PREDICTIONS = {"classify": "x.csv", "segment": "masks", "video": "x.csv"}


def _typos():
    """Yield a command, its flags and the name that must be told, for texts that may be names."""
    nowhere = ("--data", "/nowhere")
    for task in TASKS:
        model, wrong = MODELS[task]
        verbs = {
            "train": nowhere,
            "eval": ("--weights", model, *nowhere),
            "predict": ("/nowhere.png", "--weights", model, "--out", "/nowhere/out"),
        }
        for verb, flags in verbs.items():
            yield (task, verb, *flags, "--device", "cpuu"), "cpu"
            for text, meant in ((wrong, model), PUBLISHED[task]):
                yield (task, verb, *flags, "--weights", text), meant
        train = (task, "train", *nowhere)
        yield (*train, "--augment", "Ligth"), "light"
        yield (*train, "--pretrained", "imagent"), "imagenet"
        yield (*train, "--log", "csv,tensorbord"), "tensorboard"
        yield (*train, "--pretrained", "imagenet-v1"), "imagenet:v1"
        yield ("tune", task, *nowhere, "--augment", "none,stong"), "strong"
        yield ("tune", task, *nowhere, "--set", "augment=ligt"), "light"
        yield ("tune", task, *nowhere, "--set", "optimizer=AdamW"), "adamw"
        yield ("tune", task, *nowhere, "--set", "optimiser=adamw"), "optimizer"
        yield ("bench", task, *nowhere, "--engines", "eager,Fusd"), "fused"
        yield ("bench", task, *nowhere, "--precisions", "bf-16"), "bf16"
        yield ("bench", task, *nowhere, "--set", "worker=2"), "workers"
        yield ("bench", task, "--arch", f"{next(iter(ARCHS[task]))}x"), next(iter(ARCHS[task]))
        yield ("bench", task, *nowhere, "--weights", wrong), model
        gate, meant = GATES[task]
        yield (task, "eval", "--weights", model, *nowhere, "--fail-under", f"{gate}=1"), meant
        files = ("--predictions", "/nowhere", "--truth", "/nowhere")
        yield (task, "eval", *files, "--fail-under", f"{gate}=1"), meant
        if task == "detect":
            for way in (("--weights", model, *nowhere), files):
                yield (task, "eval", *way, "--protocol", "coco,voc7"), "voc07"
        if task == "segment":
            for way in (("--weights", model, *nowhere), files):
                yield (task, "eval", *way, "--dialect", "cvkit,mmsg"), "mmseg"
        if task in ("classify", "segment", "video"):
            yield (*train, "--class-weights", "balancd"), "balanced"
        if task in ("classify", "segment"):
            for verb in ("eval", "predict"):
                yield (task, verb, *verbs[verb], "--tta", "flp"), "flip"
    yield ("segment", "train", *nowhere, "--loss", "ce+diec"), "dice"
    yield ("segment", "train", *nowhere, "--loss", "CE"), "ce"
    yield ("tune", "segment", *nowhere, "--set", "loss=CE"), "ce"
    yield ("video", "train", *nowhere, "--pretrained", "kinetic"), "kinetics"
    yield (
        ("detect", "predict", *verbs["predict"][:1], "--weights", "boxes", "--save", "yollo"),
        ("yolo"),
    )
    explain = ("explain", *verbs["predict"][:1], "--weights", "shapes")
    yield (*explain, "--method", "gradeint"), "gradient"
    yield (*explain, "--method", "grad-cam,oclusion"), "occlusion"
    yield (*explain, "--method", "patchs"), "patches"
    yield (*explain, "--target", "circel"), "circle"
    yield ("classify", "train", "--data", "/nowhere", "--schedule", "cosin"), "cosine"
    yield ("attack", *explain[1:], "--attack", "pdg:eps=2"), "pgd"
    yield ("dream", "--weights", "shapes", "--target", "circel"), "circle"
    evaluated = ("classify", "eval", "--weights", "shapes", "--data", "samples")
    yield (*evaluated, "--attack", "fgms"), "fgsm"
    yield (*evaluated, "--corruptions", "blur,nois"), "noise"
    yield ("features", *explain[1:], "--maps", "umapp"), "umap"
    export = ("export", "--weights", "shapes", "--out", "/nowhere/x.onnx")
    yield (*export, "--dynamic", "batch,siz"), "size"
    for flag in ("--select", "--ignore"):
        yield ("data", "check", "/nowhere", flag, "bbox,leak.samefile"), "leak.same_file"
    convert = ("weights", "import", "/nowhere.pth", "--out", "/nowhere/x.safetensors")
    yield (*convert, "--arch", "resnet-50"), "resnet50"
    yield (*convert, "--classes", "imagent"), "imagenet"
    yield (*convert, "--task", "segment", "--arch", "fcn", "--backbone", "resnet-50"), "resnet50"
    yield (
        (*convert, "--task", "detect", "--arch", "faster-rcnn", "--backbone", "resnt50"),
        ("resnet50"),
    )
    instance = (*convert, "--task", "instance")
    yield (*instance, "--arch", "mask-rcnn", "--backbone", "resnet50", "--classes", "cocoo"), "coco"


TYPOS = list(_typos())


def _id(words):
    kind = ["files"] if "--predictions" in words else []
    return "-".join([*words[:2], *kind, words[-2].strip("-"), words[-1]])


@pytest.mark.parametrize(("arguments", "meant"), TYPOS, ids=[_id(words) for words, _ in TYPOS])
def test_a_misspelt_name_is_told_with_the_nearest_before_data_are_read(cvkit, arguments, meant):
    done = cvkit(*arguments)
    assert done.code == 2
    assert done.err.splitlines()[-1].endswith(f"(did you mean {meant}?)"), done.err


FREE = {
    *(
        "data",
        "inputs",
        "fuse",
        "mask_map",
        "scale",
        "views",
        "with_class",
        "fold",
        "group_by",
        "lr",
        "weight_decay",
        "batch_size",
        "layer",
        "hidden",
        "channel",
        "channels",
        "perplexity",
        "queries",
    ),
    *("freeze", "train_split", "val_split", "split", "splits", "max_drop", "batch_sizes"),
    *("min_size", "image_size", "tiles"),
}
"""Texts that name no fixed things: files, numbers, parts of a network or of the data."""


def test_no_text_that_may_be_a_name_is_forgotten():
    tried = {word[2:].replace("-", "_") for words, _ in TYPOS for word in words if word[:2] == "--"}
    for path, options_class in COMMANDS.items():
        for field in dataclasses.fields(options_class):
            kind = typing.get_args(hints(options_class)[field.name])[0]
            if kind in (str, str | None, list[str]):
                assert field.name in tried | FREE, (path, field.name)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_variables_of_flags_are_not_warned_of(path):
    every = [
        variable(command, field.name)
        for command, options_class in COMMANDS.items()
        for field in dataclasses.fields(options_class)
    ]
    assert misnamed_variables(path, [*every, *VARIABLES, "HOME", "_CVKIT_COMPLETE"]) == []


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_misspelt_variable_is_told_with_the_nearest(path):
    for field in dataclasses.fields(COMMANDS[path]):
        right = variable(path, field.name)
        if len(field.name) > 4:
            (line,) = misnamed_variables(path, [f"{right[:-2]}{right[-1]}"])
            assert line.endswith(f"(did you mean {right}?)")
            (line,) = misnamed_variables(path, [f"CVKIT_{field.name.upper()}X"])
            assert "did you mean CVKIT_" in line


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("CVKIT_TRAIN_EPOCS", "did you mean CVKIT_TRAIN_EPOCHS?"),
        ("CVKIT_EPOCS", "did you mean CVKIT_TRAIN_EPOCHS?"),
        ("CVKIT_TRIAN_EPOCHS", "did you mean CVKIT_TRAIN_EPOCHS?"),
        ("CVKIT_PREDICT_WEIGHT", "did you mean CVKIT_PREDICT_WEIGHTS?"),
        ("CVKIT_WEIGHT", "did you mean CVKIT_WEIGHTS?"),
        ("CVKIT_EXAKT", "did you mean CVKIT_EXACT?"),
        ("CVKIT_TRAIN", "CVKIT_VERB_FLAG, such as CVKIT_TRAIN_EPOCHS"),
    ],
)
def test_a_command_warns_of_a_misspelt_variable_once(cvkit, monkeypatch, wrong, hint):
    monkeypatch.setenv(wrong, "3")
    for name in VARIABLES:
        monkeypatch.setenv(name, "/nowhere")
    done = cvkit("classify", "train", "--data", "/nowhere")
    warnings = [line for line in done.err.splitlines() if line.startswith("warning")]
    assert warnings == [f"warning: the variable {wrong} belongs to no flag ({hint})"]
    assert "warning" not in cvkit("classify", "train", "--data", "/nowhere", "--quiet").err


def test_every_variable_that_the_code_reads_is_in_the_table():
    root = Path(__file__).parents[1]
    files = [*(root / "cvkit").rglob("*.py"), *(root / "tests").rglob("*.py")]
    read = {
        name
        for file in files
        for name in re.findall(r"environ(?:\.get\(|\[)\"(CVKIT_\w+)\"", file.read_text())
    }
    assert read == set(VARIABLES)
    page = (root / "docs" / "reference.md").read_text()
    for name, meaning in VARIABLES.items():
        assert f"| `{name}` | {meaning} |" in page


@pytest.fixture
def trials(cvkit, monkeypatch, tmp_path):
    """Return the options of the first trial of a study; no training starts."""
    from cvkit.commands import tune

    seen = []

    def stand_in(options, task_name, report, stop):
        seen.append(options)
        raise UsageError("stopped by the test", code="test")

    monkeypatch.setattr(tune, "run_training", stand_in)

    def call(*arguments):
        done = cvkit("tune", *arguments, "--out", tmp_path)
        assert "stopped by the test" in done.err, done.err
        return seen[-1], done.err

    return call


@pytest.mark.parametrize("task", TASKS)
def test_trials_listen_to_the_variables_of_train(trials, monkeypatch, task, tmp_path):
    for name, text in {
        "optimizer": "sgd",
        "ema": "0.5",
        "freeze_backbone": "1",
        "workers": "0",
        "image_size": "64",
        "channels_last": "on",
    }.items():
        monkeypatch.setenv(f"CVKIT_TRAIN_{name.upper()}", text)
    options, told = trials(task, "--set", "ema=0.25")
    assert (options.optimizer, options.freeze_backbone, options.workers) == ("sgd", True, 0)
    assert (options.ema, options.image_size, options.channels_last) == (0.25, "64", "on")
    assert {"optimizer", "freeze_backbone", "workers"} <= options.given
    assert "optimizer=sgd" in told
    monkeypatch.setenv("CVKIT_TRAIN_OPTIMIZER", "adam")
    monkeypatch.setenv("CVKIT_TRAIN_ACCUMULATE", "2")
    (study,) = tmp_path.glob("tune-*")
    again, _ = trials(task, "--resume", study)
    assert (again.optimizer, again.accumulate) == ("sgd", 1)


def test_variables_that_a_study_decides_itself_are_told(trials, monkeypatch):
    monkeypatch.setenv("CVKIT_TRAIN_EPOCHS", "50")
    monkeypatch.setenv("CVKIT_TRAIN_CONFIG", "c.yaml")
    monkeypatch.setenv("CVKIT_TRAIN_QUIET", "1")
    options, told = trials("classify")
    assert options.epochs == 3
    warned = [line for line in told.splitlines() if line.startswith("warning")]
    assert warned == [
        f"warning: CVKIT_TRAIN_{name} has no effect on the trials of a study"
        for name in ("CONFIG", "EPOCHS")
    ]


def test_a_wrong_variable_of_a_trial_is_refused(cvkit, monkeypatch, tmp_path):
    monkeypatch.setenv("CVKIT_TRAIN_WORKERS", "many")
    done = cvkit("tune", "classify", "--out", tmp_path)
    assert done.code == 2 and "workers: 'many' is not a whole number" in done.err
    assert not list(tmp_path.iterdir())
