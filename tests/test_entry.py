"""The first words that people try: help by -h, and a hint where the task is missing."""

import pytest

from cvkit.catalog import TASKS
from cvkit.helptext import EXAMPLES, unknown_command
from cvkit.options.tree import OPTIONS

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
