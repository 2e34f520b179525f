"""Access to the annotated type of a flag, as `cvkit.options.base.hints` returns it."""

import dataclasses
import typing
from pathlib import Path
from typing import Any, Literal

import typer

Description = typer.models.OptionInfo | typer.models.ArgumentInfo
"""How Typer shows and checks a flag or an argument."""


def description(annotation: object) -> Description:
    """Return the description of a flag from its annotated type, as `hints` returns it."""
    option: Description = typing.get_args(annotation)[1]
    return option


def type_of(annotation: object) -> Any:
    """Return the type of a flag, which may be a union with None, from its annotated type."""
    return typing.get_args(annotation)[0]


def never_empty(field: dataclasses.Field[Any], annotation: object) -> bool:
    """Return whether an empty value of a flag is a mistake.

    As a path it would be the current folder, and in a list a meaningless element. Other text may be
        empty if its default is empty or None: it switches something off.
    """
    kind = type_of(annotation)
    kinds = typing.get_args(kind) or (kind,)
    if Path in kinds or typing.get_origin(kind) is list:
        return True
    return str in kinds and isinstance(field.default, str) and bool(field.default)


def choices_of(annotation: object) -> tuple[str, ...]:
    """Return the names that a flag takes; none for a flag that takes any text or number."""
    kind = type_of(annotation)
    kinds = (kind, *typing.get_args(kind))
    literal = next((each for each in kinds if typing.get_origin(each) is Literal), None)
    return typing.get_args(literal) if literal else ()


def differs(options: Any, name: str) -> bool:
    """Return whether a flag is not at its default; False for a flag that the command lacks.

    Args:
        options: of a command.
        name: of the field.
    """
    field = {each.name: each for each in dataclasses.fields(options)}.get(name)
    if field is None:
        return False
    made = field.default_factory
    default = field.default if made is dataclasses.MISSING else made()
    return bool(getattr(options, name) != default)
