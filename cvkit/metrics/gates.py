"""Limits that an evaluation must reach, for scripts and CI."""

from typing import Any

from cvkit.catalog import nearest
from cvkit.errors import UsageError


def parse_gates(texts: list[str]) -> dict[str, float]:
    """Return the limits written as `METRIC=NUMBER`.

    Raises:
        UsageError: malformed.
    """
    gates = {}
    for text in texts:
        name, _, limit = text.partition("=")
        try:
            gates[name] = float(limit)
        except ValueError as error:
            raise UsageError(
                f"--fail-under {text!r} is not METRIC=NUMBER", code="gate.syntax", hint="miou=0.7"
            ) from error
    return gates


def failed_gates(gates: dict[str, float], content: dict[str, Any]) -> list[str]:
    """Return a line for each gate that is not reached; `iou@CLASS` names one class's number.

    Raises:
        UsageError: no metric of that name.
    """
    failed = []
    for name, limit in gates.items():
        kind, _, label = name.partition("@")
        table = content["per_class"].get(label, {}) if label else content["metrics"]
        if kind not in table:
            raise UsageError(
                f"--fail-under {name}: no such metric",
                code="gate.unknown",
                hint=nearest(kind, table or content["metrics"]),
            )
        value = table[kind]
        if value is None or not value >= limit:
            failed.append(f"{name} is {value}, under {limit:g}")
    return failed
