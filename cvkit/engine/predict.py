"""The prediction loop: decode, model and writing overlap, memory stays bounded."""

import contextlib
import fcntl
import json
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.engine.loader import in_order, load
from cvkit.engine.report import Advance
from cvkit.engine.runtime import StopSignal
from cvkit.engine.task import Task
from cvkit.errors import DataError, UsageError
from cvkit.storage import fsync_folder, machine_errors, write_file
from cvkit.structures import Failure
from cvkit.texts import read_json

WAITING_RESULTS = 8
"""Results (with their decoded images) that may wait to be written before the model waits."""


class NamedInput(Protocol):
    """An input with the names of its outputs."""

    key: str
    stem: str


@dataclass
class Counts:
    """How a prediction went."""

    predicted: int = 0
    failed: int = 0
    skipped: int = 0


class Journal:
    """`predictions.jsonl` and `failures.jsonl`, appended line by line, repaired after a kill.

    Args:
        folder: where they lie; locked against a second process while the journal is open.
        resume: keep the finished lines and say which inputs they cover; failures are tried
            again. Otherwise both files start empty.
        model: hash of the model; what is resumed must have been made by the same.

    Raises:
        UsageError: another process is writing to the folder, or another model wrote to it.
    """

    def __init__(self, folder: Path, *, resume: bool, model: str) -> None:
        self.folder = folder
        self._lock = _lock(folder)
        about = folder / "predict.json"
        if resume and about.is_file() and _model(about) != model:
            raise UsageError(
                f"the results in --out {folder} come from another model",
                code="resume.model",
                hint="use --overwrite, or another folder",
            )
        path = folder / "predictions.jsonl"
        self.done = _repair(path) if resume else set()
        if not resume:
            write_file(path, "")
        write_file(folder / "failures.jsonl", "")
        self._results = path.open("a")
        self._failures = (folder / "failures.jsonl").open("a")

    def result(self, line: dict) -> None:
        """Append a result."""
        self._append(self._results, line)

    def failure(self, failure: Failure) -> None:
        """Append a failure."""
        self._append(self._failures, asdict(failure))

    def _append(self, stream: IO[str], line: dict) -> None:
        with machine_errors(self.folder):
            stream.write(json.dumps(line, allow_nan=False) + "\n")
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
        self._lock.close()
        fsync_folder(self.folder)


def _model(about: Path) -> str | None:
    """Return the hash of the model that wrote to a folder, as its `predict.json` says it.

    Raises:
        DataError: it is no JSON.
    """
    content = read_json(about)
    return content.get("model") if isinstance(content, dict) else None


def _lock(folder: Path) -> IO[str]:
    stream = (folder / ".lock").open("w")
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        stream.close()
        raise UsageError(
            f"another process is writing to --out {folder}",
            code="out.locked",
            hint="choose another folder, or wait",
        ) from error
    return stream


def _repair(path: Path) -> set[str]:
    """Cut off a line that a kill left half-written; return the inputs of the others.

    Raises:
        DataError: a line in the middle is no JSON, so the file is not one of ours.
    """
    done: set[str] = set()
    end = 0
    if not path.exists():
        return done
    with path.open("rb") as stream:  # line by line: with masks the file may exceed the memory
        for number, line in enumerate(stream, 1):
            if not line.endswith(b"\n"):
                break
            try:
                done.add(json.loads(line)["path"])
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise DataError(
                    f"{path}:{number} is not a line of predictions",
                    code="resume.journal",
                    hint="use --overwrite to begin again",
                ) from error
            end += len(line)
    if end < path.stat().st_size:
        with machine_errors(path):
            os.truncate(path, end)
    return done


def predict(
    task: Task,
    model: nn.Module,
    files: Sequence[NamedInput],
    journal: Journal,
    fabric: Fabric,
    *,
    batch_size: int,
    workers: int,
    stop: StopSignal,
    advance: Advance,
    max_failures: int = 0,
) -> Counts:
    """Predict all files that the journal does not hold yet, in order.

    A line is written only when the files that it names are, so a kill loses nothing that the
    journal promises.

    Raises:
        Interrupted: a signal came; everything before it is written.
        DataError: `max_failures` inputs failed.
    """
    todo = [file for file in files if file.key not in journal.done]
    stems = {file.key: file.stem for file in todo}
    counts = Counts(skipped=len(files) - len(todo))
    data, batches = task.source(todo), in_order(len(todo), batch_size)
    waiting: deque[Future[dict[str, Any]]] = deque()

    def finish(limit: int) -> None:
        while len(waiting) > limit:
            journal.result(waiting.popleft().result())
            counts.predicted += 1

    with ThreadPoolExecutor(2) as writers, contextlib.ExitStack() as ending:
        ending.callback(journal.sync)
        ending.callback(finish, 0)
        loaded = ending.enter_context(load(data, batches, workers))
        for sample, result in _results(task, model, loaded, fabric):
            if isinstance(sample, Failure):
                counts.failed += 1
                journal.failure(sample)
                if counts.failed == max_failures:
                    raise DataError(
                        f"{max_failures} inputs failed, the last one: {sample.reason}",
                        code="predict.max_failures",
                        hint=f"see {journal.folder / 'failures.jsonl'}",
                    )
            else:
                stem = stems[sample.path]
                waiting.append(writers.submit(task.write, result, sample, stem, journal.folder))
                finish(WAITING_RESULTS)
            advance(counts.predicted + counts.failed + len(waiting), "")
            stop.raise_if_set("prediction interrupted", "add --resume to go on")
    return counts


def _results(
    task: Task, model: nn.Module, groups: Iterator[list], fabric: Fabric
) -> Iterator[tuple[Any, Any]]:
    """Yield (sample, result) or (failure, None) for each input, in order."""
    for group in groups:
        for item in group:
            if isinstance(item, Failure):
                yield item, None
                continue
            with torch.inference_mode(), fabric.autocast():
                results = task.predict(model.eval(), item.to(fabric.device))
            yield from zip(item.samples, results, strict=True)
