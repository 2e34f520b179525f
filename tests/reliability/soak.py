"""Try what cvkit promises in great numbers, and write down what was kept.

    python tests/reliability/soak.py [R1 ...] [--jobs N] [--minutes M] [--planted N]

For each row of `rows.py` the tests of `soak_*.py` whose names begin with it run, then the tests of
`make test` that it names, and some of its planted bugs. What came out is in `results.json`, and in
docs/promises.md. A row that was not reached in time keeps its last result.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from typing import Any

import pytest
from page import PAGE, RESULTS, read_results, written
from rows import ROOT, ROWS, SOAKS


class Reports:
    """A plugin of pytest that remembers what passed, what was counted, and what failed."""

    def __init__(self) -> None:
        self.passed, self.failed, self.counts = 0, list[str](), dict[str, int]()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" and report.outcome == "passed":
            self.passed += 1
        elif report.when == "teardown" and report.outcome == "passed":
            for name, number in report.user_properties:
                self.counts[name] = self.counts.get(name, 0) + number
        elif report.outcome != "passed":
            self.failed.append(f"{report.nodeid.rpartition('/')[2]} {report.outcome}")


def run_tests(arguments: list[str], jobs: int) -> tuple[Reports, int]:
    """Run tests; return what was reported, and pytest's exit code."""
    reports = Reports()
    flags = ["-q", "-p", "no:cacheprovider", "-n", str(jobs), "--no-header", "-rN"]
    flags += ["--dist", "loadgroup"]  # tests of a task share its run
    return reports, int(pytest.main([*flags, *arguments], [reports]))


def tried(name: str, jobs: int, planted: int) -> dict[str, Any]:
    """Try a row; return its result."""
    started = time.monotonic()
    long, code = run_tests([*map(str, SOAKS), "-k", f"test_{name.lower()}_"], jobs)
    if code == pytest.ExitCode.NO_TESTS_COLLECTED:
        long, code = Reports(), 0
    usual, other = run_tests([str(ROOT / test) for test in ROWS[name].tests], jobs)
    failed = [*long.failed, *usual.failed]
    why = "; ".join(failed[:3]) + (" ..." if len(failed) > 3 else "")
    if not why and (code or other):
        why = f"pytest ended with {code or other}"
    result = {
        **{"kept": not why, "why": why, "counts": long.counts, "tests": usual.passed},
        **{"date": datetime.date.today().isoformat(), "seconds": time.monotonic() - started},
    }
    if planted:
        week = datetime.date.today().toordinal()
        every = ROWS[name].planted
        chosen = [every[(week + number) % len(every)] for number in range(min(planted, len(every)))]
        script = [sys.executable, str(ROOT / "tests" / "mutants" / "run.py"), *chosen]
        if subprocess.run([*script, "--jobs", str(max(1, jobs))], check=False).returncode:
            result |= {"kept": False, "why": f"a planted bug is not noticed: {', '.join(chosen)}"}
        else:
            result["counts"]["planted bugs noticed"] = len(chosen)
    return result


def main() -> int:
    """Return 0 if all rows that were tried are kept."""
    reader = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    reader.add_argument("rows", nargs="*", help="such as R1; all by default")
    reader.add_argument("--jobs", type=int, default=2)
    reader.add_argument("--minutes", type=float, default=60, help="no row begins after this time")
    reader.add_argument("--planted", type=int, default=1, help="bugs for each row, by rotation")
    options = reader.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        reader.error(f"no row {unknown[0]}; rows are R1 to R{len(ROWS)}")
    os.chdir(ROOT)
    os.environ["OMP_NUM_THREADS"] = "1"
    deadline, results, broken = time.monotonic() + 60 * options.minutes, read_results(), []
    for name in options.rows or sorted(ROWS, key=lambda each: results[each]["date"]):
        if time.monotonic() > deadline:
            print(f"{name} and what follows is left for another time")
            break
        result = tried(name, options.jobs, options.planted)
        results = read_results() | {name: result}  # another process may try other rows
        broken += [] if result["kept"] else [f"{name}: {result['why']}"]
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        PAGE.write_text(written(results))
    print(*broken, sep="\n")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
