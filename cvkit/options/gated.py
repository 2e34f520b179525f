"""Flags of the limits that an evaluation must keep, and of their reports."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cvkit.options.panels import OUTPUT, flag


@dataclass(frozen=True, kw_only=True)
class Gated:
    """Limits that an evaluation must keep."""

    fail_under: Annotated[
        list[str],
        flag(
            OUTPUT,
            "METRIC=NUMBER or METRIC@CLASS=NUMBER: exit with code 4 if the metric is below the "
            "number; may be repeated",
        ),
    ] = dataclasses.field(default_factory=list)
    baseline: Annotated[
        Path | None,
        flag(
            OUTPUT,
            "Report of an earlier evaluation (its folder or report.json): exit with code 4 if a "
            "metric is lower by more than --max-drop",
        ),
    ] = None
    max_drop: Annotated[
        list[str],
        flag(
            OUTPUT,
            "NUMBER, or METRIC=NUMBER for one metric: largest drop below --baseline (default: 0 "
            "for every metric); may be repeated",
        ),
    ] = dataclasses.field(default_factory=list)
    allow_different: Annotated[
        bool,
        flag(OUTPUT, "Compare with a --baseline of other data or other rules too"),
    ] = False
    junit: Annotated[
        Path | None, flag(OUTPUT, "File to which the gates are written as JUnit XML")
    ] = None
    markdown: Annotated[
        Path | None,
        flag(OUTPUT, "File to which gates and metrics are written as GitHub's Markdown"),
    ] = None
