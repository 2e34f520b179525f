"""The output of commands on stdout: the object of `--json`, or tables."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from cvkit.console import number, print_line, print_table
from cvkit.early import SCHEMA_VERSION
from cvkit.texts import counted


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


def print_bench(content: dict[str, Any]) -> None:
    """Print the content of `bench --json` as tables."""
    machine, noun, rows = content["machine"], content["noun"], content["rows"]
    names = [[row["engine"], row["precision"], str(row["batch_size"])] for row in rows]
    print_table(
        f"speed: {counted(content['counts']['measured'], noun.removesuffix('s'))}, "
        f"{content['rounds']} alternating rounds",
        ["engine", "precision", "batch", f"{noun}/s", "spread", "p50 ms", "p90 ms", "p99 ms"]
        + ["peak MiB"],
        [
            [*name, f"{row['per_second']:.1f}", f"{row['spread']:.0%}"]
            + [f"{value:.1f}" for value in row["latency_ms"].values()]
            + ["-" if row["peak_memory"] is None else f"{row['peak_memory'] / 2**20:.0f}"]
            for name, row in zip(names, rows, strict=True)
        ],
    )
    print()
    print_table(
        "shares of the time of one thread",
        ["engine", "precision", "batch", *rows[0]["shares"]],
        [
            [*name, *(f"{share:.0%}" for share in row["shares"].values())]
            for name, row in zip(names, rows, strict=True)
        ],
    )
    print()
    metric = content["metric"]
    print_table(
        "results, compared with eager fp32",
        ["engine", "precision", *([metric, "difference"] if metric else []), "agreement", "note"],
        [_bench_result(row, metric) for row in content["results"]],
    )
    print_line(
        f"machine          {machine['processor']}, {counted(machine['cores'], 'core')}, "
        f"{machine['device']}, torch {machine['torch']}, load average {machine['load_before']:.1f} "
        "before"
    )
    print_line(f"recommended      {content['recommended'] or 'none'}")


def _bench_result(row: dict[str, Any], metric: str | None) -> list[str]:
    cells = [row["engine"], row["precision"]]
    if metric:
        difference = row["difference"]
        cells += [number((row["metrics"] or {}).get(metric))]
        cells += ["-" if difference is None else f"{difference:+.4f}"]
    note = row["reason"]
    if row["ran_on"] not in (None, row["engine"]):
        note = f"ran on {row['ran_on']}"
    return [*cells, number(row["agreement"]), note]


def print_export(content: dict[str, Any]) -> None:
    """Print the content of `export --json` as tables."""
    proof, metric = content["proof"], content["metric"]
    limit = proof["tolerance"]
    print_table(
        f"compared with the network: {counted(proof['samples'], 'input')} in "
        f"{counted(len(proof['inputs']), 'shape')}",
        ["output", "largest difference", "relative", "tolerance"],
        [
            [name, f"{row['largest']:.2e}", f"{row['relative']:.2e}"]
            + ["-" if limit is None else f"{limit:.0e}"]
            for name, row in proof["outputs"].items()
        ],
    )
    if metric:
        print_line(
            f"{metric['name']:16} {number(metric['file'])}, of the network "
            f"{number(metric['network'])}"
        )
    print_line(f"size             {content['bytes'] / 2**20:.1f} MiB")
    print_line(f"file             {content['file']}")


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
