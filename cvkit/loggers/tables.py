"""`--log csv`: `steps.csv` and `epochs.csv` in the run folder."""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvkit import storage
from cvkit.loggers.contract import Run, named_numbers


class Tables:
    """Tables with a row per logged step, and a row per epoch.

    Args:
        run: whose later steps are removed from its table.
    """

    def __init__(self, run: Run) -> None:
        self.steps, self.epochs = run.folder / "steps.csv", run.folder / "epochs.csv"
        self.history = list(run.history)
        rows = []
        if self.steps.is_file():
            with self.steps.open(newline="") as stream:
                table = list(csv.reader(stream))
            # Runs of a few steps have no rows, and no header before the first one.
            rows = table[:1] + [row for row in table[1:] if int(row[0]) <= run.step]
        storage.write_file(self.steps, _text(rows))
        self.stream = self.steps.open("a", newline="")
        self.begun = bool(rows)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row."""
        if not self.begun:
            names = (name.rpartition("/")[2] for name in values)
            self.stream.write(_text([["step", *names]]))
            self.begun = True
        self.stream.write(_text([[step, *values.values()]]))
        self.stream.flush()

    def epoch(self, line: dict[str, Any], values: Mapping[str, float]) -> None:
        """Write the table of epochs anew."""
        self.history.append(line)
        rows = [
            {"epoch": each["epoch"], "step": each["step"]}
            | {
                name.removeprefix("epoch/"): value
                for name, value in named_numbers(each).items()
                if name != "epoch/epoch"
            }
            for each in self.history
        ]
        names = dict.fromkeys(name for row in rows for name in row)
        table = [[*names], *([row.get(name, "") for name in names] for row in rows)]
        storage.write_file(self.epochs, _text(table))

    def pictures(self, step: int, shown: Sequence[tuple[str, np.ndarray]]) -> None:
        """Do nothing: tables have no pictures."""

    def final(self, values: Mapping[str, float], report: Path | None) -> None:
        """Do nothing: the row of the kept epoch has these metrics."""

    def close(self) -> None:
        """Close the table of steps."""
        self.stream.close()


def _text(rows: Sequence[Sequence[object]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()
