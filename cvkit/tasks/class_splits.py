"""Splits of images or videos that have one class each: what they hold, and what they lack."""

from pathlib import Path

from cvkit.console import Reporter
from cvkit.data.classified import ClassifiedImage, Collection
from cvkit.errors import DataError


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
