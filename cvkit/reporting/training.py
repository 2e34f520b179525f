"""Training curves of a report."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvkit.errors import DataError
from cvkit.reporting.charts import SERIES, Axis, Line, line_chart, nice_ceiling
from cvkit.reporting.contract import Chart, Section
from cvkit.texts import counted, read_text

HISTORY = "metrics.jsonl"


def read_history(run: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's `metrics.jsonl`, one per epoch; none if it has no such file.

    Raises:
        DataError: a line is not what training writes.
    """
    path = run / HISTORY
    if not path.is_file():
        return []
    history = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        try:
            entry = json.loads(line)
            float(entry["epoch"]), float(entry["loss"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(
                f"{path}:{number}: not a line of a training", code="history.malformed"
            ) from error
        history.append(entry)
    return history


def training_section(history: Sequence[dict[str, Any]]) -> Section:
    """Return losses, the deciding metric and the learning rate by epoch."""
    epochs = [line["epoch"] for line in history]
    across = Axis("epoch", min(epochs), max(epochs), whole=True)
    return Section(
        "training",
        "Training",
        (_losses(history, across), *_metric(history, across), _rates(history, across)),
        f"{counted(len(history), 'epoch')} of the run that made the model.",
    )


def _losses(history: Sequence[dict[str, Any]], across: Axis) -> Chart:
    lines = [("training", "loss", False), ("validation", "val_loss", False)]
    series = [Line(title, *_values(history, name), dashed) for title, name, dashed in lines]
    terms = history[-1].get("losses", {})
    if len(terms) > 1:
        rows = [line.get("losses", {}) | {"epoch": line["epoch"]} for line in history]
        more = [Line(name, *_values(rows, name), True) for name in terms]
        series += more[: SERIES - len(series)]
    high = max((y for line in series for y in line.y if y == y), default=1.0)
    return _chart("Loss", series, across, Axis("loss", 0, nice_ceiling(high)))


def _metric(history: Sequence[dict[str, Any]], across: Axis) -> list[Chart]:
    """Return the metric that picks the best epoch, which the training split has, too."""
    name = next((key[6:] for key in history[-1] if key.startswith("train_")), None)
    if name is None:
        return []
    series = [
        Line("training", *_values(history, f"train_{name}")),
        Line("validation", *_values(history, name)),
    ]
    return [_chart(name, series, across, Axis(name))]


def _rates(history: Sequence[dict[str, Any]], across: Axis) -> Chart:
    line = Line("learning rate", *_values(history, "lr"))
    high = max((y for y in line.y if y == y), default=1.0) or 1.0
    return _chart("Learning rate", [line], across, Axis("learning rate", 0, high))


def _values(history: Sequence[dict[str, Any]], name: str) -> tuple[list[float], list[float]]:
    values = [line.get(name) for line in history]
    return (
        [float(line["epoch"]) for line in history],
        [float("nan") if value is None else float(value) for value in values],
    )


def _chart(title: str, series: list[Line], x: Axis, y: Axis) -> Chart:
    words = []
    for line in series:
        known = [value for value in line.y if value == value]
        words.append(f"{line.name} from {known[0]:.3g} to {known[-1]:.3g}" if known else line.name)
    legend = tuple((f"s{place + 1}", line.name) for place, line in enumerate(series))
    alt = f"{title} by epoch: {', '.join(words)}"
    return Chart(title, line_chart(alt, series, x, y), "", legend if len(series) > 1 else ())
