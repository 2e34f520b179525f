"""Scoring class predictions, whoever made them. Needs no network and does not import torch."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.classes import dataset_classes, make_classes
from cvkit.data.folders import read_collection, read_rows
from cvkit.engine.report import Reporter
from cvkit.errors import DataError, UsageError
from cvkit.metrics import classification
from cvkit.metrics.classification import ClassificationMetric
from cvkit.options.classify import ClassifyEval
from cvkit.output.draw import draw_confusion
from cvkit.output.files import write_csv, write_rgb
from cvkit.structures import Classes, ClassList, Failure

Outcomes = list[tuple[str, tuple[int, int, float]]]
"""(path, (true class, predicted class, its score)) of each evaluated image."""

KEYS = ("path", "id", "image", "file", "filename", "name")
LABELS = ("label", "class", "truth", "target")


@dataclass(frozen=True)
class Table:
    """Predictions by key: `names` of the classes, and [K] scores, NaN where unknown."""

    names: tuple[str, ...]
    scores: dict[str, np.ndarray]


def score_classification(
    options: ClassifyEval, report: Reporter
) -> tuple[ClassificationMetric, ClassList, Outcomes, list[Failure]]:
    """Compare a table of scores with the truth.

    Args:
        options: `predictions`, a CSV with one column of scores for each class, or what predict
            wrote (its folder or its table); `truth`, a CSV with a column `label` (class names, or
            numbers of the score columns from 0), or a dataset (then `split` applies).
        report: for a count of predictions without a truth.

    Returns:
        The metric, the classes, the outcome of each image, and the truths without prediction.

    Raises:
        DataError: a malformed table, a label that is no class, or nothing matches.
        UsageError: `--truth` is missing.
    """
    if options.truth is None:
        raise UsageError("--truth is missing", code="truth.missing", hint="--truth labels.csv")
    truths, listed = _truths(options)
    file = options.predictions
    if file.is_dir():  # the output folder of predict
        file = file / "predictions.csv"
    table = _read_predictions(file, sorted({*truths.values(), *(listed or ())}))
    names = listed if listed and set(table.names) <= set(listed) else table.names
    place = [names.index(name) for name in table.names]
    index = _label_index(truths, names, options.truth)
    metric = ClassificationMetric(len(names))
    outcomes: Outcomes = []
    failures: list[Failure] = []
    prefix, used = f"{options.split}/", set()
    for key, label in truths.items():
        # What was predicted may have been the dataset, or the folder of the split.
        own = key if key in table.scores else key.removeprefix(prefix)
        found = table.scores.get(own)
        used.add(own)
        if found is None:
            reason = f"{file} has no prediction for {key}"
            failures.append(Failure(key, "prediction.missing", reason))
            continue
        scores = np.full(len(names), np.nan)
        scores[place] = found
        outcomes.append((key, metric.update(Classes(-1, scores), Classes(index[label]))))
    if not outcomes:
        raise DataError(
            f"no row of {file} is in {options.truth}",
            code="predictions.names",
            hint=f"expected for example {next(iter(truths))}",
        )
    if extra := table.scores.keys() - used:
        report.warn(f"{len(extra)} predictions have no truth, such as {sorted(extra)[0]}")
    return metric, make_classes(list(names)), outcomes, failures


def _truths(options: ClassifyEval) -> tuple[dict[str, str], tuple[str, ...] | None]:
    """Return the label of each key, and the classes if the truth lists them itself."""
    place = options.truth
    if place.is_file():
        rows = read_rows(place, ())
        key, label = _column(rows, KEYS, place), _column(rows, LABELS, place)
        listed, _ = dataset_classes(place.parent)
        return _unique([(row[key], row[label]) for row in rows], place), listed and listed.names
    found = read_collection(place, options.format, [options.split], options.val_fraction)
    return {image.key: image.label for image in found.splits[options.split]}, found.names


def _column(rows: list[dict[str, str]], known: Sequence[str], path: Path) -> str:
    """Return the first of the known names that is a column of a table.

    Raises:
        DataError: none of them is.
    """
    column = next((name for name in known if name in rows[0]), None)
    if column is None:
        raise DataError(
            f"{path} has none of the columns {', '.join(known)}",
            code="list.column",
            hint=f"its first line names {', '.join(rows[0])}",
        )
    return column


def _unique(pairs: list[tuple[str, Any]], path: Path) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise DataError(f"{path} lists {twice!r} twice", code="list.duplicate")
    return result


def _read_predictions(path: Path, labels: list[str]) -> Table:
    """Return the scores of a table; `labels` are the classes that are known without it.

    Raises:
        DataError: malformed, or a score is not a number.
    """
    rows = read_rows(path, ())
    key = _column(rows, KEYS, path)
    if "score" in rows[0]:  # what predict wrote: the best k classes of each image
        return _ranked_table(rows, key, path, labels)
    names = tuple(name for name in rows[0] if name not in (*KEYS, *LABELS, "split"))
    if len(names) < 2:
        raise DataError(
            f"{path} has {len(names)} columns of scores",
            code="predictions.columns",
            hint="one column for each class",
        )
    pairs = []
    for number, row in enumerate(rows, 2):
        scores = [_number(row[name], f"{path}:{number}: {name}") for name in names]
        pairs.append((row[key], np.array(scores)))
    return Table(names, _unique(pairs, path))


def _ranked_table(rows: list[dict[str, str]], key: str, path: Path, labels: list[str]) -> Table:
    places = [("label", "score")]
    places += [
        (name, f"score_{match[1]}")
        for name in rows[0]
        if (match := re.fullmatch(r"label_(\d+)", name)) and f"score_{match[1]}" in rows[0]
    ]
    named = {row[label] for row in rows for label, _ in places} - {""}
    names = tuple(sorted(named | set(labels)))
    index = {name: number for number, name in enumerate(names)}
    pairs = []
    for number, row in enumerate(rows, 2):
        scores = np.full(len(names), np.nan)
        for label, score in places:
            if row[label]:
                scores[index[row[label]]] = _number(row[score], f"{path}:{number}: {score}")
        pairs.append((row[key], scores))
    return Table(names, _unique(pairs, path))


def _number(text: str, where: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise DataError(f"{where}: {text!r} is not a finite number", code="predictions.value")
    return value


def _label_index(truths: dict[str, str], names: Sequence[str], path: Path) -> dict[str, int]:
    """Return the class index of each label: of its name, or of the number that it is.

    Raises:
        DataError: a label is neither.
    """
    labels = sorted(set(truths.values()))
    if set(labels) <= set(names):
        return {name: number for number, name in enumerate(names)}
    if all(label.isdecimal() and int(label) < len(names) for label in labels):
        return {label: int(label) for label in labels}
    wrong = next(label for label in labels if label not in names)
    raise DataError(
        f"{path}: label {wrong!r} is no class",
        code="class.unknown",
        hint=f"known: {', '.join(names[:20])}",
    )


def classification_report(
    metric: ClassificationMetric,
    classes: ClassList,
    outcomes: Outcomes,
    failures: list[Failure],
    folder: Path | None,
) -> dict[str, Any]:
    """Return what `eval --json` prints about the numbers, and write the tables behind them.

    Args:
        metric: filled.
        classes: of the metric.
        outcomes: of the evaluated images.
        failures: samples that could not be evaluated.
        folder: gets `per_image.csv`, `confusion_matrix.csv` and `confusion_matrix.png`; None
            writes nothing.
    """
    rows = metric.matrix.sum(1)
    report = {
        "metrics": metric.compute(),
        "rules": classification.rules(metric.matrix, classes),
        "per_class": classification.per_class(metric.matrix, classes),
        "counts": {
            "images": len(outcomes) + len(failures),
            "evaluated": len(outcomes),
            "failed": len(failures),
        },
        "baseline": {"top1": float(rows.max() / rows.sum()) if rows.sum() else None},
        "failures": [asdict(failure) for failure in failures],
    }
    if folder is None:
        return report
    names = classes.names
    files = {name: folder / name for name in ("per_image.csv", "confusion_matrix.csv")}
    picture = folder / "confusion_matrix.png"
    write_csv(
        files["per_image.csv"],
        ["path", "truth", "predicted", "score", "correct"],
        (
            [path, names[true], names[guess], score, int(true == guess)]
            for path, (true, guess, score) in outcomes
        ),
    )
    counts = zip(names, metric.matrix.tolist(), strict=True)
    write_csv(
        files["confusion_matrix.csv"],
        ["truth\\prediction", *names],
        ([name, *row] for name, row in counts),
    )
    write_rgb(picture, draw_confusion(metric.matrix, names))
    files = {path.stem: str(path) for path in files.values()}
    report["files"] = files | {"confusion_picture": str(picture)}
    return report
