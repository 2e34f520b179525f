"""The journal of a prediction: its results and failures, line by line."""

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from cvkit.errors import DataError, UsageError
from cvkit.storage import fsync_folder, machine_errors, write_file
from cvkit.structures import Failure
from cvkit.texts import read_json


class Lines:
    """A file of results and one of failures, appended line by line.

    Args:
        folder: where they lie.
        results: name of the file of results.
        failures: name of the file of failures.
    """

    def __init__(self, folder: Path, results: str, failures: str) -> None:
        self.folder = folder
        with machine_errors(folder):
            self._results = (folder / results).open("a")
            self._failures = (folder / failures).open("a")

    @classmethod
    def of_rank(cls, folder: Path, rank: int) -> "Lines":
        """Return the files of one of several processes."""
        return cls(folder, f"predictions-rank{rank}.jsonl", f"failures-rank{rank}.jsonl")

    def result(self, line: dict) -> None:
        """Append a result."""
        self.append_line(json.dumps(line, allow_nan=False) + "\n")

    def append_line(self, text: str) -> None:
        """Append a result as text, with its end."""
        self._append(self._results, text)

    def failure(self, failure: Failure) -> None:
        """Append a failure."""
        self._append(self._failures, json.dumps(asdict(failure), allow_nan=False) + "\n")

    def _append(self, stream: IO[str], text: str) -> None:
        with machine_errors(self.folder):
            stream.write(text)
            stream.flush()

    def sync(self) -> None:
        """Make sure that the lines so far survive a power cut."""
        with machine_errors(self.folder):
            for stream in (self._results, self._failures):
                os.fsync(stream.fileno())

    def close(self) -> None:
        """Sync and close both files."""
        self.sync()
        self._results.close()
        self._failures.close()
        fsync_folder(self.folder)


class Journal(Lines):
    """`predictions.jsonl` and `failures.jsonl`, repaired after a kill.

    Processes that predict together append to files of their own, `predictions-rank0.jsonl` and so
    on. When the work ends, the first one moves their lines here. A kill at any moment thus loses no
    line; a line that is in both places counts once.

    Args:
        folder: where they lie.
        resume: keep the finished lines and say which inputs they cover; failures are tried
            again. Otherwise both files start empty.
        model: hash of the model; what is resumed must have been made by the same.

    Attributes:
        names: of the files of each input that has finished lines; None where its line, of an
            older version, does not tell.
        scattered: some of the finished lines are still in files of single processes.

    Raises:
        UsageError: another model wrote to the folder.
    """

    def __init__(self, folder: Path, *, resume: bool, model: str) -> None:
        about = folder / "predict.json"
        if resume and about.is_file() and _model(about) != model:
            raise UsageError(
                f"the results in --out {folder} come from another model",
                code="resume.model",
                hint="use --overwrite, or another folder",
            )
        path = folder / "predictions.jsonl"
        self.names = _repair(path) if resume else {}
        self._here = set(self.names)
        if not resume:
            write_file(path, "")
            remove_parts(folder, "predictions")
        self.scattered = bool(_parts(folder, "predictions"))
        for part in _parts(folder, "predictions"):
            self.names = _repair(part) | self.names
        remove_parts(folder, "failures")
        write_file(folder / "failures.jsonl", "")
        super().__init__(folder, "predictions.jsonl", "failures.jsonl")

    @property
    def done(self) -> set[str]:
        """The inputs that have finished lines."""
        return set(self.names)

    def collect(
        self,
        keys: Sequence[str],
        on_line: Callable[[dict[str, Any]], None],
        fail: Callable[[Failure], None],
    ) -> None:
        """Append the lines of all processes, in the order of the inputs.

        The first input without a result or a failure ends it, so that `predictions.jsonl` is what
        one process would have written so far; what follows it stays where it is.

        Args:
            keys: of the inputs, in order.
            on_line: called with each result that the journal did not have before this command.
            fail: called with each failure, to record it.
        """
        failures = {each.path: each for each in _failures(self.folder)}
        with contextlib.ExitStack() as closing:
            lines = [
                _Part(closing.enter_context(part.open("rb")))
                for part in _parts(self.folder, "predictions")
            ]
            places = {key: part for part in reversed(lines) for key in part.places}
            asked = set(keys)
            others = [key for part in lines for key in part.places if key not in asked]
            for key in dict.fromkeys((*others, *keys)):
                if key in self._here:
                    continue
                if key in places:
                    line = places[key].read(key)
                    self.append_line(line)
                    if key not in self.names:
                        on_line(json.loads(line))
                elif key in failures:
                    fail(failures[key])
                elif key in asked:
                    return
        self.sync()
        remove_parts(self.folder, "predictions", "failures")


def _parts(folder: Path, kind: str) -> list[Path]:
    """Return the files of single processes; the kind is `predictions` or `failures`."""
    return sorted(folder.glob(f"{kind}-rank*.jsonl"))


def remove_parts(folder: Path, *kinds: str) -> None:
    """Remove the files of single processes."""
    for kind in kinds:
        for path in _parts(folder, kind):
            path.unlink()


def _failures(folder: Path) -> Iterator[Failure]:
    for path in _parts(folder, "failures"):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield Failure(**json.loads(line))


class _Part:
    """The results of one process, which may be larger than the memory.

    Attributes:
        places: start and length of each in bytes, by the path of its input.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.places: dict[str, tuple[int, int]] = {}
        start = 0
        for line in stream:
            if line.endswith(b"\n"):  # a process that was killed may have left half a line
                self.places[json.loads(line)["path"]] = start, len(line)
            start += len(line)

    def read(self, key: str) -> str:
        """Return a line, with its end."""
        start, length = self.places[key]
        self._stream.seek(start)
        return self._stream.read(length).decode()


def _model(about: Path) -> str | None:
    """Return the hash of the model that wrote to a folder, as its `predict.json` says it.

    Raises:
        DataError: it is not JSON.
    """
    content = read_json(about)
    return content.get("model") if isinstance(content, dict) else None


def _repair(path: Path) -> dict[str, str | None]:
    """Cut off a line that a kill left half-written; return inputs and names of the others.

    Raises:
        DataError: a line before the last one is not JSON, so cvkit has not written the file.
    """
    done: dict[str, str | None] = {}
    end = 0
    if not path.exists():
        return done
    with path.open("rb") as stream:  # line by line: with masks the file may exceed the memory
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                break
            try:
                content = json.loads(line)
                done[content["path"]] = content.get("name")
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise DataError(
                    f"{path}:{number} is not a line of predictions",
                    code="resume.journal",
                    hint="use --overwrite to start again",
                ) from error
            end += len(line)
    if end < path.stat().st_size:
        with machine_errors(path):
            os.truncate(path, end)
    return done
