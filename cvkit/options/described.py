"""The annotated type of a flag: what `hints` returns for a class of options, and what it says."""

import dataclasses
import typing
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cvkit.errors import UsageError
from cvkit.format_table import ROOTS_SEPARATOR

Description = typer.models.OptionInfo | typer.models.ArgumentInfo
"""How Typer shows and checks a flag or an argument."""


@dataclass(frozen=True)
class Choice:
    """Annotation of a flag that takes only one of these names."""

    names: Collection[str]


@dataclass(frozen=True)
class Several:
    """Annotation of a flag for a dataset, which may be given several times.

    Its values become one text with `ROOTS_SEPARATOR` between them.
    """


def repeated_names(options_class: type[Any]) -> frozenset[str]:
    """Return the flags of a command that are annotated with `Several`."""
    found = typing.get_type_hints(options_class, include_extras=True)
    return frozenset(
        name
        for name, annotation in found.items()
        if any(isinstance(each, Several) for each in typing.get_args(annotation))
    )


def joined_places(values: Sequence[str], flag: str) -> str:
    """Return several datasets as one place.

    Args:
        values: of the flag, at least one.
        flag: for the message.

    Raises:
        UsageError: one of them cannot be told apart from the others.
    """
    wrong = next((value for value in values if ROOTS_SEPARATOR in value), None)
    if wrong is not None and len(values) > 1:
        raise UsageError(
            f"{flag} {wrong} contains {ROOTS_SEPARATOR!r}, which separates datasets",
            code="data.separator",
            hint="rename the folder, or give it through a link with another name",
        )
    return ROOTS_SEPARATOR.join(values)


_HINTS: dict[type[Any], dict[str, object]] = {}


def hints(options_class: type[Any]) -> dict[str, object]:
    """Return the type of each flag, annotated with its description, as Typer takes it.

    The type of a flag with a `Choice` is the `Literal` of its names.
    """
    if options_class not in _HINTS:
        found = typing.get_type_hints(options_class, include_extras=True)
        fields = dataclasses.fields(options_class)
        _HINTS[options_class] = {field.name: _for_typer(found[field.name]) for field in fields}
    return _HINTS[options_class]


def _for_typer(annotation: object) -> object:
    kind, *described = typing.get_args(annotation)
    option = next(each for each in described if isinstance(each, Description))
    for each in described:
        if isinstance(each, Choice):
            names: Any = Literal.__getitem__(tuple(each.names))
            kind = names | None if type(None) in typing.get_args(kind) else names
    return Annotated[kind, option]


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
