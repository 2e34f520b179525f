"""Predict images or videos into a folder."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands.printing import print_json
from cvkit.config import as_config
from cvkit.console import Reporter, print_line, table
from cvkit.errors import UsageError
from cvkit.options.base import ENGINES, RUNS, Predict
from cvkit.tasks.inference_flags import require_effect
from cvkit.texts import counted, read_json

if TYPE_CHECKING:
    from rich.table import Table

    from cvkit.data.files import InputFile
    from cvkit.engine.predict import Counts
    from cvkit.structures import Failure
    from cvkit.tasks.contract import Answers
    from cvkit.tasks.trained import Trained

LISTED = 20
"""Maximum number of inputs whose results are shown one by one; for more there is a summary."""


def predict(options: Predict, task_name: str) -> int:
    """Predict images or videos into a folder."""
    from cvkit.data.files import list_inputs
    from cvkit.engine import runtime
    from cvkit.tasks.engine_choice import use_engine
    from cvkit.tasks.sheets import SHEET, write_contact_sheet
    from cvkit.tasks.trained import load_trained

    report = Reporter(options.quiet)
    _check_flags(options)
    lost: list[Failure] = []
    total: Counter[str] = Counter()
    runtime.keep_memory()
    with runtime.stop_signals() as stop:
        with stop.at_once():
            trained = load_trained(options.weights, options, task_name)
            without, walk = _results_folders(options, task_name), trained.task.walk
            files = list_inputs(options.inputs, without, walk, lost)
            trained.task.check_inputs(sorted(file.key for file in files), report)
            engine = use_engine(
                _engine(options), trained, trained.task.source(files), options.batch_size
            )
        what = trained.task.noun
        count = counted(len(files), what.removesuffix("s"))
        with _held_folder(options, task_name, report) as out:
            options = replace(options, out=out)
            report.say(f"{count} with {trained.path} ({trained.precision}, {engine.wanted})")
            if options.overwrite:  # of other results
                (out / SHEET).unlink(missing_ok=True)
            more = {"stop": stop, "lost": lost}
            counts = _run(options, out, trained, files, report, total, engine.wanted, **more)
            sheet = None
            if options.contact_sheet:
                sheet = write_contact_sheet(trained, files, out, options.contact_sheet)
    results = _Results(out, [entry.key for entry in files] + [one.path for one in lost])
    answers = trained.task.answers()
    if len(results.paths) <= LISTED and not options.json:
        report.show(results.table(answers, what))
    elif counts.predicted and not options.json:
        report.say(answers.summary(total))
    for note in engine.notes:
        report.warn(note)
    summary = f"{counts.predicted} predicted, {counts.failed} failed, {counts.skipped} skipped"
    report.say(f"{summary}; results in {out}")
    if options.json:
        lists = {"results": results.lines(), "failures": results.failures()}
        print_json(
            {"task": task_name, "command": "predict", "out": str(out)}
            | {"contact_sheet": None if sheet is None else str(sheet)}
            | {"counts": asdict(counts), "precision": trained.precision, "engine": engine.name},
            lists if options.json_results else {},
        )
    else:
        print_line(out)
    return 3 if counts.failed else 0


def _run(
    options: Predict,
    out: Path,
    trained: Trained,
    files: Sequence[InputFile],
    report: Reporter,
    total: Counter[str],
    engine: str,
    **more: Any,
) -> Counts:
    """Predict into a prepared folder; return the counts.

    Args:
        options: of the command.
        out: the folder.
        trained: the model.
        files: the inputs.
        report: for progress.
        total: gets the tallies of the new results.
        engine: that the network runs on.
        more: further arguments of `cvkit.engine.predict.predict`.
    """
    from cvkit.engine import predict as loop
    from cvkit.output.names import output_names

    about, tally = _about(trained, options, engine), trained.task.answers().tally
    journal = loop.Journal(out, resume=options.resume, model=about["model"])
    storage.write_json(out / "predict.json", about)
    keys = [file.key for file in files]
    known = {key: name for key, name in journal.names.items() if name}
    with contextlib.closing(journal), report.progress("predicting", len(files)) as advance:
        if journal.names:  # there may be results of other inputs too
            trained.task.check_inputs(sorted(journal.names.keys() | set(keys)), report)
        return loop.predict(
            trained.task,
            trained.model,
            files,
            journal,
            trained.fabric,
            names=output_names([*journal.names, *keys], known),
            batch_size=options.batch_size,
            workers=trained.workers,
            advance=advance,
            max_failures=options.max_failures,
            on_line=lambda line: total.update(tally(line)),
            **more,
        )


def _check_flags(options: Predict) -> None:
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
    if "contact_sheet" in options.given and getattr(options, "overlay", "png") == "none":
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


def _engine(options: Predict) -> str:
    """Return `--engine`; what is resumed runs on the engine that it began on, for equal bits."""
    about = options.out / "predict.json" if options.resume and options.out else None
    if options.engine != "auto" or about is None or not about.is_file():
        return options.engine
    content = read_json(about)
    name = content.get("engine") if isinstance(content, dict) else None
    return str(name) if name in ENGINES else "auto"


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
