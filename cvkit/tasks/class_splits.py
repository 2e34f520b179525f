"""Splits of images or videos that have one class each: how they were made, what they lack."""

from pathlib import Path
from typing import Any

from cvkit.data.division import content_hashes
from cvkit.data.fingerprint import RULE, fingerprint
from cvkit.data.folders import ClassifiedImage, Collection
from cvkit.engine.report import Reporter
from cvkit.errors import DataError, UsageError
from cvkit.options.base import Train
from cvkit.options.classify import ClassifyEval, ClassifyTrain
from cvkit.options.video import VideoEval, VideoTrain


def check_fraction(val_fraction: float) -> None:
    """Check the `--val-fraction` of a training, which needs both splits.

    Raises:
        UsageError: it is 0 or 1, so that a split would be empty.
    """
    if not 0 < val_fraction < 1:
        raise UsageError(
            f"--val-fraction {val_fraction:g} leaves a split empty",
            code="split",
            hint="a number between 0 and 1, such as 0.2",
        )


def require_share(options: ClassifyEval | VideoEval) -> None:
    """Check that `--val-fraction`, if it is given, leaves something in the split of an evaluation.

    Raises:
        UsageError: it leaves nothing.
    """
    if options.split == {0.0: "val", 1.0: "train"}.get(options.val_fraction):
        raise UsageError(
            f"--val-fraction {options.val_fraction:g} leaves nothing in split {options.split!r}",
            code="split.empty",
            hint="--split all takes everything",
        )


def warn_of_idle_share(
    options: ClassifyTrain | VideoTrain | ClassifyEval | VideoEval,
    data: Collection,
    report: Reporter,
) -> None:
    """Say that `--val-fraction` and eval's `--seed` divide nothing that is split already."""
    names = ["val_fraction"] if isinstance(options, Train) else ["val_fraction", "seed"]
    fields = type(options).__dataclass_fields__
    for name in names:
        if getattr(options, name) != fields[name].default and not data.divided:
            flag = name.replace("_", "-")
            report.warn(f"--{flag} has no effect: the data are split already")


def require_examples(data: Collection, split: str, place: Path) -> None:
    """Check that there are two classes or more, and that each can be learned.

    Raises:
        DataError: names the class that the training split lacks, or the only one.
    """
    if only := sorted(set(data.names) - {item.label for item in data.splits[split]}):
        raise DataError(
            f"class {only[0]!r} of {place} has nothing in {split!r}",
            code="class.only_in_val",
            hint="move some of its files there, or remove the class",
        )
    if len(data.names) < 2:
        raise DataError(f"{place} has one class, {data.names[0]!r}", code="classes.count")


def warn_of_gaps(data: Collection, split: str, report: Reporter) -> None:
    """Say which files are not used, and which classes a validation split lacks."""
    for note in data.notes:
        report.warn(note)
    if lacking := sorted(set(data.names) - {item.label for item in data.splits[split]}):
        shown = ", ".join(lacking[:8]) + (" ..." if len(lacking) > 8 else "")
        report.warn(
            f"{len(lacking)} of {len(data.names)} classes have nothing in {split!r} and are not "
            f"measured: {shown}"
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


def division_of(options: ClassifyTrain | VideoTrain, data: Collection) -> dict[str, Any]:
    """Return what a model file says about how its data were divided; see `model_division`."""
    if not data.divided:
        return {"val_fraction": None}
    return {"val_fraction": options.val_fraction, "split_seed": options.seed}


def model_division(
    options: ClassifyEval | VideoEval, header: dict
) -> tuple[float | None, int | None]:
    """Return share and seed that data in one heap are divided by to measure a model.

    Without `--val-fraction` and `--seed` they are those of its training, so that `val` holds
    nothing that it was trained on. The seed of models from before there was one is None.

    Raises:
        UsageError: `--val-fraction` leaves the split empty.
    """
    kept = header.get("labels", {})
    known = kept.get("val_fraction")
    seed = kept.get("split_seed", 0 if known is None else None)
    require_share(options)
    fraction = known if options.val_fraction is None else options.val_fraction
    return fraction, seed if options.seed is None else options.seed


def warn_if_changed(place: Path, data: Collection, header: dict, report: Reporter) -> None:
    """Say that a heap is no longer what a model was trained on, so that its division is another.

    Args:
        place: of the data.
        data: divided as in training.
        header: of the model.
        report: for the warning.
    """
    about = header.get("data", {})
    if not data.divided or about.get("name") != place.name or about.get("fingerprint_rule") != RULE:
        return
    hashes = {
        name: content_hashes([item.path for item in items]) for name, items in data.splits.items()
    }
    for name, samples in labelled_hashes(data.splits, hashes).items():
        if about["fingerprints"].get(name, "") not in ("", fingerprint(samples)):
            report.warn(
                f"{name!r} of {place} is not what it was when the model was trained: files or "
                "flags of the division have changed, and it may hold what was trained on"
            )
