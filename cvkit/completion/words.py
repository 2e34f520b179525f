"""Completion of the words of a command line."""

import dataclasses
import typing
from collections.abc import Sequence
from typing import Any

import typer

from cvkit.completion.values import Choices, Line, choices_for
from cvkit.helptext import (
    ROOT_FLAGS,
    in_panel_order,
    name_text,
    names_in,
    short_help,
)
from cvkit.options.described import description, hints, repeated_names, type_of
from cvkit.options.job import Command
from cvkit.options.tree import COMMANDS

Field = dataclasses.Field[Any]


def complete(words: Sequence[str], partial: str) -> Choices:
    """Return the completions of the word that is being typed.

    Args:
        words: complete words after `cvkit`, without quotes.
        partial: the typed part of the next word; may be "".
    """
    rest, path = list(words), tuple[str, ...]()
    while rest and path not in COMMANDS:
        word = rest.pop(0)
        if not word.startswith("-"):
            if word not in names_in(path):
                return Choices()
            path = (*path, word)
    if path in COMMANDS:
        return _of_command(path, COMMANDS[path], rest, partial)
    flags = ROOT_FLAGS if not path else ROOT_FLAGS[-1:]
    if partial.startswith("-"):
        return Choices({name.split(",")[0]: about for name, _, about in flags}).starting(partial)
    return Choices({name: short_help((*path, name)) for name in names_in(path)}).starting(partial)


def flags_of(options_class: type[Command]) -> dict[str, Field]:
    """Return the flags of a command as they are typed, and which field each one fills."""
    types = hints(options_class)
    return {
        name: field
        for field in in_panel_order(options_class)
        if isinstance(option := description(types[field.name]), typer.models.OptionInfo)
        for name in name_text(field, option).split(", ")
    }


def arguments_of(options_class: type[Command]) -> list[str]:
    """Return the fields of the arguments of a command; the last one repeats if it is a list."""
    types = hints(options_class)
    return [
        field.name
        for field in dataclasses.fields(options_class)
        if isinstance(description(types[field.name]), typer.models.ArgumentInfo)
    ]


def _is_switch(options_class: type[Command], field: Field) -> bool:
    return type_of(hints(options_class)[field.name]) is bool


def _is_list(options_class: type[Command], name: str) -> bool:
    repeated = name in repeated_names(options_class)
    return repeated or typing.get_origin(type_of(hints(options_class)[name])) is list


def _of_command(
    path: tuple[str, ...], options_class: type[Command], words: list[str], partial: str
) -> Choices:
    """Return the completions after the words of a command."""
    flags, values = flags_of(options_class), dict[str, list[str]]()
    after_dashes, waiting, rest = False, None, []
    for word in words:
        name, equals, value = word.partition("=")
        if waiting:
            values.setdefault(waiting, []).append(word)
            waiting = None
        elif after_dashes or not word.startswith("-") or word == "-":
            rest.append(word)
        elif word == "--":
            after_dashes = True
        elif name in flags:
            field = flags[name]
            values.setdefault(field.name, []).extend([value] if equals else [])
            waiting = None if equals or _is_switch(options_class, field) else field.name
    open_argument = _next_argument(options_class, rest, values)
    if waiting is None and not after_dashes and partial.startswith("-"):
        name, equals, value = partial.partition("=")
        if not equals:
            return _free_flags(options_class, flags, values).starting(partial)
        if name not in flags or _is_switch(options_class, flags[name]):
            return Choices()
        found = choices_for(Line(path, values, value), options_class, flags[name].name)
        return dataclasses.replace(found.starting(value), prefix=f"{name}=")
    target = waiting or open_argument
    if target is not None:
        return choices_for(Line(path, values, partial), options_class, target).starting(partial)
    if after_dashes:
        return Choices()
    return _free_flags(options_class, flags, values).starting(partial)


def _next_argument(
    options_class: type[Command], rest: list[str], values: dict[str, list[str]]
) -> str | None:
    """Return the argument that comes next, if any; given ones are added to the values."""
    names = arguments_of(options_class)
    for word in rest:
        if names:
            values.setdefault(names[0], []).append(word)
            if not _is_list(options_class, names[0]):
                names.pop(0)
    return names[0] if names else None


def _free_flags(
    options_class: type[Command],
    flags: dict[str, Field],
    values: dict[str, list[str]],
) -> Choices:
    """Return the flags that are not given yet, or may be given again."""
    types = hints(options_class)
    free = {
        name: description(types[field.name]).help or ""
        for name, field in flags.items()
        if field.name not in values or _is_list(options_class, field.name)
    }
    return Choices({"--help": ROOT_FLAGS[-1][-1]} | free)
