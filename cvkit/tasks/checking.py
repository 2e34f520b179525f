"""Checks, warnings and fingerprints of the splits, for every task."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from cvkit.console import Advance, Reporter
from cvkit.data.fingerprint import RULE, fingerprint
from cvkit.data.roots import place_name
from cvkit.data.scan import Found
from cvkit.storage import cache_trouble
from cvkit.structures import ClassList
from cvkit.texts import counted

F = TypeVar("F", bound=Found)


def checked(
    scan: Callable[[Sequence[Any], Advance], F],
    items: Sequence[Any],
    name: str,
    report: Reporter,
    doing: str = "checking",
) -> F:
    """Scan a split, show the progress, and return what was found.

    Args:
        scan: of `cvkit.data.scan`.
        items: the split.
        name: its name.
        report: for progress.
        doing: the word that the progress bar shows for it.
    """
    with report.progress(f"{doing} {name}", len(items)) as advance:
        found = scan(items, advance)
    if found.note:
        _warn_of_cache(found.note, report)
    return found


def warn_of_cache(name: str, report: Reporter) -> None:
    """Warn if a folder of the user's cache cannot be written to."""
    if trouble := cache_trouble(name):
        _warn_of_cache(trouble, report)


def _warn_of_cache(trouble: str, report: Reporter) -> None:
    report.warn(f"the results of the data check cannot be cached: {trouble}")


class Keyed(Protocol):
    """A sample: an image or video with its label."""

    @property
    def key(self) -> str:
        """Its path relative to the dataset."""


def warn_of_leaks(
    names: tuple[str, str],
    splits: Mapping[str, Sequence[Keyed]],
    scans: Mapping[str, Found],
    report: Reporter,
    noun: str = "image",
    relation: tuple[str, str] = ("is also in", "are also in"),
) -> None:
    """Warn of samples that are in both the training and the validation split.

    Args:
        names: of the training and the validation split.
        splits: the samples, all of them readable.
        scans: what was found in them.
        report: for the warning.
        noun: what the samples are, in the singular.
        relation: the words for equal hashes, for one sample and for several.
    """
    train, val = names
    if train == val:
        report.warn(f"training and validation use the same split {train!r}")
        return
    seen = dict(zip(scans[train].hashes, (item.key for item in splits[train]), strict=True))
    twins = [
        (item.key, seen[digest])
        for item, digest in zip(splits[val], scans[val].hashes, strict=True)
        if digest in seen
    ]
    if twins:
        report.warn(
            f"{counted(len(twins), noun)} of {val!r} {relation[len(twins) > 1]} {train!r}, such as "
            f"{twins[0][0]} ({twins[0][1]}): the validation metrics will be too high"
        )


def about_data(
    data: str,
    classes: ClassList,
    splits: Mapping[str, Iterable[tuple[str, ...]]],
    noun: str = "images",
) -> dict[str, Any]:
    """Return what a model file says about its training data.

    Args:
        data: what `--data` names.
        classes: of the data; their order decides what a label means.
        splits: key, hash and label of each sample, by split.
        noun: what its samples are, in the plural.
    """
    rows = {name: list(samples) for name, samples in splits.items()}
    return {
        "name": data if data == "samples" else place_name(Path(data)),
        "fingerprint_rule": RULE,
        "class_fingerprint": fingerprint([(str(row),) for row in classes.as_json()]),
        "fingerprints": {name: fingerprint(samples) for name, samples in rows.items()},
        noun: {name: len(samples) for name, samples in rows.items()},
    }
