"""Help pages: examples first, then the flags in panels, then the exit codes.

They are made from the options. Typer's own pages would need rich's markdown and traceback modules,
whose import takes longer than everything else in `--help`.
"""

import dataclasses
import difflib
import inspect
import os
import shutil
import sys
import textwrap
import typing
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from cvkit.catalog import TASKS
from cvkit.errors import EXIT_CODES
from cvkit.examples import ABOUT, EXAMPLES, TASK_ABOUT
from cvkit.options.described import Description, choices_of, description, hints, type_of
from cvkit.options.job import Command
from cvkit.options.panels import PANELS
from cvkit.options.tree import COMMANDS, OPTIONS

ROOT_FLAGS = (
    ("--version", "", "Show the version"),
    ("--install-completion", "", "Set up completion for the current shell, or for the shell named"),
    (
        "--show-completion",
        "",
        "Print the completion script for the current shell, or for the shell named",
    ),
    ("--help, -h", "", "Show this page"),
)
HELP_FLAGS = ("--help", "-h")
TASK_COMMANDS = ("tune", "bench", "models")
"""Commands whose argument is a task."""
VERBS_MEANT = dict.fromkeys(("test", "val", "validate", "score"), "eval")
VERBS_MEANT |= dict.fromkeys(("infer", "inference", "run"), "predict")
VERBS_MEANT |= dict.fromkeys(("fit", "finetune"), "train")
"""Verbs of other programs, and cvkit's verbs with the same meaning."""

Row = tuple[str, str, str]
"""Name, values, meaning."""


def render(path: tuple[str, ...]) -> str:
    """Return the help page of a command, of a group or (for an empty path) of cvkit."""
    options_class = COMMANDS.get(path)
    if options_class is None:
        about = short_help(path) if path else ABOUT
        usage = " ".join(["cvkit", *path, "COMMAND ..."])
        panels = {"Options": list(ROOT_FLAGS if not path else ROOT_FLAGS[-1:])}
        panels["Commands"] = [(name, "", short_help((*path, name))) for name in names_in(path)]
    else:
        about = inspect.cleandoc(options_class.__doc__ or "")
        types = hints(options_class)
        arguments = [
            name_text(field, description(types[field.name]))
            for field in in_panel_order(options_class)
            if panel(description(types[field.name])) == "Arguments"
        ]
        usage = " ".join(["cvkit", *path, "[OPTIONS]", *arguments])
        panels = _panels(options_class)
    width = min(shutil.get_terminal_size((80, 24)).columns, 100)
    lines = [f" Usage: {usage}", ""]
    if examples := EXAMPLES.get(path, ()):
        lines += [" Examples:", *(f"   {example}" for example in examples), ""]
    for paragraph in about.split("\n\n"):
        lines += [*textwrap.wrap(paragraph, width, initial_indent=" ", subsequent_indent=" "), ""]
    for title, rows in panels.items():
        lines += _box(title, rows, width)
    codes = "Exit codes: " + " | ".join(f"{code} {text}" for code, text in EXIT_CODES.items())
    lines += textwrap.wrap(codes, width, initial_indent=" ", subsequent_indent=" ")
    return "\n".join(lines) + "\n"


def names_in(path: tuple[str, ...]) -> list[str]:
    """Return the words that may follow `cvkit`, or `cvkit` and the name of a group."""
    group = OPTIONS[path[0]] if path else OPTIONS
    return list(group) if isinstance(group, dict) else []


def unknown_command(path: tuple[str, ...], arguments: Sequence[str]) -> tuple[str, str]:
    """Return the message and the hint for an unknown command.

    Args:
        path: before the unknown word: empty, or a task.
        arguments: the word and those after it.
    """
    word, *rest = arguments
    tasks = [name for name in OPTIONS if name in TASKS]
    verbs = {verb for task in tasks for verb in names_in((task,))}
    shown = word if word.isprintable() and len(word) < 100 else repr(word[:100])
    message = f"there is no command 'cvkit {' '.join([*path, shown])}'"
    if path and word in TASK_COMMANDS:
        return message, f"did you mean cvkit {word} {path[0]}?"
    close = difflib.get_close_matches(word, names_in(path), n=3)
    if path and VERBS_MEANT.get(word) in names_in(path):
        close = [VERBS_MEANT[word]]
    verb = [word] if word in verbs else difflib.get_close_matches(word, verbs, n=1)
    if not path and verb and (word in verbs or not close):
        fitting = [task for task in tasks if (task, verb[0]) in COMMANDS]
        named = [task for task in fitting if task in rest] or fitting
        return message, f"the task comes first: {_either(f'cvkit {t} {verb[0]}' for t in named)}"
    if close:
        return message, f"did you mean {_either(' '.join(['cvkit', *path, c]) for c in close)}?"
    is_file = os.path.lexists(word) or os.path.splitext(word)[1]
    if is_file and path in [(task,) for task in tasks]:
        return message, f"cvkit {path[0]} predict {shown} --weights MODEL"
    if is_file and not path:
        hint = f"cvkit TASK predict {shown} --weights MODEL, where TASK is {_either(tasks)}"
        return message, hint
    return message, f"{' '.join(['cvkit', *path])} --help"


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def short_help(path: tuple[str, ...]) -> str:
    """Return the line about a command or a group for the page of its parent.

    A group without its own line has that of its `train`.
    """
    if path not in COMMANDS and path[0] in TASK_ABOUT:
        return TASK_ABOUT[path[0]]
    options_class = COMMANDS.get(path) or COMMANDS[*path, "train"]
    first, *_ = (options_class.__doc__ or "").splitlines()
    return first


def panel(option: Description) -> str:
    """Return the panel of a flag, or Arguments."""
    return option.rich_help_panel or "Arguments"


def in_panel_order(options_class: type[Command]) -> list[dataclasses.Field[Any]]:
    """Return the fields of a command: arguments first, then panel by panel."""
    order = ("Arguments", *PANELS)
    types = hints(options_class)
    fields = dataclasses.fields(options_class)
    return sorted(fields, key=lambda f: order.index(panel(description(types[f.name]))))


def _panels(options_class: type[Command]) -> dict[str, list[Row]]:
    types = hints(options_class)
    panels: dict[str, list[Row]] = {"Options": list(ROOT_FLAGS[-1:])}
    for field in in_panel_order(options_class):
        option = description(types[field.name])
        default = default_text(field)
        text = f"{option.help} [default: {default}]" if default else option.help or ""
        row = (name_text(field, option), values_text(types[field.name]), text)
        panels.setdefault(panel(option), []).append(row)
    return panels


def name_text(field: dataclasses.Field[Any], option: Description) -> str:
    """Return a flag as typed, or the name of an argument; with `--no-` if the default is on."""
    if isinstance(option, typer.models.ArgumentInfo):
        return option.metavar or field.name.upper()
    name = field.name.replace("_", "-")
    # If an option has explicit names, Typer keeps the first one as the default.
    given = [
        each for each in (option.default, *(option.param_decls or ())) if isinstance(each, str)
    ]
    if given:
        return ", ".join(given)
    return f"--{name}, --no-{name}" if field.default is True else f"--{name}"


def default_text(field: dataclasses.Field[Any]) -> str:
    """Return the default of a field; "" if it is not worth showing."""
    if field.default is None or isinstance(field.default, bool | type(dataclasses.MISSING)):
        return ""
    return str(field.default)


def values_text(annotation: object) -> str:
    """Return the values of a flag: its choices, or text, path, number; "" for a switch."""
    kind = type_of(annotation)
    parts = [part for part in typing.get_args(kind) if part is not type(None)]
    if choices := choices_of(annotation):
        return "|".join(choices)
    names = {str: "text", Path: "path", int: "integer", float: "number", bool: ""}
    return names[parts[0] if parts else kind]


def _box(title: str, rows: Iterable[Row], width: int) -> list[str]:
    """Return rows of three columns inside a frame; long cells are wrapped."""
    rows = list(rows)
    first = max(len(name) for name, _, _ in rows)
    second = min(max(len(values) for _, values, _ in rows), 20)
    third = max(width - first - second - 8, 20)
    lines = [f"╭─ {title} {'─' * (first + second + third + 3 - len(title))}╮"]
    for name, values, text in rows:
        choices = textwrap.wrap(values.replace("|", " | "), second) if second else []
        meaning = textwrap.wrap(text, third)
        for number in range(max(1, len(choices), len(meaning))):
            cells = [name] if number == 0 else [""]
            cells += [lst[number] if number < len(lst) else "" for lst in (choices, meaning)]
            shown = _bright(f"{cells[0]:{first}}")
            lines.append(f"│ {shown}  {cells[1]:{second}}  {cells[2]:{third}} │")
    return [*lines, f"╰{'─' * (first + second + third + 6)}╯"]


def _bright(text: str) -> str:
    """Return text in bold cyan on a terminal, unless NO_COLOR is set."""
    if os.environ.get("NO_COLOR") or not sys.stdout.isatty():
        return text
    return f"\033[1;36m{text}\033[0m"
