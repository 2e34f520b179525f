"""Limits that an evaluation must reach, for scripts and CI."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cvkit.catalog import nearest
from cvkit.errors import UsageError
from cvkit.metrics.classification import TOP5
from cvkit.texts import parse_number

COUNTS = ("pixels", "images", "videos", "objects")
"""Columns of the table of classes that are not fractions."""
EVERY = ""
"""Name, among drops, of every metric that has none of its own."""
LOWER_IS_BETTER = frozenset(("ece",))
"""Metrics of which a larger value is worse."""
ROUNDING = 1e-12
"""Largest difference between a drop and its limit that the subtraction of two fractions makes."""
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


def parse_drops(texts: list[str]) -> dict[str, float]:
    """Return the largest drops written as `NUMBER` or `METRIC=NUMBER`, by metric.

    Returns:
        The limit of each metric; that of `EVERY` is for all others.

    Raises:
        UsageError: malformed, or not from 0 to 1.
    """
    drops: dict[str, float] = {}
    for text in texts:
        name, given, limit = text.rpartition("=")
        value = parse_number(limit)
        lacking = bool(given) and (not name or name.startswith("@") or name.endswith("@"))
        if value is None or not 0 <= value <= 1 or lacking:
            raise UsageError(
                f"--max-drop {text!r} is not NUMBER or METRIC=NUMBER with a number from 0 to 1",
                code="drop.syntax",
                hint="0.01, or miou=0.01",
            )
        drops[name] = min(value, drops.get(name, value))  # two limits must both hold
    return drops


def require_known(
    gates: Mapping[str, float],
    metrics: Iterable[str],
    classes: Iterable[str] | None,
    flag: str = "--fail-under",
) -> None:
    """Check names before an evaluation starts; the numbers of a class are known only afterwards.

    Args:
        gates: the limits.
        metrics: names of the metrics.
        classes: names of the classes; None if they are not known yet.
        flag: that gave the limits.

    Raises:
        UsageError: there is no metric or class of that name.
    """
    for name in gates:
        kind, single, label = name.partition("@")
        if single and classes is not None and label not in classes:
            raise _unknown(name, [f"{kind}@{known}" for known in classes], flag)
        if not single and name not in (*metrics, EVERY):
            raise _unknown(name, metrics, flag)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a gate.

    Attributes:
        name: metric, or `METRIC@CLASS`.
        value: of this evaluation; None if it is undefined, which fails.
        limit: smallest value, or the largest drop below `baseline`.
        passed: whether the gate let the value pass.
        baseline: value of the earlier evaluation; None for a gate without one.
        text: the outcome as a sentence.
    """

    name: str
    value: float | None
    limit: float
    passed: bool
    baseline: float | None
    text: str


def check_limits(gates: Mapping[str, float], content: Mapping[str, Any]) -> list[Verdict]:
    """Return the outcome of each `--fail-under`; `iou@CLASS` is the number of one class.

    Raises:
        UsageError: there is no metric or class of that name.
    """
    verdicts = []
    for name, limit in gates.items():
        value = find_number(name, content, "--fail-under")
        passed = value is not None and value >= limit
        relation = "at least" if passed else "below"
        text = f"{name} is {value}, {relation} {limit:g}"
        verdicts.append(Verdict(name, value, limit, passed, None, text))
    return verdicts


def check_drops(
    drops: Mapping[str, float], content: Mapping[str, Any], baseline: Mapping[str, Any]
) -> list[Verdict]:
    """Return the outcome of each comparison with an earlier evaluation.

    Args:
        drops: from `parse_drops`; without `EVERY` only the named metrics are compared.
        content: of this evaluation, with flat names of metrics.
        baseline: of the earlier one.

    Raises:
        UsageError: a metric of `drops` is in only one of them, or undefined in the earlier one.
    """
    named = {name: limit for name, limit in drops.items() if name != EVERY}
    if EVERY in drops or not drops:
        least = drops.get(EVERY, 0.0)
        for name in content["metrics"]:
            if baseline["metrics"].get(name) is not None:
                named.setdefault(name, least)
        if not named:
            raise UsageError(
                "the baseline has none of this evaluation's metrics",
                code="baseline.metrics",
                hint=f"it has {', '.join(baseline['metrics'])}",
            )
    verdicts = []
    for name, limit in named.items():
        value = find_number(name, content, "--max-drop")
        before = find_number(name, baseline, "--max-drop")
        if before is None:
            raise UsageError(
                f"--max-drop {name}: the baseline has no number for it, it is undefined there",
                code="baseline.undefined",
                hint="omit it, or choose another baseline",
            )
        worse = value is not None and (
            value - before if name in LOWER_IS_BETTER else before - value
        )
        passed = value is not None and worse <= limit + ROUNDING
        beyond = "above" if name in LOWER_IS_BETTER else "below"
        how = f"at most {limit:g}" if passed else f"more than {limit:g}"
        text = f"{name} is {value}, {how} {beyond} the baseline's {before}"
        verdicts.append(Verdict(name, value, limit, passed, before, text))
    return verdicts


def find_number(name: str, content: Mapping[str, Any], flag: str) -> float | None:
    """Return the number of a metric, or of a class (`iou@CLASS`), in an evaluation.

    Raises:
        UsageError: there is no metric or class of that name.
    """
    kind, _, label = name.partition("@")
    if label and label not in content["per_class"]:
        raise _unknown(name, [f"{kind}@{known}" for known in content["per_class"]], flag)
    table = content["per_class"][label] if label else content["metrics"]
    if kind not in table:
        raise _unknown(name, [f"{known}@{label}" for known in table] if label else table, flag)
    value: float | None = table[kind]
    return value


def _unknown(name: str, known: Iterable[str], flag: str) -> UsageError:
    hint = "it is reported for more than 5 classes" if name in TOP5 else nearest(name, known)
    return UsageError(f"{flag} {name}: there is no such metric", code="gate.unknown", hint=hint)
