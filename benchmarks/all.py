"""Run the benchmarks and write their results into docs/benchmarks.md.

    python benchmarks/all.py [--rounds N] [SCRIPT ...]

Every script runs in a process of its own; one that fails is named, and the page is left alone.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import torch
import torchvision

from cvkit.engine.processes import cores
from cvkit.engine.runtime import processor

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
SCRIPTS = ("networks", "predict", "train_step", "competing", "start_up", "mask_eval", "accuracy")
HEADING = "## Results\n"
"""Heading of the page, after which the results replace everything."""


def rows_of(script: str, rounds: int) -> list[dict]:
    """Return what a script prints."""
    command = [sys.executable, str(HERE / f"{script}.py"), "--rounds", str(rounds), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def page(found: dict[str, list[dict]], load: float, rounds: int) -> str:
    """Return the results as Markdown."""
    rows = [row for rows in found.values() for row in rows]
    parts = [
        f"Measured on {cores()} cores of {processor()}, {torch.get_num_threads()} threads; torch "
        f"{torch.__version__}, torchvision {torchvision.__version__}; {rounds} alternating rounds; "
        f"load average {load:.1f} before.",
    ]
    lines = [row for row in rows if "ratio" in row]
    if lines:
        parts.append(
            "\n".join(
                [
                    "| what | cvkit or another runtime | compared with | ratio | spread | goal | |",
                    "|---|---|---|---|---|---|---|",
                    *(
                        f"| {r['what']} | {r['ours']} | {r['peer']} | {r['ratio']:.2f} | "
                        f"{r['low']:.2f} to {r['high']:.2f} | {r['goal'] or ''} | {r['note']} |"
                        for r in lines
                    ),
                ]
            )
        )
    scores = [row for row in rows if "metric" in row]
    if scores:
        parts.append(
            "\n".join(
                [
                    "| model | engine and precision | metric | value | difference |",
                    "|---|---|---|---|---|",
                    *(
                        f"| {r['task']} `{r['weights']}` | {r['way']} | {r['metric']} | "
                        f"{r['value']:.4f} | {r['difference']:+.4f} |"
                        for r in scores
                    ),
                ]
            )
        )
    skipped = [f"- {row['what']}: {row['why']}" for row in rows if "why" in row]
    if skipped:
        parts.append("Not measured:\n\n" + "\n".join(skipped))
    return "\n\n".join(parts)


def main() -> None:
    """Run the scripts that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds")
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=", ".join(SCRIPTS))
    asked = parser.parse_args()
    load, found = os.getloadavg()[0], {}
    for script in asked.scripts or SCRIPTS:
        print(script, file=sys.stderr, flush=True)
        found[script] = rows_of(script, asked.rounds)
    results = page(found, load, asked.rounds)
    if asked.scripts:  # a part of the results would replace all of them
        print(results)
        return
    before, heading, _ = PAGE.read_text().partition(HEADING)
    PAGE.write_text(f"{before}{heading}\n{results}\n")
    if load > 0.25 * cores():
        print(f"warning: the machine was busy before: load average {load:.1f}", file=sys.stderr)


if __name__ == "__main__":
    main()
