"""The errors that can end a command, and their exit codes."""

import errno
import itertools
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cvkit.printable import printable

EXIT_CODES = {
    0: "done",
    1: "a bug in cvkit",
    2: "usage, configuration, data or model-file error",
    3: "done, but some inputs failed (see failures.jsonl)",
    4: "a gate (--fail-under, --max-drop) failed",
    5: "training diverged (a non-finite number)",
    6: "the machine failed (disk full, out of memory, a worker died)",
    130: "interrupted by SIGINT, resumable",
    141: "the reader of the output, such as head, closed it",
    143: "stopped by SIGTERM, resumable",
}


LONGEST_LINE = 1000
"""Maximum characters per line of a message; values from files may have any length."""


def _cut(line: str) -> str:
    half = LONGEST_LINE // 2
    return f"{line[:half]} ... {line[-half:]}" if len(line) > LONGEST_LINE else line


class CvkitError(Exception):
    """A problem that the user can solve: what is wrong, where, and how to fix it.

    Attributes:
        code: stable dotted identifier for scripts, such as `image.truncated`.
        hint: the remedy; may be "".
        details: further lines of the message.
        content: output of `--json` besides the error.
        exit_code: key of `EXIT_CODES`.
        sample: key of the only sample of a dataset that the problem affects; "" for any other.
        defects: the problems that the message lists; empty if it is a single one.
    """

    exit_code = 2
    sample = ""
    defects: "Sequence[CvkitError]" = ()

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str = "",
        details: Sequence[str] = (),
        content: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(_cut(message))
        self.code = code
        self.hint = _cut(hint)
        self.details = tuple(map(_cut, details))
        self.content = dict(content)

    def __str__(self) -> str:
        message = self._whole()
        return f"{message} ({self.hint})" if self.hint else message

    def _whole(self) -> str:
        return "\n".join([*self.args, *self.details])

    def shown(self) -> str:
        """Return the message for a terminal: one line, and one line per detail."""
        lines = [*map(str, self.args), *self.details]
        if self.hint:
            lines[-1] += f" ({self.hint})"
        return "\n".join(map(printable, lines))

    def as_json(self) -> dict[str, str]:
        """Return the object under `error` in the output of `--json`."""
        return {"code": self.code, "message": self._whole(), "hint": self.hint}


class CvkitWarning(UserWarning):
    """A limitation of a library or the machine that the user should know; shown as one line."""


class UsageError(CvkitError):
    """A flag, configuration key or combination of them that cannot work."""


class OutputError(UsageError):
    """A single file that cannot be written, while others can."""


class DataError(CvkitError):
    """A dataset, image or mask that cannot be used."""


class ModelFileError(CvkitError):
    """A weights file or checkpoint that is missing, damaged or does not fit."""


class GateFailed(CvkitError):
    """A metric fell below a limit of `--fail-under`, or too far below `--baseline`."""

    exit_code = 4


class TrainingDiverged(CvkitError):
    """A loss, gradient or parameter became infinite or NaN."""

    exit_code = 5


class MachineError(CvkitError):
    """The disk is full, memory ran out or a worker process died."""

    exit_code = 6


class Interrupted(CvkitError):
    """A signal stopped the command, at a point from which it can resume."""

    def __init__(self, message: str, *, signal_number: int, hint: str = "") -> None:
        super().__init__(message, code="interrupted", hint=hint)
        self.exit_code = 128 + signal_number


def of_sample(error: CvkitError, key: str) -> CvkitError:
    """Store the key of the sample that an error affects in it, and return it."""
    error.sample = error.sample or key
    return error


def raise_defects(defects: Iterable[CvkitError], what: str) -> None:
    """Do nothing without defects.

    Raises:
        DataError: lists the defects; a single defect is raised itself.
    """
    for error in defects_of(defects, what):
        raise error


def defects_of(defects: Iterable[CvkitError], what: str) -> list[CvkitError]:
    """Return one error that lists the defects, or a single defect itself; nothing without any."""
    # Generators may yield millions, of which only those shown are kept.
    kept = defects if isinstance(defects, Sequence) else ()
    defects = iter(defects)
    shown = list(itertools.islice(defects, 100))
    if not shown:
        return []
    codes, more = {defect.code for defect in shown}, 0
    for defect in defects:
        codes.add(defect.code)
        more += 1
    if len(shown) == 1:
        return shown
    lines = [f"  {defect}" for defect in shown] + ([f"  and {more} more"] if more else [])
    error = DataError(
        f"{what} has {len(shown) + more} defects:",
        code=codes.pop() if len(codes) == 1 else "data.defects",
        details=lines,
    )
    error.defects = kept or shown
    return [error]


def as_cvkit_error(error: Exception) -> CvkitError:
    """Return the `CvkitError` for an exception from elsewhere."""
    if isinstance(error, PermissionError):
        return UsageError(
            f"{error.filename or error}: permission denied",
            code="file.permission",
            hint="give this user permission, or choose another file or folder",
        )
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return UsageError(
            f"{error.filename or error}: this name is too long",
            code="file.name",
            hint="choose another file or folder",
        )
    return _machine_failure(error) or _bug(error)


_LIMITS = {
    errno.EFBIG: ("the file size limit is reached", "raise it (ulimit -f)"),
    errno.EMFILE: ("too many files are open", "raise the limit (ulimit -n), or try --workers 0"),
    errno.ENFILE: ("too many files are open on this machine", "close other programs"),
    errno.EDQUOT: ("the disk quota is used up", "free some space, or choose another --out"),
    errno.EROFS: ("the file system is read-only", "choose another --out"),
    errno.EIO: ("the disk reported an error", "check the disk"),
}
"""Errors of the operating system with their messages and remedies."""


def _machine_failure(error: Exception) -> MachineError | None:
    """Return the `MachineError` behind an exception, if the machine is at fault."""
    if isinstance(error, MemoryError):
        return MachineError(
            "out of memory", code="machine.memory", hint="use a smaller --batch-size"
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return MachineError(
            f"no space is left: {error}",
            code="machine.space",
            hint="free some space on the disk or in shared memory (/dev/shm), or try --workers 0",
        )
    if isinstance(error, OSError) and error.errno in _LIMITS:
        what, hint = _LIMITS[error.errno]
        where = f"{error.filename}: " if error.filename else ""
        return MachineError(f"{where}{what}", code="machine.limit", hint=hint)
    text = str(error)
    if isinstance(error, ImportError) and not (error.name or "").startswith("cvkit"):
        return MachineError(
            f"cvkit is not installed as it should be: {text}",
            code="machine.import",
            hint="install it again",
        )
    if "signal: Bus error" in text:
        return MachineError(
            "a process that decodes images was killed: shared memory (/dev/shm) is full",
            code="machine.worker",
            hint="try --workers 0, or give it more memory, as with docker run --shm-size=1g",
        )
    if "DataLoader worker" in text or type(error).__name__ == "BrokenProcessPool":
        return MachineError(
            " ".join(text.split()), code="machine.worker", hint="try --workers 0, or more memory"
        )
    if "out of memory" in text or "can't allocate memory" in text:
        return MachineError(
            text.splitlines()[0],
            code="machine.memory",
            hint="use a smaller --batch-size or smaller images",
        )
    return None


def _bug(error: Exception) -> CvkitError:
    bug = CvkitError(
        f"this is a bug in cvkit: {type(error).__name__}: {error}",
        code="bug",
        hint="run again with --debug and report the traceback",
    )
    bug.exit_code = 1
    bug.__cause__ = error
    return bug
