"""The object that `--json` prints."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cvkit.early import SCHEMA_VERSION


def print_json(
    content: Mapping[str, Any], lists: Mapping[str, Iterable[Any]] | None = None
) -> None:
    """Print one successful result on stdout, on one line.

    Args:
        content: of the object.
        lists: further members, one entry of which is in memory at a time.
    """
    first = {"ok": True, "schema_version": SCHEMA_VERSION, **content}
    print(json.dumps(first, allow_nan=False)[:-1], end="")
    for name, entries in (lists or {}).items():
        print(f", {json.dumps(name)}: [", end="")
        for number, entry in enumerate(entries):
            print(", " * (number > 0) + json.dumps(entry, allow_nan=False), end="")
        print("]", end="")
    print("}")


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Return values by name with `mask.AP` under `AP` in an object of its own, `mask`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        group, dot, rest = name.partition(".")
        if dot:
            result.setdefault(group, {})[rest] = value
        else:
            result[name] = value
    return result
