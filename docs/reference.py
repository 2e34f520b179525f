"""The command reference, made from the options.

Flags that a verb has in several tasks, with the same values, default and meaning, are listed once.
"""

import dataclasses
import inspect
from collections.abc import Iterable, Iterator

from cvkit.catalog import TASKS
from cvkit.config import FOR_ALL, VARIABLES
from cvkit.examples import EXAMPLES
from cvkit.helptext import default_text, in_panel_order, name_text, values_text
from cvkit.options.described import hints
from cvkit.options.job import Command
from cvkit.options.tree import OPTIONS

VERBS = ("train", "eval", "predict")
FAMILIES = (tuple(TASKS), ("detect", "instance"))
"""Tasks whose common flags get a table of their own, the largest family first."""
HEAD = ["| flag | values | default | meaning |", "|---|---|---|---|"]


def row(field: dataclasses.Field, annotation: object) -> str:
    """Return the line of a flag in a table."""
    option = annotation.__metadata__[0]
    values = values_text(annotation).replace("|", ", ")
    default = f"`{default_text(field)}`" if default_text(field) else ""
    text = option.help.replace("|", "\\|")
    return f"| `{name_text(field, option)}` | {values} | {default} | {text} |"


def rows(options_class: type[Command]) -> list[str]:
    """Return the lines of all flags of a command, panel by panel."""
    types = hints(options_class)
    return [row(field, types[field.name]) for field in in_panel_order(options_class)]


def table(lines: Iterable[str]) -> str:
    """Return lines as a table."""
    return "\n".join([*HEAD, *lines])


def shared(verb: str) -> dict[tuple[str, ...], list[str]]:
    """Return the lines that all tasks of a family have for a verb, each in one family only."""
    found: dict[tuple[str, ...], list[str]] = {}
    for family in FAMILIES:
        first, *others = (rows(OPTIONS[task][verb]) for task in family)
        taken = {line for lines in found.values() for line in lines} | set(rows(Command))
        found[family] = [
            line for line in first if line not in taken and all(line in each for each in others)
        ]
    return found


def about(path: tuple[str, ...], options_class: type[Command]) -> list[str]:
    """Return what a command does, and its examples."""
    examples = "\n".join(f"    {example}" for example in EXAMPLES.get(path, ()))
    return [inspect.cleandoc(options_class.__doc__), examples]


def family_name(family: tuple[str, ...]) -> str:
    """Return what a group of tasks is called in headings."""
    return "all tasks" if set(family) == set(TASKS) else " and ".join(family)


def verb_parts(verb: str) -> Iterator[str]:
    """Yield the paragraphs of a verb: what tasks share, then each task's part."""
    yield f"## {verb}"
    families = shared(verb)
    for family, lines in families.items():
        yield f"### {verb}: flags of {family_name(family)}"
        yield table(lines)
    for task in TASKS:
        known, links = set(rows(Command)), []
        for family in (family for family in families if task in family):
            known |= set(families[family])
            anchor = f"{verb}-flags-of-{family_name(family)}".replace(" ", "-")
            links.append(f"[the flags of {family_name(family)}](#{anchor})")
        yield f"### cvkit {task} {verb}"
        yield from about((task, verb), OPTIONS[task][verb])
        yield f"Besides {' and '.join(links)}:"
        yield table(line for line in rows(OPTIONS[task][verb]) if line not in known)


def other_parts() -> Iterator[str]:
    """Yield the paragraphs of the commands that only some task has, or none."""
    yield "## Other commands"
    known = set(rows(Command))
    for name, entry in OPTIONS.items():
        pairs = entry.items() if isinstance(entry, dict) else [("", entry)]
        for verb, options_class in pairs:
            if name in TASKS and verb in VERBS:
                continue
            path = (name, verb) if verb else (name,)
            yield f"### cvkit {' '.join(path)}"
            yield from about(path, options_class)
            if own := [line for line in rows(options_class) if line not in known]:
                yield table(own)


def reference() -> str:
    """Return the reference of all commands."""
    parts = ["## Flags of every command", table(rows(Command))]
    for verb in VERBS:
        parts += verb_parts(verb)
    parts += other_parts()
    return "\n\n".join(parts)


def variables() -> str:
    """Return the variables of the environment that belong to no flag of one verb."""
    lines = [
        f"| `{name}` | `--{flag}` of every command: 1 or 0 |" for flag, name in FOR_ALL.items()
    ]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in VARIABLES.items()]
    return "\n".join(["| variable | meaning |", "|---|---|", *lines])
