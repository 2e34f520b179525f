"""The first words that people try: help by -h, and a hint where the task is missing."""

import pytest
import typer

from cvkit import cli
from cvkit.catalog import TASKS
from cvkit.examples import EXAMPLES
from cvkit.helptext import TASK_COMMANDS, VERBS_MEANT, unknown_command
from cvkit.mistakes import MEANT
from cvkit.options.described import hints
from cvkit.options.tree import COMMANDS, OPTIONS

VERBS = sorted({verb for task in TASKS for verb in OPTIONS[task]})


@pytest.mark.parametrize("path", EXAMPLES, ids=" ".join)
def test_h_is_help(cvkit, path):
    shown = cvkit(*path, "-h")
    assert shown.code == 0
    assert shown.out == cvkit(*path, "--help").out
    assert "--help, -h" in shown.out


def test_h_works_among_other_flags(cvkit):
    shown = cvkit("segment", "train", "--epochs", "3", "-h", "--json")
    assert shown.code == 0 and "Usage: cvkit segment train" in shown.out


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("more", [(), ("photo.jpg",), ("--weights", "x"), ("--json",)])
def test_a_verb_without_a_task_names_the_commands(cvkit, verb, more):
    done = cvkit(verb, *more)
    assert done.code == 2
    assert f"there is no command 'cvkit {verb}'" in done.err
    for task in TASKS:
        assert (f"cvkit {task} {verb}" in done.err) == (verb in OPTIONS[task])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_before_its_task_is_turned(task, verb):
    if verb in OPTIONS[task]:
        _, hint = unknown_command((), [verb, task, "--json"])
        assert hint == f"the task comes first: cvkit {task} {verb}"


@pytest.mark.parametrize("task", TASKS)
def test_a_file_without_a_verb_is_predicted(cvkit, task, tmp_path):
    named = "a.mp4" if task == "video" else "a.jpg"
    assert f"(cvkit {task} predict {named} --weights MODEL)" in cvkit(task, named).err
    assert f"cvkit {task} predict {tmp_path} --weights MODEL" in cvkit(task, tmp_path).err
    assert f"cvkit TASK predict {named} --weights MODEL, where TASK is " in cvkit(named).err
    assert task in cvkit(named).err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["segment", "trian"], "did you mean cvkit segment train?"),
        (["samplse"], "did you mean cvkit samples?"),
        (["pedict"], "cvkit segment predict"),
        (["nonsense"], "cvkit --help"),
        (["weights", "x.pth"], "cvkit weights --help"),
        (["weights", "lst"], "did you mean cvkit weights list?"),
    ],
)
def test_other_words_get_a_hint(cvkit, words, hint):
    done = cvkit(*words)
    assert done.code == 2 and hint in done.err
    (line,) = done.err.splitlines()
    assert line.startswith(f"error: there is no command 'cvkit {' '.join(words)}'")


def test_a_word_with_control_characters_is_shown_safely(cvkit):
    done = cvkit("a\x1b[31m.png")
    assert "\x1b" not in done.err and done.code == 2


@pytest.fixture(scope="module")
def tree():
    return typer.main.get_command(cli.build_app())


@pytest.fixture
def one_tree(tree, monkeypatch):
    """The command tree, built once."""
    monkeypatch.setattr(cli, "build_app", lambda *_: tree)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_flags_of_other_programs_are_answered_with_those_that_mean_the_same(cvkit, one_tree, path):
    known = hints(COMMANDS[path])
    start = [*path, *{"samples": ["x"], "tune": ["classify"], "import": ["x"]}.get(path[-1], [])]
    for name, meant in MEANT.items():
        wanted = next((each for each in meant if each in known), None)
        if wanted is None or name in known:
            continue
        flag = f"--{name.replace('_', '-')}"
        done = cvkit(*start, flag, "3")
        assert done.code == 2
        hint = f"did you mean --{wanted.replace('_', '-')}?"
        if wanted == "inputs":
            hint = f"inputs are given without a flag: cvkit {' '.join(path)} PATH"
        assert done.err == f"error: there is no flag {flag} ({hint})\n"


@pytest.mark.parametrize("task", TASKS)
def test_commands_and_verbs_that_are_called_otherwise_are_named(cvkit, one_tree, task):
    for name in TASK_COMMANDS:
        assert cvkit(task, name).err.endswith(f"(did you mean cvkit {name} {task}?)\n")
    for name, verb in VERBS_MEANT.items():
        assert cvkit(task, name).err.endswith(f"(did you mean cvkit {task} {verb}?)\n")
        assert "--data DIR)" in cvkit(task, "train", "place").err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["segment", "train", "--epochs", "0"], "'--epochs 0': it must be at least 1"),
        (["segment", "train", "--momentum", "3"], "'--momentum 3': it must be at most 1"),
        (["segment", "train", "--seed", str(2**31)], f"'--seed {2**31}': it must be at most "),
        (["segment", "train", "--epochs", "x"], "'--epochs x': it is not a whole number"),
        (["segment", "train", "--lr", "x"], "'--lr x': it is not a number"),
        (["segment", "train", "--resume"], "--resume needs a value"),
        (["segment", "train", "--json=3"], "--json takes no value"),
        (["weights", "list", "a", "b"], "unexpected argument: a b ("),
        (["samples"], "error: DIR is missing ("),
        (["weights", "import", "x"], "error: --out is missing ("),
    ],
)
def test_mistakes_are_told_in_our_words(cvkit, one_tree, arguments, message):
    done = cvkit(*arguments)
    assert done.code == 2
    assert message in done.err
    assert "Input should" not in done.err


def test_a_command_that_is_built_alone_is_that_of_the_whole_tree():
    def described(app, path):
        command = typer.main.get_command(app)
        for name in path:
            assert list(command.commands) == [name] or app is whole
            command = command.commands[name]
        return [(type(p), p.name, p.opts, p.default, p.required, p.envvar) for p in command.params]

    whole = cli.build_app()
    for name, entry in OPTIONS.items():
        for path in [(name, verb) for verb in entry] if isinstance(entry, dict) else [(name,)]:
            assert cli._named_command([*path, "--quiet"]) == path
            assert described(cli.build_app(path), path) == described(whole, path)


@pytest.mark.parametrize(
    "words",
    [[], ["--version"], ["classify"], ["classify", "--json"], ["classify", "trian"], ["no"]],
)
def test_what_names_no_command_is_read_with_the_whole_tree(words):
    assert cli._named_command(words) == ()
