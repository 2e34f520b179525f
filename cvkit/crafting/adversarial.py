"""Attacks inputs one after the other: changed images, pictures, lines and means."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import torch
from torch import Tensor, nn

from cvkit.console import Advance, number
from cvkit.data.given import GivenImage
from cvkit.engine.journal import Lines
from cvkit.engine.loader import read_sample, stack
from cvkit.errors import DataError, OutputError
from cvkit.ops.seeds import key_seed
from cvkit.options.robust import Attack
from cvkit.output.files import write_rgb
from cvkit.output.sheet import Tile, draw_sheet
from cvkit.structures import Batch, Failure, Geometry
from cvkit.tasks.attackable import Scores, attacked_pixels
from cvkit.tasks.contract import Dataset, Task

MEANS = ("changed", "before", "after")
"""Numbers of single inputs whose means are reported."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """The inputs, and how they are attacked.

    Attributes:
        task: of the model.
        model: the network, in evaluation mode on the device.
        scores: the same, as attacks see it.
        device: of the network.
        attacks: in order.
        seed: of random starts.
        names: of what is written for each input, by its key.
        advance: shows the progress.
        pause: called after each input; it may raise `Interrupted`.
    """

    task: Task[Any, Any, Any]
    model: nn.Module
    scores: Scores
    device: torch.device
    attacks: Sequence[Attack]
    seed: int
    names: Mapping[str, str]
    advance: Advance
    pause: Callable[[], None]


@dataclass
class Summary:
    """What was attacked: numbers of inputs, and the entries of each attack by its title."""

    attacked: int = 0
    failed: int = 0
    entries: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def means(self) -> dict[str, dict[str, float | None]]:
        """Return the means of the numbers of each attack; None if nothing was attacked."""
        return {
            title: {n: float(np.mean([e[n] for e in found])) if found else None for n in MEANS}
            for title, found in self.entries.items()
        }


def attack_inputs(
    work: Work, data: Dataset, lost: Sequence[Failure], folder: Path, lines: Lines
) -> Summary:
    """Attack all inputs; an input that cannot be read fails alone.

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
    summary = Summary(entries={attack.title: [] for attack in work.attacks})
    failures = list(lost)
    for index in range(len(data)):
        item = stack([read_sample(data, (index, 0))])[0]
        try:
            if isinstance(item, Failure):
                failures.append(item)
            else:
                line = _attack(work, item.to(work.device), folder)
                lines.result(line)
                summary.attacked += 1
                for title, entry in line["attacks"].items():
                    summary.entries[title].append(entry)
        except (DataError, OutputError) as error:
            failures.append(Failure(data.key(index), error.code, str(error)))
        work.advance(index + 1)
        work.pause()
    for failure in failures:
        lines.failure(failure)
    summary.failed = len(failures)
    return summary


def _attack(work: Work, batch: Batch, folder: Path) -> dict[str, Any]:
    """Attack one input in every way; return its line."""
    assert isinstance(batch.images, Tensor), "images to predict are stacked"
    (sample,), images = batch.samples, batch.images
    height, width = images.shape[-2:]
    as_it_is = replace(sample, geometry=Geometry((height, width), (height, width)))
    batch = replace(batch, samples=(as_it_is,))
    with torch.no_grad():
        logits = work.scores.logits(images.float())
    line: dict[str, Any] = {"path": sample.path, "width": width, "height": height}
    if logits.ndim == 2:
        line["label"] = work.task.classes.names[int(logits.argmax(1))]
    line["attacks"] = {
        attack.title: _entry(work, attack, batch, logits, folder) for attack in work.attacks
    }
    return line


def _entry(
    work: Work, attack: Attack, batch: Batch, logits: Tensor, folder: Path
) -> dict[str, Any]:
    """Write the files of one attack on one input; return its entry in the line."""
    assert isinstance(batch.images, Tensor), "images to predict are stacked"
    key, labels = batch.samples[0].path, logits.argmax(1)
    seeds = [key_seed(work.seed, crc32(key.encode()))]
    moved = attacked_pixels(work.scores, batch.images, labels, attack, seeds)
    after = as_bytes(batch.images, moved, attack.eps)
    with torch.no_grad():
        found = work.scores.logits(after.float())
    stem, kind = work.names[key], folder_name(attack)
    entry: dict[str, Any] = {
        "changed": float((found.argmax(1) != labels).float().mean()),
        "before": _certainty(logits, labels),
        "after": _certainty(found, labels),
        "largest": int((after.int() - batch.images.int()).abs().max()),
        "image": f"adversarial/{kind}/{stem}.png",
        "picture": f"pictures/{kind}/{stem}.png",
    }
    if found.ndim == 2:
        entry["label"] = work.task.classes.names[int(found.argmax(1))]
    pixels = [each[0].cpu().numpy().transpose(1, 2, 0) for each in (batch.images, after)]
    write_rgb(folder / entry["image"], np.ascontiguousarray(pixels[1]))
    ends = [_drawn(work, replace(batch, images=each)) for each in (batch.images, after)]
    gain = gain_of(attack.eps)
    tiles = [
        Tile(ends[0], (f"before, probability {number(entry['before'])}",)),
        Tile(difference(pixels[0], pixels[1], gain), (f"difference, {gain:g} times",)),
        Tile(ends[1], (f"after, probability of the same {number(entry['after'])}",)),
    ]
    write_rgb(folder / entry["picture"], draw_sheet(f"{attack.title}, {stem}", tiles))
    return entry


def folder_name(attack: Attack) -> str:
    """Return the name of the folder of an attack's files."""
    return attack.title.replace("=", "").replace(":", "-").replace(",", "-")


def as_bytes(before: Tensor, moved: Tensor, eps: float) -> Tensor:
    """Return attacked pixels as a file holds them: whole numbers, still within eps of `before`."""
    change = (moved - before).round().clamp(-int(eps), int(eps))
    return (before + change).clamp(0, 255).byte()


def _certainty(logits: Tensor, labels: Tensor) -> float:
    """Return the mean probability of classes."""
    return float(logits.float().softmax(1).gather(1, labels[:, None]).mean())


def _drawn(work: Work, batch: Batch) -> np.ndarray:
    """Return an input with its result."""
    assert isinstance(batch.images, Tensor), "images to predict are stacked"
    with torch.no_grad():
        (result,) = work.task.predict(work.model, batch)
    picture = np.ascontiguousarray(batch.images[0].cpu().numpy().transpose(1, 2, 0))
    return work.task.plot(result, GivenImage(picture, batch.samples[0].path))


def gain_of(eps: float) -> float:
    """Return the factor by which differences are shown."""
    return max(1.0, float(int(127 / eps)))


def difference(before: np.ndarray, after: np.ndarray, gain: float) -> np.ndarray:
    """Return how two HWC RGB uint8 images differ: grey where they are equal."""
    change = after.astype(np.float32) - before
    return (128 + gain * change).clip(0, 255).astype(np.uint8)
