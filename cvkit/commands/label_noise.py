"""Candidates for wrong labels: what a trained model confidently predicts otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cvkit.commands.data_flags import task_flags
from cvkit.console import Reporter
from cvkit.options.base import Eval
from cvkit.options.data import DataCheck

if TYPE_CHECKING:
    from cvkit.data.findings import Finding
    from cvkit.engine.runtime import StopSignal
    from cvkit.metrics.label_noise import Contradiction
    from cvkit.structures import Failure
    from cvkit.tasks.trained import Trained


class LabelNoise:
    """A trained model, and what it finds in the splits of a dataset.

    Args:
        options: of the command.
        task: key of `catalog.TASKS`.
        stop: handles signals.

    Attributes:
        metrics: of the model by split, for `--json`.
        failures: samples that were not predicted.

    Raises:
        UsageError: no such device.
        ModelFileError: the model cannot be read, or is for another task.
    """

    def __init__(self, options: DataCheck, task: str, stop: StopSignal) -> None:
        from cvkit.tasks.trained import load_trained

        self.options, self.task, self.stop = options, task, stop
        self.metrics: dict[str, dict[str, float | None]] = {}
        self.failures: list[Failure] = []
        self.trained: Trained = load_trained(options.weights, self._flags("all"), task)

    def _flags(self, split: str) -> Eval:
        """Return the flags with which eval would predict a split."""
        size = self.options.batch_size
        given = {} if size is None else {"batch_size": size}
        values: dict[str, Any] = {
            "weights": self.options.weights,
            "split": split,
            "device": self.options.device,
        }
        return task_flags(self.options, self.task, "eval", **values, **given)

    def as_json(self) -> dict[str, Any]:
        """Return what is said about the model."""
        return {
            "weights": str(self.trained.path),
            "metrics": self.metrics,
            "failures": [dataclasses.asdict(each) for each in self.failures],
        }

    def findings(self, splits: Sequence[str], report: Reporter) -> list[Finding]:
        """Return the contradictions in all splits, the most confident first.

        Raises:
            DataError: the dataset has other classes than the model.
            Interrupted: a signal came.
        """
        found = [
            (split, key, each)
            for split in splits
            for key, several in self._of_split(split, report)
            for each in several
        ]
        found.sort(key=lambda entry: -entry[2].score)
        return [_finding(*entry) for entry in found]

    def _of_split(self, split: str, report: Reporter) -> list[tuple[str, list[Contradiction]]]:
        from cvkit.engine.evaluate import evaluate
        from cvkit.metrics.label_noise import Doubting
        from cvkit.tasks.engine_choice import use_engine

        trained, options = self.trained, self._flags(split)
        with self.stop.at_once():
            task = trained.task.with_data(options, trained.header, report).with_scores()
            data = task.dataset(split, training=False)
            engine = use_engine(options.engine, trained, data, options.batch_size)
        metric = Doubting(task.metric(), task.classes, self.options.confidence)
        found: list[tuple[str, list[Contradiction]]] = []
        with report.progress(f"predicting {split}", len(data)) as advance:
            self.failures += evaluate(
                task,
                trained.model,
                data,
                trained.fabric,
                metric=metric,
                batch_size=options.batch_size,
                workers=trained.workers,
                stop=self.stop,
                advance=advance,
                on_image=lambda key, outcome: found.append((key, outcome)),
            )
        for note in engine.notes:
            report.warn(note)
        self.metrics[split] = metric.compute()
        return found


def _finding(split: str, key: str, each: Contradiction) -> Finding:
    from cvkit.data.findings import Finding
    from cvkit.data.rules import RULES

    return Finding(
        each.rule,
        f"{key}: {each.about}",
        key,
        "",
        RULES[each.rule].remedy,
        split,
        key,
        tuple(each.numbers.items()),
    )
