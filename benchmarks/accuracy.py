"""Accuracy beside speed: the metric of the shipped models on every engine in fp32 and bf16.

    python benchmarks/accuracy.py [--rounds N] [--json]

The data are the built-in samples. The metric does not depend on the rounds, of which there is one.
"""

import contextlib
import io
import json
from collections.abc import Iterator

from pairs import Score, Skipped, main

from cvkit.catalog import TASKS
from cvkit.cli import run


def measure(rounds: int) -> Iterator[Score | Skipped]:
    """Yield the metric of each task, engine and precision."""
    for task in TASKS:
        printed = io.StringIO()
        flags = ("--data", "samples", "--no-memory", "--seconds", "0.1", "--batch-sizes", "8")
        with contextlib.redirect_stdout(printed):
            code = run(["bench", task, *flags, "--quiet", "--json"])
        found = json.loads(printed.getvalue())
        if code:
            yield Skipped(f"accuracy of {task}", found["error"]["message"])
            continue
        for row in found["results"]:
            way = f"{row['engine']} {row['precision']}"
            if not row["available"]:
                yield Skipped(f"accuracy of {task}: {way}", row["reason"])
                continue
            value, name = row["metrics"][found["metric"]], found["metric"]
            yield Score(task, found["weights"], way, name, value, row["difference"])


if __name__ == "__main__":
    main(measure)
