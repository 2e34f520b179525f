"""Train a model."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import catalog, storage
from cvkit.commands.printing import print_json
from cvkit.commands.training_report import report_on_training
from cvkit.config import as_config, update_config
from cvkit.console import Cell, Reporter, number, print_line, table
from cvkit.early import global_rank
from cvkit.engine.processes import with_layout
from cvkit.errors import UsageError
from cvkit.options.base import Train
from cvkit.texts import counted

if TYPE_CHECKING:
    from torch import nn

    from cvkit.engine.progress import Progress, Settings
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
    report = Reporter(options.quiet)
    options = with_layout(options)
    if options.find_lr:
        from cvkit.commands.find_lr import find_lr

        return find_lr(options, task_name, report)
    done = run_training(options, task_name, report)
    if not done.is_main:
        return 0
    best = done.progress.kept(options.keep) | (done.final or {})
    rows = [[name, number(value)] for name, value in best.items() if name in done.task.metric_names]
    report.show(table(f"{options.keep} epoch: {best['epoch']}", ["metric", "value"], rows))
    report.say(f"model: {done.run / f'{options.keep}.safetensors'}")
    if options.json:
        print_json({"task": task_name, "command": "train", "run": str(done.run), "best": best})
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
        try:
            trainer.fit()
            final = run_post_fits(trainer, job.data[2])
        finally:
            if is_main and progress.history:
                write_curves(run / "curves.png", progress.history, job.task.best)
        if not options.keep_states:
            trainer.saves.finish()
        if options.report and is_main:
            report_on_training(options, task_name, run, report, stop)
    return Outcome(run, job.task, progress, is_main, final)


def held_run(run: Path, report: Reporter) -> contextlib.AbstractContextManager[None]:
    """Lock a run folder; of several training processes, only the first one does."""
    if global_rank():
        return contextlib.nullcontext()
    return storage.held(run, report.warn)


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


class TrainingJob:
    """A training run during its setup."""

    def __init__(self, options: Train, task_name: str, report: Reporter) -> None:
        from cvkit.engine import runtime
        from cvkit.tasks.train_flags import require_names, require_sense

        self.options, self.task_name, self.report = options, task_name, report
        if not options.resume:
            require_sense(options)
            storage.require_writable(options.out)
        elif options.check:
            raise UsageError(
                "--check tests a network before its first step, and --resume continues after it",
                code="check.resume",
                hint="omit one of them",
            )
        require_names(options, task_name)
        runtime.keep_memory()
        self.device, self.precision = runtime.choose(options.device, options.precision)
        if options.unfreeze_at and options.devices * options.nodes > 1:
            raise UsageError(
                "--unfreeze-at works with one process only",
                code="freeze.devices",
                hint="use --devices 1, or two runs, the second with --pretrained FILE",
            )

    @contextlib.contextmanager
    def joined(self, stop: StopSignal) -> Iterator[None]:
        """Let all processes of the run work together inside the block."""
        from cvkit.engine import processes, ranks, runtime

        started = processes.start(self.options)
        with ranks.joined(started, stop, self.device) as self.ranks:
            self.fabric = runtime.make_fabric(self.device, started.layout, self.precision)
            if not self.ranks.is_first:
                self.report.hush()
            self.workers = runtime.choose_workers(self.options.workers, self.device)
            yield

    def prepare(self) -> None:
        """Read the data and build the network; all errors in them are reported here."""
        import torch

        from cvkit.engine.freezing import Freezing
        from cvkit.engine.norms import require_company, rest_where_alone
        from cvkit.engine.sampler import MODEL_SEED, describe_epoch
        from cvkit.models.layers import initialise
        from cvkit.ops.seeds import key_seed
        from cvkit.tasks.continued import read_start, take_over
        from cvkit.tasks.train_flags import idle_words

        options, start = read_start(self.options, self.task_name)
        self.options = options
        self.task: Task = catalog.resolve(catalog.TASKS[self.task_name]).for_training(
            options, self.report
        )
        if start:
            self.task = self.task.adopting(start.header)
        self.settings = _settings(options, self.task)
        for line in [] if options.resume else idle_words(options, self.settings.optimizer):
            self.report.warn(line)
        if options.check and self.task.gradient_free:
            raise UsageError(
                "--check needs a model that is trained in steps", code="check.unsupported"
            )
        torch.manual_seed(key_seed(MODEL_SEED, options.seed))
        model = self.task.build()
        if not options.resume:
            initialise(model, options.init)
            if start:
                take_over(start, self.task, model, self.report)
            else:
                self.task.load_pretrained(model, options, self.report)
        self.task.freeze(model, options)
        self.freezing = Freezing(
            model, _resting_layers(options, self.task, model), options.unfreeze_at
        )
        if options.channels_last != "off":
            model = model.to(memory_format=self.task.weight_format)
        self.model = model
        val = self.task.dataset(options.val_split, training=False)
        same = options.train_split == options.val_split
        seen = val if same else self.task.dataset(options.train_split, training=False)
        self.data = (self.task.dataset(options.train_split, training=True), val, seen)
        if not self.task.gradient_free:
            require_company(self.task, model, self.data[0], self.settings, self.ranks.world)
            rest_where_alone(model)
            count, world = len(self.data[0]), self.fabric.world_size
            self.report.say(describe_epoch(count, self.settings, world))

    def run_folder(self) -> Path:
        """Return the run folder; a new one gets its configuration and environment."""
        if self.options.resume:
            storage.remove_temporaries(self.options.resume)
            return self.options.resume
        from cvkit.engine import runtime
        from cvkit.yaml_files import dump_yaml

        run = None
        if self.fabric.global_rank == 0:
            stem = f"{self.task_name}-{self.task.network.arch}"
            run = storage.new_numbered_folder(self.options.out, stem)
            storage.write_file(run / "config.yaml", dump_yaml(as_config(self.options)))
            about = runtime.environment(self.fabric)
            about["preprocessing"] = self.task.header(self.options)["preprocessing"]
            storage.write_json(run / "environment.json", about)
        return Path(self.fabric.broadcast(str(run)))

    def announce(self, run: Path) -> None:
        """Report what is going to be trained."""
        network, settings = self.task.network, self.settings
        names = dict.fromkeys(name for name in (network.arch, network.backbone) if name)
        parameters = sum(p.numel() for p in self.model.parameters())
        self.report.say(
            f"model: {', '.join(names)}, {parameters:,} parameters; "
            f"{self.fabric.world_size} x {self.device.type}, {self.precision}, "
            f"{settings.optimizer} lr {settings.lr:g}; run: {run}"
        )

    def trainer(self, run: Path, stop: StopSignal) -> Trainer:
        """Return the training loop, at its first step."""
        from cvkit.engine.train import Trainer

        return Trainer(
            task=self.task,
            model=self.model,
            data=self.data,
            settings=self.settings,
            freezing=self.freezing,
            run=run,
            header=self.task.header(self.options),
            fabric=self.fabric,
            workers=self.workers,
            reporter=self.report,
            stop=stop,
            ranks=self.ranks,
        )

    def memorise(self, run: Path, stop: StopSignal) -> Progress:
        """Pass the data to a gradient-free model."""
        from cvkit.engine.memorise import memorise

        return memorise(
            self.task,
            self.model,
            self.data[:2],
            path=run / self.settings.model_file,
            header=self.task.header(self.options),
            fabric=self.fabric,
            batch_size=self.options.batch_size,
            workers=self.workers,
            reporter=self.report,
            stop=stop,
        )


def _resting_layers(options: Train, task: Task, model: nn.Module) -> str:
    """Return the names of the layers that `--freeze` and `--freeze-backbone` select.

    Raises:
        UsageError: the network has no backbone.
    """
    if not options.freeze_backbone:
        return options.freeze
    names, body = [name for name, _ in model.named_parameters()], task.body(model)
    if not any(name.startswith(f"{body}.") for name in names):
        parts = dict.fromkeys(name.partition(".")[0] for name in names)
        raise UsageError(
            f"--freeze-backbone: --arch {task.network.arch} has no backbone",
            code="freeze_backbone.unsupported",
            hint=f"use --freeze with its layers: {', '.join(parts)}",
        )
    return f"{options.freeze},{body}"


def _settings(options: Train, task: Task) -> Settings:
    """Return the engine's settings from the flags and the task's defaults."""
    from cvkit.engine.progress import Settings

    names = {field.name for field in dataclasses.fields(Settings)} - {"min_batch"}
    chosen = {name: getattr(options, name) for name in names}
    for name, default in task.recipe(options).items():
        if chosen[name] in (None, "auto"):
            chosen[name] = default
    return Settings(**chosen, min_batch=task.min_batch)


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
