"""The gates of an evaluation: its flags, checked before it starts, and their outcome."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvkit import storage
from cvkit.console import Reporter
from cvkit.errors import UsageError
from cvkit.metrics.gates import (
    EVERY,
    Verdict,
    check_drops,
    check_limits,
    parse_drops,
    parse_gates,
    require_known,
)
from cvkit.options.base import Eval
from cvkit.scoring.baseline import read_baseline, require_comparable


@dataclass(frozen=True)
class Gates:
    """What an evaluation must reach.

    Attributes:
        limits: of `--fail-under`.
        drops: of `--max-drop`.
        baseline: the content of `--baseline`; None without it.
        different: whether it may have other data and rules.
    """

    limits: dict[str, float]
    drops: dict[str, float]
    baseline: dict[str, Any] | None
    different: bool

    def require_known(self, metrics: Iterable[str], classes: Iterable[str] | None) -> None:
        """Check names of metrics and classes (None: not known yet) before an evaluation.

        Raises:
            UsageError: there is no metric or class of that name.
        """
        require_known(self.limits, metrics, classes)
        require_known(self.drops, metrics, classes, "--max-drop")

    def verdicts(self, content: dict[str, Any], report: Reporter) -> list[Verdict]:
        """Return the outcome of each gate.

        Raises:
            UsageError: there is no metric or class of a name, or the baseline is not comparable.
        """
        found = check_limits(self.limits, content)
        if self.baseline is not None:
            names = list(self.drops) or [EVERY]
            require_comparable(content, self.baseline, names, report, different=self.different)
            found += check_drops(self.drops, content, self.baseline)
        return found


def read_gates(options: Eval, task: str) -> Gates:
    """Return the gates of the flags, and check where their reports go.

    Raises:
        DataError: the baseline is missing or malformed.
        UsageError: a flag is malformed or has no effect, or a file cannot be written.
    """
    limits, drops = parse_gates(options.fail_under), parse_drops(options.max_drop)
    for name, given in (("max-drop", drops), ("allow-different", options.allow_different)):
        if given and options.baseline is None:
            raise UsageError(
                f"--{name} has no effect without --baseline",
                code=f"{name.replace('-', '_')}.idle",
                hint="give the earlier report with --baseline report.json",
            )
    for flag, path in (("--junit", options.junit), ("--markdown", options.markdown)):
        if path is not None:
            _require_file(flag, path, options)
    if options.junit is not None and options.junit == options.markdown:
        raise UsageError(
            f"--junit and --markdown are both {options.junit}",
            code="markdown.same",
            hint="choose two files",
        )
    baseline = None if options.baseline is None else read_baseline(options.baseline, task)
    return Gates(limits, drops, baseline, options.allow_different)


def _require_file(flag: str, path: Path, options: Eval) -> None:
    """Check that a report can be written to a file that is not an input.

    Raises:
        UsageError: it cannot.
    """
    code = flag.strip("-")
    if path.is_dir() or not path.parent.is_dir():
        raise UsageError(
            f"{flag} {path} is a folder, or its folder does not exist",
            code=f"{code}.folder",
            hint="name a file in a folder that exists",
        )
    inputs = (options.predictions, options.truth, options.baseline)
    if any(each is not None and each.exists() and _same(each, path) for each in inputs):
        raise UsageError(
            f"{flag} {path} is an input of this command",
            code=f"{code}.input",
            hint="choose another file",
        )
    storage.require_writable(path.parent)


def _same(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()
