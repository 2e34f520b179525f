"""The training loop."""

import itertools
import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins import MixedPrecision
from torch import Tensor, nn

from cvkit.console import Reporter, number
from cvkit.engine import optim
from cvkit.engine.evaluate import Measured
from cvkit.engine.finite import FiniteChecks
from cvkit.engine.freezing import Freezing, rest_statistics
from cvkit.engine.loader import Loaded, load, only_batch
from cvkit.engine.progress import Log, Progress, Settings
from cvkit.engine.ranks import Ranks
from cvkit.engine.runtime import StopSignal
from cvkit.engine.sampler import STEP_SEED, batch_plan, batch_sizes
from cvkit.engine.saves import LAST, Saves
from cvkit.engine.validation import Validation
from cvkit.engine.workers import KeptWorkers, Key
from cvkit.errors import Interrupted, UsageError
from cvkit.ops.seeds import key_seed
from cvkit.storage import write_file
from cvkit.structures import Batch
from cvkit.tasks.contract import Dataset, Grouped, Task
from cvkit.texts import counted

LATER = 10
"""Steps after which a GPU's numbers are read; waiting for them at each step would leave it idle."""


class Trainer:
    """One training run, from its current state to its end.

    Args:
        task: the problem.
        model: freshly built or restored; moved to the device by `fabric`.
        data: training and validation samples, and the training samples preprocessed as for
            evaluation.
        settings: how to train.
        freezing: the frozen layers.
        run: the run folder.
        header: of the model files to write; `metrics` and `training` are added.
        flags: of the run, as far as they stay as they are when it is resumed.
        fabric: device, precision and processes.
        workers: decoding processes.
        reporter: for progress.
        stop: asks to stop.
        ranks: the processes that train together.
    """

    def __init__(
        self,
        *,
        task: Task,
        model: nn.Module,
        data: tuple[Dataset, Dataset, Dataset],
        settings: Settings,
        freezing: Freezing,
        run: Path,
        header: dict[str, Any],
        flags: Mapping[str, object],
        fabric: Fabric,
        workers: int,
        reporter: Reporter,
        stop: StopSignal,
        ranks: Ranks,
    ) -> None:
        self.task, self.settings, self.run = task, settings, run
        self.train_data = data[0]
        self.kept = KeptWorkers()
        self.validation = Validation(
            task=task,
            data=data[1:],
            fabric=fabric,
            batch_size=settings.batch_size,
            workers=workers,
            reporter=reporter,
            stop=stop,
            ranks=ranks,
            kept=self.kept,
        )
        self.freezing = freezing
        self.groups = data[0].groups() if isinstance(data[0], Grouped) else None
        self.fabric, self.workers, self.reporter, self.stop = fabric, workers, reporter, stop
        model = fabric.to_device(model)  # Adagrad creates its states immediately
        # Fabric cannot clip the gradients of a fused optimizer under the scaler of fp16.
        precision = fabric.strategy.precision
        self.scaled = isinstance(precision, MixedPrecision) and precision.scaler is not None
        numbers = settings.lr, settings.weight_decay, settings.momentum
        optimizer = optim.make_optimizer(model, settings.optimizer, *numbers, fused=not self.scaled)
        self.fused = bool(optimizer.defaults.get("fused"))  # it can leave out a step by itself
        self.every = LATER if self.fused else 1
        self.checks, self.unread = FiniteChecks(fabric), list[dict[str, Tensor]]()
        self.model, self.optimizer = fabric.setup(model, optimizer)
        self.average = optim.WeightAverage(self.bare, settings.ema) if settings.ema else None
        self.saves = Saves(
            run=run,
            header=header,
            flags=flags,
            fabric=fabric,
            model=self.bare,
            optimizer=self.optimizer,
            average=self.average,
            freezing=freezing,
        )
        self.progress = Progress()
        self.sizes = batch_sizes(len(self.train_data), settings, fabric.world_size)
        self.steps_per_epoch = math.ceil(len(self._plan(0)) / settings.accumulate)
        self.total_steps = self.steps_per_epoch * settings.epochs

    @property
    def bare(self) -> nn.Module:
        """The network itself, without Fabric's wrapper."""
        return self.model.module

    def _plan(self, epoch: int) -> list[list[Key]]:
        world, rank = self.fabric.world_size, self.fabric.global_rank
        return batch_plan(len(self.train_data), epoch, self.settings, rank, world, self.groups)

    def fit(self, log: Log | None = None) -> None:
        """Train until the last epoch, early stopping, or a signal.

        Args:
            log: is told of steps and epochs.

        Raises:
            Interrupted: a signal came; the state is saved.
            TrainingDiverged: a number became non-finite; the last save is intact.
            DataError: an image could not be read.
        """
        self._saved_at, self._save_seconds, self.log = time.monotonic(), 0.0, log
        if not self.progress.step:
            self.save()  # from here on the run can be resumed after a kill at any moment
        with self.kept:
            while self.progress.epoch < self.settings.epochs and not self._out_of_patience():
                seconds = self._train_epoch()
                self._validate(seconds)

    def _out_of_patience(self) -> bool:
        waited = self.progress.epoch - self.progress.improved
        return bool(self.settings.patience) and waited >= self.settings.patience

    def _train_epoch(self) -> float:
        """Do the remaining steps of the current epoch; return the seconds they took."""
        progress, settings = self.progress, self.settings
        plan = self._plan(progress.epoch)[progress.position * settings.accumulate :]
        self.freezing.apply(progress.epoch)
        self.model.train()
        rest_statistics(self.bare)
        started, done = time.monotonic(), 0
        images = len(plan[0]) * settings.accumulate * self.fabric.world_size if plan else 0
        title = f"epoch {progress.epoch + 1}/{settings.epochs}"
        loading = load(self.train_data, plan, self.workers, self.kept)
        showing = self.reporter.progress(title, self.steps_per_epoch)
        with loading as loaded, showing as advance:
            batches = self._batches(loaded)
            while progress.position < self.steps_per_epoch:
                self._try_step(list(itertools.islice(batches, settings.accumulate)))
                progress.position += 1
                progress.step += 1
                done += 1
                if progress.step % self.every and progress.position < self.steps_per_epoch:
                    continue
                loss = self._read_losses()
                if self.log:
                    rate = self.optimizer.param_groups[0]["lr"]
                    self.log.step(progress.step, loss, rate)
                rate = done * images / (time.monotonic() - started)
                shown = f"loss {loss:.3f} lr {self.lr():.2e} {rate:.0f} img/s"
                advance(progress.position, shown)
                self._save_if_asked()
        return time.monotonic() - started

    def _batches(self, loaded: Loaded) -> Iterator[Batch]:
        for items in loaded:
            yield only_batch(items).to(self.fabric.device)

    def lr(self) -> float:
        """Return the learning rate of the next step."""
        warmup = round(self.settings.warmup_epochs * self.steps_per_epoch)
        steps = self.progress.step, self.total_steps, warmup
        factor = optim.lr_factor(self.settings.schedule, *steps, self.settings.epochs)
        return self.settings.lr * factor

    def _try_step(self, batches: list[Batch]) -> None:
        """Make one update; if that fails, an earlier number that was not finite may be why."""
        try:
            self.unread.append(self._step(batches))
        except Exception:
            self.checks.require(together=False)
            raise

    def _step(self, batches: list[Batch]) -> dict[str, Tensor]:
        """Make one update from the gradients of some batches; return this process's loss terms.

        Every sample in the step has the same weight, whatever the size of its batch.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr()
        self.optimizer.zero_grad()
        sums: dict[str, Tensor] = {}
        world, accumulate = self.fabric.world_size, self.settings.accumulate
        first = self.progress.position * accumulate * world
        samples = sum(self.sizes[first : first + accumulate * world])
        for position, batch in enumerate(batches):
            micro = self.progress.step * accumulate + position  # counted in all processes:
            micro = micro * world + self.fabric.global_rank
            torch.manual_seed(key_seed(STEP_SEED, self.settings.seed, micro))
            last = position == len(batches) - 1
            with self.fabric.no_backward_sync(self.model, enabled=not last):
                terms = self.task.loss(self.model, batch)
                terms |= optim.penalties(self.bare, self.settings.l1, self.settings.l2)
                self.checks.loss(terms, batch, self.progress.step + 1)
                if self.every == 1:
                    self.checks.require()
                share = len(batch) * world / samples  # gradients are averaged over processes
                self.fabric.backward(optim.total(terms) * share)
            for name, value in terms.items():
                part = value.detach() * share
                sums[name] = sums[name] + part if name in sums else part
        self._clip(batches)
        self.optimizer.step()
        if self.average:
            self.average.update(self.bare, self.progress.step)
        return sums

    def _read_losses(self) -> float:
        """Wait for the device: check the steps since the last call, and sum up their losses.

        Returns:
            The loss of the last step.

        Raises:
            TrainingDiverged: a number of one of them is not finite.
        """
        self.checks.require()
        means = torch.cat([torch.stack(list(terms.values())) for terms in self.unread])
        values = iter(torch.as_tensor(self.fabric.all_reduce(means)).tolist())
        loss, sums = math.nan, self.progress.sums
        for terms in self.unread:
            found = {name: next(values) for name in terms}
            for name, value in found.items():
                sums[name] = sums.get(name, 0.0) + value
            loss = sum(found.values())
        self.unread.clear()
        return loss

    def _clip(self, batches: list[Batch]) -> None:
        limit = self.settings.clip_grad or math.inf
        norm = self.fabric.clip_gradients(
            self.model, self.optimizer, max_norm=limit, error_if_nonfinite=False
        )
        # The scaler of fp16 skips steps whose scaled gradient overflowed, and lowers the scale.
        if not self.scaled:
            self.checks.gradient(torch.as_tensor(norm), batches, self.progress.step + 1)
            if self.fused:
                inner = self.optimizer.optimizer
                inner.found_inf = self.checks.skip  # as a scaler would set it
            if self.every == 1:
                self.checks.require(together=False)  # the norm is the same in all processes

    def _save_if_asked(self) -> None:
        """Save if any process received a signal, or the save interval has passed."""
        due = time.monotonic() - self._saved_at >= 60 * self.settings.save_minutes
        signal_number, due_anywhere = self.stop.number, due
        if self.fabric.world_size > 1:
            flags = torch.tensor([signal_number, due], device=self.fabric.device)
            torch.distributed.all_reduce(flags, torch.distributed.ReduceOp.MAX)
            signal_number, due_anywhere = flags.tolist()
        if signal_number or due_anywhere:
            self.save()
        if signal_number:
            raise Interrupted(
                f"stopped in epoch {self.progress.epoch + 1}, step {self.progress.step}; saved",
                signal_number=signal_number,
                hint=f"continue with: --resume {self.run}",
            )

    def _validate(self, seconds: float) -> None:
        """Validate, keep the model if it is the best one, and finish the epoch."""
        progress, settings = self.progress, self.settings
        started = time.monotonic()
        measured = self.measure(self.saves.measured)
        better = progress.finish_epoch(self.steps_per_epoch, self.lr(), measured, self.task.best)
        if better and settings.keep == "best":
            self.saves.write_model("best.safetensors", progress, measured)
        if self.fabric.global_rank == 0:
            lines = "".join(json.dumps(line) + "\n" for line in progress.history)
            write_file(self.run / "metrics.jsonl", lines)
            if self.log:
                self.log.epoch(progress.history[-1], self.saves.measured)
        # If epochs are short, saving after each would take most of the time.
        waited = time.monotonic() - self._saved_at >= 10 * self._save_seconds
        first_or_last = progress.epoch in (1, settings.epochs) or self._out_of_patience()
        if self.fabric.broadcast(first_or_last or waited):
            self.save(measured)
        name, train = self.task.best, number(measured.train)
        self.reporter.say(
            f"epoch {progress.epoch}/{settings.epochs}  "
            f"loss {progress.history[-1]['loss']:.4f}, validation {number(measured.loss)}  "
            f"{name} {number(measured.metrics[name])}{' *' if better else ''}, training {train}  "
            f"train {seconds:.1f} s, validation {time.monotonic() - started:.1f} s"
        )

    def measure(self, network: nn.Module) -> Measured:
        """Return the measurements of a network on the validation split; see `Validation`."""
        try:
            return self.validation.measure(network)
        except Interrupted:
            self._save_if_asked()
            raise

    def save(self, measured: Measured | None = None) -> None:
        """Write the resume state and, after an evaluated epoch, its model."""
        started = time.monotonic()
        if measured:
            self.saves.write_model(LAST, self.progress, measured)
        self.saves.save(self.progress)
        self._saved_at = time.monotonic()
        self._save_seconds = self._saved_at - started

    def restore(self) -> list[str]:
        """Continue from the last save; return notes for the user.

        Raises:
            ModelFileError: there is none, or it does not fit the model or the data.
            UsageError: more epochs are done than `--epochs` asks for.
        """
        fresh = self.saves.without_state
        if fresh:
            self.progress, notes = self.saves.begin_anew()
        else:
            self.progress, rejected = self.saves.restore(self.steps_per_epoch)
            notes = [f"skipped a damaged save: {reason}" for reason in rejected]
        done, wanted = self.progress.epoch, self.settings.epochs
        if done > wanted:
            raise UsageError(
                f"--epochs {wanted}: {self.run} already has {counted(done, 'epoch')}",
                code="resume.epochs",
                hint="give a larger number, or omit --epochs",
            )
        if done < wanted and fresh:
            notes.append(
                f"no resume state was kept (--keep-states): training continues from {LAST} with "
                "a fresh optimizer"
            )
        if done < wanted and self._out_of_patience():
            notes.append(
                f"--patience {self.settings.patience} is used up, so no epoch follows; a larger "
                "value, or 0, lets the run continue"
            )
        return notes
