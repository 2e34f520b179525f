"""The prediction loop: decode, model and writing overlap, memory stays bounded."""

import contextlib
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from torch import nn

from cvkit.console import Advance
from cvkit.engine.inference import IN_TURNS, InOrder, read_ahead
from cvkit.engine.journal import Journal, Lines
from cvkit.engine.processes import cores
from cvkit.engine.ranks import Ranks
from cvkit.engine.shares import Share, share_of
from cvkit.errors import CvkitError, DataError, Interrupted, OutputError
from cvkit.structures import Batch, Failure, Sample
from cvkit.tasks.contract import Dataset, Task
from cvkit.texts import counted

OnLine = Callable[[dict[str, Any]], None]
"""Called with a line of `predictions.jsonl`."""

WAITING_RESULTS = 8
"""Results (with their decoded images) that may wait to be written before the model waits."""
INTERRUPTED = "prediction interrupted"
CONTINUE = "add --resume to continue"
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


class Records:
    """Writes results while the model goes on, and keeps the journal of them, in order.

    Args:
        write: `Task.write`.
        journal: of the folder.
        names: of what is written for each input, by its key.
        max_failures: failures that end the prediction; 0: any number may fail.
        on_line: called with each new line of `predictions.jsonl`.
        places: of the inputs, in order; 0, 1, 2, ... by default.
        on_failed: called with the place of each input that failed.
    """

    def __init__(
        self,
        write: Callable[[Any, Sample, str, Path], dict[str, Any]],
        journal: Lines,
        names: Mapping[str, str],
        max_failures: int,
        on_line: OnLine,
        places: Sequence[int] | None = None,
        on_failed: Callable[[int], None] = lambda place: None,
    ) -> None:
        self.write, self.journal, self.names = write, journal, names
        self.max_failures, self.on_line, self.on_failed = max_failures, on_line, on_failed
        self.counts = Counts()
        self.written: InOrder[tuple[Sample, Future[dict[str, Any]]] | Failure] = InOrder(places)
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
        slim = replace(sample, original=None, proposals=None)  # the pixels are the job's
        self.written.put(place, (slim, job))

    def record(self, *, finish: bool = False) -> None:
        """Record what was written, or failed, up to the first input that still needs time.

        Nothing is recorded after the last failure that may be.

        Args:
            finish: wait for what is being written.
        """
        if 0 < self.max_failures <= self.counts.failed:
            return
        for place, entry in self.written.take_placed(lambda entry: finish or _is_done(entry)):
            if isinstance(entry, Failure):
                self.on_failed(place)
                self.fail(entry)
                continue
            (sample, job), key = entry, entry[0].path
            try:
                line = {"path": key, "name": self.names[key]} | _moment(sample) | job.result()
            except (OutputError, DataError) as error:
                self.on_failed(place)
                self.fail(Failure(key, error.code, str(error)))
                continue
            self.journal.result(line)
            self.count(line)

    def count(self, line: dict[str, Any]) -> None:
        """Count a result that has been recorded."""
        self.counts.predicted += 1
        self.on_line(line)


def _moment(sample: Sample) -> dict[str, Any]:
    """Return the part of a line that tells where in a video a frame is."""
    if sample.frame is None:
        return {}
    return {"frame": sample.frame, "time_seconds": sample.time_seconds}


def _is_done(entry: tuple[Sample, Future[dict[str, Any]]] | Failure) -> bool:
    return isinstance(entry, Failure) or entry[1].done()


@dataclass(frozen=True)
class Work:
    """The inputs of a prediction, and what predicts them.

    Attributes:
        task: of the model.
        model: the network, on the device.
        files: the inputs, in order.
        fabric: device and precision.
        names: of what is written for each input, by its key.
        batch_size: images per forward pass.
        workers: see `cvkit.engine.inference.read_ahead`.
        ranks: the processes that share the inputs.
        advance: shows the progress.
        max_failures: failures that end the prediction; 0: any number may fail.
        lost: what could not be opened; it counts as failed.
        on_line: called with each new line of `predictions.jsonl`.
    """

    task: Task
    model: nn.Module
    files: Sequence[NamedInput]
    fabric: Fabric
    names: Mapping[str, str]
    batch_size: int
    workers: int
    ranks: Ranks
    advance: Advance
    max_failures: int = 0
    lost: Sequence[Failure] = ()
    on_line: OnLine = lambda line: None


def predict(work: Work, journal: Journal) -> Counts:
    """Predict all inputs that the journal does not hold yet, in one process; lines come in order.

    They get the results that they get where nothing is done yet: inputs of their batches that are
    done are predicted with them again, unwritten.

    A line is written only when the files that it names are, so a kill loses nothing that the
    journal promises. An input whose files cannot be written fails alone.

    Raises:
        Interrupted: a signal came; everything before the first input that still waits for others
            of its size is written.
        DataError: `max_failures` inputs failed.
        MachineError: the disk is full, for example.
    """
    data, share = _shared(work, journal.names)
    records = _first_records(work, journal, share.places)
    with contextlib.ExitStack() as ending:
        ending.callback(journal.sync)
        _predict_share(work, data, share, records)
    return _finished(work, records)


def predict_together(
    work: Work, folder: Path, done: Collection[str], journal: Journal | None
) -> Counts:
    """Predict, in one of several processes, its share of the inputs that are not done yet.

    Each process writes files of its own. The first one appends their lines to the journal, which
    thus gets the content that `predict` gives it.

    Args:
        work: the same in all processes.
        folder: of the results.
        done: keys of the inputs that have finished lines.
        journal: of the folder; None in all processes but the first.

    Returns:
        The counts of all processes; in all but the first, nothing is counted.

    Raises:
        Interrupted: a signal came; all that was predicted is written.
        DataError: `max_failures` inputs failed.
        CvkitError: this or another process failed; what was predicted until then is written.
    """
    records = None if journal is None else _first_records(work, journal)
    interrupted: Interrupted | None = None
    try:
        try:
            _predict_apart(work, folder, done)
        except Interrupted as error:
            interrupted = error
        work.ranks.gather_first(None)  # all have ended
    except CvkitError:
        with contextlib.suppress(CvkitError):  # the first error is the one to report
            _collect(work, journal, records)
        raise
    _collect(work, journal, records)
    if interrupted is not None:
        raise interrupted
    return Counts() if records is None else _finished(work, records)


def _shared(work: Work, done: Collection[str]) -> tuple[Dataset, Share]:
    """Return all inputs, and the share of this process in those that are not done."""
    data = work.task.source(work.files)
    finished = frozenset(n for n, file in enumerate(work.files) if file.key in done)
    return data, share_of(work.ranks, data, work.batch_size, finished)


def _first_records(work: Work, journal: Journal, places: Sequence[int] | None = None) -> Records:
    """Return what records results in the journal, and record what could not be opened."""
    records = Records(work.task.write, journal, work.names, work.max_failures, work.on_line, places)
    records.counts.skipped = sum(file.key in journal.names for file in work.files)
    for failure in work.lost:
        records.fail(failure)
    return records


def _predict_apart(work: Work, folder: Path, done: Collection[str]) -> None:
    """Predict the share of this process into files of its own."""
    data, share = _shared(work, done)
    with contextlib.closing(Lines.of_rank(folder, work.ranks.layout.rank)) as lines:
        records = Records(
            work.task.write,
            lines,
            work.names,
            max_failures=0,
            on_line=lambda line: None,
            places=share.places,
            on_failed=lambda place: work.ranks.add_failures([place]),
        )
        _predict_share(work, data, share, records)


def _predict_share(work: Work, data: Dataset, share: Share, records: Records) -> None:
    """Predict the share of this process, up to the last failure that may be."""
    threads = cores() if work.workers == IN_TURNS else WRITERS
    task, model, ranks, device = work.task, work.model.eval(), work.ranks, work.fabric.device
    with ThreadPoolExecutor(threads, "write") as writers, contextlib.ExitStack() as ending:
        ending.callback(records.record, finish=True)
        loaded = ending.enter_context(read_ahead(data, share.keys, work.workers, device, writers))
        for places, item in share.placed(loaded, work.batch_size, data):
            if isinstance(item, Failure):
                if places[0] not in share.done:
                    records.written.put(places[0], item)
            else:
                with torch.inference_mode(), work.fabric.autocast(), _stoppable(ranks, item):
                    results = task.predict(model, item.to(device))
                for place, sample, result in zip(places, item.samples, results, strict=True):
                    if place in share.done:
                        continue
                    if isinstance(result, Failure):
                        records.written.put(place, result)
                    else:
                        records.add(place, result, sample, writers)
            records.record()
            work.advance(min(len(share.done) + records.begun * ranks.world, len(data)), "")
            ranks.stop.raise_if_set(INTERRUPTED, CONTINUE)
            ranks.raise_if_failed()
            last = ranks.last_place(work.max_failures - len(work.lost))
            if last is not None and records.written.is_past(last):
                break


def _stoppable(ranks: Ranks, batch: Batch) -> contextlib.AbstractContextManager[None]:
    """Let a signal end the prediction of an image that is read in tiles, which can take hours."""
    tiled = any(sample.windows is not None for sample in batch.samples)
    return ranks.stop.at_once(INTERRUPTED, CONTINUE) if tiled else contextlib.nullcontext()


def _collect(work: Work, journal: Journal | None, records: Records | None) -> None:
    """Append the lines of all processes to the journal, in the first process."""
    if journal is not None and records is not None:
        keys = [file.key for file in work.files]
        journal.collect(keys, records.count, records.fail)


def _finished(work: Work, records: Records) -> Counts:
    """Write the files about all results; return the counts."""
    for failure in work.task.finish(records.journal.folder):
        records.fail(failure)
    return records.counts
