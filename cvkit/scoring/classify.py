"""Scoring class predictions, of any origin. Does not import torch."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cvkit.console import Reporter
from cvkit.data.classes import dataset_classes, make_classes
from cvkit.data.classified import ClassifiedImage, called_as, read_collection
from cvkit.data.decode import read_image
from cvkit.data.files import Walk, walk_images
from cvkit.data.joining import join_names
from cvkit.data.tables import read_rows
from cvkit.dividing import model_division, tell_division
from cvkit.errors import DataError
from cvkit.metrics import classification, one_vs_rest
from cvkit.metrics.classification import ClassificationMetric
from cvkit.metrics.one_vs_rest import OneVsRest
from cvkit.options.classify import ClassifyEval
from cvkit.options.video import VideoEval
from cvkit.output.confusion_picture import write_confusion
from cvkit.output.files import write_csv
from cvkit.scoring.class_tables import KEYS, LABELS, MORE_KEYS, Table, find_column, fused, unique
from cvkit.scoring.contract import Scene, Scored, commonest, content, given_places
from cvkit.scoring.predicted import (
    MISSING,
    Predicted,
    read_predicted,
    require_any,
    require_complete,
    tell_extra,
    tell_unknown,
)
from cvkit.structures import Classes, Failure
from cvkit.texts import counted, shown, whole_number

SAMPLE = "image"
Outcome = tuple[int, int, float]
"""True class, predicted class and its score of an evaluated image."""
MetricT = TypeVar("MetricT", bound=ClassificationMetric)


def metric_names(options: ClassifyEval) -> tuple[str, ...]:
    """Return the names of the possible metrics; the number of classes is known later."""
    return classification.METRICS


def score(options: ClassifyEval, report: Reporter) -> Scored[ClassificationMetric, Outcome]:
    """Compare a table of scores with the truth; see `score_tables`."""
    places = given_places(options, "labels.csv")
    files = [(places.predictions, 1.0)]
    return score_tables(
        options,
        places.truth,
        files,
        report,
        make_metric=ClassificationMetric,
        walk=walk_images,
        sample=SAMPLE,
        picture=lambda item: read_image(item.path),
    )


def score_tables(
    options: ClassifyEval | VideoEval,
    truth: Path,
    files: Sequence[tuple[Path, float]],
    report: Reporter,
    *,
    make_metric: Callable[[int], MetricT],
    walk: Walk,
    sample: str,
    picture: Callable[[ClassifiedImage], np.ndarray],
) -> Scored[MetricT, Outcome]:
    """Compare a table of scores, or the weighted mean of several, with the truth.

    Args:
        options: of the command.
        truth: a CSV with a column `label` (class names, or numbers of the score columns from 0),
            or a dataset (then `split` applies).
        files: tables and their weights; each a CSV with one column of scores for each class, or
            the output of predict (its folder or its table).
        report: for the number of predictions without ground truth.
        make_metric: called with the number of classes.
        walk: finds the samples of a dataset.
        sample: the noun for a sample, in the singular.
        picture: reads a sample, to show it: HWC RGB uint8.

    Returns:
        The evaluation; truths without prediction are its failures.

    Raises:
        DataError: a malformed table, a label that is not a class, or nothing matches.
    """
    file, _ = files[0]
    predicted = read_predicted(file)
    items, listed = _truths(options, truth, walk, predicted, report)
    truths = {key: item.label for key, item in items.items()}
    table = fused(files, _known(truths, listed, predicted))
    names = _class_names(table, listed, predicted)
    tell_unknown(names, predicted.names if predicted else None, report)
    _tell_columns(file, table, set(_known(truths, listed, predicted)), report)
    place = [names.index(name) for name in table.names]
    index = _label_index(truths, names, truth)
    joined = _joined(list(truths), table, predicted, file, truth)
    rows = {key: row for key, row in joined.items() if row in table.scores}
    failures = [
        _missing(predicted, key, joined.get(key), file) for key in truths if key not in rows
    ]
    require_complete(failures, options, sample)
    require_any(failures, len(truths), sample)
    tell_extra(table.scores.keys() - set(joined.values()), options, report)
    metric = make_metric(len(names))
    outcomes: list[tuple[str, Outcome]] = []
    for key, label in truths.items():
        if key in rows:
            scores = np.full(len(names), np.nan)
            scores[place] = table.scores[rows[key]]
            outcomes.append((key, metric.update(Classes(-1, scores), Classes(index[label]))))
    classes = make_classes(list(names))
    return Scored(metric, classes, outcomes, failures, lambda key: Scene(picture(items[key])))


def _joined(
    keys: list[str], table: Table, predicted: Predicted | None, file: Path, truth: Path
) -> dict[str, str]:
    """Return the row of each key of the truth that has one, or that predict could not read.

    Raises:
        DataError: there are none.
    """
    lost = predicted.failures.keys() - table.scores.keys() if predicted else ()
    joined = join_names(keys, [*table.scores, *lost])
    if not joined:
        raise DataError(
            f"no row of {file} is in {truth}",
            code="predictions.names",
            hint=f"expected for example {keys[0]}",
        )
    return joined


def _tell_columns(file: Path, table: Table, known: set[str], report: Reporter) -> None:
    """Warn of scores of classes that the truth does not have; they can only be wrong."""
    unknown = [name for name in table.names if name not in known]
    if unknown and len(unknown) < len(table.names):  # otherwise labels are their numbers
        shown_names = ", ".join(unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        count = counted(len(unknown), "class", "classes")
        report.warn(f"{file} has scores of {count} that the truth does not have: {shown_names}")


def _class_names(
    table: Table, listed: tuple[str, ...] | None, predicted: Predicted | None
) -> tuple[str, ...]:
    """Return the classes in the order that decides between equal scores."""
    if predicted and predicted.names and set(table.names) <= set(predicted.names):
        return predicted.names
    return listed if listed and set(table.names) <= set(listed) else table.names


def _missing(predicted: Predicted | None, key: str, row: str | None, file: Path) -> Failure:
    if predicted:
        return predicted.failure(key, row)
    return Failure(key, MISSING, f"{file} has no prediction for {key}")


def _known(
    truths: dict[str, str], listed: tuple[str, ...] | None, predicted: Predicted | None
) -> list[str]:
    """Return the classes known without a table."""
    labels = set(truths.values())
    if predicted and predicted.names and not labels & set(predicted.names):
        return sorted(predicted.names)  # labels are indices of these, or not classes
    return sorted({*labels, *(listed or ())})


def _truths(
    options: ClassifyEval | VideoEval,
    place: Path,
    walk: Walk,
    predicted: Predicted | None,
    report: Reporter,
) -> tuple[dict[str, ClassifiedImage], tuple[str, ...] | None]:
    """Return the labelled samples by key, and the classes if the truth lists them itself."""
    if place.is_file():
        rows = read_rows(place, ())
        key, label = (find_column(rows[0], known, place) for known in ((*KEYS, *MORE_KEYS), LABELS))
        listed, _ = dataset_classes(place.parent)
        labels = unique([(row[key], row[label]) for row in rows], place)
        items = {
            name: ClassifiedImage(name, place.parent / name, label)
            for name, label in labels.items()
        }
        return items, listed.names if listed else None
    # Data divided in training are divided in the same way, as eval does with the model.
    made = model_division(options, {"labels": predicted.labels if predicted else {}})
    found = read_collection(place, options.format, [options.split], made, walk, flag="--truth")
    tell_division(options, place, found.heap, made, found.splits, report)
    for note in found.notes:
        report.warn(note)
    found = called_as(found, (predicted and predicted.names) or ())
    return {image.key: image for image in found.splits[options.split]}, found.names


def _label_index(truths: dict[str, str], names: Sequence[str], path: Path) -> dict[str, int]:
    """Return the class index of each label, which is a name or an index.

    Raises:
        DataError: a label is neither.
    """
    labels = sorted(set(truths.values()))
    if set(labels) <= set(names):
        return {name: number for number, name in enumerate(names)}
    numbers = {label: number for label in labels if (number := whole_number(label)) is not None}
    if len(numbers) == len(labels) and all(0 <= n < len(names) for n in numbers.values()):
        return numbers
    wrong = next(label for label in labels if label not in names)
    raise DataError(
        f"{path}: label {shown(wrong)} is not a class of the predictions",
        code="class.unknown",
        hint=f"they have {', '.join(names[:20])}",
    )


def write_report(
    scored: Scored[ClassificationMetric, Outcome], folder: Path | None
) -> dict[str, Any]:
    """Return the numbers of `eval --json`, and write the tables and pictures of the report.

    Args:
        scored: the evaluation.
        folder: gets `per_image.csv`, `precision_recall.csv`, `confusion_matrix.csv` and
            `confusion_matrix.png`; None writes nothing.
    """
    numbers = scored.metric.report(scored.classes)
    baseline = {"top1": commonest(scored.metric.matrix)}
    report = content(scored, numbers, truths=true_classes(scored), baseline=baseline)
    curves = add_curves(report, scored)
    if folder is not None:
        report["files"] = write_tables(scored, folder, "per_image", curves)
    return report


def add_curves(report: dict[str, Any], scored: Scored[MetricT, Outcome]) -> OneVsRest | None:
    """Add average precisions, with their rules, to `eval --json`; return the curves.

    Args:
        report: gets `ap` of each class, before its count, and `curves`.
        scored: the evaluation.
    """
    found, names = scored.metric.one_vs_rest(), scored.classes.names
    values = found.average_precisions() if found else np.full(len(names), np.nan)
    for name, value in zip(names, values.tolist(), strict=True):
        *columns, count = report["per_class"][name].items()
        ap = None if np.isnan(value) else value
        report["per_class"][name] = dict([*columns, ("ap", ap), count])
    report["rules"] = report["rules"] | {"ap": one_vs_rest.RULES["ap"]}
    unknown = {name: {"value": None, "rule": one_vs_rest.RULES[name]} for name in one_vs_rest.MEANS}
    report["curves"] = found.as_json() if found else unknown
    return found


def true_classes(scored: Scored[MetricT, Outcome]) -> Iterator[tuple[str, ...]]:
    """Yield the name of the true class of each sample."""
    return ((scored.classes.names[true],) for _, (true, *_) in scored.outcomes)


def write_tables(
    scored: Scored[MetricT, Outcome], folder: Path, name: str, curves: OneVsRest | None
) -> dict[str, str]:
    """Write `NAME.csv`, the class of each sample, confusions and curves; return the paths."""
    names, table = scored.classes.names, folder / f"{name}.csv"
    write_csv(
        table,
        ["path", "truth", "predicted", "score", "correct"],
        (
            [path, names[true], names[guess], score, int(true == guess)]
            for path, (true, guess, score) in scored.outcomes
        ),
    )
    matrix, picture = write_confusion(folder, scored.metric.matrix, names)
    files = {name: table, "confusion_matrix": matrix, "confusion_picture": picture}
    if curves is not None:
        files["precision_recall"] = folder / "precision_recall.csv"
        rows = (
            [kind, *map(float, point)]
            for kind, curve in zip(names, curves.classes, strict=True)
            for point in zip(curve.scores, curve.recall, curve.precision, strict=True)
        )
        write_csv(files["precision_recall"], ["class", "score", "recall", "precision"], rows)
    return {kind: str(path) for kind, path in files.items()}
