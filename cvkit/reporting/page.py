"""Writes the report of an evaluation: one HTML file that needs neither network nor other files."""

import base64
import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from cvkit.printable import printable
from cvkit.reporting.contract import Pages, Section, pages_of
from cvkit.reporting.gallery import Item, make_gallery
from cvkit.reporting.robustness import robustness_section
from cvkit.reporting.training import training_section
from cvkit.scoring.contract import Scored, denominator
from cvkit.storage import write_file

NAME = "report.html"
FAILURES = 50
"""Maximum number of listed samples that were not evaluated."""


@dataclass(frozen=True)
class Evaluation:
    """Everything that a report is made of.

    Attributes:
        task: key of `catalog.TASKS`.
        content: of `eval --json`, with flat names of metrics.
        scored: the evaluation itself.
        command: that repeats it.
        environment: versions and devices.
        warnings: of the evaluation.
        history: of the run that made the model, one entry per epoch.
        gated: whether limits were given for metrics.
    """

    task: str
    content: Mapping[str, Any]
    scored: Scored[Any, Any]
    command: str
    environment: Mapping[str, Any]
    warnings: Sequence[str] = ()
    history: Sequence[dict[str, Any]] = ()
    gated: bool = False


@dataclass(frozen=True)
class Row:
    """A metric: its name, value, interval and rule; empty texts where there is none."""

    name: str
    value: str
    interval: str
    rule: str


@dataclass(frozen=True)
class ClassTable:
    """The numbers of each class; None sorts last."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[float | None, str], ...]], ...]


@dataclass(frozen=True)
class View:
    """The page as its template sees it."""

    title: str
    subject: str
    evaluated: str
    nothing: bool
    date: str
    headlines: tuple[Row, ...]
    metrics: tuple[Row, ...]
    rules: tuple[tuple[str, str], ...]
    counts: tuple[tuple[str, str], ...]
    classes: ClassTable
    sections: tuple[Section, ...]
    gallery: Mapping[str, Sequence[Item]]
    gallery_about: str
    warnings: Sequence[str]
    failures: Sequence[Mapping[str, str]]
    more_failures: int
    gates: str
    failed_gates: Sequence[str]
    command: str
    environment: tuple[tuple[str, str], ...]


def write_page(path: Path, evaluation: Evaluation) -> None:
    """Write the report of an evaluation.

    Raises:
        MachineError: the disk is full; nothing is left of the file.
    """
    write_file(path, render(view_of(evaluation)))


def view_of(evaluation: Evaluation) -> View:
    """Return what the page shows."""
    content, scored = evaluation.content, evaluation.scored
    pages = pages_of(evaluation.task, scored) if scored.outcomes else None
    metrics = tuple(metric_rows(content))
    failures = content["failures"]
    gates = content.get("gates", {})
    return View(
        title=f"{evaluation.task} · {content.get('split', '')}".rstrip(" ·"),
        subject=str(content.get("weights") or content.get("predictions") or ""),
        evaluated=content.get("evaluated") or denominator(content),
        nothing=not scored.outcomes,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        headlines=headlines(metrics, pages),
        metrics=metrics,
        rules=tuple(other_rules(content)),
        counts=tuple((name, f"{count:,}") for name, count in content["counts"].items()),
        classes=class_table(content["per_class"]),
        sections=tuple(_sections(pages, evaluation)),
        gallery=make_gallery(pages, scored) if pages else {},
        gallery_about=pages.GALLERY if pages else "",
        warnings=evaluation.warnings,
        failures=failures[:FAILURES],
        more_failures=max(0, len(failures) - FAILURES),
        gates=("passed" if gates["passed"] else "failed") if evaluation.gated else "",
        failed_gates=gates.get("failed", ()),
        command=evaluation.command,
        environment=tuple(flat(dict(evaluation.environment) | _about(content))),
    )


def metric_rows(content: Mapping[str, Any]) -> list[Row]:
    """Return each metric with its interval and rule."""
    intervals = (content.get("intervals") or {}).get("metrics", {})
    baseline = content.get("baseline") or {}
    rows = []
    for name, value in content["metrics"].items():
        rule = str(content["rules"].get(name, ""))
        if baseline.get(name) is not None:
            always = f"always predicting the most frequent class gives {baseline[name]:.4f}"
            rule = f"{rule}; {always}" if rule else always
        rows.append(Row(name, number(value), interval(intervals.get(name)), rule))
    return rows


def headlines(metrics: Sequence[Row], pages: Pages | None) -> tuple[Row, ...]:
    """Return the metrics at the top of the page: those of the task, or the first ones."""
    named = {row.name: row for row in metrics}
    chosen = [named[name] for name in (pages.HEADLINES if pages else ()) if name in named]
    return tuple(chosen or metrics[:4])[:6]


def number(value: float | None) -> str:
    """Return a fraction with four digits, or a dash if there is none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.4f}"


def interval(limits: Sequence[float | None] | None) -> str:
    """Return an interval as text; empty if there is none."""
    if not limits or any(limit is None or not math.isfinite(limit) for limit in limits):
        return ""
    return " – ".join(number(limit) for limit in limits)


def other_rules(content: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the rules that are not about one metric, as text."""
    rest = {k: v for k, v in content["rules"].items() if k not in content["metrics"]}
    if "inference" in content:
        rest["inference"] = content["inference"]
    if bounds := content.get("intervals"):
        rest["intervals"] = f"{bounds['level']:.0%}, {bounds['rule']}"
    return [(name.replace("_", " "), _text(value)) for name, value in rest.items()]


def _text(value: Any) -> str:
    """Return a value as text; of a long list the first entries."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        more = f", and {len(value) - 20} more" if len(value) > 20 else ""
        return ", ".join(map(_text, value[:20])) + more or "none"
    return "none" if value is None else str(value)


def class_table(per_class: Mapping[str, Mapping[str, float | None]]) -> ClassTable:
    """Return the table of the classes."""
    columns = tuple(next(iter(per_class.values()), {}))
    rows = tuple((name, tuple(map(_cell, values.values()))) for name, values in per_class.items())
    return ClassTable(columns, rows)


def _cell(value: float | None) -> tuple[float | None, str]:
    if value is None or not math.isfinite(value):
        return None, "–"
    return value, f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def _sections(pages: Pages | None, evaluation: Evaluation) -> list[Section]:
    found = [*pages.sections()] if pages else []
    robust, history = robustness_section(evaluation.content), evaluation.history
    found += [robust] if robust else []
    return [*found, training_section(history)] if history else found


ABOUT = ("weights", "predictions", "data", "truth", "precision", "engine", "folder", "made_by")
"""What of the content belongs to the environment."""


def _about(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: content[name] for name in ABOUT if content.get(name) is not None}


def flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Return nested values as names and texts."""
    rows = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            rows += flat(value, f"{before}{name} ")
        else:
            rows.append((f"{before}{name}", _text(value)))
    return rows


def render(view: object, template: str = "page.html", more: str = "") -> str:
    """Return a page. What is not markup of this package is escaped, control characters too.

    Args:
        view: what the page shows.
        template: in this package.
        more: a script of this package that the page has, beside that of all pages.
    """
    folder = Path(__file__).parent
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    scripts = [folder / name for name in ("page.js", more) if name]
    script = "".join(path.read_text() for path in scripts)
    style = (folder / "page.css").read_text()
    # No script but this one may run, and nothing may be loaded, whatever a name contains.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template(template).render(
        view=view, script=Markup(script), style=Markup(style), digest=digest
    )


def _visible(value: object) -> object:
    """Return text with control characters escaped, and Unicode's that reorder a line."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
