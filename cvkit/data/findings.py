"""What `cvkit data check` reports: defects and oddities by rule, each with its place."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvkit.data.notes import Note
from cvkit.data.pages import file_of
from cvkit.data.rules import ALIASES, RULES, level_of
from cvkit.errors import CvkitError


@dataclass(frozen=True)
class Finding:
    """A defect or an oddity.

    Attributes:
        rule: key of `cvkit.data.rules.RULES`.
        message: what is wrong, with its place.
        file: relative to the dataset if it is in it; "" if it concerns no single file.
        place: line, key or entry in the file; "" if it is the whole file.
        remedy: what to do.
        split: where it was found; "" if it concerns no single split.
        sample: key of the only sample that it affects; "" for any other.
        numbers: further values by name, for `--json`.
    """

    rule: str
    message: str
    file: str = ""
    place: str = ""
    remedy: str = ""
    split: str = ""
    sample: str = ""
    numbers: tuple[tuple[str, Any], ...] = ()

    @property
    def level(self) -> str:
        """`error` or `warning`."""
        return level_of(self.rule)

    def as_json(self) -> dict[str, Any]:
        """Return the entry under `findings` in the output of `--json`."""
        more = {"numbers": dict(self.numbers)} if self.numbers else {}
        return {
            "rule": self.rule,
            "level": self.level,
            "split": self.split,
            "sample": self.sample,
            "file": self.file,
            "place": self.place,
            "message": self.message,
            "remedy": self.remedy,
            **more,
        }


def found_defects(error: CvkitError, root: Path, split: str = "") -> list[Finding]:
    """Return a finding for an error, or for each of those that it lists.

    Raises:
        CvkitError: it is not about the data; then it is raised again.
    """
    result = []
    for each in error.defects or (error,):
        if each.code not in RULES:
            raise error
        message = str(each.args[0])
        file, place = located(message, root)
        remedy = each.hint or RULES[each.code].remedy
        result.append(Finding(each.code, message, file, place, remedy, split, each.sample))
    return result


def warning(
    rule: str, message: str, file: str = "", *, split: str = "", sample: str = ""
) -> Finding:
    """Return a finding with the remedy of its rule."""
    return Finding(rule, message, file, "", RULES[rule].remedy, split, sample)


def noted(note: str, root: Path, split: str) -> Finding:
    """Return the finding of a remark, whose rule is that of a `Note`."""
    rule, sample = (note.rule, note.sample) if isinstance(note, Note) else ("data.note", "")
    file, place = located(note, root)
    return Finding(rule, str(note), file, place, RULES[rule].remedy, split, sample)


def located(message: str, root: Path) -> tuple[str, str]:
    """Return the file that a message begins with, relative to the dataset, and the place in it.

    Messages begin with a path, which may be followed by a line (`labels.csv:3`) or an entry
    (`val.json: annotations[2]: ...`). Of all beginnings, the longest that exists is the path.

    Args:
        message: of an error.
        root: the dataset.
    """
    ends = [match.start() for match in re.finditer(r"[:\s]", message)] + [len(message)]
    known = (message[:end] for end in reversed(ends) if end)
    path = next((each for each in known if os.path.lexists(file_of(Path(each)))), "")
    if not path and (gone := re.match(r"(.+?) does not exist", message)):
        path = gone[1]
    rest = message[len(path) :]
    if line := re.match(r":(\d+)\b", rest):
        place = f"line {line[1]}"
    elif where := re.search(r"\bline \d+ column \d+", rest):
        place = where[0]
    else:
        entry = re.match(r": ([^:]{1,100}): ", rest) if path else None
        place = entry[1] if entry else ""
    if path and Path(path).is_relative_to(root):
        path = Path(path).relative_to(root).as_posix()
    return ("" if path == "." else path), place


def chosen(findings: Iterable[Finding], select: str | None, ignore: str | None) -> list[Finding]:
    """Return the findings whose rules are selected and not ignored.

    Args:
        findings: all of them.
        select: rules or their first parts, separated by commas; None for all.
        ignore: the same; None for none.
    """
    wanted, unwanted = parts_of(select), parts_of(ignore)
    return [
        each
        for each in findings
        if (select is None or _is_one_of(each.rule, wanted)) and not _is_one_of(each.rule, unwanted)
    ]


def parts_of(text: str | None) -> list[str]:
    """Return the rules or first parts of rules in a list; further names become those of rules."""
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    return [ALIASES.get(part, part) for part in parts]


def _is_one_of(rule: str, names: Iterable[str]) -> bool:
    return any(name in (rule, rule.partition(".")[0]) for name in names)


def unknown_rules(names: Iterable[str]) -> list[str]:
    """Return the names that are neither rules nor first parts of rules."""
    known = {*RULES, *(rule.partition(".")[0] for rule in RULES)}
    return [name for name in names if name not in known]
