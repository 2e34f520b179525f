"""Explains inputs one after the other: maps, pictures, lines and numbers."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cvkit.console import Advance
from cvkit.data.given import GivenImage
from cvkit.engine.journal import Lines
from cvkit.errors import DataError, OutputError
from cvkit.explain import methods, numbers
from cvkit.explain.pictures import write_explanation
from cvkit.explain.plan import Plan, sample_at
from cvkit.structures import Batch, Failure, Sample
from cvkit.tasks.contract import Dataset, Task
from cvkit.tasks.explainable import Explainable, Question, Regions, Target

RANDOM = "random"
"""Name of the map that the others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The inputs, and how they are explained.

    Attributes:
        task: of the model.
        model: the network, in evaluation mode on the device.
        explained: the same, as explanations see it.
        device: of the network.
        target: what is explained.
        plan: methods and layers.
        settings: of the methods.
        names: of what is written for each input, by its key.
        regions: true regions, for the pointing game.
        measure: also compute curves, and randomise the weights.
        advance: shows the progress.
        pause: called after each input; it may raise `Interrupted`.
    """

    task: Task
    model: nn.Module
    explained: Explainable
    device: torch.device
    target: Target
    plan: Plan
    settings: methods.Settings
    names: Mapping[str, str]
    regions: Regions | None
    measure: bool
    advance: Advance
    pause: Callable[[], None]


MEANS = ("pointing", "inside", "deletion", "insertion", "seconds")
"""Numbers of single inputs whose means are reported."""


@dataclass
class Tally:
    """The numbers of a method over all inputs.

    Attributes:
        values: of single inputs, by name.
        random: correlations with the maps of networks that are more and more random.
    """

    values: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in MEANS})
    random: list[float] = field(default_factory=list)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Add the numbers in the entry of a line."""
        for name in MEANS:
            if entry.get(name) is not None:
                self.values[name].append(float(entry[name]))

    def as_json(self) -> dict[str, Any]:
        """Return the means; None where nothing was counted."""
        means = {
            name: float(np.mean(values)) if values else None for name, values in self.values.items()
        }
        last = self.random[-1] if self.random else None
        more = {"pointed": len(self.values["pointing"]), "randomised_by_layer": self.random}
        return means | {"randomised": last} | more


@dataclass
class Summary:
    """What was explained.

    Attributes:
        explained: number of inputs.
        failed: number of inputs.
        tallies: by method; that of a random map too, if something is measured.
        stages: the first random layer, from the input, of each stage of the randomisation.
    """

    explained: int = 0
    failed: int = 0
    tallies: dict[str, Tally] = field(default_factory=dict)
    stages: list[str] = field(default_factory=list)


def explain_inputs(
    work: Work, data: Dataset, lost: Sequence[Failure], folder: Path, lines: Lines
) -> Summary:
    """Explain all inputs; an input that cannot be explained fails alone.

    Args:
        work: how.
        data: the inputs.
        lost: what could not be opened; it counts as failed.
        folder: of the results.
        lines: gets a line for each.

    Raises:
        Interrupted: a signal came; everything before is written.
        MachineError: the disk is full, for example.
    """
    counted = (*work.plan.methods, *([RANDOM] if work.measure or work.regions else []))
    summary = Summary(tallies={name: Tally() for name in counted})
    for failure in lost:
        _fail(summary, lines, failure)
    for index in range(len(data)):
        batch = sample_at(data, index, work.device)
        try:
            if isinstance(batch, Failure):
                _fail(summary, lines, batch)
            else:
                _explain(work, batch, summary, folder, lines)
        except (DataError, OutputError) as error:
            _fail(summary, lines, Failure(data.key(index), error.code, str(error)))
        work.advance(index + 1)
        work.pause()
    return summary


def _fail(summary: Summary, lines: Lines, failure: Failure) -> None:
    summary.failed += 1
    lines.failure(failure)


def _explain(work: Work, batch: Batch, summary: Summary, folder: Path, lines: Lines) -> None:
    """Explain one sample, and record the line."""
    sample, question = batch.samples[0], work.explained.ask(batch, work.target)
    with torch.no_grad():
        score, probability = (
            float(each(question.pixels)) for each in (question.score, question.probability)
        )
    line: dict[str, Any] = {"path": sample.path, "name": work.names[sample.path]}
    if sample.frame is not None:
        line |= {"frame": sample.frame, "time_seconds": sample.time_seconds}
    line |= {"target": question.words, "label": question.label}
    line |= {"score": score, "probability": probability, "methods": {}}
    region = _true_region(work, sample, question)
    maps: dict[str, Tensor] = {}
    for name in work.plan.methods:
        entry, maps[name] = _one_map(work, question, name, folder, line["name"])
        line["methods"][name] = entry | _numbers(work, question, maps[name], region)
    if RANDOM in summary.tallies:
        noise = methods.random_map(_subject(work, work.model, question, ""))
        line["baseline"] = _numbers(work, question, noise, region)
    if work.measure and not summary.explained:
        _randomise(work, question, maps, summary)
    lines.result(line)
    summary.explained += 1
    for name, entry in (line["methods"] | {RANDOM: line.get("baseline", {})}).items():
        if name in summary.tallies:
            summary.tallies[name].add(entry)


def _subject(work: Work, model: nn.Module, question: Question, name: str) -> methods.Subject:
    return methods.Subject(model, question, work.plan.layers.get(name, ""), work.settings)


def _one_map(
    work: Work, question: Question, name: str, folder: Path, stem: str
) -> tuple[dict[str, Any], Tensor]:
    """Return the entry of a method, and its map, which is written."""
    subject = _subject(work, work.model, question, name)
    start = time.perf_counter()
    found = methods.TABLE[name](subject)
    entry: dict[str, Any] = {"seconds": time.perf_counter() - start}
    if subject.layer:
        entry["layer"] = subject.layer
    if name == "integrated-gradients":
        total, change = methods.completeness(subject, found)
        entry |= {"sum": total, "difference": change}
    entry |= write_explanation(folder, stem, name, question, found, subject.heads)
    return entry, found


def _true_region(work: Work, sample: Sample, question: Question) -> np.ndarray | None:
    """Return the true pixels of the class in the network's input; None if they are not known."""
    region = work.regions(sample, question.label) if work.regions else None
    if region is None or not region.any():
        return None
    size_hw = question.size[1:]
    if region.shape != size_hw:  # the network's input is made from the image in the same way
        picture = np.repeat(region[..., None], 3, 2).astype(np.uint8) * 255
        made = work.task.source([GivenImage(picture, sample.path)]).read(0).image
        region = made[..., 0] > 127
    return region if region.any() else None


def _numbers(
    work: Work, question: Question, found: Tensor, region: np.ndarray | None
) -> dict[str, Any]:
    """Return the numbers of a map that are asked for."""
    entry: dict[str, Any] = {}
    if region is not None:
        entry["pointing"] = numbers.points_at(found, region)
        entry["inside"] = numbers.share_inside(found, region)
    if work.measure:
        drawn = numbers.curves(question, found, work.settings.value, work.settings.batch_size)
        entry["deletion"], entry["insertion"] = drawn.areas
    return entry


def _randomise(
    work: Work, question: Question, maps: Mapping[str, Tensor], summary: Summary
) -> None:
    """Compare the maps of a sample with those of the network with random weights."""
    with numbers.randomised(work.model, work.settings.seed) as stages:
        for name in stages:
            summary.stages.append(name)
            for method, found in maps.items():
                again = methods.TABLE[method](_subject(work, work.model, question, method))
                summary.tallies[method].random.append(
                    numbers.correlation(found, again, question.region)
                )
