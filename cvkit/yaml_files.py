"""The only reader and writer of YAML: configurations, datasets, pipelines of transforms.

Most features of YAML are not needed here. The following are refused, with the line: aliases (a few
    lines can expand to gigabytes), tags other than `!!str` (they create objects), repeated keys,
    keys that are neither text nor whole numbers, whole numbers over 64 bits, a second document,
    files over 1 MB, over 100,000 values, over 50 levels.

Dates and times stay text. `1e-3` is a number, although it is text in YAML 1.1, and `1:30` is text,
although it is 90 in YAML 1.1.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cvkit.errors import CvkitError, DataError
from cvkit.texts import read_text, shown

MOST_BYTES = 1_000_000
MOST_VALUES = 100_000
MOST_LEVELS = 50

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?(?:0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)\Z")
_FLOAT = re.compile(
    r"(?:[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?"
    r"|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)


class _Refused(Exception):
    """Why a document is refused: second part of the code, line from 0, reason, remedy."""


def _resolvers() -> dict[str, list[tuple[str, re.Pattern]]]:
    """Return the resolvers of unquoted text, by its first character."""
    kept = (f"{_TAG}null", f"{_TAG}bool")
    table = {
        first: [(tag, what) for tag, what in rules if tag in kept]
        for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    for name, what, firsts in (("int", _INT, "-+0123456789"), ("float", _FLOAT, "-+0123456789.")):
        for first in firsts:
            table.setdefault(first, []).append((f"{_TAG}{name}", what))
    return table


if TYPE_CHECKING:
    _Parser = yaml.SafeLoader
else:  # PyYAML may be built without libyaml
    _Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Parser):
    """Constructs plain values from a document whose events have been checked."""

    yaml_implicit_resolvers = _resolvers()

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return a mapping; unlike the library's, it does not support merging."""
        result: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line
            if isinstance(key, bool) or not isinstance(key, str | int):
                hint = "put it in quotes"
                raise _Refused("key", line, f"key {key_node.value!r} is not text", hint)
            if key in result:
                raise _Refused("duplicate_key", line, f"key {shown(key)} occurs twice", "")
            result[key] = self.construct_object(value_node, deep=deep)
        return result

    def construct_number(self, node: yaml.ScalarNode) -> int:
        """Return a whole number of up to 64 bits."""
        value = self.construct_yaml_int(node) if len(node.value) <= 70 else 2**64
        if not -(2**63) <= value < 2**63:
            reason = f"{shown(node.value)} is a number of over 64 bits"
            raise _Refused("number", node.start_mark.line, reason, "put it in quotes if it is text")
        return value


_Loader.add_constructor(f"{_TAG}int", _Loader.construct_number)


class _Dumper(yaml.SafeDumper):
    """Quotes text that `_Loader` would read as a number."""

    yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

    def ignore_aliases(self, data: Any) -> bool:
        """Write repeated values in full."""
        return True


def read_yaml(
    path: Path,
    *,
    area: str = "yaml",
    error: type[CvkitError] = DataError,
    pipes: bool = False,
) -> Any:
    """Return the content of a YAML file as plain values; see the top of this module.

    Args:
        path: the file.
        area: first part of the codes of errors, such as `AREA.syntax`.
        error: what to raise.
        pipes: see `cvkit.texts.read_text`.

    Raises:
        CvkitError: missing, malformed, or with refused content; the message gives the line.
    """
    text = read_text(path, area=area, error=error, most_bytes=MOST_BYTES, pipes=pipes)
    return parse_yaml(text, str(path), area=area, error=error)


def parse_yaml(
    text: str, where: str, *, area: str = "yaml", error: type[CvkitError] = DataError
) -> Any:
    """Return the plain values of a YAML text; see `read_yaml`."""
    try:
        for _ in _checked_events(text):
            pass
        return yaml.load(text, Loader=_Loader)
    except _Refused as refused:
        kind, line, reason, hint = refused.args
        raise error(f"{where}:{line + 1}: {reason}", code=f"{area}.{kind}", hint=hint) from refused
    except yaml.reader.ReaderError as problem:  # it has no line number
        line = text.count("\n", 0, problem.position)
        reason = f"{where}:{line + 1} is not valid YAML: it has a control character"
        raise error(reason, code=f"{area}.syntax") from problem
    except yaml.MarkedYAMLError as problem:
        line = problem.problem_mark.line if problem.problem_mark else 0
        reason = " ".join(str(problem.problem).split())
        place = f"{where}:{line + 1}"
        raise error(f"{place} is not valid YAML: {reason}", code=f"{area}.syntax") from problem
    except ValueError as problem:  # such as `0b_`, which looks like a number
        reason = f"{where} is not valid YAML: {problem}"
        raise error(reason, code=f"{area}.syntax") from problem


def dump_yaml(values: dict[str, Any]) -> str:
    """Return plain values as YAML that `parse_yaml` reads back."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False)


def _checked_events(text: str) -> Iterator[yaml.Event]:
    """Yield the events of a text, checked before values are constructed.

    Raises:
        _Refused: an alias, a tag, or too much content.
    """
    depth = values = documents = 0
    for event in yaml.parse(text, Loader=_Loader):
        line = event.start_mark.line if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent):
            raise _Refused("alias", line, "YAML aliases are not read", "write it out")
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Refused("syntax", line, "there is a second document", "keep one")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        if isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.NodeEvent):
            values += 1
            tag = getattr(event, "tag", None)
            if tag not in (None, "!", f"{_TAG}str"):
                reason = f"YAML tag {shown(tag.replace(_TAG, '!!'))} is not read"
                raise _Refused("tag", line, reason, "plain values only")
        if depth > MOST_LEVELS:
            raise _Refused("depth", line, f"nested in over {MOST_LEVELS} levels", "")
        if values > MOST_VALUES:
            raise _Refused(
                "size", line, f"over {MOST_VALUES} values", "check that it is the right file"
            )
        yield event
