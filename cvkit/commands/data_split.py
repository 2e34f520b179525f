"""Divide a dataset into splits or folds, and list them in a file."""

from __future__ import annotations

import importlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cvkit import storage
from cvkit.commands.data_views import read_labelled, refuse_existing, task_of, train_options
from cvkit.commands.data_written import require_new, write_dataset
from cvkit.commands.printing import print_json
from cvkit.console import Reporter, print_line, print_table
from cvkit.data.roots import place_name, several
from cvkit.errors import CvkitError, DataError, UsageError, raise_defects
from cvkit.format_table import FORMATS, TRUTH_OF
from cvkit.options.data_views import DataSplit
from cvkit.options.described import differs
from cvkit.texts import counted

if TYPE_CHECKING:
    from cvkit.data.conversion import Samples
    from cvkit.tasks.labelled import Labelled


def split(options: DataSplit) -> int:
    """Write the file that train and eval take as `--splits`."""
    from cvkit.data.division import content_hashes
    from cvkit.data.grouping import group_names
    from cvkit.data.split_lists import RULE, write_lists
    from cvkit.data.stratify import joined_groups, stratified

    refuse_existing(options.out, (".json",), options.overwrite)
    _folder(options)
    shares = _shares(options)
    report = Reporter(options.quiet)
    task = task_of(options)
    data = read_labelled(options, task, train_options(options, task), report)
    raise_defects(list(data.defects), str(data.root))
    writer = _writer(options, data)
    items = {data.key(item): item for each in data.splits.values() for item in each}
    keys = list(items)
    labels = _labels(data, items, report)
    hashes = content_hashes([data.path(item) for item in items.values()])
    given = group_names(options.group_by, keys) if options.group_by else [None] * len(keys)
    groups = joined_groups(hashes, given)
    parts = stratified(labels, groups, hashes, list(shares.values()), options.seed)
    names = list(shares)
    splits: dict[str, dict[str, str]] = {name: {} for name in names}
    for key, digest, part in zip(keys, hashes, parts, strict=True):
        splits[names[part]][key] = digest
    if empty := [name for name, found in splits.items() if not found]:
        count = len(set(groups))
        place = f"there {'is' if count == 1 else 'are'} {counted(count, 'group')}"
        raise DataError(
            f"{data.root}: nothing is left for {empty[0]!r}: {place}",
            code="split.empty",
            hint="fewer folds, larger fractions, or smaller groups",
        )
    about: dict[str, Any] = {"task": task, "data": place_name(data.root), "layout": data.layout}
    about |= {"seed": options.seed, "group_by": options.group_by, "rule": RULE}
    if writer is not None:
        parts_of = {name: [items[key] for key in found] for name, found in splits.items()}
        _write(options, replace(data.samples(), splits=parts_of), writer, report)
    storage.write_file(options.out, write_lists(about, splits))
    _tell(options, about, _counts(splits, keys, labels), len(set(groups)), data)
    return 0


def _folder(options: DataSplit) -> tuple[str, Path | None]:
    """Return the flag of the folder for a new dataset, and the folder.

    Raises:
        UsageError: two folders, or one for folds.
    """
    if options.copy is not None and options.link is not None:
        raise UsageError(
            "--copy and --link cannot be combined", code="copy.twice", hint="omit one of them"
        )
    name = "--link" if options.link is not None else "--copy"
    folder = options.copy if options.link is None else options.link
    if folder is not None and options.folds:
        raise UsageError(
            f"{name} writes a dataset with splits, and --folds makes folds",
            code="copy.folds",
            hint=f"omit {name}: 'train --splits {options.out} --fold 1/{options.folds}' takes "
            "the folds from the list",
        )
    return name, folder


def _writer(options: DataSplit, data: Labelled[Any, Any]) -> Any:
    """Return the writer of the dataset's format; None if no new dataset is wanted.

    Raises:
        UsageError: nothing writes this format, or the folder is not empty.
    """
    flag, folder = _folder(options)
    if folder is None:
        return None
    require_new(folder, data.root, flag)
    rows = FORMATS[TRUTH_OF[data.task][0]]
    if several(data.root):
        raise UsageError(
            f"{flag}: several datasets cannot be written as one",
            code="copy.several",
            hint="join them with 'cvkit data convert' first, and split the result",
        )
    row = rows[rows[data.layout].divided or data.layout]
    if not row.writer:
        written = [name for name, each in rows.items() if each.writer]
        raise UsageError(
            f"{flag}: cvkit does not write the format {data.layout}",
            code="copy.format",
            hint=f"omit it, or write {' or '.join(written)} with 'cvkit data convert' first",
        )
    return importlib.import_module(row.writer)


def _write(options: DataSplit, samples: Samples, writer: Any, report: Reporter) -> None:
    """Write the new dataset."""
    from cvkit.data.conversion import convert
    from cvkit.data.writing.contract import require_class_names

    flag, folder = _folder(options)
    assert folder is not None
    if samples.classes is not None:  # masks without a list have numbered ones
        require_class_names(writer, samples.classes)
    made = convert(samples, writer.keeps, report)
    for sentence in made.lost:
        report.warn(f"lost in {folder}: {sentence}")
    link = options.link is not None
    write_dataset(folder, made.content, writer, report, flag=flag, link=link)


def _shares(options: DataSplit) -> dict[str, float]:
    """Return the share of each split or fold by its name.

    Raises:
        UsageError: fractions that leave nothing for training, or fractions of folds.
    """
    from cvkit.data.split_lists import FOLD

    if options.folds == 1:
        raise UsageError("--folds 1 divides nothing", code="folds.one", hint="such as 5")
    if options.folds:
        for name in ("val_fraction", "test_fraction"):
            if differs(options, name):
                raise UsageError(
                    f"--{name.replace('_', '-')} has no effect with --folds, which are all equal",
                    code=f"{name}.idle",
                    hint="omit it",
                )
        return {f"{FOLD}{n}": 1 / options.folds for n in range(1, options.folds + 1)}
    val, test = options.val_fraction, options.test_fraction
    if not 0 < val < 1 or not val + test < 1:
        raise UsageError(
            f"--val-fraction {val:g} and --test-fraction {test:g} leave a split empty",
            code="split",
            hint="fractions such as 0.2, which leave something for training",
        )
    shares = {"train": 1 - val - test, "val": val, "test": test}
    return {name: share for name, share in shares.items() if share}


def _labels(data: Labelled[Any, Any], items: dict[str, Any], report: Reporter) -> list[set[str]]:
    """Return the names of the classes in each sample.

    Raises:
        DataError: lists all labels that cannot be read.
    """
    from cvkit.data.statistics import each_on_all_cores

    found, defects = [], []
    with report.progress("reading labels", len(items)) as advance:
        for done, (_, names) in enumerate(
            each_on_all_cores(data.class_names, list(items.values())), 1
        ):
            if isinstance(names, CvkitError):
                defects.append(names)
            else:
                found.append(set(names))
            advance(done)
    raise_defects(defects, str(data.root))
    return found


def _counts(
    splits: dict[str, dict[str, str]], keys: list[str], labels: list[set[str]]
) -> dict[str, Counter[str]]:
    """Return the number of samples with each class by split."""
    classes = dict(zip(keys, labels, strict=True))
    return {
        name: Counter(label for key in found for label in classes[key])
        for name, found in splits.items()
    } | {"": Counter({name: len(found) for name, found in splits.items()})}


def _tell(
    options: DataSplit,
    about: dict[str, Any],
    counts: dict[str, Counter[str]],
    groups: int,
    data: Labelled[Any, Any],
) -> None:
    """Print how many samples of each class each split has."""
    sizes = counts.pop("")
    _, folder = _folder(options)
    if options.json:
        about = {"command": "data split", **about, "out": str(options.out), "groups": groups}
        about |= {} if folder is None else {"folder": str(folder)}
        print_json(about | {"samples": sizes, "per_class": counts})
        return
    names = [name for name in data.classes.names if any(each[name] for each in counts.values())]
    rows = [[name, *(f"{each[name]:,}" for each in counts.values())] for name in names]
    rows.append([f"all {data.noun}", *(f"{size:,}" for size in sizes.values())])
    print_table(f"{data.noun} with each class", ["class", *counts], rows)
    print_line(options.out)
    if folder is not None:
        print_line(folder)
