"""The object that `--json` prints."""

import json
from typing import Any

from cvkit.early import SCHEMA_VERSION


def print_json(content: dict[str, Any]) -> None:
    """Print one successful result on stdout."""
    print(json.dumps({"ok": True, "schema_version": SCHEMA_VERSION, **content}, allow_nan=False))


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
