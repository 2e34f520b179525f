"""The object that `--json` prints."""

import json
from typing import Any

SCHEMA_VERSION = 1


def print_json(content: dict[str, Any]) -> None:
    """Print one successful result on stdout."""
    print(json.dumps({"ok": True, "schema_version": SCHEMA_VERSION, **content}, allow_nan=False))
