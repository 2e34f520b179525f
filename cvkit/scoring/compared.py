"""Paired comparison of evaluations of the same samples. Does not import torch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cvkit.data.joining import join_names
from cvkit.errors import DataError
from cvkit.metrics.resampling import (
    LEVEL,
    ClassCounts,
    Matches,
    Samples,
    Values,
    interval,
    replicated,
)
from cvkit.scoring.contract import Scored
from cvkit.texts import counted, shown


@dataclass(frozen=True)
class Evaluated:
    """An evaluation that can be compared.

    Attributes:
        place: as the user named it: report folder, run folder or predictions.
        task: a key of `catalog.TASKS`.
        samples: counts of each sample, one per kind of overlap.
        evaluate_again: returns an evaluation that has at least the samples of these paths, for
            pictures; raises `CvkitError` if what was evaluated is not there any more.
        paths: path of each sample there, where `samples` have another name for it.
    """

    place: Path
    task: str
    samples: list[Samples]
    evaluate_again: Callable[[Sequence[str]], Scored[Any, Any]]
    paths: Mapping[str, str] = field(default_factory=dict)


def aligned(found: Sequence[Evaluated]) -> list[Evaluated]:
    """Return evaluations whose samples have the names of the first one's.

    Models and files of predictions name a sample `images/val/a.jpg` and `a`. Where no name is the
    same, those match that `join_names` joins without their suffixes.
    """
    first, *others = found
    return [first, *(_renamed(other, first.samples[0].keys) for other in others)]


def _renamed(each: Evaluated, names: Sequence[str]) -> Evaluated:
    keys = each.samples[0].keys
    if not set(names).isdisjoint(keys):
        return each
    bare = {_bare(key): key for key in keys}
    wanted = {_bare(name): name for name in names}
    if len(bare) < len(keys) or len(wanted) < len(names):
        return each
    joined = join_names(list(wanted), list(bare))
    paths = {wanted[name]: bare[other] for name, other in joined.items()}
    new = {path: name for name, path in paths.items()}
    samples = [s.renamed(tuple(new.get(key, key) for key in s.keys)) for s in each.samples]
    return replace(each, samples=samples, paths=paths)


def _bare(name: str) -> str:
    """Return a path without its suffix."""
    return PurePosixPath(name).with_suffix("").as_posix()


def rule_of(samples: Samples) -> dict[str, Any]:
    """Return what decides how the metrics are computed from the counts."""
    rule: dict[str, Any] = {"metrics": ", ".join(samples.names)}
    if isinstance(samples, ClassCounts):
        rule["absent class"] = samples.absent_class
    elif isinstance(samples, Matches):
        rule["protocol"] = samples.rule
    return rule


def require_alike(found: Sequence[Evaluated], accept: bool) -> list[str]:
    """Check that evaluations are of the same data and by the same rules.

    Args:
        found: two or more.
        accept: only return what differs.

    Returns:
        Each difference in words.

    Raises:
        DataError: they differ, or cannot be compared at all.
    """
    first, *others = found
    differences = []
    for other in others:
        pair = f"{first.place} and {other.place}"
        if first.task != other.task:
            raise DataError(
                f"{pair} are evaluations of different tasks: {first.task} and {other.task}",
                code="compare.task",
            )
        rules = [[rule_of(each) for each in one.samples] for one in (first, other)]
        if rules[0] != rules[1]:
            differences.append(f"{pair} have different rules: {_unlike(*rules)}")
        differences += [f"{pair} {text}" for text in _data_differences(first, other)]
    if differences and not accept:
        raise DataError(
            differences[0],
            code="compare.differ",
            hint="evaluate both in the same way; --accept-differences compares what they share",
        )
    return differences


def _unlike(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> str:
    for one, other in zip(first, second, strict=False):
        for name in one.keys() | other.keys():
            if one.get(name) != other.get(name):
                return f"{name} {shown(one.get(name))} and {shown(other.get(name))}"
    return f"{counted(len(first), 'kind')} of overlap and {len(second)}"


def _data_differences(first: Evaluated, other: Evaluated) -> list[str]:
    one, two = first.samples[0], other.samples[0]
    found = []
    if one.classes != two.classes:
        found.append("have different classes")
    lost = set(one.keys) ^ set(two.keys)
    if lost:
        found.append(
            f"have different samples: {counted(len(lost), 'sample')} in only one of them, such "
            f"as {shown(min(lost))}"
        )
    common = _common([one, two])
    if not common:
        raise DataError(
            f"{first.place} and {other.place} have no sample in common", code="compare.samples"
        )
    truths = [_picked(each, common).truth() for each in (one, two)]
    if one.classes == two.classes and (unlike := (truths[0] != truths[1]).any(1)).any():
        key = common[int(np.argmax(unlike))]
        found.append(f"have different ground truths, such as that of {shown(key)}")
    return found


def _common(several: Sequence[Samples]) -> list[str]:
    """Return the names of the samples that all have, in the order of the first."""
    shared = set(several[0].keys).intersection(*(each.keys for each in several[1:]))
    return [key for key in several[0].keys if key in shared]


def _picked(samples: Samples, keys: Sequence[str]) -> Samples:
    places = {key: place for place, key in enumerate(samples.keys)}
    return samples.pick(np.array([places[key] for key in keys], np.int64))


def compare(
    found: Sequence[Evaluated], replicates: int, seed: int, most: int | None = None
) -> dict[str, Any]:
    """Return the content of `compare --json`: differences from the first evaluation.

    Args:
        found: two or more, of the same task.
        replicates: of the bootstrap, in which all get the same samples.
        seed: of the replicates.
        most: number of samples listed that changed most; None for all.
    """
    metrics: dict[str, Any] = {}
    per_class: dict[str, dict[str, Any]] = {}
    keys = _common([each.samples[0] for each in found])
    for kinds in zip(*(each.samples for each in found), strict=False):
        paired = [_picked(each, keys) for each in kinds]
        ones = np.ones((1, len(keys)))
        values = [each.values(ones) for each in paired]
        draws = replicated(paired, replicates, seed)
        for name in [n for n in values[0] if n != "classes" and all(n in v for v in values)]:
            metrics[name] = _differences(name, values, draws)
        prefix = paired[0].names[0].rpartition(".")[0]
        column = f"{prefix} {paired[0].per_class}".strip()
        for place, label in enumerate(paired[0].classes):
            if all(label in each.classes for each in paired):
                places = [each.classes.index(label) for each in paired]
                per_class.setdefault(label, {})[column] = _differences(
                    "classes", values, draws, [place, *places[1:]]
                )
    return {
        "compared": [str(each.place) for each in found],
        "metrics": metrics,
        "per_class": per_class,
        "samples": _changed(found, keys, most),
        "counts": {"samples": len(keys)},
        "level": LEVEL,
        "replicates": replicates,
        "seed": seed,
        "rule": "difference from the first evaluation; intervals are percentiles of paired "
        f"bootstrap replicates ({replicates}, seed {seed})",
    }


def _differences(
    name: str, values: list[Values], draws: list[Values], places: list[int] | None = None
) -> dict[str, Any]:
    """Return the values of all evaluations, and the differences of the others from the first."""

    def column(of: Values, number: int) -> np.ndarray:
        return of[name] if places is None else of[name][:, places[number]]

    single = [float(column(each, number)[0]) for number, each in enumerate(values)]
    drawn = [column(each, number) for number, each in enumerate(draws)]
    rows = []
    for value, replicates in zip(single[1:], drawn[1:], strict=True):
        bounds = interval(replicates - drawn[0])
        rows.append(
            {
                "difference": _number(value - single[0]),
                "low": bounds and bounds[0],
                "high": bounds and bounds[1],
            }
        )
    return {"values": [_number(value) for value in single], "differences": rows}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _changed(
    found: Sequence[Evaluated], keys: Sequence[str], most: int | None
) -> list[dict[str, Any]]:
    """Return the samples by the largest change of the first metric from the first evaluation."""
    single = np.stack([_picked(each.samples[0], keys).single() for each in found])  # [E, I]
    known = np.nan_to_num(single[1:] - single[0])
    place = np.argmax(np.abs(known), 0)
    change = known[place, np.arange(len(keys))]
    order = np.argsort(-np.abs(change), kind="stable")[:most]
    return [
        {
            "path": keys[n],
            "values": [_number(value) for value in single[:, n].tolist()],
            "change": float(change[n]),
        }
        for n in order
        if most is None or change[n]
    ]
