"""The prediction loop: decode, model and writing overlap, memory stays bounded."""

import contextlib
import json
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.console import Advance
from cvkit.engine.inference import IN_TURNS, InOrder, by_size, read_ahead
from cvkit.engine.loader import in_order
from cvkit.engine.runtime import StopSignal, cores
from cvkit.errors import DataError, OutputError, UsageError
from cvkit.storage import fsync_folder, machine_errors, write_file
from cvkit.structures import Failure, Sample
from cvkit.tasks.contract import Task
from cvkit.texts import counted, read_json

OnLine = Callable[[dict[str, Any]], None]
"""Called with a line of `predictions.jsonl`."""

WAITING_RESULTS = 8
"""Results (with their decoded images) that may wait to be written before the model waits."""
WRITERS = 2
"""Threads that draw and write."""


class NamedInput(Protocol):
    """An input, named by a path."""

    @property
    def key(self) -> str:
        """Its path in the results."""


@dataclass
class Counts:
    """How a prediction went."""

    predicted: int = 0
    failed: int = 0
    skipped: int = 0


class Journal:
    """`predictions.jsonl` and `failures.jsonl`, appended line by line, repaired after a kill.

    Args:
        folder: where they lie.
        resume: keep the finished lines and say which inputs they cover; failures are tried
            again. Otherwise both files start empty.
        model: hash of the model; what is resumed must have been made by the same.

    Attributes:
        names: of the files of each input that has finished lines; None where its line, of an
            older version, does not tell.

    Raises:
        UsageError: another model wrote to the folder.
    """

    def __init__(self, folder: Path, *, resume: bool, model: str) -> None:
        self.folder = folder
        about = folder / "predict.json"
        if resume and about.is_file() and _model(about) != model:
            raise UsageError(
                f"the results in --out {folder} come from another model",
                code="resume.model",
                hint="use --overwrite, or another folder",
            )
        path = folder / "predictions.jsonl"
        self.names = _repair(path) if resume else {}
        if not resume:
            write_file(path, "")
        write_file(folder / "failures.jsonl", "")
        self._results = path.open("a")
        self._failures = (folder / "failures.jsonl").open("a")

    @property
    def done(self) -> set[str]:
        """The inputs that have finished lines."""
        return set(self.names)

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
        fsync_folder(self.folder)


def _model(about: Path) -> str | None:
    """Return the hash of the model that wrote to a folder, as its `predict.json` says it.

    Raises:
        DataError: it is no JSON.
    """
    content = read_json(about)
    return content.get("model") if isinstance(content, dict) else None


def _repair(path: Path) -> dict[str, str | None]:
    """Cut off a line that a kill left half-written; return inputs and names of the others.

    Raises:
        DataError: a line in the middle is no JSON, so the file is not one of ours.
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
                    hint="use --overwrite to begin again",
                ) from error
            end += len(line)
    if end < path.stat().st_size:
        with machine_errors(path):
            os.truncate(path, end)
    return done


class Records:
    """Writes results while the model goes on, and keeps the journal of them, in order.

    Args:
        write: `Task.write`.
        journal: of the folder.
        names: of what is written for each input, by its key.
        max_failures: failures that end the prediction; 0: any number may fail.
        on_line: called with each new line of `predictions.jsonl`.
    """

    def __init__(
        self,
        write: Callable[[Any, Sample, str, Path], dict[str, Any]],
        journal: Journal,
        names: Mapping[str, str],
        max_failures: int,
        on_line: OnLine,
    ) -> None:
        self.write, self.journal, self.names = write, journal, names
        self.max_failures, self.on_line = max_failures, on_line
        self.counts = Counts()
        self.written: InOrder[tuple[str, Future[dict[str, Any]]] | Failure] = InOrder()
        self.writing: deque[Future[dict[str, Any]]] = deque()

    @property
    def begun(self) -> int:
        """Inputs that are done, or wait for their turn."""
        return self.counts.predicted + self.counts.failed + len(self.written)

    def fail(self, failure: Failure) -> None:
        """Record an input that failed.

        Raises:
            DataError: it is the last one that may.
        """
        self.counts.failed += 1
        self.journal.failure(failure)
        if self.counts.failed == self.max_failures:
            raise DataError(
                f"{counted(self.max_failures, 'input')} failed, the last one: {failure.reason}",
                code="predict.max_failures",
                hint=f"see {self.journal.folder / 'failures.jsonl'}",
            )

    def add(self, place: int, result: Any, sample: Sample, writers: ThreadPoolExecutor) -> None:
        """Have a result written, once few enough others wait for that."""
        while len(self.writing) > WAITING_RESULTS:
            wait([self.writing.popleft()])  # what it raises is raised at its turn
        name, folder = self.names[sample.path], self.journal.folder
        job = writers.submit(self.write, result, sample, name, folder)
        self.writing.append(job)
        self.written.put(place, (sample.path, job))

    def record(self, *, finish: bool = False) -> None:
        """Record what was written, or failed, up to the first input that still needs time.

        Nothing is recorded after the last failure that may be.

        Args:
            finish: wait for what is being written.
        """
        if 0 < self.max_failures <= self.counts.failed:
            return
        for entry in self.written.take(lambda entry: finish or _is_done(entry)):
            if isinstance(entry, Failure):
                self.fail(entry)
                continue
            key, job = entry
            try:
                line = {"path": key, "name": self.names[key]} | job.result()
            except (OutputError, DataError) as error:
                self.fail(Failure(key, error.code, str(error)))
                continue
            self.journal.result(line)
            self.counts.predicted += 1
            self.on_line(line)


def _is_done(entry: tuple[str, Future[dict[str, Any]]] | Failure) -> bool:
    return isinstance(entry, Failure) or entry[1].done()


def predict(
    task: Task,
    model: nn.Module,
    files: Sequence[NamedInput],
    journal: Journal,
    fabric: Fabric,
    *,
    names: Mapping[str, str],
    batch_size: int,
    workers: int,
    stop: StopSignal,
    advance: Advance,
    max_failures: int = 0,
    lost: Sequence[Failure] = (),
    on_line: OnLine = lambda line: None,
) -> Counts:
    """Predict all files that the journal does not hold yet; lines come in order.

    A line is written only when the files that it names are, so a kill loses nothing that the
    journal promises. An input whose files cannot be written fails alone. `lost` is what
    could not be opened; it counts as failed.

    Raises:
        Interrupted: a signal came; everything before the first input that still waits for others
            of its size is written.
        DataError: `max_failures` inputs failed.
        MachineError: the disk is full, for example.
    """
    todo = [file for file in files if file.key not in journal.names]
    records = Records(task.write, journal, names, max_failures, on_line)
    records.counts.skipped = len(files) - len(todo)
    data, batches = task.source(todo), in_order(len(todo), batch_size)
    threads = cores() if workers == IN_TURNS else WRITERS
    with ThreadPoolExecutor(threads, "write") as writers, contextlib.ExitStack() as ending:
        ending.callback(journal.sync)
        for failure in lost:
            records.fail(failure)
        ending.callback(records.record, finish=True)
        loaded = ending.enter_context(read_ahead(data, batches, workers, fabric.device, writers))
        for places, item in by_size(loaded, batch_size):
            if isinstance(item, Failure):
                records.written.put(places[0], item)
            else:
                with torch.inference_mode(), fabric.autocast():
                    results = task.predict(model.eval(), item.to(fabric.device))
                for place, sample, result in zip(places, item.samples, results, strict=True):
                    records.add(place, result, sample, writers)
            records.record()
            advance(records.begun, "")
            stop.raise_if_set("prediction interrupted", "add --resume to go on")
    for failure in task.finish(journal.folder):
        records.fail(failure)
    return records.counts
