"""Tables of class scores, written by any program; one or several. Does not import torch."""

import functools
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from cvkit.data.tables import numbered_rows
from cvkit.errors import CvkitError, DataError, UsageError, raise_defects
from cvkit.texts import counted, parse_number, shown

KEYS = ("path", "id", "image", "file", "filename", "name")
MORE_KEYS = ("file_name", "image_path", "image_id", "ImageId", "video")
"""Further names of the column of samples; other columns with these names are classes."""
LABELS = ("label", "class", "truth", "target")
Value = TypeVar("Value")


@dataclass(frozen=True)
class Table:
    """Predictions by key: `names` of the classes, and [K] scores, NaN where unknown."""

    names: tuple[str, ...]
    scores: dict[str, np.ndarray]


def find_column(row: dict[str, str], known: Sequence[str], path: Path) -> str:
    """Return the first of the known names that is a column of a table, given one of its rows.

    Raises:
        DataError: there is none.
    """
    column = next((name for name in known if name in row), None)
    if column is None:
        raise DataError(
            f"{path} has none of the columns {', '.join(known)}",
            code="list.column",
            hint=f"its first line has {shown(', '.join(row))}",
        )
    return column


def unique(pairs: Sequence[tuple[str, Value]], path: Path) -> dict[str, Value]:
    """Return the values by their keys.

    Raises:
        DataError: a key occurs twice.
    """
    result = dict(pairs)
    if len(result) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise DataError(f"{path} lists {shown(twice)} twice", code="list.duplicate")
    return result


def read_scores(path: Path, labels: list[str]) -> Table:
    """Return the scores of a table; `labels` are the classes known without it.

    Raises:
        DataError: malformed, or a score is not a number.
    """
    rows = numbered_rows(path, ())
    first = rows[0][1]
    key = find_column(first, (*KEYS, *MORE_KEYS), path)
    if "score" in first:  # written by predict: the best k classes of each image
        return _ranked_table(rows, key, path, labels)
    # Pandas writes its index into a column without a name.
    others = (*KEYS, *LABELS, key, "split", "", "Unnamed: 0")
    names = tuple(name for name in first if name not in others)
    if len(names) < 2:
        raise DataError(
            f"{path} has {counted(len(names), 'column')} of scores",
            code="predictions.columns",
            hint="one column per class; or label and score, and label_2, score_2 and so on",
        )
    pairs: list[tuple[str, np.ndarray]] = []
    defects: list[CvkitError] = []
    for number, row in rows:
        scores = [_number(row[name], f"{path}:{number}: {name}", defects) for name in names]
        pairs.append((row[key], np.array(scores)))
    raise_defects(defects, str(path))
    return Table(names, unique(pairs, path))


def _ranked_table(
    rows: list[tuple[int, dict[str, str]]], key: str, path: Path, labels: list[str]
) -> Table:
    places, first = [("label", "score")], rows[0][1]
    places += [
        (name, f"score_{match[1]}")
        for name in first
        if (match := re.fullmatch(r"label_(\d+)", name)) and f"score_{match[1]}" in first
    ]
    if "label" not in first:
        raise DataError(
            f"{path} has a column 'score' and no column 'label'",
            code="list.column",
            hint=f"its first line has {shown(', '.join(first))}",
        )
    named = {row[label] for _, row in rows for label, _ in places} - {""}
    if labels and not named & set(labels):
        raise DataError(
            f"{path}: none of its labels ({shown(', '.join(sorted(named)[:8]))}) is a class of the "
            "truth",
            code="predictions.classes",
            hint=f"it has {', '.join(sorted(labels)[:8])}",
        )
    names = tuple(sorted(named | set(labels)))
    index = {name: number for number, name in enumerate(names)}
    pairs: list[tuple[str, np.ndarray]] = []
    defects: list[CvkitError] = []
    for number, row in rows:
        scores = np.full(len(names), np.nan)
        for label, score in places:
            if row[label]:
                scores[index[row[label]]] = _number(
                    row[score], f"{path}:{number}: {score}", defects
                )
        pairs.append((row[key], scores))
    raise_defects(defects, str(path))
    return Table(names, unique(pairs, path))


def _number(text: str, where: str, defects: list[CvkitError]) -> float:
    """Return the number in a cell; NaN and another defect if it is not a number."""
    found = parse_number(text)
    value = np.nan if found is None else found
    if not np.isfinite(value):
        message = f"{where}: {shown(text)} is not a finite number"
        defects.append(DataError(message, code="predictions.value"))
    return value


def fused(files: Sequence[tuple[Path, float]], labels: list[str]) -> Table:
    """Return a table, or the weighted mean of several over their common rows.

    Args:
        files: tables, or output folders of predict, with their weights.
        labels: the classes known without them.

    Raises:
        DataError: malformed, of different classes, or without a common row.
        UsageError: all weights are 0.
    """
    # The output folder of predict means its table.
    paths = [file / "predictions.csv" if file.is_dir() else file for file, _ in files]
    if lacking := [path for path in paths if path.name == "predictions.csv" and not path.exists()]:
        raise DataError(
            f"{lacking[0]} does not exist",
            code="list.missing",
            hint="give a CSV table, or the output folder of predict",
        )
    tables = [read_scores(path, labels) for path in paths]
    first, weights = tables[0], _scaled([weight for _, weight in files])
    if len(tables) == 1:
        return first
    for table, path in zip(tables, paths, strict=True):
        if set(table.names) != set(first.names):
            raise DataError(
                f"{path} scores {', '.join(table.names[:8])}, {paths[0]} scores "
                f"{', '.join(first.names[:8])}",
                code="predictions.classes",
                hint="tables to be fused must have the same classes",
            )
    if not any(weights):
        raise UsageError("the weights of all tables are 0", code="fuse.weights")
    common = [key for key in first.scores if all(key in table.scores for table in tables)]
    if not common:
        raise DataError(
            f"{paths[0]} and {paths[1]} have no row in common", code="predictions.names"
        )
    orders = [[table.names.index(name) for name in first.names] for table in tables]
    total = sum(weights)
    scores = {}
    for key in common:
        rows = [table.scores[key][order] for table, order in zip(tables, orders, strict=True)]
        weighted = [weight * row for weight, row in zip(weights, rows, strict=True)]
        scores[key] = functools.reduce(np.add, weighted) / total
    return Table(first.names, scores)


def _scaled(weights: list[float]) -> list[float]:
    """Return weights scaled by a power of two, so that their sum is at most 1.

    A power of two does not change the digits of a mean, and sums of large numbers stay finite.
    """
    _, exponent = math.frexp(max(weights))
    return [math.ldexp(weight, -exponent - len(weights).bit_length()) for weight in weights]
