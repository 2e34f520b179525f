"""Images in the rows of parquet files, as paths: row 12 of `x.parquet` is `x.parquet#12`.

An image is a struct with `bytes`, the content of an image file, and `path`, as Hugging Face stores
them. Only the row group with the wanted row is read, and each thread keeps the last one; of row
groups with over `MOST_KEPT` bytes of images it keeps `BATCH` rows, so that memory is bounded.
"""

import bisect
import itertools
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cvkit.data.pages import page_of
from cvkit.errors import DataError

SUFFIX = ".parquet"
BYTES = "bytes"
MOST_KEPT = 128 * 2**20
"""Bytes of a row group that is kept as a whole; the package `datasets` writes up to 100 MB."""
BATCH = 16
"""Rows that are read at once from a larger one."""
RAISED = (OSError, ValueError, KeyError, NotImplementedError, StopIteration)
"""What pyarrow raises about a damaged file; its errors are of these classes, too."""
INSTALL = "pip install 'cvkit[parquet]'"


def has_package() -> bool:
    """Return whether the package that reads parquet files is installed."""
    try:
        from pyarrow import parquet
    except ImportError:
        return False
    return bool(parquet)


def is_row(path: Path) -> bool:
    """Return whether a path is that of an image inside a parquet file."""
    file, number = page_of(path)
    return number is not None and file.suffix.lower() == SUFFIX


def open_parquet(file: Path) -> Any:
    """Return a `pyarrow.parquet.ParquetFile`.

    Raises:
        DataError: `data.parquet` without pyarrow, `parquet.file` if it cannot be read.
    """
    try:
        from pyarrow import parquet
    except ImportError as error:
        text = f"{file} needs the package pyarrow"
        raise DataError(text, code="data.parquet", hint=INSTALL) from error
    with _Reading(file):
        if not stat.S_ISREG(os.stat(file).st_mode):
            raise DataError(f"{file} is not a regular file", code="parquet.file")
        return parquet.ParquetFile(file, pre_buffer=False, buffer_size=2**20)


def read_column(file: Path, name: str) -> list[Any]:
    """Return the values of a column that has no images.

    Raises:
        DataError: `parquet.file`.
    """
    opened = open_parquet(file)
    with _Reading(file), opened:
        values: list[Any] = opened.read(columns=[name], use_threads=False).column(0).to_pylist()
        return values


def image_column(opened: Any) -> str | None:
    """Return the column of images: `image`, or else the first one of its type."""
    found = [
        field.name
        for field in opened.schema_arrow
        if str(field.type).startswith("struct<") and field.type.get_field_index(BYTES) >= 0
    ]
    return next((name for name in ("image", *found) if name in found), None)


def rows_without_bytes(file: Path, column: str) -> Iterator[tuple[int, str | None]]:
    """Yield the rows, from 1, without the content of an image, and the path that they have instead.

    Only row groups that may have such rows are read.

    Raises:
        DataError: `parquet.file`.
    """
    opened, start = open_parquet(file), 1
    with _Reading(file), opened:
        leaf = _leaf(opened, column)
        for number in range(opened.num_row_groups):
            group = opened.metadata.row_group(number)
            known = group.column(leaf).statistics
            if known is None or not known.has_null_count or known.null_count:
                row = itertools.count(start)
                parts = opened.iter_batches(BATCH, [number], [column], use_threads=False)
                for value in (each for part in parts for each in part.column(0)):
                    here = next(row)
                    if not value.is_valid or not value[BYTES].is_valid:
                        yield here, (value.as_py() or {}).get("path")
            start += group.num_rows


def stored_image(path: Path) -> bytes:
    """Return the content of the image file that a row has.

    Args:
        path: of an image for which `is_row` is true.

    Raises:
        DataError: `image.missing`, `parquet.null`, `parquet.path`, or an error of `open_parquet`.
    """
    file, number = page_of(path)
    assert number is not None, "rows have numbers"
    about = os.stat(file)
    stamp = (str(file), about.st_size, about.st_mtime_ns)
    if _last.rows is None or _last.rows.stamp != stamp:
        _last.rows = None  # frees what it holds before the next file is opened
        _last.rows = _Rows(file, stamp)
    return _last.rows.image(number)


class _Reading:
    """Reports what pyarrow raises about a file; a context manager."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, RAISED):
            reason = " ".join(str(error).split())[:200] or "rows are missing"
            raise DataError(
                f"{self.file} cannot be read: {reason}", code="parquet.file", hint="get a new copy"
            ) from error


class _Rows:
    """The images of an open file, of which some consecutive ones are in memory."""

    def __init__(self, file: Path, stamp: tuple[str, int, int]) -> None:
        self.file, self.stamp = file, stamp
        self._opened = open_parquet(file)
        self._column = require_images(self._opened, file)
        groups = range(self._opened.num_row_groups)
        sizes = [self._opened.metadata.row_group(number).num_rows for number in groups]
        self._starts = [0, *itertools.accumulate(sizes)]
        self._group = -1
        self._parts: Iterator[Any] = iter(())
        self._first = 0
        self._images: Any = ()

    def image(self, number: int) -> bytes:
        """Return the content of an image file; the first row has number 1."""
        row = number - 1
        if not 0 <= row < self._starts[-1]:
            text = f"{self.file}#{number} does not exist; {self.file.name} has no such row"
            raise DataError(text, code="image.missing")
        with _Reading(self.file):
            if not self._first <= row < self._first + len(self._images):
                self._load(row)
            value = self._images[row - self._first]
        if not value.is_valid:
            raise without_bytes(self.file, number, None)
        content: bytes = value.as_py()
        return content

    def _load(self, row: int) -> None:
        """Read the row group of a row, or of a large one the rows up to this one."""
        group = bisect.bisect_right(self._starts, row) - 1
        if group != self._group or row < self._first:
            self._group, self._first, self._images = group, self._starts[group], ()
            about = self._opened.metadata.row_group(group)
            size = about.column(_leaf(self._opened, self._column)).total_uncompressed_size
            self._parts = self._opened.iter_batches(
                about.num_rows if size <= MOST_KEPT else BATCH,
                [group],
                [f"{self._column}.{BYTES}"],
                use_threads=False,
            )
        while row >= self._first + len(self._images):
            self._first += len(self._images)
            self._images = next(self._parts).column(0).field(BYTES)


class _Last(threading.local):
    """What a thread has read last."""

    rows: _Rows | None = None


_last = _Last()


def require_images(opened: Any, file: Path) -> str:
    """Return the column of images.

    Raises:
        DataError: `parquet.column`.
    """
    column = image_column(opened)
    if column is None:
        raise lacking(file, "images", opened.schema_arrow.names)
    return column


def lacking(file: Path, what: str, names: list[str]) -> DataError:
    """Return the error about a file without a column."""
    kinds = {"images": "a column 'image' of structs with bytes and path", "label": "'label'"}
    return DataError(
        f"{file} has no column of {what}; its columns are {', '.join(names)[:200]}",
        code="parquet.column",
        hint=f"add {kinds.get(what, repr(what))}, as the package datasets writes it",
    )


def without_bytes(file: Path, number: int, path: str | None) -> DataError:
    """Return the error about a row without the content of an image."""
    where = f"{file}: row {number}"
    if path is None:
        return DataError(f"{where}: has no image", code="parquet.null", hint="remove the row")
    return DataError(
        f"{where}: has only the path of an image, {path[:100]!r}",
        code="parquet.path",
        hint="embed the content: datasets' push_to_hub and embed_table_storage do",
    )


def _leaf(opened: Any, column: str) -> int:
    """Return the number of the leaf column with the content of images."""
    schema = opened.schema
    names = [schema.column(number).path for number in range(len(schema.names))]
    return names.index(f"{column}.{BYTES}")
