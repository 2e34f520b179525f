"""The conversion of a dataset into another format."""

import importlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cvkit import storage
from cvkit.catalog import nearest
from cvkit.commands.data_flags import require_data_flags, task_flags
from cvkit.commands.printing import print_json
from cvkit.console import Reporter, print_line
from cvkit.data.pages import file_of
from cvkit.data.roots import roots_of
from cvkit.errors import UsageError
from cvkit.format_table import FORMATS, TRUTH_OF, Truth
from cvkit.options.data_convert import DataConvert


def convert_data(options: DataConvert) -> int:
    """Write a dataset in another format.

    Raises:
        UsageError: flags that cannot be combined, or something is lost that must not be.
        DataError: all defects of the dataset.
    """
    from cvkit.data.conversion import convert
    from cvkit.data.formats.recognise import clear_task
    from cvkit.tasks.labelled import labelled_class

    report = Reporter(options.quiet)
    task = options.task or clear_task(options.data, options.format, report.say)
    writer = _writer(options, TRUTH_OF[task][0])
    require_data_flags(options, task)
    _require_elsewhere(options)
    samples = labelled_class(task).read(task_flags(options, task, "train"), options.split).samples()
    made = convert(samples, writer.keeps, report)
    for note in samples.notes:
        report.warn(note)
    counts = _announce(made, samples.layout, options, report)
    _write(made.content, writer, options, report)
    if options.json:
        print_json(
            {
                "command": "data convert",
                "out": str(options.out),
                "task": task,
                "from": samples.layout,
                "to": options.to,
                "splits": counts,
                "lost": list(made.lost),
            }
        )
    else:
        print_line(options.out)
    return 0


def _announce(made: Any, layout: str, options: DataConvert, report: Reporter) -> dict[str, int]:
    """Report what is converted and what is lost; return the number of samples of each split.

    Raises:
        UsageError: something is lost that must not be.
    """
    counts = {split or "all": len(items) for split, items in made.content.items.items()}
    shown = ", ".join(f"{split}: {count}" for split, count in counts.items())
    report.say(f"data: {options.data} ({layout} layout), {shown}")
    for sentence in made.lost:
        report.warn(f"lost in the format {options.to}: {sentence}")
    if made.lost and options.lossless:
        raise UsageError(
            f"--lossless: the format {options.to} cannot hold everything: {'; '.join(made.lost)}",
            code="to.lossy",
            hint="omit --lossless to write the rest, or choose another format",
        )
    return counts


def _write(content: Any, writer: Any, options: DataConvert, report: Reporter) -> None:
    """Write the new dataset, or nothing if that fails.

    Raises:
        UsageError: the folder is not empty.
    """
    hint = "choose another folder"
    with storage.output_folder(options.out, reuse=False, say=report.warn, hint=hint):
        try:
            items = [item for row in content.items.values() for item in row]
            _place_files(items, writer, options, report)
            writer.write(options.out, content)
        except BaseException:  # an incomplete dataset would be taken for a whole one
            storage.empty_folder(options.out)
            raise


def _writer(options: DataConvert, truth: Truth) -> Any:
    """Return the writer of the wanted format.

    Raises:
        UsageError: labels of this kind cannot be written in it.
    """
    rows = {name: row.writer for name, row in FORMATS[truth].items() if row.writer}
    if options.to not in rows:
        raise UsageError(
            f"--to {options.to} cannot hold {truth}",
            code="to.unknown",
            hint=nearest(options.to, rows, f"use {' or '.join(rows)}"),
        )
    return importlib.import_module(rows[options.to])


def _require_elsewhere(options: DataConvert) -> None:
    """Check the place of the result.

    Raises:
        UsageError: it would lie in the dataset.
    """
    roots = [root.resolve() for root in roots_of(options.data) if root.is_dir()]
    if any(map(options.out.resolve().is_relative_to, roots)):
        raise UsageError(
            f"--out {options.out} lies in the dataset {options.data}",
            code="out.inside",
            hint="choose a folder elsewhere",
        )


def _place_files(items: Iterable[Any], writer: Any, options: DataConvert, report: Reporter) -> None:
    """Copy or link the images and videos."""
    places = {options.out / writer.place(item): item.source for item in items}
    verb = "linking" if options.link else "copying"
    with report.progress(f"{verb} files", len(places)) as advance:
        for target, source in places.items():
            with storage.machine_errors(target):
                target.parent.mkdir(parents=True, exist_ok=True)
                _place(source, target, link=options.link)
            advance(1)


def _place(source: Path, target: Path, *, link: bool) -> None:
    if source.is_dir():  # the frames of a video
        shutil.copytree(source, target, copy_function=os.link if link else shutil.copyfile)
        return
    if file_of(source) != source:
        from cvkit.data.decode import decode, open_image

        with open_image(source) as image:
            decode(image, source).save(target)
        return
    (os.link if link else shutil.copyfile)(source.resolve(), target)
