"""What a configuration file and a run that is resumed leave to the command line."""

import dataclasses
import typing
from pathlib import Path

import pytest

from cvkit import catalog
from cvkit.config import as_config, assemble, from_config
from cvkit.errors import UsageError
from cvkit.options.described import hints
from cvkit.options.tree import COMMANDS, OPTIONS

JOBS = [
    (name, verb)
    for name, entry in OPTIONS.items()
    if isinstance(entry, dict)
    for verb, options_class in entry.items()
    if "config" in hints(options_class)
]


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_configuration_cannot_resume_a_run(cvkit, tmp_path, task):
    config = tmp_path / "c.yaml"
    config.write_text(f"resume: {tmp_path}\n")
    refused = cvkit(task, "train", "--config", config)
    assert refused.code == 2 and "resume is a flag of the command line" in refused.err


@pytest.mark.parametrize("task", catalog.TASKS)
def test_a_resumed_run_takes_no_other_configuration(cvkit, tmp_path, task):
    (tmp_path / "config.yaml").write_text("epochs: 3\n")
    (tmp_path / "other.yaml").write_text("epochs: 7\n")
    flags = ("--resume", tmp_path, "--config", tmp_path / "other.yaml")
    refused = cvkit(task, "train", *flags)
    assert refused.code == 2 and "--config and --resume cannot be combined" in refused.err


@pytest.mark.parametrize(("flag", "value"), [("--epochs", "2"), ("--data", "elsewhere")])
def test_a_study_keeps_its_settings(cvkit, tmp_path, flag, value):
    (tmp_path / "config.yaml").write_text("epochs: 1\ndata: samples\ntrials: 1\n")
    refused = cvkit("tune", "classify", "--resume", tmp_path, flag, value)
    assert refused.code == 2 and f"{flag} {value} differs" in refused.err


@pytest.mark.parametrize("path", JOBS, ids=" ".join)
def test_the_ends_of_a_range_belong_to_it(path):
    options_class = OPTIONS[path[0]][path[1]]
    for name, annotation in hints(options_class).items():
        option = typing.get_args(annotation)[1]
        for end, beyond in ((getattr(option, "min", None), -1), (getattr(option, "max", None), 1)):
            if end is not None:
                assert from_config(options_class, {name: end}, "c.yaml") == {name: end}
                with pytest.raises(UsageError, match=f"c.yaml: {name}: {end + beyond} is not "):
                    from_config(options_class, {name: end + beyond}, "c.yaml")


@pytest.mark.parametrize("path", JOBS, ids=" ".join)
def test_nan_lies_in_no_range(path):
    options_class = OPTIONS[path[0]][path[1]]
    for name, annotation in hints(options_class).items():
        kind = typing.get_args(annotation)[0]
        if float in (kind, *typing.get_args(kind)):
            with pytest.raises(UsageError, match=f"c.yaml: {name}: nan is not "):
                from_config(options_class, {name: float("nan")}, "c.yaml")


@pytest.mark.parametrize("path", JOBS, ids=" ".join)
def test_a_configuration_holds_every_flag_that_says_what_to_do(path):
    options_class = OPTIONS[path[0]][path[1]]
    stored = as_config(options_class())
    names = {field.name for field in dataclasses.fields(options_class)}
    how = {"config", "json", "json_results", "quiet", "debug", "resume", "check", "find_lr"}
    assert set(stored) == names - how
    inputs = {name: value for name, value in stored.items() if value is not None}
    assert options_class(**from_config(options_class, inputs, "c.yaml")) == options_class()


@pytest.mark.parametrize("path", JOBS, ids=" ".join)
def test_a_switch_is_true_or_false_and_a_number_is_neither(path):
    options_class = OPTIONS[path[0]][path[1]]
    for name, annotation in hints(options_class).items():
        kind = typing.get_args(annotation)[0]
        if kind is bool:
            assert from_config(options_class, {name: True}, "c.yaml") == {name: True}
        if kind in (bool, int, float):
            with pytest.raises(UsageError, match=f"c.yaml: {name}: "):
                from_config(options_class, {name: 1 if kind is bool else True}, "c.yaml")


REQUIRED = {
    "DataCheck": {"data": Path("x")},
    "DataConvert": {"data": Path("x"), "to": "coco", "out": Path("y")},
    "Samples": {"folder": Path("x")},
    "WeightsImport": {"file": Path("x"), "out": Path("y")},
    "Bench": {"task": "classify"},
    "DataStats": {"data": "x"},
    "DataSplit": {"data": "x", "out": Path("y")},
    "DataShow": {"data": "x", "out": Path("y")},
    "Compare": {"evaluations": [Path("x")]},
    "Tune": {"task": "classify"},
    "WeightsAverage": {"files": [Path("x")], "out": Path("y")},
    "WeightsProve": {"file": Path("x"), "data": "y"},
}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_home_folder_is_meant_in_every_text_and_path(path, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    options_class = COMMANDS[path]
    for name, annotation in hints(options_class).items():
        kind = typing.get_args(annotation)[0]
        kinds = {kind, *typing.get_args(kind)} - {type(None)}
        if not kinds & {str, Path, list[str]} or name in ("config", "resume"):
            continue
        make = {Path: Path, str: str}.get(next(iter(kinds & {str, Path}), None), str)
        for text, wanted in (("~/a b", f"{tmp_path}/a b"), ("~", str(tmp_path)), ("a~/b", "a~/b")):
            value = [text] if list in map(typing.get_origin, (kind,)) else make(text)
            wanted = [wanted] if isinstance(value, list) else make(wanted)
            values = REQUIRED.get(options_class.__name__, {}) | {name: value}
            assert getattr(assemble(options_class, values, {}), name) == wanted
            written = [text] if isinstance(value, list) else text
            assert from_config(options_class, {name: written}, "c.yaml") == {name: wanted}
