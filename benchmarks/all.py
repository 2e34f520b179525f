"""Run the benchmarks and write their results into docs/benchmarks.md.

    python benchmarks/all.py [--rounds N] [SCRIPT ...]

Every script runs in a process of its own, and replaces its section of the page. Without a script
the goals are compared with the results on the page again: `python benchmarks/all.py --goals`.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import goals
import torch
import torchvision

from cvkit.engine.processes import cores
from cvkit.engine.runtime import processor

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks.md"
SCRIPTS = (
    *("networks", "predict", "train_step", "competing", "start_up", "mask_paste", "mask_eval"),
    "accuracy",
)
HEADING = "### "
"""What the section of a script begins with."""


def rows_of(script: str, rounds: int) -> list[dict]:
    """Return what a script prints."""
    command = [sys.executable, str(HERE / f"{script}.py"), "--rounds", str(rounds), "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def section(script: str, rows: list[dict], load: float, rounds: int) -> str:
    """Return the results of a script as Markdown."""
    parts = [
        f"{HEADING}{script}",
        f"`benchmarks/{script}.py`, {date.today()}: {cores()} cores of {processor()}, "
        f"{torch.get_num_threads()} threads; torch {torch.__version__}, torchvision "
        f"{torchvision.__version__}; {rounds} alternating rounds; load average {load:.1f} before.",
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
    return "\n\n".join(parts) + "\n"


def replaced(page: str, results: dict[str, str]) -> str:
    """Return the page with the results of scripts in the place of their earlier ones.

    Before all of them, it says which goals are reached.
    """
    before, *sections = re.split(rf"^(?={HEADING})", page, flags=re.MULTILINE)
    found = {text.partition("\n")[0].removeprefix(HEADING): text for text in sections} | results
    kept = [found[name].rstrip() for name in SCRIPTS if name in found]
    summary = goals.section("\n".join(kept)).rstrip()
    return "\n\n".join([before.rstrip(), summary, *kept]) + "\n"


def main() -> None:
    """Run the scripts that are named, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds")
    parser.add_argument("--goals", action="store_true", help="only compare the goals again")
    parser.add_argument("scripts", nargs="*", metavar="SCRIPT", help=", ".join(SCRIPTS))
    asked = parser.parse_args()
    if unknown := set(asked.scripts) - set(SCRIPTS):
        known = ", ".join(SCRIPTS)
        parser.error(f"no such script: {', '.join(sorted(unknown))}; there are {known}")
    for script in [] if asked.goals else asked.scripts or SCRIPTS:
        load = os.getloadavg()[0]
        print(f"{script}, load average {load:.1f}", file=sys.stderr, flush=True)
        results = section(script, rows_of(script, asked.rounds), load, asked.rounds)
        PAGE.write_text(replaced(PAGE.read_text(), {script: results}))
    PAGE.write_text(replaced(PAGE.read_text(), {}))


if __name__ == "__main__":
    main()
