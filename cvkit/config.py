"""Flag values from a YAML file, from the environment, or from the run to resume."""

import contextlib
import dataclasses
import json
import math
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from cvkit import storage
from cvkit.catalog import closest, nearest
from cvkit.errors import UsageError
from cvkit.options.base import Train
from cvkit.options.described import (
    choices_of,
    description,
    hints,
    joined_places,
    never_empty,
    repeated_names,
    type_of,
)
from cvkit.options.job import AnyCommand, Command, with_given
from cvkit.options.tree import commands
from cvkit.texts import shown

EMPTY_HINT = "give a value, or omit it; an unset shell variable is empty"
"""The remedy for an empty name."""

NOT_STORED = frozenset(
    {"config", "json", "json_results", "quiet", "debug", "resume", "check", "find_lr"}
)
"""Flags about what is printed, not about what is done; they are not stored in config.yaml."""


def assemble(
    options_class: type[AnyCommand], values: dict[str, Any], given: dict[str, str]
) -> AnyCommand:
    """Return the options from the given flags, completed from `--config` or `--resume`.

    Args:
        options_class: of the command.
        values: of all its flags.
        given: how each given flag was set: the flag, or a variable.

    Raises:
        UsageError: the configuration file is unusable, a number is infinite, or `--resume` is
            combined with a flag that would change the run.
    """
    values = {name: expanded(value) for name, value in values.items()}
    resume = values.get("resume")
    if isinstance(resume, Path):
        return _resumed(options_class, values, given)
    config = values.get("config")
    if config is not None:
        stored = from_config(options_class, _read_config(config), str(config))
        if isinstance(stored.get("resume"), Path):
            raise UsageError(
                f"{config}: resume is a flag of the command line",
                code="config.resume",
                hint="give --resume RUN alone; the run has its own configuration",
            )
        values = values | {name: value for name, value in stored.items() if name not in given}
        given = given | dict.fromkeys(stored, str(config))
    _require_finite(values, given)
    return with_given(options_class(**values), given)


def _require_finite(values: Mapping[str, object], given: Mapping[str, str]) -> None:
    for name, how in given.items():
        value = values.get(name)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{how} {value:g} is not a finite number", code="usage.value")


def expanded(value: Any) -> Any:
    """Return a value of a flag with a leading `~/` replaced by the user's home folder.

    Shells do so for separate words, but not in `--out=~/x`, a variable or a file.
    """
    if isinstance(value, list):
        return [expanded(each) for each in value]
    if isinstance(value, str | Path) and (str(value) == "~" or str(value).startswith("~/")):
        return type(value)(os.path.expanduser(value))
    return value


VARIABLES = {
    "CVKIT_WEIGHTS": "folder of downloaded weights",
    "CVKIT_EXACT": "0 allows faster GPU kernels whose sums are not reproducible",
    "CVKIT_MALLOC": "0 leaves glibc's memory settings alone",
    "CVKIT_DATA": "folder of real datasets used by tests",
}
"""Environment variables that belong to no flag."""
FOR_ALL = {field.name: f"CVKIT_{field.name}".upper() for field in dataclasses.fields(Command)}
"""Flags of all commands, and the variables that set them for all verbs."""


def variable(path: Sequence[str], name: str) -> str:
    """Return the environment variable of a flag.

    Args:
        path: of the command, of which the last word is used.
        name: of the flag's field.
    """
    return f"CVKIT_{path[-1]}_{name}".upper()


def misnamed_variables(path: Sequence[str], names: Iterable[str]) -> list[str]:
    """Return a line for each variable that begins with CVKIT_ and is unknown.

    Args:
        path: of the command that runs.
        names: of the environment.
    """
    known: dict[str, set[str]] = {}
    for command, options_class in commands():
        known.setdefault(command[-1], set()).update(hints(options_class))
    every = {variable((verb,), flag) for verb, flags in known.items() for flag in flags}
    every |= VARIABLES.keys() | set(FOR_ALL.values())
    lines = []
    for name in sorted(n for n in names if n.startswith("CVKIT_") and n not in every):
        near = _nearest_variable(name, path[-1], known)
        hint = f"did you mean {near}?" if near else "CVKIT_VERB_FLAG, such as CVKIT_TRAIN_EPOCHS"
        lines.append(f"the variable {name} belongs to no flag ({hint})")
    return lines


def _nearest_variable(name: str, verb: str, known: Mapping[str, set[str]]) -> str | None:
    """Return the nearest known variable; None if none is near.

    Args:
        name: of an unknown variable.
        verb: of the running command; it is assumed if the name has none.
        known: the flags of each verb.
    """
    whole = name.removeprefix("CVKIT_").lower()
    first, _, rest = whole.partition("_")
    meant = first if first in known else closest(first, known)
    flag = closest(rest, known[meant]) if meant and rest else None
    if meant and flag:
        return variable((meant,), flag)
    if first in known:
        return None
    others = {each.removeprefix("CVKIT_").lower(): each for each in VARIABLES}
    near = closest(whole, [*known[verb], *others])
    return others.get(near, variable((verb,), near)) if near else None


PLACES = frozenset({"data", "train_json", "val_json", "images", "proposals", "exclude", "splits"})
"""Flags for the places of a run's data; a fingerprint shows whether the data are the same."""
LASTING = PLACES | {"epochs", "patience", "keep_states", "report"}
"""Flags that may change when a run is resumed, and are then stored in its config.yaml."""
CHANGEABLE = LASTING | {
    *("resume", "workers", "device", "offline", "json", "quiet", "debug", "save_minutes"),
}
"""Flags that may differ when a run is resumed: its length, and flags that do not affect results."""


def update_config(path: Path, options: Command) -> dict[str, tuple[object, object]]:
    """Update the config.yaml of a resumed run; return (old, new) of each change."""
    from cvkit.yaml_files import dump_yaml

    stored, now = _read_config(path), as_config(options)
    before = {name: stored.get(name, getattr(type(options), name)) for name in LASTING & now.keys()}
    changed = {name: (old, now[name]) for name, old in before.items() if old != now[name]}
    if changed:
        stored |= {name: new for name, (_, new) in changed.items()}
        storage.write_file(path, dump_yaml({str(name): value for name, value in stored.items()}))
    return changed


def _resumed(
    options_class: type[AnyCommand], values: dict[str, Any], given: dict[str, str]
) -> AnyCommand:
    if values.get("config") is not None:
        raise UsageError(
            "--config and --resume cannot be combined",
            code="resume.config",
            hint="a resumed run has its own configuration",
        )
    config = values["resume"] / "config.yaml"
    stored = from_config(options_class, _read_config(config), str(config))
    changeable = CHANGEABLE if issubclass(options_class, Train) else CHANGEABLE - LASTING
    changed = sorted(
        name for name in given.keys() - changeable if stored.get(name, values[name]) != values[name]
    )
    if changed:
        name = changed[0]
        raise UsageError(
            f"{given[name]} {values[name]} differs from the run's {stored.get(name)}",
            code="resume.changed",
            hint="a resumed run keeps its settings; to change them, start a new run from this "
            "one's model with --weights",
        )
    kept = {name: value for name, value in stored.items() if name not in given.keys() & changeable}
    return options_class(**(values | kept))


def _read_config(path: Path) -> dict[object, object]:
    """Return the flags in a configuration file, unchecked.

    Raises:
        UsageError: unreadable, or not a mapping.
    """
    from cvkit.yaml_files import read_yaml

    if path.exists() and not (path.is_file() or path.is_fifo()):  # a device may be endless
        raise UsageError(f"{path} is not a file", code="config.file", hint="give a YAML file")
    content = read_yaml(path, area="config", error=UsageError, pipes=True)
    if not isinstance(content, dict):
        raise UsageError(f"{path} is not a mapping of flags to values", code="config.type")
    return content


def as_config(options: Command) -> dict[str, object]:
    """Return the flags as values for config.yaml."""
    values = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in values.items()
        if name not in NOT_STORED
    }


def settled_flags(options: Command) -> dict[str, object]:
    """Return the flags of a run that stay as they are when it is resumed, as JSON stores them."""
    kept = {name: value for name, value in as_config(options).items() if name not in CHANGEABLE}
    settled: dict[str, object] = json.loads(json.dumps(kept))
    return settled


def from_config(
    options_class: type[Command], content: Mapping[Any, object], where: str
) -> dict[str, Any]:
    """Return flag values from the content of a YAML file, checked against their types.

    Raises:
        UsageError: an unknown key (the hint gives the nearest one) or an invalid value.
    """
    known, repeated = hints(options_class), repeated_names(options_class)
    fields = {field.name: field for field in dataclasses.fields(options_class)}
    values: dict[str, Any] = {}
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name not in known or name == "config":
            raise UsageError(
                f"{where}: unknown key {shown(key)}", code="config.key", hint=nearest(name, known)
            )
        if never_empty(fields[name], known[name]) and (
            value == "" or (isinstance(value, list) and "" in value)
        ):
            raise UsageError(f"{where}: {key} is empty", code="config.value", hint=EMPTY_HINT)
        if name in repeated and isinstance(value, list) and value and _are_texts(value):
            value = joined_places([expanded(each) for each in value], f"{where}: {key}")
        values[name] = expanded(_checked(known[name], value, f"{where}: {key}"))
    return values


def _are_texts(values: list[object]) -> TypeGuard[list[str]]:
    return all(type(each) is str for each in values)


def from_text(options_class: type[Command], name: str, text: str) -> object:
    """Return a flag's value from a text, in the types of a YAML file.

    Invalid values are returned unchanged, for `from_config` to refuse.

    Args:
        options_class: of the command.
        name: of the flag's field; unknown ones are left to `from_config` too.
        text: `1` or `true` switch on; lists are separated by spaces; `null` means no value.
    """
    known = hints(options_class)
    if name not in known:
        return text
    kind = type_of(known[name])
    kinds = (kind, *typing.get_args(kind))
    if text == "null" and type(None) in kinds:
        return None
    if choices_of(known[name]):
        return text
    if bool in kinds and text.lower() in SWITCHES:
        return SWITCHES[text.lower()]
    if typing.get_origin(kind) is list:
        return text.split()
    if float in kinds:
        with contextlib.suppress(ValueError):
            return float(text)
    if int in kinds:
        with contextlib.suppress(ValueError):
            return int(text)
    return text


SWITCHES = dict.fromkeys(("1", "true", "t", "yes", "y", "on"), True) | dict.fromkeys(
    ("0", "false", "f", "no", "n", "off"), False
)
"""Texts that switch a flag on or off."""


def parse_setting(text: str) -> tuple[str, str]:
    """Return the field and the text of a flag's value that `--set NAME=VALUE` gives.

    Raises:
        UsageError: it is malformed.
    """
    name, equals, value = text.partition("=")
    if not equals:
        raise UsageError(
            f"--set {text!r} is not NAME=VALUE", code="set.syntax", hint="arch=resnet18"
        )
    return name.strip().lstrip("-").replace("-", "_"), value


def from_environment(
    options_class: type[Command], verb: str, environ: Mapping[str, str]
) -> dict[str, str]:
    """Return the texts of a command's flags from environment variables."""
    names = (field.name for field in dataclasses.fields(options_class))
    texts = {name: environ.get(variable((verb,), name), "") for name in names}
    return {name: text for name, text in texts.items() if text}


def _checked(annotation: object, value: Any, where: str) -> object:
    """Return `value` as the annotated type, or raise a `UsageError`."""
    kind, option = type_of(annotation), description(annotation)
    is_union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    alternatives = typing.get_args(kind) if is_union else (kind,)
    if value is None and type(None) in alternatives:
        return None
    kind = alternatives[0]
    if kind is str and type(value) in (int, float):
        return str(value)  # YAML reads it as a number, such as an image size of 224
    if choices := choices_of(annotation):
        fits, expected = value in choices, " | ".join(choices)
    elif typing.get_origin(kind) is list:
        fits = isinstance(value, list) and all(type(each) is str for each in value)
        expected = "a list of strings"
    else:
        accepted = {float: (int, float), Path: (str,)}.get(kind, (kind,))
        fits = isinstance(value, accepted) and (kind is bool) == isinstance(value, bool)
        expectations = {int: "a whole number", float: "a number", bool: "true or false"}
        expected = expectations.get(kind, "text")
        if isinstance(value, str) and "\0" in value:
            fits, expected = False, "text without a NUL character"
        low, high = option.min, option.max
        # NaN is neither below nor above a limit, and not within it.
        if fits and kind is float and value in (math.inf, -math.inf):
            fits, expected = False, "a finite number"
        if fits and not ((low is None or value >= low) and (high is None or value <= high)):
            fits, expected = False, f"at least {low}" if high is None else f"{low} to {high}"
    if not fits:
        near = closest(str(value), choices)
        hint = f"did you mean {near}?" if near else ""
        raise UsageError(
            f"{where}: {shown(value)} is not {expected}", code="config.value", hint=hint
        )
    return kind(value) if kind in (float, Path) else value
