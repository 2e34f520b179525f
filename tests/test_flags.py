"""How flags, variables and mistakes are read, for every flag of every command."""

import dataclasses
import itertools
import os
import re
import types
import typing
from pathlib import Path

import pytest
import typer
from command_lines import NEEDED

from cvkit import cli
from cvkit.config import assemble, from_config
from cvkit.errors import UsageError
from cvkit.helptext import name_text
from cvkit.options.described import Choice, choices_of, hints, type_of
from cvkit.options.tree import OPTIONS

COMMANDS = [
    (name, verb) for name, entry in OPTIONS.items() if isinstance(entry, dict) for verb in entry
] + [(name,) for name, entry in OPTIONS.items() if not isinstance(entry, dict)]
VERBS = sorted({path[-1] for path in COMMANDS})
REFUSED = "q7"
"""No choice, number or truth value."""


def begin(path):
    """Return a command line without flags that works."""
    return [*path, *NEEDED.get(path, [])]


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


@pytest.fixture(scope="module")
def tree():
    """The command tree, built once: these tests call it a thousand times."""
    return typer.main.get_command(cli.build_app())


@pytest.fixture(autouse=True)
def one_tree(tree, monkeypatch):
    monkeypatch.setattr(cli, "build_app", lambda *_: tree)


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
    needed = [*itertools.takewhile(lambda word: word[0] != "-", NEEDED.get(path, []))]
    values, given = read(*path, *needed)
    assert {name: values[name] for name in wanted} == wanted
    verb = path[-1].upper()
    assert {name: given[name] for name in wanted} == {
        name: f"CVKIT_{verb}_{name.upper()}" for name in wanted
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_flag_listens_to_another_verbs_variable(read, path, monkeypatch):
    for verb in set(VERBS) - {path[-1]}:
        for field, kind, option in flags_of(path):
            text, _ = another(field, kind, option)
            monkeypatch.setenv(f"CVKIT_{verb}_{field.name}".upper(), text)
    values, given = read(*begin(path))
    arguments = {
        "bench": {"task"},
        "samples": {"folder"},
        "tune": {"task"},
        "compare": {"evaluations"},
        "check": {"data"},
        "convert": {"data", "to", "out"},
        "stats": {"data"},
        "show": {"data", "out"},
        "split": {"data", "out"},
        "import": {"file", "out"},
        "prove": {"file", "data"},
        "average": {"files", "out"},
    }
    assert set(given) == arguments.get(path[-1], set())
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
    values, _ = read(*begin(path), *flags)
    assert values["json"] is True
    assert not has_out or values["out"] == Path("from-the-flag")


TRAININGS = [path for path in COMMANDS if path[-1] == "train"]


@pytest.mark.parametrize("path", TRAININGS, ids=" ".join)
def test_a_change_of_a_resumed_run_is_named_as_it_was_given(cvkit, path, tmp_path, monkeypatch):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    command = (*path, "--resume", tmp_path)
    assert "error: --seed 7 differs from the run's 1 (" in cvkit(*command, "--seed", "7").err
    monkeypatch.setenv("CVKIT_TRAIN_SEED", "8")
    assert "error: CVKIT_TRAIN_SEED 8 differs from the run's 1 (" in cvkit(*command).err
    assert "error: --seed 7 differs from the run's 1 (" in cvkit(*command, "--seed", "7").err


@pytest.mark.parametrize("path", TRAININGS, ids=" ".join)
def test_what_does_not_change_the_result_may_change_when_a_run_is_resumed(path, tmp_path):
    (tmp_path / "config.yaml").write_text("offline: false\nworkers: 0\ndevice: auto\nlr: 0.5\n")
    values = {"offline": True, "workers": 2, "device": "cpu"}
    given = {name: f"--{name}" for name in values}
    found = assemble(options_of(path), values | {"resume": tmp_path}, given)
    assert {name: getattr(found, name) for name in values} == values
    assert found.lr == 0.5


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
    (tmp_path / "c.yaml").write_text("json: true\nsplit: test\n")
    done = cvkit("segment", "eval", "--config", tmp_path / "c.yaml")
    assert done.code == 2
    assert done.json["error"]["code"] == "eval.what"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_names_on_the_help_page_are_those_that_work(tree, path):
    command = tree
    for word in path:
        command = command.commands[word]
    typed = {param.name: {*param.opts, *param.secondary_opts} for param in command.params}
    for field, _, option in flags_of(path):
        assert set(name_text(field, option).split(", ")) == typed[field.name]


@pytest.fixture
def refused(cvkit, monkeypatch):
    """Return the message about a command line."""
    monkeypatch.delattr(cli, "assemble")  # nothing begins where a mistake is overlooked

    def call(*arguments):
        done = cvkit(*arguments)
        assert done.code == 2
        assert not done.out
        (line,) = done.err.splitlines()
        assert "Value error" not in line
        return line.removeprefix("error: ")

    return call


def choosy(path):
    """Return the flags of a command that take some values only, as they are typed."""
    for field, kind, _ in flags_of(path):
        if kind in (int, float) or typing.get_origin(kind) is typing.Literal:
            yield f"--{field.name.replace('_', '-')}", f"CVKIT_{path[-1]}_{field.name}".upper()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_wrong_value_is_named_and_nothing_else(refused, path):
    start = begin(path)
    for flag, _ in choosy(path):
        for words in (
            [flag, REFUSED, "--quiet"],
            [f"{flag}={REFUSED}", "--quiet"],
            ["--quiet", flag, REFUSED],
            [flag, "other", flag, REFUSED],
        ):
            message = refused(*start, *words)
            named, reason = message.removeprefix("Invalid value for ").split(": ", 1)
            assert named in (f"'{flag}'", f"'{flag} {REFUSED}'")
            assert (repr(REFUSED) in reason) == (named == f"'{flag}'")
            assert "--quiet" not in message
            assert "other" not in message
            assert message.endswith(f"(cvkit {' '.join(path)} --help)")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_wrong_variable_is_named(refused, path, monkeypatch):
    start = begin(path)
    for flag, variable in choosy(path):
        if flag in start:  # which makes no use of the variable
            continue
        with monkeypatch.context() as patch:
            patch.setenv(variable, REFUSED)
            message = refused(*start, "--quiet")
        named, reason = message.removeprefix("Invalid value for ").split(": ", 1)
        assert named in (f"'{variable}'", f"'{variable}={REFUSED}'"), flag
        assert (repr(REFUSED) in reason) == (named == f"'{variable}'")
        assert flag not in message.replace("--help", "")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_switch_with_a_wrong_variable_is_named(refused, path, monkeypatch):
    for field, kind, _ in flags_of(path):
        if kind is bool:
            with monkeypatch.context() as patch:
                patch.setenv(f"CVKIT_{path[-1]}_{field.name}".upper(), REFUSED)
                message = refused(*begin(path))
            assert f"'CVKIT_{path[-1]}_{field.name}={REFUSED}'".upper() in message.upper()


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_a_forgotten_value_is_told(refused, path):
    start = begin(path)
    for flag, _ in choosy(path):
        for other in ("--quiet", "-q", flag):
            message = refused(*start, flag, other)
            assert message.startswith(f"'{flag}' needs a value, but the flag '{other}' follows (")
        assert message.endswith(f"(cvkit {' '.join(path)} --help)")
        last = refused(*start, flag)
        assert flag in last
        assert last.endswith(f"(cvkit {' '.join(path)} --help)")


@pytest.mark.parametrize("path", [("tune",), ("bench",), ("models",)], ids=" ".join)
def test_a_wrong_argument_is_named(refused, path):
    message = refused(*path, REFUSED, "--quiet")
    assert message.startswith(f"Invalid value for 'task': '{REFUSED}' is not one of 'classify',")


@pytest.mark.parametrize(
    ("value", "shown"), [("", '""'), ("1 2", '"1 2"'), ("-3", "-3"), ("1e", "1e")]
)
def test_odd_values_are_shown_as_they_were_typed(refused, value, shown):
    message = refused("segment", "train", "--epochs", value)
    assert message.startswith(f"Invalid value for '--epochs {shown}': ")


@pytest.mark.parametrize("arguments", [["trian"], ["segment", "trian"], ["weights", "lst"]])
@pytest.mark.parametrize("more", [["--json"], ["--epochs", "3"], []])
def test_an_unknown_command_is_named_alone(cvkit, arguments, more):
    done = cvkit(*arguments, *more)
    assert done.code == 2
    assert f"there is no command 'cvkit {' '.join(arguments)}' (" in done.err


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_an_empty_name_is_refused(refused, path):
    """A path would be the current folder: `samples "$UNSET"` wrote into it."""
    for field, kind, _ in flags_of(path):
        flag = f"--{field.name.replace('_', '-')}"
        if kind is Path or (kind is str and isinstance(field.default, str) and field.default):
            for words in ([flag, ""], [f"{flag}="], [flag, "", "--quiet"]):
                assert refused(*begin(path), *words).startswith(f"{flag} is empty (give a value")
        elif typing.get_origin(kind) is list:
            flag = flag.removesuffix("s") if flag == "--splits" else flag
            message = refused(*begin(path), flag, "one", flag, "")
            assert message.startswith(f"one of {flag} is empty (give a value")


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (("samples",), "DIR"),
        (("detect", "proposals"), "DATA"),
        (("data", "check"), "DATA"),
        (("weights", "import"), "FILE"),
    ]
    + [(("weights", "prove"), "FILE")]
    + [(path, "one of INPUTS") for path in COMMANDS if path[-1] in ("predict", "bench")]
    + [(("weights", verb), "one of FILES") for verb in ("verify", "average")],
)
def test_an_empty_argument_is_refused(refused, path, shown):
    first, flags = NEEDED.get(path, []), NEEDED.get(path, [])[1:]
    words = [*first, ""] if path == ("bench",) else ["", *flags]
    assert refused(*path, *words).startswith(f"{shown} is empty (give a value")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_text_that_switches_something_off_may_be_empty(read, path):
    flags = [f"--{f.name.replace('_', '-')}" for f, kind, _ in flags_of(path) if f.default == ""]
    values, given = read(*begin(path), *(word for flag in flags for word in (flag, "")))
    assert len(given) >= len(flags)
    assert all(values[flag.removeprefix("--").replace("-", "_")] == "" for flag in flags)


@pytest.mark.parametrize("path", [path for path in COMMANDS if "config" in hints(options_of(path))])
def test_an_empty_name_in_a_configuration_is_refused(path):
    for field, kind, _ in flags_of(path):
        is_list = typing.get_origin(kind) is list
        if field.name != "config" and (kind is Path or is_list):
            with pytest.raises(UsageError, match=f"c.yaml: {field.name} is empty .give a value"):
                from_config(options_of(path), {field.name: ["a", ""] if is_list else ""}, "c.yaml")


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_choices_are_what_typer_checks(path):
    written = typing.get_type_hints(options_of(path), include_extras=True)
    for field in dataclasses.fields(options_of(path)):
        (*_, choice) = (
            None,
            *(each for each in typing.get_args(written[field.name]) if isinstance(each, Choice)),
        )
        names = tuple(choice.names) if choice else ()
        annotation = hints(options_of(path))[field.name]
        assert choices_of(annotation) == names
        is_optional = type(None) in typing.get_args(typing.get_args(written[field.name])[0])
        assert is_optional == (type(None) in typing.get_args(type_of(annotation)))
        required = field.default is field.default_factory is dataclasses.MISSING
        assert not names or required or field.default in (*names, None)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_words_defaults_in_one_way(path):
    for field, _, option in flags_of(path):
        assert "by default" not in option.help, field.name
        assert "own" not in option.help.split(), field.name
        if field.default is None and "default" in option.help:
            assert re.search(r"\(default(: |, )[^)]+\)$", option.help), field.name
