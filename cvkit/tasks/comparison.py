"""A model's engines and precisions, compared: speed, memory and results."""

import os
import shlex
import subprocess
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path

from cvkit.console import Reporter
from cvkit.data.files import InputFile
from cvkit.engine import bench
from cvkit.engine.bench import Leg, Timings
from cvkit.engine.evaluate import evaluate as run_evaluation
from cvkit.engine.runtime import StopSignal
from cvkit.errors import DataError, UsageError
from cvkit.ops.agreement import agreement
from cvkit.options.base import Predict
from cvkit.structures import Failure
from cvkit.tasks.candidates import Candidate, available, load_candidate
from cvkit.tasks.contract import Dataset, Task
from cvkit.texts import counted

MOST_INPUTS = 64
"""Inputs that are measured and whose results are compared, at most."""
MEMORY = (
    "import sys; from cvkit.cli import run; code = run(sys.argv[1:]);"
    "from cvkit.engine.runtime import peak_memory; print(peak_memory()); sys.exit(code)"
)
"""Program that runs a command and prints the memory that it took."""
KEPT = ("CVKIT_WEIGHTS", "CVKIT_EXACT", "CVKIT_MALLOC")
"""Variables that such a program sees; those of flags are for other commands."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is measured.

    Attributes:
        options: of predict, for the model.
        place: folder for temporary files.
        weights: of the model, for the recommendation; None for an untrained network.
        arch: of the untrained network; None for a model.
        inputs: as the user gave them.
        data: the labelled data as the user named them; None without.
        split: of the data.
        flags: further flags of predict, as typed.
        seconds: of measurement per engine, precision and batch size.
        batch_sizes: samples per forward pass, ascending.
        pairs: engines and precisions.
        reference: eager layers in fp32.
        labelled: the task and its labelled samples.
        files: the inputs.
        lost: inputs that could not be opened.
    """

    options: Predict
    place: Path
    weights: str | None
    arch: str | None
    inputs: list[str]
    data: str | None
    split: str
    flags: list[str]
    seconds: float
    batch_sizes: tuple[int, ...]
    pairs: list[tuple[str, str]]
    reference: Candidate
    labelled: tuple[Task, Dataset] | None
    files: list[InputFile]
    lost: list[Failure]

    @property
    def task(self) -> Task:
        """What the model solves."""
        return available(self.reference).task


@dataclass(kw_only=True)
class Row:
    """A candidate with a batch size.

    Attributes:
        candidate: engine and precision.
        batch_size: samples per forward pass.
        timings: what was measured.
        memory: peak of a process that predicts, in bytes; None if it was not measured.
    """

    candidate: Candidate
    batch_size: int
    timings: Timings
    memory: int | None = None


@dataclass(kw_only=True)
class Found:
    """What was found.

    Attributes:
        candidates: engines and precisions, the reference too, in the order of the flags.
        rows: of those that are available, with each batch size.
        files: the inputs that were measured.
        failures: inputs and labelled samples that could not be read.
        agreements: mean agreement with the reference, by engine and precision.
        metrics: of the labelled data, by engine and precision.
        notes: what the reader should know.
    """

    candidates: list[Candidate]
    rows: list[Row] = field(default_factory=list)
    files: list[InputFile] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    agreements: dict[tuple[str, str], float | None] = field(default_factory=dict)
    metrics: dict[tuple[str, str], dict[str, float | None]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def compare(subject: Subject, report: Reporter) -> Found:
    """Load every candidate, compare their results and measure their speed.

    Raises:
        DataError: no input can be read.
        UsageError: nothing that was asked for runs on this machine.
    """
    found = Found(candidates=_load_all(subject), failures=list(subject.lost))
    largest = subject.batch_sizes[-1]
    runnable = [each for each in found.candidates if each.trained]
    if not runnable:
        raise UsageError(
            f"nothing can be measured: {found.candidates[0].reason}",
            code="engine.missing",
            hint="choose other --engines or --precisions",
        )
    _read_inputs(subject, found, largest)
    task = subject.task
    report.say(
        f"measuring {counted(len(found.files), task.noun.removesuffix('s'))} on "
        f"{counted(len(runnable), 'engine and precision', 'engines and precisions')}"
    )
    legs = {}
    for candidate in runnable:
        for size in subject.batch_sizes:
            legs[candidate.engine, candidate.precision, size] = _leg(candidate, size)
    with report.progress("measuring", bench.ROUNDS * len(legs)) as advance:
        timings = bench.measure(
            list(legs.values()),
            found.files,
            subject.place,
            seconds=subject.seconds,
            advance=advance,
        )
    chosen = [(each, size) for each in runnable for size in subject.batch_sizes]
    for (candidate, size), measured in zip(chosen, timings, strict=True):
        found.rows.append(Row(candidate=candidate, batch_size=size, timings=measured))
    return found


def _load_all(subject: Subject) -> list[Candidate]:
    """Return the candidates; the reference, which is loaded already, is not loaded again."""
    quiet = replace(subject.options, quiet=True)
    loaded = {("eager", "fp32"): subject.reference}
    for pair in subject.pairs:
        if pair not in loaded:
            loaded[pair] = load_candidate(*pair, quiet, subject.task.name)
    return [loaded[pair] for pair in subject.pairs]


def _leg(candidate: Candidate, batch_size: int) -> Leg:
    trained = available(candidate)
    return Leg(
        task=trained.task,
        model=trained.model,
        fabric=trained.fabric,
        workers=trained.workers,
        batch_size=batch_size,
    )


def _read_inputs(subject: Subject, found: Found, batch_size: int) -> None:
    """Choose inputs that can be read, and compare the results of them.

    Raises:
        DataError: none of them can be read.
    """
    reference = _leg(subject.reference, batch_size)
    seconds = bench.warmed_up(reference, subject.files)
    count = max(batch_size, min(MOST_INPUTS, int(subject.seconds / max(seconds, 1e-9))))
    files = bench.evenly(subject.files, count)
    expected, failures = bench.results_of(reference, files)
    found.failures += failures
    found.files = [file for file in files if file.key in expected]
    if not found.files:
        raise DataError(
            f"no input can be read: {failures[0].reason}",
            code=failures[0].code,
            hint="give other inputs",
        )
    for candidate in found.candidates:
        if candidate.trained:
            results, _ = bench.results_of(_leg(candidate, batch_size), found.files)
            agreements = [agreement(results[key], expected[key]) for key in results]
            known = [each for each in agreements if each is not None]
            mean = sum(known) / len(known) if known else None
            found.agreements[candidate.engine, candidate.precision] = mean


def measure_memory(subject: Subject, found: Found, report: Reporter) -> None:
    """Measure the memory of each row, with predict in a process of its own."""
    listed = subject.place / "inputs.txt"
    listed.write_text("".join(f"{file.path.absolute()}\n" for file in found.files))
    options = subject.options
    shared = ["--device", options.device, *(["--offline"] if options.offline else [])]
    with report.progress("memory", len(found.rows)) as advance:
        for number, row in enumerate(found.rows, 1):
            with bench.fresh(subject.place) as place:
                words = command(subject, row, str(options.weights), [f"@{listed}"])
                row.memory = _peak([*words, *shared, "--out", str(place)], found.notes)
            advance(number)


def command(subject: Subject, row: Row, weights: str | None, inputs: list[str]) -> list[str]:
    """Return the words after `cvkit` that predict as a row does."""
    candidate = row.candidate
    named = [] if weights is None else ["--weights", weights]
    flags = ["--engine", candidate.engine, "--precision", candidate.precision]
    flags += ["--batch-size", str(row.batch_size), *subject.flags]
    return [subject.task.name, "predict", *inputs, *named, *flags]


def _peak(command: list[str], notes: list[str]) -> int | None:
    """Return the memory that a command takes, in bytes; None, and a note, if it fails."""
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *command, "--quiet"],
        capture_output=True,
        text=True,
        env={name: text for name, text in os.environ.items() if not name.startswith("CVKIT_")}
        | {name: os.environ[name] for name in KEPT if name in os.environ},
    )
    last = (done.stdout.splitlines() or [""])[-1]
    if done.returncode in (0, 3) and last.isdecimal():
        return int(last)
    reason = (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1]
    notes.append(f"the peak memory of {shlex.join(command)} was not measured: {reason}")
    return None


def evaluate(subject: Subject, found: Found, report: Reporter) -> None:
    """Measure the metrics of each candidate, and of the reference, on the labelled data."""
    if subject.labelled is None:
        return
    task, data = subject.labelled
    size = subject.batch_sizes[-1]
    pairs = {(each.engine, each.precision): each for each in found.candidates if each.trained}
    pairs.setdefault(("eager", "fp32"), subject.reference)
    lost: list[Failure] = []
    with report.progress("evaluating", len(pairs) * len(data)) as advance:
        for number, (pair, candidate) in enumerate(pairs.items()):
            leg, metric = _leg(candidate, size), task.metric()
            lost = run_evaluation(
                *(task, leg.model, data, leg.fabric),
                metric=metric,
                batch_size=size,
                workers=leg.workers,
                stop=StopSignal(),
                advance=lambda done, note="", n=number: advance(n * len(data) + done, note),
            )
            found.metrics[pair] = metric.compute()
    found.failures += lost
    if len(lost) == len(data):
        raise DataError(
            f"no sample can be evaluated: {lost[0].reason}", code=lost[0].code, hint="see --data"
        )
