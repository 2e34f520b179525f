"""Variables of the environment, for every flag of every command."""

import dataclasses
import os
import types
import typing
from pathlib import Path

import pytest
import typer

from cvkit import cli
from cvkit.options.base import hints
from cvkit.options.tree import OPTIONS

COMMANDS = [
    (name, verb) for name, entry in OPTIONS.items() if isinstance(entry, dict) for verb in entry
] + [(name,) for name, entry in OPTIONS.items() if not isinstance(entry, dict)]
VERBS = sorted({path[-1] for path in COMMANDS})
NEEDED = {("samples",): ["dir"], ("tune",): ["segment"], ("weights", "import"): ["file"]}
"""Arguments without which a command does not begin."""


def options_of(path):
    entry = OPTIONS[path[0]]
    return entry[path[1]] if len(path) > 1 else entry


def flags_of(path):
    """Return each flag of a command as (field, type without None, option)."""
    for field in dataclasses.fields(options_of(path)):
        kind, option = typing.get_args(hints(options_of(path))[field.name])
        if isinstance(option, typer.models.OptionInfo):
            is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
            yield field, typing.get_args(kind)[0] if is_union else kind, option


def another(field, kind, option):
    """Return text for a variable and the value it means, which is not the flag's default."""
    default = field.default
    if kind is bool:
        return str(not default), not default
    if typing.get_origin(kind) is typing.Literal:
        word = next(word for word in typing.get_args(kind) if word != default)
        return word, word
    if typing.get_origin(kind) is list:
        return "one two", ["one", "two"]
    if kind in (int, float):
        start, step = default or option.min or 0, kind(1) if kind is int else 0.25
        up = option.max is None or start + step <= option.max
        value = start + step if up else start - step
        return str(value), value
    return "some/where", kind("some/where")


@pytest.fixture
def read(cvkit, monkeypatch):
    """Return what a command line gives each flag, and the flags that somebody gave."""

    def call(*arguments):
        found = []

        def keep(options_class, values, given):
            found.extend((values, given))
            raise typer.Exit(0)

        monkeypatch.setattr(cli, "assemble", keep)
        done = cvkit(*arguments)
        assert done.code == 0, done.err
        return found

    return call


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("CVKIT_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_flag_listens_to_its_commands_variable(read, path, monkeypatch):
    wanted = {}
    for field, kind, option in flags_of(path):
        text, wanted[field.name] = another(field, kind, option)
        monkeypatch.setenv(f"CVKIT_{path[-1]}_{field.name}".upper(), text)
    values, given = read(*path, *NEEDED.get(path, []))
    assert {name: values[name] for name in wanted} == wanted
    assert given >= set(wanted)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_flag_listens_to_another_verbs_variable(read, path, monkeypatch):
    for verb in set(VERBS) - {path[-1]}:
        for field, kind, option in flags_of(path):
            text, _ = another(field, kind, option)
            monkeypatch.setenv(f"CVKIT_{verb}_{field.name}".upper(), text)
    needed = [*NEEDED.get(path, []), *(["--out", "x"] if "import" in path else [])]
    values, given = read(*path, *needed)
    assert given == {"samples": {"folder"}, "tune": {"task"}, "import": {"file", "out"}}.get(
        path[-1], set()
    )
    for field, *_ in flags_of(path):
        if field.name not in given:
            missing = field.default_factory is dataclasses.MISSING
            default = field.default if missing else field.default_factory()
            assert values[field.name] == default, field.name


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_flag_wins_over_its_variable(read, path, monkeypatch):
    monkeypatch.setenv(f"CVKIT_{path[-1]}_OUT".upper(), "from-the-variable")
    monkeypatch.setenv(f"CVKIT_{path[-1]}_JSON".upper(), "false")
    has_out = "out" in {field.name for field, *_ in flags_of(path)}
    flags = ["--json", *(["--out", "from-the-flag"] if has_out else [])]
    values, _ = read(*path, *NEEDED.get(path, []), *flags)
    assert values["json"] is True
    assert not has_out or values["out"] == Path("from-the-flag")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_mistake_is_told_as_the_variables_ask(cvkit, path, monkeypatch):
    mistake = "--no-such-flag"
    monkeypatch.setenv(f"CVKIT_{path[-1]}_JSON".upper(), "1")
    monkeypatch.setenv(f"CVKIT_{path[-1]}_DEBUG".upper(), "Yes")
    done = cvkit(*path, mistake)
    assert done.code == 2
    assert done.json["error"]["code"] == "usage"
    assert "Traceback" in done.err
    monkeypatch.setenv(f"CVKIT_{path[-1]}_JSON".upper(), "0")
    assert not cvkit(*path, mistake).out


def test_a_failure_is_json_where_the_configuration_asks_for_it(cvkit, tmp_path):
    (tmp_path / "c.yaml").write_text("json: true\ndata: /nowhere\n")
    done = cvkit("segment", "train", "--config", tmp_path / "c.yaml")
    assert done.code == 2
    assert done.json["error"]["code"] == "data.missing"


def test_the_shell_gets_the_words_that_may_follow(spawn):
    process = spawn(_CVKIT_COMPLETE="complete_bash", COMP_WORDS="cvkit detect ", COMP_CWORD="2")
    assert process.communicate()[0].split() == list(OPTIONS["detect"])
