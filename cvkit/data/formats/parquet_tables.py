"""Hugging Face's datasets in parquet files: where the files are, and what their schemas say.

The names of classes are in the metadata of the schema, as the package `datasets` writes them.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvkit.data.division import is_split
from cvkit.data.formats.contract import Query
from cvkit.data.formats.recognise import parquet_files, unpack_hint
from cvkit.data.notes import Note
from cvkit.data.parquet_files import (
    INSTALL,
    has_package,
    lacking,
    open_parquet,
    require_images,
    rows_without_bytes,
    without_bytes,
)
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.format_table import Truth
from cvkit.texts import counted, is_text, shown

SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(?:-.+)?")
"""Names of files of which several make a split; after the numbers, there may be a hash."""


@dataclass(frozen=True)
class Table:
    """A parquet file.

    Attributes:
        file: its path.
        image: the column of images.
        columns: all of them.
        features: the description of the columns by the package `datasets`; may be empty.
        key: its path relative to the dataset.
        lost: the rows, from 1, without the content of an image.
    """

    file: Path
    image: str
    columns: tuple[str, ...]
    features: dict[str, Any]
    key: str
    lost: dict[int, CvkitError] = field(default_factory=dict)

    def of_row(self, error: CvkitError, row: int) -> CvkitError:
        """Return an error about a row, with the key of its sample."""
        return of_sample(error, f"{self.key}#{row}")

    def column(self, names: Sequence[str]) -> str:
        """Return the first of some columns that the file has.

        Raises:
            DataError: `parquet.column`.
        """
        found = next((name for name in names if name in self.columns), None)
        if found is None:
            raise lacking(self.file, names[0], [*self.columns])
        return found


@dataclass
class Tables:
    """The parquet files of a dataset, by split; all are under "" if there are no splits.

    Attributes:
        tables: the readable files.
        defects: of files that cannot be used, or are missing, and of rows.
        notes: remarks on usable oddities.
    """

    tables: dict[str, list[Table]] = field(default_factory=dict)
    defects: dict[str, list[CvkitError]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def known(self) -> list[str]:
        """The names of the splits."""
        return sorted(self.tables.keys() - {""})


def has_column(root: Path, wanted: Sequence[str], others: Sequence[str]) -> bool:
    """Return whether the first parquet file has one of some columns, or none of others instead.

    A file that cannot be read counts, too: the reader reports it.
    """
    file = next(iter(parquet_files(root)), None)
    if file is None:
        return False
    try:
        with open_parquet(file) as opened:
            names = {*opened.schema_arrow.names}
    except DataError:
        return True
    return bool(names & {*wanted}) or not names & {*others}


def read_tables(query: Query, truth: Truth) -> Tables:
    """Return the parquet files of a dataset, and what is wrong with them.

    Raises:
        DataError: `data.parquet`, pyarrow is not installed.
    """
    root = query.root
    if not has_package():
        raise DataError(
            f"{query.flags.place} {root} has parquet files, which need the package pyarrow",
            code="data.parquet",
            hint=f"{INSTALL}, or {unpack_hint(truth, root)}",
        )
    files = parquet_files(root)
    by_split: dict[str, list[Path]] = {}
    for file in files:
        by_split.setdefault(_split_of(file, root), []).append(file)
    result = Tables()
    if len(by_split) > 1:
        result.notes += [
            Note(f"{file} belongs to no split, unused", "file.unused")
            for file in by_split.pop("", [])
        ]
    for split, members in by_split.items():
        result.tables[split], result.defects[split] = [], _missing(members)
        for file in members:
            try:
                table = read_table(file, root)
                for row, path in rows_without_bytes(file, table.image):
                    table.lost[row] = table.of_row(without_bytes(file, row, path), row)
                result.tables[split].append(table)
                result.defects[split] += table.lost.values()
            except DataError as error:
                result.defects[split].append(error)
    return result


def read_table(file: Path, root: Path) -> Table:
    """Return what the footer of a parquet file says.

    Raises:
        DataError: `parquet.file` or `parquet.column`.
    """
    with open_parquet(file) as opened:
        image = require_images(opened, file)
        schema = opened.schema_arrow
    stored = (schema.metadata or {}).get(b"huggingface", b"{}")
    try:
        features = json.loads(stored)["info"]["features"]
    except (ValueError, KeyError, TypeError, RecursionError):
        features = {}
    known = features if isinstance(features, dict) else {}
    return Table(file, image, tuple(schema.names), known, file.relative_to(root).as_posix())


def class_names(table: Table, column: str, names: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the classes of a column; none if its values are not numbers of classes.

    Args:
        table: the file.
        column: of classes, or of objects.
        names: the possible fields with the classes of objects.

    Raises:
        DataError: names that are not text, or occur twice.
    """
    found = _class_label(table.features.get(column), names)
    listed = found.get("names") if found else None
    if not isinstance(listed, list):
        return ()
    for number, name in enumerate(listed):
        where = f"{table.file}: {column}: {shown(name)}"
        if not is_text(name) or not name.strip() or not name.isprintable():
            raise DataError(f"{where} cannot be a class", code="class.name")
        if name in listed[:number]:
            raise DataError(f"{where} is listed twice", code="classes.duplicate")
    return tuple(listed)


def outside_names(where: str, value: Any, names: Sequence[str]) -> DataError:
    """Return the error about a label that is not the number of a class."""
    return DataError(
        f"{where}: label {shown(value)} is not one of {counted(len(names), 'class', 'classes')}",
        code="parquet.label",
        hint=f"labels are numbers from 0 to {len(names) - 1}; -1 stands for no label",
    )


def common_names(tables: Tables, column: Callable[[Table], tuple[str, ...]]) -> tuple[str, ...]:
    """Return the names of the classes, which all files must have; files with others are defects.

    Args:
        tables: the files.
        column: returns the names of a file; see `class_names`.
    """
    first: tuple[Table, tuple[str, ...]] | None = None
    for split, members in tables.tables.items():
        for table in [*members]:
            try:
                names = column(table)
                if first is None:
                    first = table, names
                if names != first[1]:
                    text = f"{table.file} lists other classes than {first[0].file}"
                    raise DataError(text, code="classes.differ", hint="list the same in all files")
            except DataError as error:
                members.remove(table)
                tables.defects[split].append(error)
    return first[1] if first else ()


def _class_label(node: Any, names: Sequence[str]) -> dict[str, Any] | None:
    """Return the first ClassLabel in a description; with names, under one of these alone."""
    inner: list[tuple[Any, Sequence[str]]] = []
    if isinstance(node, dict):
        if not names and node.get("_type") == "ClassLabel":
            return node
        inner += [(node[name], ()) for name in names if name in node]
        inner += [(each, names) for each in node.values()]
    elif isinstance(node, list):
        inner += [(each, names) for each in node]
    found = (_class_label(each, left) for each, left in inner)
    return next((each for each in found if each), None)


def _split_of(file: Path, root: Path) -> str:
    """Return the split of a file, from its folder or its name; "" if neither names one."""
    if file.parent != root and is_split(file.parent.name):
        return file.parent.name
    if shard := SHARD.fullmatch(file.stem):
        return shard[1]
    first = re.split(r"[-_.]", file.stem)[0]
    return first if is_split(first) else ""


def _missing(files: Sequence[Path]) -> list[CvkitError]:
    """Return a defect for every file that is missing according to the names of others."""
    result: list[CvkitError] = []
    shards = [(file, shard) for file in files if (shard := SHARD.fullmatch(file.stem))]
    for name, count in dict.fromkeys((shard[1], shard[3]) for _, shard in shards):
        group = [(file, shard) for file, shard in shards if (shard[1], shard[3]) == (name, count)]
        here = {int(shard[2]) for _, shard in group}
        for number in [n for n in range(int(count)) if n not in here]:
            path = group[0][0].with_name(f"{name}-{number:05}-of-{count}.parquet")
            text = f"{path} does not exist"
            result.append(DataError(text, code="split.id_without_file", hint="add the file"))
    return result
