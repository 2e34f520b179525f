"""Writing a dataset: all of it or nothing, into a folder that does not exist yet or is empty."""

import errno
import importlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cvkit import storage
from cvkit.catalog import nearest
from cvkit.console import Reporter
from cvkit.data.pages import file_of
from cvkit.data.parquet_files import is_row, stored_image
from cvkit.data.roots import roots_of
from cvkit.errors import UsageError
from cvkit.format_table import FORMATS, Truth


def writer_of(truth: Truth, name: str) -> Any:
    """Return the writer of a format for `--to`.

    Raises:
        UsageError: labels of this kind cannot be written in it.
    """
    rows = {name: row.writer for name, row in FORMATS[truth].items() if row.writer}
    if name not in rows:
        raise UsageError(
            f"--to {name} cannot hold {truth}",
            code="to.unknown",
            hint=nearest(name, rows, ", ".join(rows)),
        )
    return importlib.import_module(rows[name])


def require_new(folder: Path, data: Path, flag: str) -> None:
    """Check the folder of a new dataset before any work is done.

    Raises:
        UsageError: it is a file or not empty, or lies in the dataset that is read.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(
            f"{flag} {folder} is a file", code="out.is_a_file", hint="give a new folder"
        )
    if folder.is_dir() and any(folder.iterdir()):
        raise _not_empty(folder, flag)
    roots = [root.resolve() for root in roots_of(data) if root.is_dir()]
    if any(map(folder.resolve().is_relative_to, roots)):
        raise UsageError(
            f"{flag} {folder} lies in the dataset {data}",
            code="out.inside",
            hint="choose a folder elsewhere",
        )


def write_dataset(
    folder: Path, content: Any, writer: Any, report: Reporter, *, flag: str, link: bool
) -> None:
    """Write a dataset with its images or videos; if that fails, nothing of it is left.

    It is written beside the folder under another name and renamed when it is complete.

    Args:
        folder: that does not exist, or is empty.
        content: see `cvkit.data.writing.contract.Content`.
        writer: see `cvkit.data.writing.contract.Writer`.
        report: for progress.
        flag: that names the folder, for messages.
        link: link the files instead of copying them.

    Raises:
        UsageError: the folder has content by now.
        DataError: a file has a name that the format cannot hold.
        MachineError: it cannot be written to.
    """
    from cvkit.data.writing.contract import require_file_names

    require_file_names(writer, content)
    folder = Path(os.path.abspath(folder))
    partial = folder.parent / f".{folder.name}.{os.getpid()}"
    try:
        with storage.machine_errors(folder):
            partial.mkdir(parents=True)
        items = [item for row in content.items.values() for item in row]
        with storage.machine_errors(folder):
            _place_files(partial, items, writer, report, link=link)
            writer.write(partial, content)
        _complete(partial, folder, flag)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _complete(partial: Path, folder: Path, flag: str) -> None:
    with storage.machine_errors(folder):
        try:
            os.rename(partial, folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise _not_empty(folder, flag) from error
            raise
        storage.fsync_folder(folder.parent)


def _not_empty(folder: Path, flag: str) -> UsageError:
    return UsageError(
        f"{flag} {folder} is not empty", code="out.not_empty", hint="choose another folder"
    )


def _place_files(
    folder: Path, items: Iterable[Any], writer: Any, report: Reporter, *, link: bool
) -> None:
    """Copy or link the images and videos."""
    places = {folder / writer.place(item): item.source for item in items}
    verb = "linking" if link else "copying"
    with report.progress(f"{verb} files", len(places)) as advance:
        for done, (target, source) in enumerate(places.items(), 1):
            target.parent.mkdir(parents=True, exist_ok=True)
            _place(source, target, link=link)
            advance(done)


def _place(source: Path, target: Path, *, link: bool) -> None:
    if source.is_dir():  # the frames of a video
        shutil.copytree(source, target, copy_function=os.link if link else shutil.copyfile)
        return
    if is_row(source):
        target.write_bytes(stored_image(source))
        return
    if file_of(source) != source:  # a page of a file
        from cvkit.data.decode import decode, open_image

        with open_image(source) as image:
            decode(image, source).save(target)
        return
    (os.link if link else shutil.copyfile)(source.resolve(), target)
