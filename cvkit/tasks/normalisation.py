"""The scaling of pixel values: bits, mean and standard deviation."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import torchvision

from cvkit.console import Reporter
from cvkit.data.statistics import colours
from cvkit.errors import DataError, ModelFileError, UsageError
from cvkit.model_files import read_header
from cvkit.models.published import recognised, statistics
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD
from cvkit.options.base import Train
from cvkit.tasks.common import ImageTask
from cvkit.tasks.contract import Task
from cvkit.texts import counted, read_json


class Statistics(TypedDict, total=False):
    """Mean and standard deviation of each channel's pixels in [0, 1]; both or none."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def value_bits(options: Train, scans: Iterable[Any], report: Reporter) -> int | None:
    """Return how many bits of 16-bit files are in use, as a model stores it.

    Cameras and microscopes store 10, 12 or 14 bits in 16-bit files; the largest value of all
    training and validation images decides, so that all are scaled alike. Without such files the
    result is None: later files are scaled by their own largest value. A resumed run keeps its rule.

    Args:
        options: of the run.
        scans: of the splits, each with `bits`.
        report: for the rule, if there are such files.
    """
    bits = max((scan.bits for scan in scans if scan.bits), default=None)
    if options.resume and (before := _of_run(options.resume)):
        return before.get("bits", 16)  # the rule of models that do not store one
    if bits is not None:
        report.say(
            f"16-bit files: their values need {bits} bits and are scaled to 8 bits; the model "
            "stores this rule"
        )
    return bits


def warn_of_bits(bits: int | None, scans: Iterable[Any], report: Reporter) -> None:
    """Warn if images have larger values than those that a model was trained on."""
    largest = max((scan.bits for scan in scans if scan.bits), default=0)
    if bits is not None and largest > bits:
        report.warn(
            f"16-bit files have values of {largest} bits, but the model was trained on {bits}: "
            "larger values are clipped"
        )


def pretrained_statistics(options: Train, builder: str) -> Statistics:
    """Return `mean` and `std` for a preprocessing; empty if the weights do not define them.

    Published weights are recognised by their hash, whether they are given by name or as a file of
    any name; a cvkit model stores them in its header. A resumed run keeps its own numbers, because
    the file may no longer exist.

    Args:
        options: of the run.
        builder: torchvision function that builds the network; empty if there is none.

    Raises:
        ModelFileError: the file has a published name and another content.
    """
    source = options.pretrained
    if source is None or not builder:
        return {}
    if options.resume and (stored := _both(_of_run(options.resume))):
        return stored
    found: tuple[str, Any] | None
    if source.partition(":")[0] in ("imagenet", "kinetics"):
        found = builder, torchvision.models.get_model_weights(builder).DEFAULT
    elif not Path(source).is_file():
        return {}  # refused when it is loaded
    elif stored := _of_header(Path(source)):
        return stored
    else:
        found = recognised(Path(source), [builder])
    if found is None:
        return {}
    mean, std = statistics(*found)
    return {"mean": mean, "std": std}


SMALLEST_STD = 1 / 255
"""Smallest standard deviation, one level of 8 bits: a channel may be constant."""


def normalised(task: Task, options: Train, report: Reporter) -> Task:
    """Return the task with the mean and the standard deviation that `--normalize` asks for.

    `data` measures the pixels of up to `MEASURED` training samples (drawn with `--seed`), prepared
    as for evaluation. A resumed run keeps its own numbers.

    Args:
        task: of a training run.
        options: of the run.
        report: for the numbers.

    Raises:
        UsageError: the run continues a model that has numbers already.
    """
    if options.normalize == "auto" or not isinstance(task, ImageTask):
        return task
    if options.weights and not options.resume:
        raise UsageError(
            f"--normalize {options.normalize} and --weights cannot be combined: the model has its "
            "mean and standard deviation",
            code="normalize.weights",
            hint="omit --normalize",
        )
    if options.resume and (stored := _both(_of_run(options.resume))):
        return replace(task, preprocessing=replace(task.preprocessing, **stored))
    mean, std = IMAGENET_MEAN, IMAGENET_STD
    if options.normalize == "data":
        data = task.dataset(options.train_split, training=False)
        found = colours(
            range(len(data)), lambda index: data.read(index).image, MEASURED, options.seed
        )
        if found is None:
            raise DataError(
                f"--normalize data: no sample of {options.train_split!r} can be read",
                code="normalize.unread",
            )
        mean, std = found.mean, tuple(max(each, SMALLEST_STD) for each in found.std)
        count = f"{found.images} of {counted(found.of, 'training sample')}"
        shown = (" ".join(f"{each:.3f}" for each in numbers) for numbers in (mean, std))
        report.say("normalisation: mean {}, std {}, of {}".format(*shown, count))
    return replace(task, preprocessing=replace(task.preprocessing, mean=mean, std=std))


MEASURED = 5000
"""Largest number of samples whose pixels `--normalize data` measures."""


def _of_header(path: Path) -> Statistics:
    """Return the mean and standard deviation that a cvkit model stores; empty for other files."""
    return _both(_preprocessing(path)) if path.suffix == ".safetensors" else {}


def _preprocessing(path: Path) -> dict[str, Any]:
    try:
        return read_header(path).get("preprocessing") or {}
    except ModelFileError:
        return {}  # tensors without a header, or a damaged file, which is refused when it is loaded


def _of_run(run: Path) -> dict[str, Any]:
    """Return the preprocessing that a run stored at its start, else that of its best model."""
    try:
        about = read_json(run / "environment.json")
    except DataError:
        about = {}  # the model of a run stores it too
    known = about.get("preprocessing") if isinstance(about, dict) else None
    return known or _preprocessing(run / "best.safetensors")


def _both(preprocessing: dict[str, Any]) -> Statistics:
    if not preprocessing.keys() >= {"mean", "std"}:
        return {}
    return {"mean": tuple(preprocessing["mean"]), "std": tuple(preprocessing["std"])}
