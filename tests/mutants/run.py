"""Plant every bug of this folder in a copy of the tree and see whether its tests fail.

    python tests/mutants/run.py [NAME ...] [--jobs N] [--timeout SECONDS]

A bug counts as caught if one of its tests runs and fails, or does not end in time. It is bad if
it does not fit the tree, breaks an import, or names a test that does not pass without it. The
tests run in forks of this process, which has imported the large libraries but nothing of cvkit.
"""

import argparse
import compileall
import gc
import importlib
import json
import multiprocessing
import os
import py_compile
import shutil
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from patches import ROOT, BadPatch, Mutant, Outcome, fails, mutated, parse, read_mutants, verdict

LEAST_SHARE, LEAST_COUNT = 0.95, 120
"""Share of the bugs that must be caught, and how many there must be."""
LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv", "demo", "site", "runs", "out", "build", "dist"),
    *("__pycache__", ".*_cache", ".hypothesis", "*.egg-info"),
)
LARGE = (
    *("torch", "torchvision", "torch._dynamo", "cv2", "albumentations", "lightning_fabric"),
    *("scipy.ndimage", "skimage.segmentation", "sklearn.svm", "matplotlib"),
    *("pycocotools.mask", "ultrafast_pycocotools", "safetensors.torch", "pytest", "typer"),
    *("hypothesis.extra.numpy", "xdist"),
)
"""What takes long to import, and is imported once."""
PYTEST = (
    *("-x", "-q", "-p", "no:cacheprovider"),
    *("-p", "no:unraisableexception"),  # it collects garbage five times at the end
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # what is imported already is a library
)
GOOD = ("caught", "timeout", "explained")


@dataclass
class Job:
    """Tests to run in a copy of the tree, with the bug that is planted in it before."""

    tests: tuple[str, ...]
    mutant: Mutant | None = None
    outcome: Outcome | None = None


class Reports:
    """A plugin of pytest that remembers how each test went, and whose cvkit it saw."""

    def __init__(self) -> None:
        self.tests: list[tuple[str, str, str]] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.when == "call" or report.outcome != "passed":
            self.tests.append((report.nodeid, report.when, report.outcome))


def run_tests(copy: Path, tests: Iterable[str], modules: Iterable[str]) -> None:
    """Run tests in this process, a fresh fork, and leave `result.json` beside the copy.

    Args:
        copy: the tree.
        tests: node ids.
        modules: that must be importable.
    """
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(copy)
    sys.path[0] = str(copy)
    os.environ["PYTHONPATH"] = str(copy)
    log = os.open(copy.parent / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(log, stream)
    code, broken, reports = 0, "", Reports()
    try:
        assert not any(name.split(".")[0] == "cvkit" for name in sys.modules)
        for name in ("cvkit", *modules):
            found = importlib.import_module(name)
            assert Path(found.__file__).is_relative_to(copy), found.__file__
    except Exception as error:
        broken = f"{type(error).__name__}: {error}"
    else:
        import pytest

        code = int(pytest.main([*PYTEST, f"--basetemp={copy.parent / 'tmp'}", *tests], [reports]))
    result = {"code": code, "tests": reports.tests, "broken": broken}
    (copy.parent / "result.json").write_text(json.dumps(result))
    sys.stdout.flush()
    os._exit(0)


class Pool:
    """Runs jobs, each in a fork and in one of several copies of the tree.

    Args:
        root: the tree.
        folder: for the copies.
        count: how many.
        limit: seconds until a job is killed.
    """

    def __init__(self, root: Path, folder: Path, count: int, limit: float) -> None:
        self.copies = [folder / str(number) / "tree" for number in range(count)]
        self.limit = limit
        for copy in self.copies:
            shutil.copytree(root, copy, ignore=LEFT_OUT, symlinks=True)
            # Compiled once; a file whose content has changed is compiled again.
            by_content = py_compile.PycInvalidationMode.CHECKED_HASH
            compileall.compile_dir(copy / "cvkit", quiet=1, invalidation_mode=by_content)

    def run(self, jobs: Iterable[Job], done: Callable[[Job], None]) -> None:
        """Run all jobs, and call `done` with each one that has ended."""
        queue, free, busy = deque(jobs), list(self.copies), {}
        fork = multiprocessing.get_context("fork")
        try:
            while queue or busy:
                while queue and free:
                    job, copy = queue.popleft(), free.pop()
                    (copy.parent / "result.json").unlink(missing_ok=True)
                    originals, modules = plant(job.mutant, copy)
                    process = fork.Process(target=run_tests, args=(copy, job.tests, modules))
                    process.start()
                    # Without a bug all tests of a file run together.
                    seconds = self.limit * (1 if job.mutant else len(job.tests))
                    busy[process] = (job, copy, originals, time.monotonic(), seconds)
                ends = [started + limit for *_, started, limit in busy.values()]
                wait([p.sentinel for p in busy], max(0.0, min(ends) - time.monotonic()))
                for process, (job, copy, originals, started, limit) in list(busy.items()):
                    seconds = time.monotonic() - started
                    if process.is_alive() and seconds < limit:
                        continue
                    job.outcome = collect(process, copy, seconds)
                    for path, text in originals.items():
                        path.write_text(text)
                    del busy[process]
                    free.append(copy)
                    done(job)
        finally:
            for process in busy:
                end(process)


def plant(mutant: Mutant | None, copy: Path) -> tuple[dict[Path, str], list[str]]:
    """Put a bug into a copy; return the original texts and the modules that it touches."""
    texts = mutated(mutant, copy) if mutant else {}
    originals = {path: path.read_text() for path in texts}
    for path, text in texts.items():
        path.write_text(text)
    parts = [path.relative_to(copy).with_suffix("").parts for path in texts if path.suffix == ".py"]
    names = [".".join(part).removesuffix(".__init__") for part in parts if part[0] == "cvkit"]
    return originals, [name for name in names if not name.endswith("__main__")]


def end(process: multiprocessing.Process) -> None:
    """Kill a job's process and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        process.kill()  # it has not become the leader of a group yet
    process.join()


def collect(process: multiprocessing.Process, copy: Path, seconds: float) -> Outcome:
    """Return how a job ended, or end it; what its tests wrote is removed."""
    in_time = not process.is_alive()
    end(process)
    shutil.rmtree(copy.parent / "tmp", ignore_errors=True)
    log, result = copy.parent / "log.txt", copy.parent / "result.json"
    text = log.read_text(errors="replace") if log.exists() else ""
    if result.exists():
        return Outcome(seconds=seconds, log=text, **json.loads(result.read_text()))
    died = f"the process ended with {process.exitcode} before pytest did" if in_time else ""
    return Outcome(None, seconds, broken=died, log=text)


def choose(names: list[str]) -> tuple[list[Mutant], dict[str, str]]:
    """Return the mutants of some names, or all of them, and those that are bad, with reasons."""
    paths = {path.stem: path for path in read_mutants()}
    wanted = [Path(name).stem for name in names] or list(paths)
    mutants, bad = [], {}
    for name in wanted:
        try:
            if name not in paths:
                raise BadPatch("there is no such patch")
            mutant = parse(paths[name])
            mutated(mutant, ROOT)
            mutants.append(mutant)
        except BadPatch as error:
            bad[name] = str(error)
    return mutants, bad


def unpatched(pool: Pool, mutants: list[Mutant]) -> dict[str, str]:
    """Return why tests do not pass on the tree as it is, by node id."""
    files: dict[str, set[str]] = {}
    for mutant in mutants:
        for test in mutant.tests:
            files.setdefault(test.split("::")[0], set()).add(test)
    jobs = [Job(tuple(sorted(tests))) for tests in files.values()]
    wrong: dict[str, str] = {}

    def done(job: Job) -> None:
        reasons = {test: fails(job.outcome, [test]) for test in job.tests}
        if any(reasons.values()) and len(job.tests) > 1:
            alone.extend(Job((test,)) for test in job.tests)  # one that is not found stops all
        else:
            wrong.update({test: reason for test, reason in reasons.items() if reason})

    alone: list[Job] = []
    pool.run(jobs, done)
    pool.run(list(alone), done)
    return wrong


def main() -> int:
    """Return 0 if enough bugs are caught and none is bad."""
    reader = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    reader.add_argument("names", nargs="*", help="of patches; all by default")
    reader.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    reader.add_argument("--timeout", type=float, default=120.0, help="seconds of a bug's tests")
    reader.add_argument("--log", action="store_true", help="show what pytest printed")
    options = reader.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "NO_ALBUMENTATIONS_UPDATE": "1"}
    # A change of a second ago may leave a file's time and size as they were.
    os.environ["PYTHONDONTWRITEBYTECODE"], sys.dont_write_bytecode = "1", True
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that no copy is left behind
    started = time.monotonic()
    mutants, bad = choose(options.names)
    for name in LARGE:
        importlib.import_module(name)
    hypothesis = importlib.import_module("hypothesis")
    once = [hypothesis.Phase.explicit, hypothesis.Phase.generate]  # no failure is made smaller
    hypothesis.settings.register_profile("mutants", phases=once, derandomize=True)
    hypothesis.settings.load_profile("mutants")
    gc.freeze()
    rows = [(name, "bad", 0.0, reason, "") for name, reason in bad.items()]
    width = max(map(len, [*bad, *(mutant.name for mutant in mutants), "name"]))

    def show(row: tuple[str, str, float, str, str]) -> None:
        name, how, seconds, reason, log = row
        print(f"{name:{width}}  {how:9} {seconds:6.1f} s  {reason}", flush=True)
        if log and (options.log or how in ("survived", "bad")):
            print("    " + "\n    ".join(log.strip().split("\n")[-12:]), flush=True)

    for row in rows:
        show(row)
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        pool = Pool(ROOT, Path(folder).resolve(), max(1, options.jobs), options.timeout)
        wrong = unpatched(pool, mutants)
        good = []
        for mutant in mutants:
            reasons = [wrong[test] for test in mutant.tests if test in wrong]
            if reasons:
                rows.append((mutant.name, "bad", 0.0, reasons[0], ""))
                show(rows[-1])
            else:
                good.append(Job(mutant.tests, mutant))
        print(f"the tests pass without bugs ({time.monotonic() - started:.0f} s)", flush=True)

        def done(job: Job) -> None:
            how, reason = verdict(job.mutant, job.outcome)
            rows.append((job.mutant.name, how, job.outcome.seconds, reason, job.outcome.log))
            show(rows[-1])

        pool.run(good, done)
    return summary([how for _, how, *_ in rows], not options.names, time.monotonic() - started)


def summary(hows: list[str], whole: bool, seconds: float) -> int:
    """Print the totals and return the exit code.

    Args:
        hows: verdicts.
        whole: they are those of all patches.
        seconds: that all of it took.
    """
    totals = {how: hows.count(how) for how in (*GOOD, "survived", "bad") if how in hows}
    counted = len(hows) - hows.count("explained")
    caught = hows.count("caught") + hows.count("timeout")
    share = caught / counted if counted else 1.0
    words = ", ".join(f"{count} {how}" for how, count in totals.items())
    print(f"{len(hows)} bugs: {words}; {share:.1%} caught, in {seconds:.0f} s")
    few = whole and len(hows) < LEAST_COUNT
    if few:
        print(f"fewer than {LEAST_COUNT} bugs")
    return int("bad" in hows or share < LEAST_SHARE or few)


if __name__ == "__main__":
    sys.exit(main())
