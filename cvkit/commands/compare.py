"""Compare evaluations of the same data."""

import gc
from pathlib import Path
from typing import Any

import numpy as np

from cvkit import storage
from cvkit.catalog import TASKS
from cvkit.commands.printing import nested, print_json
from cvkit.console import Reporter, number, print_line, print_table
from cvkit.data.decode import read_image
from cvkit.data.files import inside
from cvkit.data.joining import join_names
from cvkit.errors import CvkitError, DataError, GateFailed, UsageError
from cvkit.options.tools import Compare
from cvkit.options.tree import task_options
from cvkit.output.files import write_csv, write_rgb
from cvkit.output.sheet import Tile, draw_sheet
from cvkit.scoring.compared import Evaluated, require_alike
from cvkit.scoring.compared import compare as compared
from cvkit.scoring.contract import scoring_of
from cvkit.scoring.intervals import samples_of
from cvkit.scoring.predicted import predicted_folder, read_predicted
from cvkit.scoring.stored import read_samples
from cvkit.texts import is_text, read_json, shown


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
            hint="predictions are scored with both; reports of eval need neither",
        )
    if options.truth is None and options.split != "val":
        raise UsageError("--split has no effect without --truth", code="split.idle", hint="omit it")
    read = _reported if options.truth is None else _scored
    found = [read(place, options, report) for place in options.evaluations]
    for text in require_alike(found, options.accept_differences):
        report.warn(text)
    content = compared(found, options.bootstrap, options.seed, options.changed)
    content = {"task": found[0].task, "command": "compare", **content}
    failed = _dropped(content, options.max_drop)
    content["gates"] = {"passed": not failed, "failed": failed}
    shown_content = content | {"metrics": nested(content["metrics"])}
    if options.files:
        folder = storage.new_numbered_folder(options.out, "compare")
        _write(folder, content, found, report)
        shown_content["folder"] = content["folder"] = str(folder)
        storage.write_json(folder / "compare.json", shown_content)
    if not options.json:
        _print(content)
    elif not failed:
        print_json(shown_content)
    if failed:
        raise GateFailed("; ".join(failed), code="gate.failed", content=shown_content)
    return 0


def _reported(place: Path, options: Compare, report: Reporter) -> Evaluated:
    """Return the evaluation of a report folder.

    Raises:
        DataError: it is not one.
    """
    file = place / "report.json"
    if not file.is_file():
        raise DataError(
            f"{place} is not a report folder of eval",
            code="compare.report",
            hint="give --task and --truth to compare predictions; evaluate models with eval first",
        )
    about = read_json(file)
    task = about.get("task") if isinstance(about, dict) else None
    if task not in TASKS:
        raise DataError(f"{file} has no task that is known: {shown(task)}", code="compare.report")
    predictions = about.get("predictions")
    return Evaluated(
        place, task, read_samples(place), Path(predictions) if is_text(predictions) else None
    )


def _scored(place: Path, options: Compare, report: Reporter) -> Evaluated:
    """Return the evaluation of predictions."""
    task = str(options.task)
    scoring = scoring_of(task)
    asked = task_options(task, "eval")(
        predictions=place, truth=options.truth, split=options.split, quiet=options.quiet
    )
    gc.disable()  # as in eval
    try:
        return Evaluated(place, task, samples_of(scoring.score(asked, report)), place)
    finally:
        gc.enable()


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
    pictures = [_overlays(each, [s["path"] for s in content["samples"]]) for each in found]
    sheets = []
    for sample in content["samples"]:
        files = [of[sample["path"]] for of in pictures if sample["path"] in of]
        if len(files) < len(found):
            continue
        try:
            tiles = [
                Tile(read_image(file), (f"{letter}: {number(value)}",))
                for letter, file, value in zip(letters, files, sample["values"], strict=True)
            ]
        except CvkitError as error:
            report.warn(f"no picture of {sample['path']}: {error}")
            continue
        sheets.append(draw_sheet(sample["path"], tiles))
    if sheets:
        write_rgb(folder / "changed.png", np.vstack(sheets))
        content["picture"] = str(folder / "changed.png")


def _cells(values: dict[str, Any]) -> list[float | None]:
    rows = values["differences"]
    return [*values["values"], *(row[x] for row in rows for x in ("difference", "low", "high"))]


def _overlays(each: Evaluated, paths: list[str]) -> dict[str, Path]:
    """Return the overlay that predict has drawn of each sample."""
    folder = None if each.predictions is None else predicted_folder(each.predictions)
    predicted = None if folder is None else read_predicted(folder)
    if folder is None or predicted is None:
        return {}
    lines = {line["path"]: line.get("overlay") for line in predicted.lines}
    joined = join_names(paths, list(lines))
    return {
        path: inside(folder, str(lines[name]))
        for path, name in joined.items()
        if is_text(lines[name])
    }
