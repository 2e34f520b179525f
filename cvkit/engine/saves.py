"""The tensor files of a training run: its models and its resume states."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn
from torch.optim import Optimizer

from cvkit.engine import checkpoint, optim
from cvkit.engine.evaluate import Measured
from cvkit.engine.freezing import Freezing
from cvkit.engine.optim import WeightAverage
from cvkit.engine.progress import Progress
from cvkit.errors import ModelFileError
from cvkit.model_files import read_model, unverified

LAST = "last.safetensors"
"""The model of the last epoch; a run without resume states continues from it."""


class Saves:
    """The tensor files of a run.

    Args:
        run: the run folder.
        header: of the model files; `metrics` and `training` are added.
        flags: of the run; a state is loaded only with those that it was saved with.
        fabric: the device, precision and processes; the first process writes.
        model: the network in training, without Fabric's wrapper.
        optimizer: over its parameters.
        average: of its weights, if used.
        freezing: the frozen layers.
    """

    def __init__(
        self,
        *,
        run: Path,
        header: dict[str, Any],
        flags: Mapping[str, object],
        fabric: Fabric,
        model: nn.Module,
        optimizer: Optimizer,
        average: WeightAverage | None,
        freezing: Freezing,
    ) -> None:
        self.run, self.header, self.flags, self.fabric = run, header, flags, fabric
        self.model, self.optimizer, self.average = model, optimizer, average
        self.freezing = freezing

    @property
    def measured(self) -> nn.Module:
        """The network that is evaluated and kept: the average if there is one."""
        return self.average.model if self.average else self.model

    def write_model(self, name: str, progress: Progress, measured: Measured) -> None:
        """Write the evaluated network into a file of the run folder."""
        if self.fabric.global_rank == 0:
            names = ("epoch", "step", "best", "best_epoch", "best_loss", "improved")
            training = {each: getattr(progress, each) for each in names}
            training |= {"val_loss": measured.loss}
            header = {**self.header, "metrics": measured.metrics, "training": training}
            checkpoint.save_model(self.run / name, self.measured.state_dict(), header)

    def save(self, progress: Progress) -> None:
        """Write the resume state."""
        if self.fabric.global_rank == 0:
            tensors = {
                "model": self.model.state_dict(),
                "optim": optim.optimizer_tensors(self.optimizer),
            }
            if self.average:
                tensors["ema"] = self.average.model.state_dict()
            state = {
                "progress": asdict(progress),
                "scaler": self.fabric.strategy.precision.state_dict(),
                "data": self.header["data"],
                "flags": dict(self.flags),
            }
            checkpoint.save_state(self.run, progress.step, tensors, state)
        self.fabric.barrier()

    def finish(self) -> None:
        """Remove the resume states of a finished run, whose last model has been written."""
        done = checkpoint.has_states(self.run) and (self.run / LAST).is_file()
        if self.fabric.global_rank == 0 and done:
            checkpoint.remove_states(self.run)

    @property
    def without_state(self) -> bool:
        """Whether the run can only continue from its last model, as finished runs do."""
        return not checkpoint.has_states(self.run) and (self.run / LAST).is_file()

    def restore(self, steps_per_epoch: int) -> tuple[Progress, list[str]]:
        """Load the newest intact state; return its progress, and why newer ones were skipped.

        Raises:
            ModelFileError: there is none, or it does not fit the model or the data.
        """
        tensors, state, rejected = checkpoint.load_state(self.run, self.header["data"])
        checkpoint.require_same_flags(self.run, state.get("flags", {}), self.flags)
        try:
            checkpoint.load_exactly(self.model, tensors["model"])
            step = state["progress"]["step"]
            untouched = self.freezing.untouched(step, steps_per_epoch)
            optim.load_optimizer_tensors(self.optimizer, tensors["optim"], step, untouched)
            if self.average:
                checkpoint.load_exactly(self.average.model, tensors["ema"])
            self.fabric.strategy.precision.load_state_dict(state["scaler"])
            progress = Progress(**state["progress"])
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"the save in {self.run} does not fit this model: {error}", code="resume.mismatch"
            ) from error
        return progress, rejected

    def begin_anew(self) -> tuple[Progress, list[str]]:
        """Load the model of the last epoch, with a fresh optimizer.

        Returns:
            Its progress, and notes on what cannot be verified.

        Raises:
            ModelFileError: it is damaged, has no history, or belongs to other data or flags.
        """
        tensors, header = read_model(self.run / LAST)
        checkpoint.require_same_data(self.run, header.get("data", {}), self.header["data"])
        checkpoint.require_same_flags(self.run, checkpoint.flags_of(self.run), self.flags)
        try:
            for model in {self.model, self.measured}:
                checkpoint.load_exactly(model, tensors)
            known = {k: v for k, v in header["training"].items() if k != "val_loss"}
            lines = (self.run / "metrics.jsonl").read_text().splitlines()[: known["epoch"]]
            if len(lines) < known["epoch"]:
                raise ValueError(f"metrics.jsonl ends after epoch {len(lines)}")
            notes = [note for note in [unverified(self.run / LAST)] if note]
            return Progress(**known, history=[json.loads(line) for line in lines]), notes
        except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise ModelFileError(
                f"{self.run} cannot continue from {LAST}: {error}",
                code="resume.mismatch",
                hint="start a new run from it with --weights",
            ) from error
