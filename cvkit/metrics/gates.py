"""Limits that an evaluation must reach, for scripts and CI."""

import math
from collections.abc import Iterable
from typing import Any

from cvkit.catalog import nearest
from cvkit.errors import UsageError
from cvkit.metrics.classification import TOP5

COUNTS = ("pixels", "images", "videos", "objects")
"""Columns of the table of classes that are not fractions."""
LARGEST = 1 + 1e-9
"""Largest fraction: a mean of many may exceed 1 by rounding."""


def parse_gates(texts: list[str]) -> dict[str, float]:
    """Return the limits written as `METRIC=NUMBER` or `METRIC@CLASS=NUMBER`.

    Raises:
        UsageError: malformed, or a limit above 1.
    """
    gates: dict[str, float] = {}
    for text in texts:
        name, given, limit = text.rpartition("=")  # a class name may contain one too
        try:
            value = float(limit if given else "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value) or not name or name.startswith("@") or name.endswith("@"):
            raise UsageError(
                f"--fail-under {text!r} is not METRIC=NUMBER or METRIC@CLASS=NUMBER",
                code="gate.syntax",
                hint="miou=0.7",
            )
        if value > LARGEST and name.partition("@")[0] not in COUNTS:
            raise UsageError(
                f"--fail-under {text}: metrics are fractions, at most 1",
                code="gate.share",
                hint=f"{name}={value / 100:g}" if value <= 100 else "a number from 0 to 1",
            )
        gates[name] = max(value, gates.get(name, value))  # two limits must both hold
    return gates


def require_known(
    gates: dict[str, float], metrics: Iterable[str], classes: Iterable[str] | None
) -> None:
    """Check names before an evaluation starts; the numbers of a class are known only afterwards.

    Args:
        gates: the limits.
        metrics: names of the metrics.
        classes: names of the classes; None if they are not known yet.

    Raises:
        UsageError: there is no metric or class of that name.
    """
    for name in gates:
        kind, single, label = name.partition("@")
        if single and classes is not None and label not in classes:
            raise _unknown(name, [f"{kind}@{known}" for known in classes])
        if not single and name not in metrics:
            raise _unknown(name, metrics)


def failed_gates(gates: dict[str, float], content: dict[str, Any]) -> list[str]:
    """Return a line for each gate that failed; `iou@CLASS` is the number of one class.

    Raises:
        UsageError: there is no metric or class of that name.
    """
    failed = []
    for name, limit in gates.items():
        kind, _, label = name.partition("@")
        if label and label not in content["per_class"]:
            raise _unknown(name, [f"{kind}@{known}" for known in content["per_class"]])
        table = content["per_class"][label] if label else content["metrics"]
        if kind not in table:
            raise _unknown(name, [f"{known}@{label}" for known in table] if label else table)
        value = table[kind]
        if value is None or not value >= limit:
            failed.append(f"{name} is {value}, below {limit:g}")
    return failed


def _unknown(name: str, known: Iterable[str]) -> UsageError:
    hint = "it is reported for more than 5 classes" if name in TOP5 else nearest(name, known)
    return UsageError(
        f"--fail-under {name}: there is no such metric", code="gate.unknown", hint=hint
    )
