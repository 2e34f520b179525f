"""An earlier evaluation as the baseline of a new one. Does not import torch."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cvkit.console import Reporter
from cvkit.errors import DataError, UsageError
from cvkit.metrics.gates import EVERY
from cvkit.texts import is_number, read_json


def read_baseline(place: Path, task: str) -> dict[str, Any]:
    """Return an earlier `report.json`, or what `eval --json` printed, with flat names of metrics.

    Args:
        place: the file, or the report folder that contains it.
        task: of this evaluation.

    Raises:
        DataError: it is missing, or not a report of a finished evaluation.
        UsageError: it is of another task.
    """
    path = place / "report.json" if place.is_dir() else place
    content = read_json(path)
    if not isinstance(content, dict) or content.get("command") != "eval":
        raise DataError(
            f"--baseline {path} is not a report of eval",
            code="baseline.format",
            hint="give report.json of a report folder, or the output of eval --json",
        )
    if content.get("task") != task:
        raise UsageError(
            f"--baseline {path} is a report of cvkit {content.get('task')} eval, not of {task}",
            code="baseline.task",
            hint="give a report of the same task",
        )
    numbers, classes = content.get("numbers"), content.get("per_class")
    if not (_are_numbers(numbers) and isinstance(classes, dict) and _are_tables(classes.values())):
        raise DataError(
            f"--baseline {path} has no complete 'numbers' and 'per_class'",
            code="baseline.numbers",
            hint="older versions did not write them; evaluate again",
        )
    values = {name: each["value"] for name, each in content["numbers"].items()}
    return content | {"metrics": values, "path": str(path)}


def _are_numbers(numbers: Any) -> bool:
    return isinstance(numbers, dict) and all(
        isinstance(each, dict) and "value" in each and _is_value(each["value"])
        for each in numbers.values()
    )


def _are_tables(rows: Iterable[Any]) -> bool:
    return all(isinstance(row, dict) and all(map(_is_value, row.values())) for row in rows)


def _is_value(value: Any) -> bool:
    return value is None or is_number(value)


def require_comparable(
    content: Mapping[str, Any],
    baseline: Mapping[str, Any],
    names: Iterable[str],
    report: Reporter,
    *,
    different: bool,
) -> None:
    """Check that two evaluations follow the same rules on the same data.

    Args:
        content: of this evaluation, with `numbers`.
        baseline: from `read_baseline`.
        names: of the metrics that are compared, or `EVERY`.
        report: for warnings.
        different: only warn.

    Raises:
        UsageError: they do not, and `different` is False.
    """
    reasons = []
    if baseline.get("data_fingerprint") != content["data_fingerprint"]:
        then, now = baseline.get("evaluated", "evaluated other samples"), content["evaluated"]
        reasons.append(f"its ground truth or samples differ (it {then}; now {now})")
    for name in _compared(content, names):
        before = baseline["numbers"].get(name, {}).get("rule")
        if name in baseline["numbers"] and before != content["numbers"][name]["rule"]:
            reasons.append(f"its rule of {name} differs: {before}")
    if reasons and not different:
        raise UsageError(
            f"--baseline {baseline['path']} is not comparable: {reasons[0]}",
            code="baseline.differs",
            hint="--allow-different compares all the same",
        )
    for reason in reasons:
        report.warn(f"--baseline {baseline['path']}: {reason}")
    for name in ("precision", "engine"):
        then, now = (_made(each, name) for each in (baseline, content))
        if then != now:
            report.warn(f"the baseline's {name} was {then}, this one's is {now}")


def _compared(content: Mapping[str, Any], names: Iterable[str]) -> list[str]:
    """Return the metrics whose rules matter; those of a class follow the first metric."""
    found = {name.partition("@")[0] for name in names}
    if EVERY in found:
        return list(content["numbers"])
    known = [name for name in found if name in content["numbers"]]
    return sorted({*known, next(iter(content["numbers"]))})


def _made(content: Mapping[str, Any], name: str) -> str | None:
    value: str | None = (content.get("made_by") or content).get(name)
    return value
