"""The section of a report about attacks and corruptions."""

from collections.abc import Mapping
from typing import Any

from cvkit.reporting.charts import Axis, Line, bars, colour, line_chart
from cvkit.reporting.contract import Chart, Section


def robustness_section(content: Mapping[str, Any]) -> Section | None:
    """Return the figures about robustness; None if none was measured.

    Args:
        content: of `eval --json`, with flat names of metrics.
    """
    made = content.get("robustness")
    if not made:
        return None
    best = made["best"]
    clean, charts = content["metrics"][best], []
    if rows := made.get("attacks"):
        shown = [("clean", clean or 0.0, colour(0))]
        shown += [(row["name"], row["value"] or 0.0, colour(1)) for row in rows]
        about = "; ".join(f"{row['attack']}: {row['rule']}" for row in rows)
        body = bars(f"{best} under attack", shown)
        charts.append(Chart(f"{best} under attack", body, f"{about}. {made['attack_rule']}."))
    if kinds := made.get("corruptions"):
        lines = []
        for name, kind in kinds.items():
            points = [(0, clean), *((row["severity"], row["value"]) for row in kind["severities"])]
            known = [(at, value) for at, value in points if value is not None]
            lines.append(Line(name, [at for at, _ in known], [value for _, value in known]))
        body = line_chart(
            f"{best} by severity", lines, Axis("severity", 0, 5, whole=True), Axis(best)
        )
        legend = tuple((colour(place), line.name) for place, line in enumerate(lines))
        charts.append(Chart("corrupted inputs", body, f"{made['corruption_rule']}.", legend))
    about = f"Random choices: seed {made['seed']}. Severity 0 is the sound input."
    return Section("robustness", "Robustness", tuple(charts), about)
