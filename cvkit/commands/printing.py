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
    bounds = content.get("intervals", {})
    for name, value in content["metrics"].items():
        pair = bounds.get("metrics", {}).get(name)
        between = f"  [{number(pair[0])}, {number(pair[1])}]" if pair else ""
        print_line(f"{name:16} {number(value)}{between}")
    if bounds:
        print_line(f"intervals        {bounds['level']:.0%}, {bounds['rule']}")
    print_line(f"rule             {content['rules'][next(iter(content['metrics']))]}")
    rules, counts = content["rules"], content["counts"]
    if "classes_counted" in rules:
        absent = ", ".join(rules["classes_absent"]) or "none"
        print_line(f"classes          {len(rules['classes_counted'])} counted; absent: {absent}")
    what = "videos" if "videos" in counts else "images"
    print_line(f"{what}           {counts['evaluated']} evaluated, {counts['failed']} failed")
    print_line(f"precision        {content['precision'] or 'of the files'}")
    if "folder" in content:
        print_line(f"files            {content['folder']}")


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
