"""Which words are offered, for every flag of every command; no shell takes part."""

import dataclasses
import typing

import pytest
import typer

from cvkit import cli
from cvkit.catalog import ARCHS, TASKS, backbones_of
from cvkit.completion import values
from cvkit.completion.values import SOURCES, value_type
from cvkit.completion.words import arguments_of, complete, flags_of
from cvkit.data.synthetic.samples import WRITERS
from cvkit.data.transforms import boxes, classes, masks
from cvkit.helptext import ROOT_FLAGS
from cvkit.ops.losses import LOSSES
from cvkit.options.described import hints, repeated_names
from cvkit.options.job import PRECISIONS
from cvkit.options.saves import SAVES
from cvkit.options.tree import OPTIONS
from cvkit.published import PUBLISHED
from cvkit.tasks import torchvision_import as imported
from cvkit.tasks.classify import setup as classify_setup
from cvkit.tasks.segment import setup as segment_setup

COMMANDS = [
    (name, verb) for name, entry in OPTIONS.items() if isinstance(entry, dict) for verb in entry
] + [(name,) for name, entry in OPTIONS.items() if not isinstance(entry, dict)]
VERBS = ("train", "eval", "predict")
FREE = frozenset(
    {
        *("batch_size", "batch_sizes", "channels", "fail_under", "freeze", "lr", "mask_map"),
        *("channel", "fold", "group_by", "hidden", "layer", "max_drop", "scale", "target"),
        *("weight_decay", "with_class"),
    }
)
"""Flags with free text, for which there is nothing to choose from."""


def options_of(path):
    entry = OPTIONS[path[0]]
    return entry[path[1]] if len(path) > 1 else entry


def offered(*words):
    """Return what is offered for the last of the words."""
    return list(complete(list(words[:-1]), words[-1]).words)


def valued(path):
    """Yield each flag of a command that takes a value: as typed, its field and type."""
    for name, field in flags_of(options_of(path)).items():
        kind = value_type(hints(options_of(path))[field.name])
        if kind is not bool:
            yield name, field.name, kind


@pytest.fixture(autouse=True)
def empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_commands_are_offered_and_their_beginnings():
    assert offered("") == list(OPTIONS)
    assert offered("se") == ["segment"]
    assert offered("--") == [name.split(",")[0] for name, *_ in ROOT_FLAGS]
    for name, entry in OPTIONS.items():
        if isinstance(entry, dict):
            assert offered(name, "") == list(entry)
            assert offered(name, "-") == ["--help"]
    assert offered("segmnt", "") == []
    assert offered("segment", "trian", "--arch", "") == []


@pytest.fixture(scope="module")
def tree():
    return typer.main.get_command(cli.build_app())


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_flags_that_the_command_has_are_offered(tree, path):
    command = tree
    for word in path:
        command = command.commands[word]
    typed = [
        name
        for param in command.params
        if param.param_type_name == "option"
        for name in (*param.opts, *param.secondary_opts)
    ]
    assert sorted(offered(*path, "-")) == sorted({*typed, "--help"})
    for name in typed:
        assert name in offered(*path, name)
        again = [field for flag, field, _ in valued(path) if flag == name]
        several = again and typing.get_origin(typing.get_args(hints(options_of(path))[again[0]])[0])
        joined = bool(again) and again[0] in repeated_names(options_of(path))
        assert (name in offered(*path, f"{name}=x", "-")) == (several is list or joined)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_choice_of_a_flag_is_offered_in_every_form(path):
    for name, _, kind in valued(path):
        if typing.get_origin(kind) is not typing.Literal:
            continue
        choices = list(typing.get_args(kind))
        assert offered(*path, name, "") == choices
        assert offered(*path, "--quiet", name, "") == choices
        joined = complete(list(path), f"{name}=")
        assert (joined.prefix, list(joined.words)) == (f"{name}=", choices)
        for choice in choices:
            assert choice in offered(*path, name, choice[:2])
            assert choice in offered(*path, f"{name}={choice[:2]}")
        assert offered(*path, name, "no such") == []


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_flag_with_text_has_words_paths_or_is_known_to_have_none(path):
    for name, field, kind in valued(path):
        found = complete([*path, name], "")
        if kind is str:
            assert field in SOURCES or field in FREE, name
        untold = path in (("tune",), ("bench",)) or (path[0], field) == ("data", "set")  # no task
        if field in SOURCES and not untold:
            assert found.words or found.paths, name
        elif kind in (int, float):
            assert not (found.words or found.paths), name
    if arguments_of(options_of(path)):
        found = complete(list(path), "")
        assert found.words or found.paths


def test_no_entry_of_the_tables_is_idle():
    names = {field.name for path in COMMANDS for field in dataclasses.fields(options_of(path))}
    assert names >= SOURCES.keys() | FREE


@pytest.mark.parametrize("task", TASKS)
def test_networks_are_offered_with_what_they_are(task):
    found = complete([task, "train", "--arch"], "").words
    assert list(found) == list(ARCHS[task])
    assert all(found[name] == entry.about for name, entry in ARCHS[task].items())
    wanted = backbones_of("classify" if task in ("detect", "video") else task)
    assert offered(task, "train", "--backbone", "") == wanted
    assert offered("weights", "import", "--task", task, "--arch", "") == list(ARCHS[task])
    assert offered("weights", "import", f"--task={task}", "--backbone", "") == backbones_of(task)
    assert offered("tune", task, "--set", "arch=") == [f"arch={name}" for name in ARCHS[task]]
    assert "weight-decay=" in offered("tune", task, "--set", "weight-")
    assert offered("tune", task, "--set", "no-such=") == []
    assert offered("bench", task, "--arch", "") == list(ARCHS[task])
    assert offered("bench", task, "--engines", "eager,f") == ["eager,fused"]
    assert offered("bench", task, "--precisions", "") == list(PRECISIONS[1:])
    found = offered("bench", task, "--set", "")
    assert {"workers=", "val-fraction="} <= {*found}
    assert "backbone=" not in found
    assert "backbone=" in offered("bench", task, "--arch", "x", "--set", "")
    assert offered("bench", task, "--set", "no-such=") == []


SHIPPED = {
    "classify": "shapes",
    "segment": "scenes",
    "detect": "boxes",
    "instance": "masks",
    "video": "motions",
}


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("verb", VERBS)
def test_weights_are_runs_files_names_and_published_models_of_the_task(task, verb, tmp_path):
    for name in (f"{task}-x-001", "mine", "segment-y-001", "classify-z-002", "no-model"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        if name != "no-model":
            (tmp_path / "runs" / name / "last.safetensors").touch()
    (tmp_path / "model.safetensors").touch()
    (tmp_path / "notes.txt").touch()
    found = offered(task, verb, "--weights", "")
    others = {f"runs/{name}" for name in ("segment-y-001", "classify-z-002")}
    own = {f"runs/{task}-x-001", "runs/mine"} | {run for run in others if f"/{task}-" in run}
    assert set(found) == {*own, "model.safetensors", SHIPPED[task], *PUBLISHED[task]}
    assert complete([task, verb, "--weights"], "").paths == "folders"
    assert offered(task, verb, "--weights", "runs/m") == ["runs/mine"]
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "m.safetensors").touch()
    assert offered(task, verb, "--weights", "deep/er/") == ["deep/er/m.safetensors"]
    assert offered(task, verb, "--weights=deep/er/") == ["deep/er/m.safetensors"]


@pytest.mark.parametrize("task", TASKS)
def test_runs_to_resume_are_offered_from_out_and_runs(task, tmp_path):
    for folder in ("runs", "mine"):
        (tmp_path / folder / f"{task}-x-001" / "ckpt").mkdir(parents=True)
        (tmp_path / folder / f"{task}-x-002").mkdir()
    assert offered(task, "train", "--resume", "") == [f"runs/{task}-x-001"]
    both = offered(task, "train", "--out", "mine", "--resume", "")
    assert both == [f"mine/{task}-x-001", f"runs/{task}-x-001"]
    (tmp_path / "runs" / f"tune-{task}-001").mkdir()
    assert offered("tune", task, "--resume", "") == [f"runs/tune-{task}-001"]


def test_backbone_weights_are_those_of_the_backbone():
    begin = ("segment", "train", "--backbone")
    assert offered(*begin, "resnet18", "--pretrained", "imagenet:") == ["imagenet:v1"]
    both = ["imagenet:v1", "imagenet:v2"]
    assert offered(*begin, "resnet50", "--pretrained", "imagenet:") == both
    assert offered("video", "train", "--pretrained", "k") == ["kinetics"]
    assert offered("segment", "train", "--pretrained", "k") == []


@pytest.mark.parametrize("task", TASKS)
def test_splits_are_those_of_the_dataset(task, tmp_path):
    WRITERS[task](tmp_path / "data", {"val": 2, "train": 2}, 1, (32, 32))
    flags = {"train": ("--train-split", "--val-split"), "eval": ("--split",)}
    for verb, names in flags.items():
        for name in names:
            assert offered(task, verb, name, "") == ["train", "val", "test"]
            assert offered(task, verb, "--data", "data", name, "") == ["train", "val"]
            assert offered(task, verb, "--data=samples", f"{name}=") == ["train", "val", "test"]
    assert offered(task, "eval", "--truth", "data", "--split", "") == ["train", "val"]


def test_splits_of_other_layouts(tmp_path):
    for kind, words in (("Main", ("trainval", "val", "cat_val", "test")), ("Segmentation", ())):
        (tmp_path / "voc" / "ImageSets" / kind).mkdir(parents=True)
        for word in words:
            (tmp_path / "voc" / "ImageSets" / kind / f"{word}.txt").touch()
    split = ("detect", "eval", "--data")
    assert offered(*split, "voc", "--split", "") == ["val", "test", "trainval"]
    (tmp_path / "coco" / "annotations").mkdir(parents=True)
    for name in ("instances_val2017", "instances_train2017", "person_keypoints_val2017"):
        (tmp_path / "coco" / "annotations" / f"{name}.json").touch()
    (tmp_path / "coco" / "val2017").mkdir()
    assert offered(*split, "coco", "--split", "") == ["train", "val"]
    assert offered("detect", "proposals", "coco", "--split", "val", "--split", "") == [
        *("train", "val")
    ]
    (tmp_path / "empty").mkdir()
    assert offered(*split, "empty", "--split", "") == ["train", "val", "test"]


def test_names_in_text_flags_are_those_that_work():
    known = {
        "classify": classes.CLASSIFY_POLICIES,
        "segment": masks.POLICIES,
        "detect": boxes.POLICIES,
        "instance": boxes.POLICIES,
        "video": tuple(n for n in classes.CLASSIFY_POLICIES if not n.endswith("augment")),
    }
    assert known == values.AUGMENTATIONS
    for task, names in values.AUGMENTATIONS.items():
        assert offered(task, "train", "--augment", "") == list(names)
        assert offered("tune", task, "--augment", "light,") == [
            f"light,{name}" for name in names if name != "light"
        ]
    assert list(LOSSES) == offered("segment", "train", "--loss", "")
    assert offered("segment", "train", "--loss", "0.5*ce+d") == ["0.5*ce+dice"]
    for name, parse in (
        ("classify", classify_setup.parse_tta),
        ("segment", segment_setup.parse_tta),
    ):
        for text in offered(name, "predict", "--tta", ""):
            assert any(parse(text))
    assert offered("segment", "eval", "--tta", "flip,") == ["flip,scales"]
    lists = {name for kind in imported.KINDS.values() for name in kind.lists}
    assert set(offered("weights", "import", "--classes", "")) == {"auto", *lists}
    others = [f"csv,{kind}" for kind in SAVES["detect"] if kind != "csv"]
    assert offered("detect", "predict", "--save", "csv,") == others


def test_arguments_are_completed_also_after_two_dashes():
    assert offered("tune", "") == list(TASKS)
    assert offered("tune", "--trials", "3", "d") == ["detect"]
    assert "--trials" in offered("tune", "detect", "")
    assert offered("tune", "--", "d") == ["detect"]
    assert offered("tune", "--", "detect", "--tr") == []
    for words in (["segment", "predict"], ["segment", "predict", "a.png", "--", "--weights"]):
        assert complete(words, "").paths == "files"
    assert complete(["segment", "predict", "--"], "--we").words == {}
    assert complete(["samples"], "").paths == "folders"
    assert "--count" in offered("samples", "there", "")
    assert "--arch" in offered("segment", "train", "")
    assert complete(["segment", "train", "--out"], "").paths == "folders"
    assert complete(["weights", "import", "--out"], "").paths == "files"


def test_large_and_damaged_files_are_not_read(tmp_path, monkeypatch):
    (tmp_path / "weights").mkdir()
    for name, head in (
        ("huge", (2**62).to_bytes(8, "little")),
        ("short", b"x"),
        ("bad", b"\2" * 90),
    ):
        (tmp_path / "weights" / f"{name}.safetensors").write_bytes(head + b"{}")
    assert {"huge", "short", "bad"} <= set(offered("segment", "eval", "--weights", ""))
    monkeypatch.setattr(values, "ENTRIES", 2)
    for number in range(5):
        (tmp_path / f"{number}.safetensors").touch()
    names = offered("segment", "eval", "--weights", "")
    assert sum(name[:1].isdigit() for name in names) == 2
    (tmp_path / "locked").write_text("no folder")
    assert offered("segment", "eval", "--data", "locked", "--split", "t") == ["train", "test"]


def test_an_unknown_request_is_refused(cvkit, monkeypatch):
    for request in ("", "complete", "complete_tcsh", "source_", "fetch_bash"):
        monkeypatch.setenv("_CVKIT_COMPLETE", request)
        done = cvkit("segment", "")
        assert done.code == 2
        assert f"error: _CVKIT_COMPLETE={request} is unknown (known: source_bash" in done.err
