"""Draw labels over images, and what training makes of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cvkit.catalog import nearest
from cvkit.commands.data_views import read_labelled, refuse_existing, task_of, train_options
from cvkit.commands.printing import print_json
from cvkit.commands.reports import command_line, environment
from cvkit.console import Reporter, print_line
from cvkit.data.roots import place_name
from cvkit.errors import CvkitError, DataError
from cvkit.options.data_views import DataShow
from cvkit.texts import counted

if TYPE_CHECKING:
    from cvkit.reporting.dataset import ShownSample
    from cvkit.tasks.labelled import Labelled


@dataclass(frozen=True)
class Choice:
    """Which samples are shown.

    Attributes:
        count: at most.
        seed: of the choice and of the transforms.
        splits: to choose from.
        having: name of a class that they contain; None for any.
        transformed: each is also shown as training sees it.
    """

    count: int
    seed: int
    splits: Sequence[str]
    having: str | None = None
    transformed: bool = False


def show(options: DataShow) -> int:
    """Write a sheet or a page of labelled samples."""
    refuse_existing(options.out, (".png", ".html"), options.overwrite)
    report = Reporter(options.quiet)
    task = task_of(options)
    values = {} if options.augment is None else {"augment": options.augment}
    train = train_options(options, task, **values)
    transformed = options.augment is not None
    if transformed:
        from cvkit.tasks.train_flags import require_names

        require_names(train, task)
    data = read_labelled(options, task, train, report, every=True)
    splits = options.split or list(data.splits)
    if options.with_class is not None and options.with_class not in data.classes.names:
        raise DataError(
            f"--with-class {options.with_class!r} is not a class of {data.root}",
            code="class.unknown",
            hint=nearest(options.with_class, data.classes.names),
        )
    choice = Choice(options.count, options.seed, splits, options.with_class, transformed)
    samples = shown_samples(data, choice, report)
    if not samples:
        raise DataError(
            f"{data.root}: no sample of {', '.join(splits)} contains class {options.with_class!r}",
            code="class.absent",
            hint="another --split, or another --with-class",
        )
    _write(options, data, samples, report)
    failures = [sample for sample in samples if sample.problem]
    for sample in failures:
        report.warn(f"not shown: {sample.problem}")
    if options.json:
        rows = [{"path": each.path, "label": each.words} for each in samples if not each.problem]
        problems = [{"path": each.path, "reason": str(each.problem)} for each in failures]
        about = {"command": "data show", "task": task, "out": str(options.out)}
        print_json(about | {"samples": rows, "failures": problems})
    else:
        print_line(options.out)
    return 3 if failures or data.defects else 0


def shown_samples(data: Labelled[Any, Any], choice: Choice, report: Reporter) -> list[ShownSample]:
    """Return some samples with their labels drawn on them, in the order of the dataset."""
    samples: list[ShownSample] = []
    with report.progress("drawing", choice.count) as advance:
        for split, place in _chosen(data, choice):
            samples.append(_shown(data, split, place, choice))
            advance(len(samples))
    return samples


def _chosen(data: Labelled[Any, Any], choice: Choice) -> list[tuple[str, int]]:
    """Return split and place of the samples."""
    found: list[tuple[str, int]] = []
    for split, place in _shuffled(data, choice):
        if len(found) == choice.count:
            break
        if choice.having is None or _contains(data, split, place, choice.having):
            found.append((split, place))
    return sorted(found, key=lambda pair: (choice.splits.index(pair[0]), pair[1]))


def _shuffled(data: Labelled[Any, Any], choice: Choice) -> Iterator[tuple[str, int]]:
    """Yield split and place of all samples, in an order that depends on the seed only."""
    starts = np.cumsum([0, *(len(data.splits[split]) for split in choice.splits)])
    for number in np.random.default_rng(choice.seed).permutation(int(starts[-1])).tolist():
        part = int(np.searchsorted(starts, number, side="right")) - 1
        yield choice.splits[part], number - int(starts[part])


def _contains(data: Labelled[Any, Any], split: str, place: int, name: str) -> bool:
    try:
        return name in data.class_names(data.splits[split][place])
    except CvkitError:  # its label is not readable, so that nothing is known of it
        return False


def _shown(data: Labelled[Any, Any], split: str, place: int, choice: Choice) -> ShownSample:
    """Return a sample with its label drawn on it, and as training sees it if that is wanted."""
    from cvkit.reporting.dataset import ShownSample

    item = data.splits[split][place]
    key = data.key(item)
    if len(data.splits) > 1 and split not in Path(key).parts:
        key = f"{split}: {key}"
    try:
        truth = data.truth(item)
        pictures, words = [("", truth.picture)], truth.words
        if choice.transformed:
            view = data.augmented(split, place, transform_seed(data.key(item), choice.seed))
            pictures = [("label", truth.picture), ("training", view.picture)]
            words = f"{words}; training: {view.words}"
    except DataError as error:
        return ShownSample(key, "", (), error)
    return ShownSample(key, words, tuple(pictures))


def transform_seed(key: str, seed: int) -> int:
    """Return the seed of a sample's transform, which does not depend on the other samples."""
    digest = hashlib.sha256(f"{seed}\0{key}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def _write(
    options: DataShow, data: Labelled[Any, Any], samples: Sequence[ShownSample], report: Reporter
) -> None:
    """Write the sheet or the page."""
    what = f"{counted(len(samples), 'sample')} of {place_name(data.root)}"
    having = f" with {options.with_class}" if options.with_class else ""
    seen = f", and as training sees them with --augment {options.augment}"
    title = f"{data.task}: {what}{having}{seen if options.augment else ''}"
    if options.out.suffix == ".png":
        _write_sheet(options.out, title, samples)
        return
    from cvkit.reporting import dataset

    dataset.write_dataset_page(
        options.out,
        dataset.DatasetPage(
            title=f"{data.task} · {place_name(data.root)}",
            subject=str(data.root),
            evaluated=f"{data.layout} layout, {what}{having}{seen if options.augment else ''}",
            command=command_line(options, ("data", "show")),
            environment=dataset.environment_rows(environment()),
            date=dataset.now(),
            gallery=dataset.gallery_of(samples),
            gallery_about=f"Drawn at random with --seed {options.seed}.",
            warnings=list(report.warned),
        ),
    )


def _write_sheet(path: Path, title: str, samples: Sequence[ShownSample]) -> None:
    """Write a grid of the samples' pictures."""
    from cvkit.output.files import write_rgb
    from cvkit.output.sheet import UNREADABLE, Tile, draw_sheet

    tiles = []
    for sample in samples:
        if sample.problem:
            tiles.append(Tile(UNREADABLE, (sample.path, str(sample.problem))))
        for number, (_, picture) in enumerate(sample.pictures):
            label, _, training = sample.words.partition("; ")
            tiles.append(Tile(picture, (sample.path, training if number else label)))
    write_rgb(path, draw_sheet(title, tiles))
