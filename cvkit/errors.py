"""Everything that can end a command, and the exit code each one means."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from cvkit.printable import printable

EXIT_CODES = {
    0: "done",
    1: "a bug in cvkit",
    2: "usage, configuration, data or model-file error",
    3: "done, but some inputs failed (see failures.jsonl)",
    4: "a --fail-under gate failed",
    5: "training diverged (a non-finite number)",
    6: "the machine failed (disk full, out of memory, a worker died)",
    130: "interrupted by SIGINT, resumable",
    141: "the reader of the output, such as head, has left",
    143: "stopped by SIGTERM, resumable",
}


class CvkitError(Exception):
    """A problem that its reader can solve: what is wrong, where, and how to fix it.

    Attributes:
        code: stable dotted identifier for scripts, such as `image.truncated`.
        hint: what to do about it; may be empty.
        details: further lines of the message.
        content: what `--json` tells besides the error.
        exit_code: key of `EXIT_CODES`.
    """

    exit_code = 2

    def __init__(
        self,
        message: str,
        *,
        code: str,
        hint: str = "",
        details: Sequence[str] = (),
        content: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        super().__init__(message)
        self.code = code
        self.hint = hint
        self.details = tuple(details)
        self.content = dict(content)

    def __str__(self) -> str:
        message = self._whole()
        return f"{message} ({self.hint})" if self.hint else message

    def _whole(self) -> str:
        return "\n".join([*self.args, *self.details])

    def shown(self) -> str:
        """Return the message for a terminal: one line, and one for each of the details."""
        *lines, last = *self.args, *self.details
        lines.append(f"{last} ({self.hint})" if self.hint else last)
        return "\n".join(map(printable, lines))

    def as_json(self) -> dict:
        """Return the object that stands under `error` in `--json` output."""
        return {"code": self.code, "message": self._whole(), "hint": self.hint}


class UsageError(CvkitError):
    """A flag, configuration key or combination of them that cannot work."""


class OutputError(UsageError):
    """One file that cannot be written where it should be, while others can."""


class DataError(CvkitError):
    """A dataset, image or mask that cannot be used as it is."""


class ModelFileError(CvkitError):
    """A weights file or checkpoint that is missing, damaged or does not fit."""


class GateFailed(CvkitError):
    """A metric fell below its `--fail-under` limit."""

    exit_code = 4


class TrainingDiverged(CvkitError):
    """A loss, gradient or parameter became infinite or NaN."""

    exit_code = 5


class MachineError(CvkitError):
    """The disk is full, memory ran out or a worker process died."""

    exit_code = 6


class Interrupted(CvkitError):
    """A signal asked the command to stop, and it stopped at a point it can resume from."""

    def __init__(self, message: str, *, signal_number: int, hint: str = "") -> None:
        super().__init__(message, code="interrupted", hint=hint)
        self.exit_code = 128 + signal_number
