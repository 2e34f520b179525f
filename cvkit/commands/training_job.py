"""The preparation of a training: data, network, device and processes."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cvkit import catalog, storage
from cvkit.config import as_config, settled_flags
from cvkit.console import Reporter
from cvkit.early import global_rank
from cvkit.errors import UsageError
from cvkit.options.base import Train
from cvkit.options.logs import parse_log

if TYPE_CHECKING:
    from torch import nn

    from cvkit.engine.progress import Progress, Settings
    from cvkit.engine.runtime import StopSignal
    from cvkit.engine.train import Trainer
    from cvkit.loggers.recorder import Recorder
    from cvkit.tasks.contract import Task


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
        self.logs = parse_log(options.log)
        runtime.keep_memory()
        self.device, self.precision = runtime.choose(options.device, options.precision)
        if options.compile:
            from cvkit.models.compiled import require_compiler

            require_compiler(self.device)
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
        from cvkit.tasks.normalisation import normalised
        from cvkit.tasks.train_flags import idle_words

        options, start = read_start(self.options, self.task_name)
        self.options = options
        self.task: Task = catalog.resolve(catalog.TRAININGS[self.task_name]).for_training(
            options, self.report
        )
        if start:
            self.task = self.task.adopting(start.header)
        self.task = normalised(self.task, options, self.report)
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
        if options.checkpoint_gradients and not self.task.gradient_free:
            _recompute(self.task, model)
        if options.compile and not self.task.gradient_free:
            from cvkit.models.compiled import compile_training

            compile_training(self.task.recomputable(model), self.report.warn)
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
            about["flags"] = settled_flags(self.options)
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
            flags=settled_flags(self.options),
            fabric=self.fabric,
            workers=self.workers,
            reporter=self.report,
            stop=stop,
            ranks=self.ranks,
        )

    @contextlib.contextmanager
    def logged(self, run: Path, progress: Progress) -> Iterator[Recorder | None]:
        """Yield what passes the training to the programs of `--log`; None without any.

        Args:
            run: the run folder.
            progress: of the run, restored.
        """
        if not self.logs:
            yield None
            return
        from cvkit.loggers.contract import Run
        from cvkit.loggers.recorder import Recorder
        from cvkit.loggers.showing import Shown

        config, history = as_config(self.options), tuple(progress.history)
        about = Run(run, progress.step, config, history, self.options.offline)
        shown = Shown(self.task, self.data[1], self.fabric)
        recorder = Recorder(self.logs, about, shown, self.report)
        try:
            yield recorder
        finally:
            recorder.close()

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


def _recompute(task: Task, model: nn.Module) -> None:
    """Let a network compute the activations of its blocks again for the gradients.

    Raises:
        UsageError: it has no blocks.
    """
    from cvkit.models.recompute import recompute

    body = task.body(model)
    opened = [part for name, part in model.named_modules() if name == body]
    if not recompute(task.recomputable(model), opened):
        raise UsageError(
            f"--checkpoint-gradients: --arch {task.network.arch} has no block of several layers",
            code="checkpoint_gradients.unsupported",
            hint="omit it",
        )


def _settings(options: Train, task: Task) -> Settings:
    """Return the engine's settings from the flags and the task's defaults."""
    from cvkit.engine.progress import Settings

    names = {field.name for field in dataclasses.fields(Settings)} - {"min_batch"}
    chosen = {name: getattr(options, name) for name in names}
    for name, default in task.recipe(options).items():
        if chosen[name] in (None, "auto"):
            chosen[name] = default
    return Settings(**chosen, min_batch=task.min_batch)


def held_run(run: Path, report: Reporter) -> contextlib.AbstractContextManager[None]:
    """Lock a run folder; of several training processes, only the first one does."""
    if global_rank():
        return contextlib.nullcontext()
    return storage.held(run, report.warn)
