"""Train a model."""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands.find_lr import find_lr
from cvkit.commands.printing import print_json
from cvkit.commands.training_folds import ALL, train_folds
from cvkit.commands.training_job import TrainingJob, held_run
from cvkit.commands.training_report import report_on_training
from cvkit.config import update_config
from cvkit.console import Cell, Reporter, number, print_line, table
from cvkit.engine.processes import with_layout
from cvkit.errors import UsageError
from cvkit.options.base import Train
from cvkit.texts import counted

if TYPE_CHECKING:
    from cvkit.engine.progress import Progress
    from cvkit.engine.runtime import StopSignal
    from cvkit.engine.train import Trainer
    from cvkit.tasks.contract import Task


@dataclass(frozen=True)
class Outcome:
    """The outcome of a training; `is_main` in the process that reports.

    `final` are the metrics after the post-fits, if the task has any.
    """

    run: Path
    task: Task
    progress: Progress
    is_main: bool
    final: dict[str, Any] | None = None


def train(options: Train, task_name: str) -> int:
    """Train a model in a new run folder, or continue one; or only test learning rates."""
    from cvkit.engine.curve_reading import read_curves

    report = Reporter(options.quiet)
    options = with_layout(options)
    if options.fold == ALL:
        return train_folds(options, task_name, report, run_training)
    if options.find_lr:
        return find_lr(options, task_name, report)
    done = run_training(options, task_name, report)
    if not done.is_main:
        return 0
    best = done.progress.kept(options.keep) | (done.final or {})
    rows = [[name, number(value)] for name, value in best.items() if name in done.task.metric_names]
    report.show(table(f"{options.keep} epoch: {best['epoch']}", ["metric", "value"], rows))
    found = read_curves(done.progress.history, done.task.best)
    if found:
        report.say(found.sentence())
    report.say(f"model: {done.run / f'{options.keep}.safetensors'}")
    if options.json:
        content = {"task": task_name, "command": "train", "run": str(done.run), "best": best}
        print_json(content | {"curves": dataclasses.asdict(found) if found else None})
    else:
        print_line(done.run)
    return 0


def run_training(
    options: Train, task_name: str, report: Reporter, stop: StopSignal | None = None
) -> Outcome:
    """Train and return the outcome.

    Args:
        options: of the task's train command.
        task_name: key of `catalog.TASKS`.
        report: for progress.
        stop: the caller's signal handler; None installs one.
    """
    from cvkit.engine import runtime
    from cvkit.engine.post_fit import run_post_fits
    from cvkit.output.curves import write_curves

    signals = runtime.stop_signals() if stop is None else contextlib.nullcontext(stop)
    with signals as stop, contextlib.ExitStack() as holding:
        if options.resume:
            holding.enter_context(held_run(options.resume, report))
        with stop.at_once():
            job = TrainingJob(options, task_name, report)
            holding.enter_context(job.joined(stop))
            job.prepare()
        run = job.run_folder()
        if not options.resume:
            holding.enter_context(held_run(run, report))
        job.announce(run)
        if options.check and not options.resume and job.fabric.global_rank == 0:
            with stop.at_once():
                _check(job, run)
        if job.task.gradient_free:
            memorised = job.memorise(run, stop)
            if options.report:
                report_on_training(options, task_name, run, report, stop)
            return Outcome(run, job.task, memorised, True)
        trainer = job.trainer(run, stop)
        if options.resume:
            _resume(trainer, options, report)
        progress, is_main = trainer.progress, job.fabric.global_rank == 0
        log = holding.enter_context(job.logged(run, progress)) if is_main else None
        try:
            trainer.fit(log)
            final = run_post_fits(trainer, job.data[2])
        finally:
            if is_main and progress.history:
                write_curves(run / "curves.png", progress.history, job.task.best)
        if not options.keep_states:
            trainer.saves.finish()
        page = None
        if options.report and is_main:
            page = report_on_training(options, task_name, run, report, stop)
        if log:
            log.final(progress.kept(options.keep) | (final or {}), page)
    return Outcome(run, job.task, progress, is_main, final)


def _resume(trainer: Trainer, options: Train, report: Reporter) -> None:
    """Continue a run from its save, report it, and update its config.yaml."""
    for note in trainer.restore():
        report.warn(note)
    progress, run = trainer.progress, trainer.run
    report.say(f"resuming {run} at step {progress.step}")
    changed = update_config(run / "config.yaml", options) if trainer.fabric.global_rank == 0 else {}
    if progress.epoch == options.epochs:
        done = "the epoch is" if options.epochs == 1 else f"all {options.epochs} epochs are"
        report.say(f"{done} done; a larger --epochs extends the run")
    elif "epochs" in changed:
        report.say(
            f"epochs: {changed['epochs'][0]} -> {options.epochs}, {progress.epoch} done; from "
            f"here on the learning rate follows --schedule {trainer.settings.schedule} over "
            f"{counted(options.epochs, 'epoch')}, now {trainer.lr():.2e}"
        )


def _check(job: TrainingJob, run: Path) -> None:
    """Run the sanity checks, show and store their results."""
    from cvkit.engine.checks import run_checks
    from cvkit.tasks.contract import Checkable

    if not isinstance(job.task, Checkable):
        raise UsageError(
            f"--check: {job.task.name} has no checks", code="check.unsupported", hint="omit it"
        )

    with job.report.progress("checking the network", 6) as advance:
        checks = run_checks(
            job.task, job.model, job.data[0], job.settings, job.fabric, job.workers, advance
        )
    rows: list[list[Cell]] = [
        [c.name, "pass" if c.passed else "FAIL", c.found, c.meaning] for c in checks
    ]
    job.report.show(table("checks", ["check", "result", "found", "meaning of a failure"], rows))
    storage.write_json(run / "checks.json", [dataclasses.asdict(check) for check in checks])
    failed = [check.name for check in checks if not check.passed]
    if failed:
        job.report.warn(f"{len(failed)} of {len(checks)} checks failed: {', '.join(failed)}")
