"""The output of commands on stdout: the object of `--json`, or tables."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cvkit.console import number, print_line, print_table
from cvkit.early import SCHEMA_VERSION


def print_json(
    content: Mapping[str, Any], lists: Mapping[str, Iterable[Any]] | None = None
) -> None:
    """Print one successful result on stdout, on one line.

    Args:
        content: of the object.
        lists: further members, of which one entry is in memory at a time.
    """
    first = {"ok": True, "schema_version": SCHEMA_VERSION, **content}
    print(json.dumps(first, allow_nan=False)[:-1], end="")
    for name, entries in (lists or {}).items():
        print(f", {json.dumps(name)}: [", end="")
        for place, entry in enumerate(entries):
            print(", " * (place > 0) + json.dumps(entry, allow_nan=False), end="")
        print("]", end="")
    print("}")


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """Return values by name with `mask.AP` nested as `AP` under `mask`."""
    result: dict[str, Any] = {}
    for name, value in values.items():
        group, dot, rest = name.partition(".")
        if dot:
            result.setdefault(group, {})[rest] = value
        else:
            result[name] = value
    return result


def print_evaluation(content: dict[str, Any]) -> None:
    """Print the content of `eval --json` as tables."""
    per_class = content["per_class"]
    *columns, counted = next(iter(per_class.values()))  # fractions, then pixels or images
    rows = [
        [name, *(number(values[c]) for c in columns), f"{values[counted]:,}"]
        for name, values in per_class.items()
    ]
    print_table("per class", ["class", *columns, counted], rows)
    rules, bounds = content["rules"], content.get("intervals", {})
    dialects = rules.get("dialects", {})
    _print_dialects(content["metrics"], dialects)
    rows = [
        [name, number(value), _interval(bounds, name), rules.get(name, "")]
        for name, value in content["metrics"].items()
        if name.partition(".")[0] not in dialects
    ]
    for name, text in rules.get("protocols", {}).items():
        print_line(f"{name:16} {text}")
    heads = ["metric", "value", "interval", "rule"]
    if not bounds:
        heads, rows = ["metric", "value", "rule"], [[*row[:2], row[3]] for row in rows]
    print_table("metrics", heads, rows)
    if bounds:
        print_line(f"intervals        {bounds['level']:.0%}, {bounds['rule']}")
    if "classes_counted" in rules:
        absent = ", ".join(rules["classes_absent"]) or "none"
        print_line(f"classes          {len(rules['classes_counted'])} counted; absent: {absent}")
    print_line(f"samples          {content['evaluated']}")
    made = content.get("made_by", content)
    print_line(f"precision        {made.get('precision') or 'of the files'}")
    print_line(f"engine           {made.get('engine') or 'unknown'}")
    for gate in content["gates"]["checked"]:
        print_line(f"gate             {'passed' if gate['passed'] else 'failed'}: {gate['text']}")
    if "folder" in content:
        print_line(f"files            {content['folder']}")


def _interval(bounds: dict[str, Any], name: str) -> str:
    pair = bounds.get("metrics", {}).get(name)
    return f"[{number(pair[0])}, {number(pair[1])}]" if pair else ""


def _print_dialects(metrics: dict[str, Any], dialects: dict[str, str]) -> None:
    """Print the metrics of several definitions side by side, and how these differ."""
    if not dialects:
        return
    first, *others = dialects
    named = {name: {first: value} for name, value in metrics.items() if "." not in name}
    for dialect in others:
        for name, value in metrics.items():
            group, _, rest = name.partition(".")
            if group == dialect:
                named.setdefault(rest, {})[dialect] = value
    rows = [
        [name, *(number(row[each]) if each in row else "" for each in dialects)]
        for name, row in named.items()
    ]
    print_table("dialects", ["metric", *dialects], rows)
    for name, text in dialects.items():
        print_line(f"{name:16} {text}")


def print_models(archs: list[dict[str, Any]], backbones: list[dict[str, Any]]) -> None:
    """Print the content of `models --json` as tables."""
    print_table(
        "architectures (segmentation: 21 classes, 512x512; classification: 1000 classes at the "
        "published size; detection and instance segmentation: 90 classes; video: 400 classes, 16 "
        "frames of "
        "112x112)",
        ["task", "arch", "backbone", "parameters", "GMACs", "about"],
        [[a["task"], a["arch"], a["backbone"] or "-", *_sizes(a), a["about"]] for a in archs],
    )
    print()
    print_table(
        "backbones with maps for dense tasks (without classifier, 224x224)",
        ["backbone", "parameters", "GMACs", "output strides", "published weights"],
        [
            [b["backbone"], *_sizes(b)]
            + [", ".join(map(str, b["output_strides"])), ", ".join(b["weights"]) or "none"]
            for b in backbones
        ],
    )


def _sizes(row: dict[str, Any]) -> list[str]:
    parameters, gmacs = row["parameters"], row["gmacs"]
    return [
        "-" if parameters is None else f"{parameters:,}",
        "-" if gmacs is None else f"{gmacs:.2f}",
    ]
