"""Predict images or videos into a folder."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands.predict_inputs import (
    count_inputs,
    find_inputs,
    saves_videos,
    write_videos,
)
from cvkit.commands.printing import print_json
from cvkit.commands.resumed import Earlier, root_of
from cvkit.config import as_config
from cvkit.console import Reporter, print_line, table
from cvkit.errors import UsageError
from cvkit.options.base import RUNS, Predict
from cvkit.tasks.inference_flags import require_effect

if TYPE_CHECKING:
    from rich.table import Table

    from cvkit.data.files import InputFile
    from cvkit.data.video_frames import VideoFrame
    from cvkit.engine.predict import Counts, Work
    from cvkit.engine.ranks import Ranks
    from cvkit.structures import Failure
    from cvkit.tasks.contract import Answers
    from cvkit.tasks.engine_choice import Engine
    from cvkit.tasks.trained import Trained

LISTED = 20
"""Maximum number of inputs whose results are shown one by one; for more there is a summary."""


def predict(options: Predict, task_name: str) -> int:
    """Predict images or videos into a folder."""
    from cvkit.engine import processes

    report = Reporter(options.quiet)
    _check_flags(options, task_name)
    earlier = Earlier(options)
    options = earlier.continued(options)
    started = processes.start(options)  # they import their libraries while this one does

    from cvkit.engine import runtime
    from cvkit.engine.ranks import joined

    runtime.keep_memory()
    with runtime.stop_signals() as stop, joined(started, stop) as ranks:
        if not ranks.is_first:
            report.hush()
        done = _predict(options, earlier, task_name, report, ranks)
    return 0 if done is None else _report(options, task_name, report, done)


@dataclass(frozen=True)
class _Done:
    """A prediction that has ended.

    Attributes:
        out: the folder of the results.
        trained: the model.
        engine: what it ran on.
        notes: about the engine, from all processes.
        counts: of the inputs.
        total: the tallies of the new results.
        paths: of the inputs, in order.
        sheet: the contact sheet, if there is one.
    """

    out: Path
    trained: Trained
    engine: Engine
    notes: Sequence[str]
    counts: Counts
    total: Counter[str]
    paths: Sequence[str]
    sheet: Path | None


def _predict(
    options: Predict, earlier: Earlier, task_name: str, report: Reporter, ranks: Ranks
) -> _Done | None:
    """Predict in one of the processes; return what there is to report, in the first."""
    from cvkit.output.clearing import clear
    from cvkit.tasks.engine_choice import use_engine
    from cvkit.tasks.sheets import write_contact_sheet
    from cvkit.tasks.trained import load_trained

    total: Counter[str] = Counter()
    with ranks.stop.at_once():
        trained = load_trained(options.weights, options, task_name, ranks.layout)
        without = _results_folders(options, task_name)
        found = ranks.share(
            lambda: find_inputs(options, trained.task, without, report, earlier.root())
        )
        files, lost = found.images, found.failures
        trained.task.check_inputs(sorted(file.key for file in files), report)
        wanted = ranks.share(lambda: earlier.engine(options.engine))
        data = trained.task.source(files)
        engine = use_engine(wanted, trained, data, options.batch_size, ranks.share)
    job = _Job(options, trained, engine, files, lost, ranks, report)
    if not ranks.is_first:
        job.help(total)
        ranks.gather_first(engine.notes)
        return None
    count = count_inputs(found, trained.task.noun)
    with _held_folder(options, task_name, report) as out:
        report.say(f"{count} with {trained.path} ({trained.precision}, {engine.wanted})")
        if options.overwrite:
            clear(out)
        counts = job.run(out, total)
        notes = [note for notes in ranks.gather_first(engine.notes) for note in notes]
        counts.failed += write_videos(options, trained.task, found, out, report, ranks)
        sheet = None
        if options.contact_sheet:
            sheet = write_contact_sheet(trained, files, out, options.contact_sheet)
    paths = [entry.key for entry in files] + [one.path for one in lost]
    return _Done(out, trained, engine, notes, counts, total, paths, sheet)


def _report(options: Predict, task_name: str, report: Reporter, done: _Done) -> int:
    """Show the results; return the exit code."""
    results, counts = _Results(done.out, done.paths), done.counts
    answers = done.trained.task.answers()
    if len(results.paths) <= LISTED and not options.json:
        report.show(results.table(answers, done.trained.task.noun))
    elif counts.predicted and not options.json:
        report.say(answers.summary(done.total))
    for note in done.notes:
        report.warn(note)
    summary = f"{counts.predicted} predicted, {counts.failed} failed, {counts.skipped} skipped"
    report.say(f"{summary}; results in {done.out}")
    if options.json:
        lists = {"results": results.lines(), "failures": results.failures()}
        print_json(
            {"task": task_name, "command": "predict", "out": str(done.out)}
            | {"contact_sheet": None if done.sheet is None else str(done.sheet)}
            | {"counts": asdict(counts), "precision": done.trained.precision}
            | {"engine": done.engine.name},
            lists if options.json_results else {},
        )
    else:
        print_line(done.out)
    return 3 if counts.failed else 0


@dataclass(frozen=True)
class _Job:
    """What one of the processes does in a prediction.

    Attributes:
        options: of the command.
        trained: the model.
        engine: that it runs on.
        files: the inputs.
        lost: what could not be opened.
        ranks: the processes.
        report: for progress.
    """

    options: Predict
    trained: Trained
    engine: Engine
    files: Sequence[InputFile | VideoFrame]
    lost: Sequence[Failure]
    ranks: Ranks
    report: Reporter

    def run(self, out: Path, total: Counter[str]) -> Counts:
        """Predict into a prepared folder, in the first process; return the counts of all.

        Args:
            out: the folder.
            total: gets the tallies of the new results.
        """
        from cvkit.engine import predict as loop
        from cvkit.engine.journal import Journal

        about = _about(self.trained, replace(self.options, out=out), self.engine.wanted)
        about["root"] = root_of(self.files)
        journal = Journal(out, resume=self.options.resume, model=about["model"])
        with contextlib.closing(journal):
            storage.write_json(out / "predict.json", about)
            self.ranks.share(lambda: (out, journal.names))
            with self._working(journal.names, total) as work:
                if self.ranks.world == 1 and not journal.scattered:
                    return loop.predict(work, journal)
                return loop.predict_together(work, out, journal.names, journal)

    def help(self, total: Counter[str]) -> None:
        """Predict into the folder that the first process has prepared."""
        from cvkit.engine import predict as loop

        nothing: tuple[Path, dict[str, str | None]] = Path(), {}
        out, done = self.ranks.share(lambda: nothing)  # the first process makes it
        with self._working(done, total) as work:
            loop.predict_together(work, out, done, None)

    @contextlib.contextmanager
    def _working(self, done: Mapping[str, str | None], total: Counter[str]) -> Iterator[Work]:
        """Yield the work, given the names of what has been written."""
        from cvkit.engine import predict as loop
        from cvkit.output.names import output_names

        trained, tally = self.trained, self.trained.task.answers().tally
        keys = [file.key for file in self.files]
        known = {key: name for key, name in done.items() if name}
        with self.report.progress("predicting", len(keys)) as advance:
            if done:  # there may be results of other inputs too
                trained.task.check_inputs(sorted(done.keys() | set(keys)), self.report)
            yield loop.Work(
                task=trained.task,
                model=trained.model,
                files=self.files,
                fabric=trained.fabric,
                names=output_names([*done, *keys], known),
                batch_size=self.options.batch_size,
                workers=trained.workers,
                ranks=self.ranks,
                advance=advance,
                max_failures=self.options.max_failures,
                lost=self.lost,
                on_line=lambda line: total.update(tally(line)),
            )


def _check_flags(options: Predict, task_name: str) -> None:
    """Check what can be checked before anything is read.

    Raises:
        UsageError: flags that cannot be combined, or no input.
    """
    if not options.inputs:
        raise UsageError("no input given", code="inputs.missing", hint="give files or folders")
    if options.resume and options.overwrite:
        raise UsageError("--resume and --overwrite cannot be combined", code="out.resume")
    if options.resume and options.out is None:
        raise UsageError(
            "--resume needs --out",
            code="out.missing",
            hint="give the folder of the results to complete",
        )
    if options.json_results and not options.json:
        raise UsageError(
            "--json-results has no effect without --json", code="json.results", hint="add --json"
        )
    bare = getattr(options, "overlay", "png") == "none" and not saves_videos(options, task_name)
    if "contact_sheet" in options.given and bare:
        raise UsageError(
            "--contact-sheet shows overlays, and --overlay none writes none",
            code="sheet.overlay",
            hint="omit one of them",
        )
    for text in options.inputs:
        folder = Path(text)
        if options.out is not None and folder.is_dir() and _inside(folder, options.out):
            raise UsageError(
                f"--out {options.out} is the input folder {folder}, or contains it; files in the "
                "output folder are never read as inputs",
                code="out.input",
                hint="choose another --out",
            )
    require_effect(options)


def _inside(place: Path, folder: Path) -> bool:
    return place.resolve().is_relative_to(folder.resolve())


def _results_folders(options: Predict, task_name: str) -> list[Path]:
    """Return the folders of results, which are never searched for inputs."""
    if options.out is not None:
        return [options.out]
    folders = RUNS.glob(f"{task_name}-predict-*")
    named = [Path(text).absolute() for text in options.inputs]
    return [f for f in folders if not any(p.is_relative_to(f.absolute()) for p in named)]


@contextlib.contextmanager
def _held_folder(options: Predict, task_name: str, report: Reporter) -> Iterator[Path]:
    """Yield the locked folder of the results.

    Raises:
        UsageError: the folder is not empty, or in use by another process.
    """
    out = options.out or storage.new_numbered_folder(RUNS, f"{task_name}-predict")
    reuse = options.out is None or options.overwrite or options.resume
    with storage.output_folder(out, reuse=reuse, say=report.warn):
        yield out


def _about(trained: Trained, options: Predict, engine: str) -> dict[str, Any]:
    """Return the content of predict.json, including the facts about the model for scoring."""
    return {
        "model": trained.header["sha256"],
        "options": as_config(options),
        "precision": trained.precision,
        "engine": engine,
        "classes": trained.task.classes.as_json(),
        "labels": trained.header.get("labels", {}),
    }


class _Results:
    """The results of this command's inputs in a folder that may have others too.

    Args:
        folder: of the results.
        paths: of the inputs, in order.
    """

    def __init__(self, folder: Path, paths: Sequence[str]) -> None:
        self.folder, self.paths = folder, dict.fromkeys(paths)

    def lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of `predictions.jsonl`."""
        return self._own("predictions.jsonl")

    def failures(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of `failures.jsonl`."""
        return self._own("failures.jsonl")

    def _own(self, name: str) -> Iterator[dict[str, Any]]:
        from cvkit.output.records import read_lines

        return (line for line in read_lines(self.folder, name) if line["path"] in self.paths)

    def table(self, answers: Answers, what: str) -> Table:
        """Return a table with a row for each input; `what` names them."""
        blank = [""] * (len(answers.columns) - 1)
        rows = {line["path"]: answers.row(line) for line in self.lines()}
        rows |= {line["path"]: [f"failed: {line['reason']}", *blank] for line in self.failures()}
        shown = [[path, *rows[path]] for path in self.paths if path in rows]
        return table("", [what, *answers.columns], shown)
