"""Planted bugs: what their files say, what becomes of the tree, and what a run says of them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
HUNK = re.compile(r"@@ -(\d+)(?:,(\d+))? \+\d+(?:,(\d+))? @@")


class BadPatch(Exception):
    """A file that is no mutant, or does not fit the tree."""


@dataclass(frozen=True)
class Hunk:
    """Consecutive lines of a file, and what stands there instead; `line` counts from 0."""

    line: int
    old: tuple[str, ...]
    new: tuple[str, ...]


@dataclass(frozen=True)
class Mutant:
    """One planted bug.

    Attributes:
        name: of its file, without the suffix.
        what: the bug in one sentence.
        tests: node ids of the tests that must fail.
        survives: why no test can notice it; empty where one does.
        hunks: of each changed file, by its path relative to the tree.
    """

    name: str
    what: str
    tests: tuple[str, ...]
    survives: str
    hunks: dict[str, tuple[Hunk, ...]]


def read_mutants(folder: Path = FOLDER) -> list[Path]:
    """Return the files of all mutants, by name."""
    return sorted(folder.glob("*.patch"))


def parse(path: Path) -> Mutant:
    """Return the mutant of a file.

    Raises:
        BadPatch: a header line is missing, or nothing is changed.
    """
    lines = path.read_text().split("\n")
    heads = {"what": "", "tests": "", "survives": ""}
    for line in lines:
        name, colon, value = line.removeprefix("# ").partition(":")
        if line.startswith("# ") and colon and name in heads:
            heads[name] = f"{heads[name]} {value}".strip()
    missing = [name for name in ("what", "tests") if not heads[name]]
    if missing:
        raise BadPatch(f"{path.name} has no line '# {missing[0]}:'")
    hunks = _hunks(lines)
    if not any(hunks.values()):
        raise BadPatch(f"{path.name} changes nothing")
    tests = tuple(heads["tests"].split())
    return Mutant(path.stem, heads["what"], tests, heads["survives"], hunks)


def _hunks(lines: list[str]) -> dict[str, tuple[Hunk, ...]]:
    """Return the hunks of a unified diff by file."""
    found: dict[str, tuple[Hunk, ...]] = {}
    name, rest = "", iter(lines)
    for line in rest:
        begins = HUNK.match(line)
        if line.startswith("+++ b/"):
            name = line.removeprefix("+++ b/").split("\t")[0]
        elif begins:
            start, *sizes = (int(number or 1) for number in begins.groups())
            found[name] = (*found.get(name, ()), _hunk(start - 1, sizes, rest))
    return found


def _hunk(line: int, sizes: list[int], rest: Iterator[str]) -> Hunk:
    """Return the hunk of so many old and new lines that comes next."""
    old: list[str] = []
    new: list[str] = []
    while len(old) < sizes[0] or len(new) < sizes[1]:
        row = next(rest, None)
        if row is None:
            raise BadPatch(f"a hunk at line {line + 1} is cut off")
        old += [row[1:]] * (row[:1] != "+")
        new += [row[1:]] * (row[:1] != "-")
    return Hunk(line, tuple(old), tuple(new))


def mutated(mutant: Mutant, root: Path) -> dict[Path, str]:
    """Return the changed text of each file that the bug touches.

    A hunk whose lines have moved belongs to the nearest place that has them.

    Raises:
        BadPatch: they are nowhere, or the result is not Python.
    """
    texts = {}
    for name, hunks in mutant.hunks.items():
        path = root / name
        if not path.is_file():
            raise BadPatch(f"{mutant.name}: there is no {name}")
        lines, moved = path.read_text().split("\n"), 0
        for hunk in hunks:
            size = len(hunk.old)
            fits = range(len(lines) - size + 1)
            places = [at for at in fits if tuple(lines[at : at + size]) == hunk.old]
            if not places:
                raise BadPatch(f"{mutant.name}: {name} has no such lines near {hunk.line + 1}")
            place = min(places, key=lambda at: abs(at - hunk.line - moved))
            lines[place : place + size] = hunk.new
            moved = place - hunk.line + len(hunk.new) - size
        texts[path] = "\n".join(lines)
        if path.suffix == ".py":
            try:
                compile(texts[path], name, "exec")
            except SyntaxError as error:
                raise BadPatch(f"{mutant.name}: {name} is no Python any more: {error}") from error
    return texts


@dataclass
class Outcome:
    """How one run of pytest ended.

    Attributes:
        code: exit code of pytest; None if it was killed at its limit.
        seconds: it took.
        tests: (node id, phase, outcome) of everything it reported.
        broken: why nothing could be tested.
        log: what it printed.
    """

    code: int | None
    seconds: float
    tests: list[list[str]] = field(default_factory=list)
    broken: str = ""
    log: str = ""


def fails(outcome: Outcome, tests: Iterable[str]) -> str:
    """Return why tests did not pass on the tree as it is; empty if they did."""
    if outcome.broken or outcome.code is None:
        return outcome.broken or "its tests do not end in time without the bug"
    for test in tests:
        own = [
            (name, how)
            for name, _, how in outcome.tests
            if name == test or name.startswith((f"{test}[", f"{test}::"))
        ]
        if not any(how == "passed" for _, how in own):
            return f"{test} does not pass without the bug: {own[0][1] if own else 'not found'}"
        wrong = [name for name, how in own if how == "failed"]
        if wrong:
            return f"{wrong[0]} fails without the bug"
    return ""


def verdict(mutant: Mutant, outcome: Outcome) -> tuple[str, str]:
    """Return caught, timeout, explained, survived or bad, and a reason."""
    if outcome.broken:
        return "bad", outcome.broken
    failed = [name for name, when, how in outcome.tests if (when, how) == ("call", "failed")]
    errors = [name for name, when, how in outcome.tests if (when, how) == ("setup", "failed")]
    if outcome.code is None:
        found = "timeout", ""
    elif outcome.code == 1 and failed:
        found = "caught", failed[0]
    elif outcome.code == 0:
        found = "survived", ""
    else:
        why = f"error in what {errors[0]} needs" if errors else "no test failed"
        found = "bad", f"pytest ended with {outcome.code}; {why}"
    if mutant.survives:
        if found[0] == "survived":
            return "explained", mutant.survives
        return "bad", f"it does not survive: {found[1] or found[0]}"
    return found
