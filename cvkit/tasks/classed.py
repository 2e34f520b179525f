"""What image and video classification share: data, loss and results with one class per sample."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from cvkit.console import Reporter
from cvkit.data.classified import ClassifiedImage, Collection, called_as, read_collection
from cvkit.data.division import content_hashes
from cvkit.data.exclusion import read_exclusion
from cvkit.dividing import model_division, tell_division, warn_if_changed
from cvkit.errors import DataError, UsageError
from cvkit.metrics.classification import ranked
from cvkit.ops.losses import class_loss
from cvkit.options.classify import ClassifyEval
from cvkit.options.video import VideoEval
from cvkit.output.files import write_csv
from cvkit.output.records import read_lines
from cvkit.structures import Batch, Classes, ClassList, Sample
from cvkit.tasks.common import data_place, parse_image_size, require_same_classes, required
from cvkit.tasks.contract import Task

C = TypeVar("C", bound="ClassTraining")
SMALL_IMAGE = 64
"""Largest side of images that count as small: they keep their size, and get the small stem."""


@dataclass(frozen=True, kw_only=True)
class ClassTraining:
    """Settings of training; the numbers are the flags of the same names.

    Attributes:
        weights: [K] factors of the classes, or None.
        transform: of the training samples.
    """

    loss: str
    weights: Tensor | None
    label_smoothing: float
    aux_weight: float
    mixup: float
    cutmix: float
    transform: Any

    def criterion(self, outputs: Mapping[str, Tensor], target: Tensor) -> dict[str, Tensor]:
        """Return the loss of each output by name; the losses of auxiliary heads are weighted.

        Args:
            outputs: [N, K] logits by name.
            target: [N, K] class probabilities.
        """
        weights = None if self.weights is None else self.weights.to(target.device)
        return {
            name: (1.0 if name == "out" else self.aux_weight)
            * class_loss(self.loss, logits.float(), target, weights, self.label_smoothing)
            for name, logits in outputs.items()
        }


def unregularised(training: C) -> C:
    """Return the training settings without label smoothing and mixing."""
    return replace(training, label_smoothing=0.0, mixup=0.0, cutmix=0.0)


def one_hot(batch: Batch, num_classes: int) -> Tensor:
    """Return the [N, K] class probabilities of a batch of labelled samples."""
    return F.one_hot(required(batch.labels), num_classes).float()


def parse_side(text: str) -> int:
    """Return the side that `--image-size` means: `224`, or `224x224`.

    Raises:
        UsageError: malformed, or not square.
    """
    width, height = parse_image_size(text, 16, 2048)
    if width != height:
        raise UsageError(
            f"--image-size {text!r} is not a square, as classification needs",
            code="image_size.square",
            hint=f"such as {min(width, height)}",
        )
    return width


def label_counts(images: Sequence[ClassifiedImage], names: Sequence[str]) -> Tensor:
    """Return the [K] number of images of each class."""
    index = {name: number for number, name in enumerate(names)}
    labels = torch.tensor([index[image.label] for image in images])
    return torch.bincount(labels, minlength=len(names))


def require_examples(data: Collection, split: str, place: Path) -> None:
    """Check that there are at least two classes, and that each has training samples.

    Raises:
        DataError: names the class that the training split lacks, or the only one.
    """
    if only := sorted(set(data.names) - {item.label for item in data.splits[split]}):
        raise DataError(
            f"class {only[0]!r} of {place} has no samples in {split!r}",
            code="class.only_in_val",
            hint="move some of its files there, or remove the class",
        )
    if len(data.names) < 2:
        raise DataError(f"{place} has only one class, {data.names[0]!r}", code="classes.count")


def warn_of_gaps(data: Collection, split: str, report: Reporter) -> None:
    """Warn of files that are not used, and of classes without validation samples."""
    for note in data.notes:
        report.warn(note)
    if lacking := sorted(set(data.names) - {item.label for item in data.splits[split]}):
        shown = ", ".join(lacking[:8]) + (" ..." if len(lacking) > 8 else "")
        report.warn(
            f"{len(lacking)} of {len(data.names)} classes have no samples in {split!r} and are "
            f"not measured: {shown}"
        )


def labelled_hashes(
    splits: dict[str, list[ClassifiedImage]], hashes: dict[str, list[str]]
) -> dict[str, list[tuple[str, str, str]]]:
    """Return key, hash and class of each sample, by split."""
    return {
        name: [
            (item.key, digest, item.label) for item, digest in zip(items, hashes[name], strict=True)
        ]
        for name, items in splits.items()
    }


def evaluation_split(
    task: Task,
    options: ClassifyEval | VideoEval,
    header: dict[str, Any],
    report: Reporter,
) -> dict[str, list[ClassifiedImage]]:
    """Return the split that a trained model is evaluated on, its classes checked.

    Args:
        task: of the model.
        options: of the command.
        header: of the model.
        report: for counts and warnings.

    Raises:
        DataError: other classes than the model's.
    """
    place = data_place(options.data, task.name)
    made = model_division(options, header)
    data = read_collection(
        *(place, options.format, [options.split], made, task.walk),
        exclude=read_exclusion(options.exclude),
    )
    tell_division(options, place, data.heap, made, data.splits, report)
    data = called_as(data, task.classes.names)
    require_same_classes(data.names, task.classes.names, ordered=data.ordered)
    count = f"{len(data.splits[options.split])} {task.noun}"
    report.say(f"data: {place} ({data.layout} layout), {options.split}: {count}")
    for note in data.notes:
        report.warn(note)
    if data.heap is not None:
        hashes = {
            name: content_hashes([item.path for item in items])
            for name, items in data.splits.items()
        }
        rows = labelled_hashes(data.splits, hashes)
        warn_if_changed(place, data.heap, rows, header, report)
    return data.splits


def describe_classes(
    result: Classes, sample: Sample, classes: ClassList, top_k: int
) -> dict[str, Any]:
    """Return the line of `predictions.jsonl` with a sample's best classes."""
    scores = required(result.scores)
    order = [int(index) for index in ranked(scores)[:top_k]]
    height, width = required(sample.geometry).original_hw
    return {
        "path": sample.path,
        "width": width,
        "height": height,
        "labels": [classes.names[index] for index in order],
        "category_ids": [classes.ids[index] for index in order],
        "scores": [float(scores[index]) for index in order],
    }


def best_words(line: dict[str, Any], count: int = 2) -> list[str]:
    """Return the best classes of a line of `predictions.jsonl`, each with its score."""
    pairs = list(zip(line["labels"], line["scores"], strict=True))[:count]
    return [f"{label} {score:.2f}" for label, score in pairs]


def named(result: Classes, classes: ClassList, count: int) -> list[str]:
    """Return the best classes of a result as `best_words` does."""
    scores = result.prediction_scores()
    best = ranked(scores)[:count].tolist()
    return [f"{classes.names[place]} {scores[place]:.2f}" for place in best]


def write_table(folder: Path, top_k: int) -> None:
    """Write `predictions.csv`: a row for each line of `predictions.jsonl`."""
    names = [part for k in range(1, top_k + 1) for part in _columns(k)]
    pairs = (
        (line["path"], zip(line["labels"], line["scores"], strict=True))
        for line in read_lines(folder)
    )
    rows = ([path, *itertools.chain.from_iterable(cells)] for path, cells in pairs)
    write_csv(folder / "predictions.csv", ["path", *names], rows)


def _columns(rank: int) -> tuple[str, str]:
    """Return the names of the columns of the rank-th best class."""
    return ("label", "score") if rank == 1 else (f"label_{rank}", f"score_{rank}")
