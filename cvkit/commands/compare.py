"""Compare evaluations of the same data."""

from pathlib import Path
from typing import Any

from cvkit import storage
from cvkit.commands.compare_inputs import read_evaluation, score_predictions
from cvkit.commands.compare_pictures import write_changed
from cvkit.commands.printing import nested, print_json
from cvkit.console import Reporter, number, print_line, print_table
from cvkit.errors import GateFailed, UsageError
from cvkit.options.tools import Compare
from cvkit.output.files import write_csv
from cvkit.scoring.compared import Evaluated, aligned, require_alike
from cvkit.scoring.compared import compare as compared


def compare(options: Compare) -> int:
    """Compare evaluations, and check the largest drop that is allowed."""
    report = Reporter(options.quiet)
    if len(options.evaluations) < 2:
        raise UsageError(
            "give two evaluations or more", code="compare.evaluations", hint="cvkit compare A B"
        )
    if (options.truth is None) != (options.task is None):
        given = "--task" if options.truth is None else "--truth"
        raise UsageError(
            f"{given} needs {'--truth' if options.truth is None else '--task'}",
            code="compare.truth",
            hint="predictions are scored with both; report and run folders need neither",
        )
    if options.truth is None and options.split != "val":
        raise UsageError("--split has no effect without --truth", code="split.idle", hint="omit it")
    read = read_evaluation if options.truth is None else score_predictions
    found = aligned([read(place, options, report) for place in options.evaluations])
    for text in require_alike(found, options.accept_differences):
        report.warn(text)
    content = compared(found, options.bootstrap, options.seed, options.changed)
    content = {"task": found[0].task, "command": "compare", **content}
    failed = _dropped(content, options.max_drop)
    content["gates"] = {"passed": not failed, "failed": failed}
    if options.files:
        folder = storage.new_numbered_folder(options.out, "compare")
        content["folder"] = str(folder)
        _write(folder, content, found, report)
    shown_content = content | {"metrics": nested(content["metrics"])}
    if options.files:
        storage.write_json(folder / "compare.json", shown_content)
    if not options.json:
        _print(content)
    elif not failed:
        print_json(shown_content)
    if failed:
        raise GateFailed("; ".join(failed), code="gate.failed", content=shown_content)
    return 0


def _dropped(content: dict[str, Any], limit: float | None) -> list[str]:
    """Return a line for each evaluation whose first metric is too far below the first one's."""
    if limit is None:
        return []
    name, first = next(iter(content["metrics"].items()))
    failed = []
    for place, row in zip(content["compared"][1:], first["differences"], strict=True):
        change = row["difference"]
        if change is None or change < -limit - 1e-12:
            text = "is undefined" if change is None else f"drops by {-change:.4f}, over {limit:g}"
            failed.append(f"{name} of {place} {text}")
    return failed


def _print(content: dict[str, Any]) -> None:
    places = content["compared"]
    for place, name in enumerate(places):
        print_line(f"{_letter(place)}  {name}")
    for title in ("per_class", "metrics"):
        table = content[title]
        columns = {
            (name, column): values
            for name, each in table.items()
            for column, values in (each.items() if title == "per_class" else [("", each)])
        }
        rows = [
            [f"{name} {column}".strip(), *map(number, values["values"])]
            + [_difference(row) for row in values["differences"]]
            for (name, column), values in columns.items()
        ]
        letters = [_letter(place) for place in range(len(places))]
        head = ["", *letters, *(f"{letter} - A" for letter in letters[1:])]
        print_table(title.replace("_", " "), head, rows)
    for each in content["samples"]:
        values = ", ".join(map(number, each["values"]))
        print_line(f"changed          {each['path']}: {values}")
    print_line(f"rule             {content['rule']}")
    print_line(f"samples          {content['counts']['samples']}")
    for failed in content["gates"]["failed"]:
        print_line(f"failed           {failed}")
    if "picture" in content:
        print_line(f"pictures         {content['picture']}")
    if "folder" in content:
        print_line(f"files            {content['folder']}")


def _letter(place: int) -> str:
    """Return a short name of an evaluation: A to Z, then numbers."""
    return chr(65 + place) if place < 26 else str(place + 1)


def _difference(row: dict[str, float | None]) -> str:
    change, low, high = row["difference"], row["low"], row["high"]
    if change is None:
        return "-"
    bounds = "" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]"
    return f"{change:+.4f}{bounds}"


def _write(folder: Path, content: dict[str, Any], found: list[Evaluated], report: Reporter) -> None:
    """Write the tables, and pictures of the samples that changed most."""
    letters = [_letter(place) for place in range(len(found))]
    head = [*letters, *(f"{x} - A {of}" for x in letters[1:] for of in ("", "low", "high"))]
    rows = [
        [name, column, *_cells(values)]
        for name, each in content["per_class"].items()
        for column, values in each.items()
    ]
    write_csv(folder / "per_class.csv", ["class", "metric", *head], rows)
    samples = ([each["path"], *each["values"], each["change"]] for each in content["samples"])
    write_csv(folder / "changed.csv", ["path", *letters, "change"], samples)
    by_letter = dict(zip(letters, found, strict=True))
    picture = write_changed(folder, content["samples"], by_letter, report)
    if picture is not None:
        content["picture"] = str(picture)


def _cells(values: dict[str, Any]) -> list[float | None]:
    rows = values["differences"]
    return [*values["values"], *(row[x] for row in rows for x in ("difference", "low", "high"))]
