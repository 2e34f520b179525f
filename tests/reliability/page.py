"""Writes docs/promises.md from the table of promises and the results of `make soak`."""

import json
from typing import Any

from rows import FOLDER, ROOT, ROWS

from cvkit.texts import counted

RESULTS = FOLDER / "results.json"
PAGE = ROOT / "docs" / "promises.md"
HEAD = """# What cvkit promises

Each promise is held by tests that run at every change (`make test`) and by a long test that
`make soak` runs with the counts below. A promise is kept if both passed when they ran last; one
without such a run is shown as not kept. This page is written by `make soak` from its results.

"""
NEVER: dict[str, Any] = {"kept": False, "counts": {}, "why": "never run", "date": ""}


def read_results() -> dict[str, dict[str, Any]]:
    """Return what is known of each row."""
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    return {name: found.get(name, NEVER) for name in ROWS}


def written(results: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    kept = sum(bool(result["kept"]) for result in results.values())
    lines = [f"{kept} of {len(ROWS)} promises are kept.", ""]
    lines += ["| | promise | kept | tried | last run |", "|---|---|---|---|---|"]
    for name, row in ROWS.items():
        result = results[name]
        tried = ", ".join(f"{number:,} {what}" for what, number in sorted(result["counts"].items()))
        if result.get("tests"):
            tests = counted(result["tests"], "test")
            tried = f"{tried}{', ' if tried else ''}{tests} of `make test`"
        seconds = f", {result['seconds']:.0f} s" if result.get("seconds") else ""
        state = "yes" if result["kept"] else f"**no**: {result['why']}"
        cells = (name, row.promise, state, tried, f"{result['date']}{seconds}")
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Limits", ""]
    lines += [f"- {name}: {row.limit}" for name, row in ROWS.items() if row.limit]
    lines += ["", "## What tests them", ""]
    lines += ["| | tests | planted bugs that they notice |", "|---|---|---|"]
    for name, row in ROWS.items():
        tests = "<br>".join(f"`{test.removeprefix('tests/')}`" for test in row.tests)
        lines.append(f"| {name} | {tests} | {', '.join(row.planted)} |")
    return HEAD + "\n".join(lines) + "\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(written(read_results()))


if __name__ == "__main__":
    main()
