"""Scoring class predictions, whoever made them. Needs no network and does not import torch."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.console import Reporter
from cvkit.data.classes import dataset_classes, make_classes
from cvkit.data.classified import read_collection
from cvkit.data.files import Walk, walk_images
from cvkit.data.joining import join_names
from cvkit.data.tables import read_rows
from cvkit.dividing import model_division, tell_division
from cvkit.errors import DataError, UsageError
from cvkit.metrics import classification
from cvkit.metrics.classification import ClassificationMetric
from cvkit.options.base import Eval
from cvkit.options.classify import ClassifyEval
from cvkit.output.confusion_picture import draw_confusion
from cvkit.output.files import write_csv, write_rgb
from cvkit.scoring.class_tables import KEYS, LABELS, Table, find_column, fused, unique
from cvkit.scoring.predicted import Predicted, read_predicted, require_any, tell_unknown
from cvkit.structures import Classes, ClassList, Failure
from cvkit.texts import shown, whole_number

Outcomes = list[tuple[str, tuple[int, int, float]]]
"""(path, (true class, predicted class, its score)) of each evaluated image."""


def metric_names(options: ClassifyEval) -> tuple[str, ...]:
    """Return the names of what may be computed; how many classes there are is seen later."""
    return classification.METRICS


def score_classification(
    options: ClassifyEval, report: Reporter
) -> tuple[ClassificationMetric, ClassList, Outcomes, list[Failure]]:
    """Compare a table of scores with the truth; see `score_tables`."""
    files = [(options.predictions, 1.0)]
    return score_tables(options, report, files, ClassificationMetric, walk_images)


def score_tables(
    options: Eval,
    report: Reporter,
    files: Sequence[tuple[Path, float]],
    make_metric: Callable[[int], ClassificationMetric],
    walk: Walk,
) -> tuple[Any, ClassList, Outcomes, list[Failure]]:
    """Compare a table of scores, or the weighted mean of several, with the truth.

    Args:
        options: `truth`, a CSV with a column `label` (class names, or numbers of the score
            columns from 0), or a dataset (then `split` applies).
        report: for a count of predictions without a truth.
        files: tables and their weights; each a CSV with one column of scores for each class, or
            what predict wrote (its folder or its table).
        make_metric: called with the number of classes.
        walk: what a dataset holds.

    Returns:
        The metric, the classes, the outcome of each image, and the truths without prediction.

    Raises:
        DataError: a malformed table, a label that is no class, or nothing matches.
        UsageError: `--truth` is missing.
    """
    if options.truth is None:
        raise UsageError("--truth is missing", code="truth.missing", hint="--truth labels.csv")
    file, _ = files[0]
    predicted = read_predicted(file)
    truths, listed = _truths(options, walk, predicted, report)
    table = fused(files, _known(truths, listed, predicted))
    names = _class_names(table, listed, predicted)
    if predicted:
        tell_unknown(names, predicted.names, report)
    lost = predicted.failures.keys() - table.scores.keys() if predicted else ()
    joined = join_names(list(truths), [*table.scores, *lost])
    place = [names.index(name) for name in table.names]
    index = _label_index(truths, names, options.truth)
    metric = make_metric(len(names))
    outcomes: Outcomes = []
    failures: list[Failure] = []
    for key, label in truths.items():
        own = joined.get(key)
        if own not in table.scores:
            failures.append(_missing(predicted, key, own, file))
            continue
        scores = np.full(len(names), np.nan)
        scores[place] = table.scores[own]
        outcomes.append((key, metric.update(Classes(-1, scores), Classes(index[label]))))
    if joined:
        require_any(failures, len(truths))
    else:
        raise DataError(
            f"no row of {file} is in {options.truth}",
            code="predictions.names",
            hint=f"expected for example {next(iter(truths))}",
        )
    if extra := table.scores.keys() - set(joined.values()):
        report.warn(f"{len(extra)} predictions have no truth, such as {sorted(extra)[0]}")
    return metric, make_classes(list(names)), outcomes, failures


def _class_names(
    table: Table, listed: tuple[str, ...] | None, predicted: Predicted | None
) -> tuple[str, ...]:
    """Return the classes in the order that decides between equal scores."""
    if predicted and predicted.names and set(table.names) <= set(predicted.names):
        return predicted.names
    return listed if listed and set(table.names) <= set(listed) else table.names


def _missing(predicted: Predicted | None, key: str, own: str | None, file: Path) -> Failure:
    if predicted:
        return predicted.failure(key, own)
    return Failure(key, "prediction.missing", f"{file} has no prediction for {key}")


def _known(
    truths: dict[str, str], listed: tuple[str, ...] | None, predicted: Predicted | None
) -> list[str]:
    """Return the classes that are known without a table."""
    labels = set(truths.values())
    if predicted and predicted.names and not labels & set(predicted.names):
        return sorted(predicted.names)  # labels are numbers of these, or no classes at all
    return sorted({*labels, *(listed or ())})


def _truths(
    options: Eval, walk: Walk, predicted: Predicted | None, report: Reporter
) -> tuple[dict[str, str], tuple[str, ...] | None]:
    """Return the label of each key, and the classes if the truth lists them itself."""
    place = options.truth
    if place.is_file():
        rows = read_rows(place, ())
        key, label = find_column(rows, KEYS, place), find_column(rows, LABELS, place)
        listed, _ = dataset_classes(place.parent)
        return unique([(row[key], row[label]) for row in rows], place), listed and listed.names
    # Data that training divided are divided alike, as eval with the model does.
    made = model_division(options, {"labels": predicted.labels if predicted else {}})
    share, names = made.val_fraction, [options.split]
    found = read_collection(
        place, options.format, names, share, walk, seed=made.seed, flag="--truth"
    )
    tell_division(options, place, found.heap, made, found.splits, report)
    for note in found.notes:
        report.warn(note)
    return {image.key: image.label for image in found.splits[options.split]}, found.names


def _label_index(truths: dict[str, str], names: Sequence[str], path: Path) -> dict[str, int]:
    """Return the class index of each label: of its name, or of the number that it is.

    Raises:
        DataError: a label is neither.
    """
    labels = sorted(set(truths.values()))
    if set(labels) <= set(names):
        return {name: number for number, name in enumerate(names)}
    numbers = {label: whole_number(label) for label in labels}
    if all(number is not None and 0 <= number < len(names) for number in numbers.values()):
        return numbers
    wrong = next(label for label in labels if label not in names)
    raise DataError(
        f"{path}: label {shown(wrong)} is no class",
        code="class.unknown",
        hint=f"known: {', '.join(names[:20])}",
    )


def classification_report(
    metric: ClassificationMetric,
    classes: ClassList,
    outcomes: Outcomes,
    failures: list[Failure],
    folder: Path | None,
    what: str = "image",
) -> dict[str, Any]:
    """Return what `eval --json` prints about the numbers, and write the tables behind them.

    Args:
        metric: filled.
        classes: of the metric.
        outcomes: of the evaluated images.
        failures: samples that could not be evaluated.
        folder: gets `per_image.csv`, `confusion_matrix.csv` and `confusion_matrix.png`; None
            writes nothing.
        what: has a class: `image` or `video`.
    """
    rows = metric.matrix.sum(1)
    report = {
        "metrics": metric.compute(),
        "rules": classification.rules(metric.matrix, classes),
        "per_class": classification.per_class(metric.matrix, classes, f"{what}s"),
        "counts": {
            f"{what}s": len(outcomes) + len(failures),
            "evaluated": len(outcomes),
            "failed": len(failures),
        },
        "baseline": {"top1": float(rows.max() / rows.sum()) if rows.sum() else None},
        "failures": [asdict(failure) for failure in failures],
    }
    if folder is None:
        return report
    names = classes.names
    files = {name: folder / name for name in (f"per_{what}.csv", "confusion_matrix.csv")}
    picture = folder / "confusion_matrix.png"
    write_csv(
        files[f"per_{what}.csv"],
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
