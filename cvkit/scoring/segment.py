"""Scoring segmentation masks, of any origin. Does not import torch."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cvkit.console import Reporter
from cvkit.data.classes import make_classes, numbered_classes
from cvkit.data.decode import read_image
from cvkit.data.labelled import mask_classes
from cvkit.data.masks import BINARY, Drawing, MaskMap, MaskReader, parse_mask_map
from cvkit.engine.processes import cores
from cvkit.errors import CvkitError, DataError
from cvkit.metrics import confusion
from cvkit.metrics.confusion import ConfusionMatrix, image_counts
from cvkit.metrics.dialects import number, whole
from cvkit.metrics.image_counts import KINDS, ImageCounts, errors_as_json
from cvkit.options.segment import SegmentEval, dialects
from cvkit.output.confusion_picture import write_confusion
from cvkit.output.files import write_csv
from cvkit.scoring.contract import Scene, Scored, commonest, content, given_places
from cvkit.scoring.mask_pairs import (
    ScoredPair,
    is_table,
    paired_by_name,
    paired_with_folder,
    paired_with_table,
    renumbered,
    require_masks,
)
from cvkit.scoring.predicted import Predicted, read_predicted, require_any, require_complete
from cvkit.structures import IGNORE, ClassList, Failure, SegMap

SAMPLE = "image"
R = TypeVar("R")


def metric_names(options: SegmentEval) -> tuple[str, ...]:
    """Return the names of the metrics."""
    return confusion.metric_names(dialects(options.dialect))


def score(options: SegmentEval, report: Reporter) -> Scored[ConfusionMatrix, ImageCounts]:
    """Compare masks with the truth.

    Args:
        options: `predictions`, a folder of index PNGs or a table of run-length codes; `truth`, a
            dataset (then `split` applies), a folder of masks or such a table.
        report: for progress.

    Returns:
        The evaluation, with the counts of each image; truths whose prediction is missing or
        unreadable are its failures.

    Raises:
        DataError: a label or a predicted value is not a class, or nothing matches.
        UsageError: `--truth` is missing.
    """
    places = given_places(options, "DATASET")
    predicted = read_predicted(places.predictions)
    require_masks(places if predicted is None else replace(places, predictions=predicted.folder))
    if predicted:
        pairs = paired_with_folder(options, places, predicted, report)
    elif is_table(places.predictions):
        pairs = paired_with_table(options, places, report)
    else:
        pairs = paired_by_name(options, places, report)
    lost = [pair.prediction for pair in pairs if isinstance(pair.prediction, Failure)]
    require_complete(lost, options, SAMPLE)
    require_any(lost, len(pairs), SAMPLE)
    truths, results, classes = _readers(options, places.truth, predicted, pairs, report)
    metric = ConfusionMatrix(len(classes), options.absent_class, dialects(options.dialect))
    images: list[tuple[str, ImageCounts]] = []
    failures: list[Failure] = []
    with report.progress("scoring", len(pairs)) as advance:
        size = len(classes)
        each = _in_threads(lambda pair: _score(pair, results, truths, size), pairs)
        for done, (pair, found) in enumerate(zip(pairs, each, strict=True), 1):
            if isinstance(found, Failure):
                failures.append(found)
            else:
                metric.add(found)
                images.append((pair.key, found))
            advance(done, "")
    require_any(failures, len(pairs), SAMPLE)
    by_key = {pair.key: pair for pair in pairs}

    def scene(key: str) -> Scene | None:
        pair = by_key[key]
        if pair.image is None or isinstance(pair.prediction, Failure):
            return None
        truth, result = SegMap(truths.read(pair.mask)), SegMap(results.read(pair.prediction))
        return Scene(read_image(pair.image), truth, lambda: result)

    return Scored(metric, classes, images, failures, scene)


def _readers(
    options: SegmentEval,
    truth: Path,
    predicted: Predicted | None,
    pairs: list[ScoredPair],
    report: Reporter,
) -> tuple[MaskReader, MaskReader, ClassList]:
    """Return the readers of truths and predictions, by flags or the model, and the classes."""
    classes, colors = mask_classes(truth, [pair.mask for pair in pairs])
    labels = predicted.labels if predicted else {}
    written = labels.get("mask_map") if options.mask_map is None else options.mask_map
    mask_map = parse_mask_map(written) if written else MaskMap()
    ignore = options.ignore_index
    ignore = labels.get("ignore_index", IGNORE) if ignore is None else ignore
    by_name = MaskMap()
    if predicted and classes:
        by_name = renumbered(predicted, classes, pairs, report)
    elif predicted and predicted.names:
        classes = make_classes(list(predicted.names))
    truths = MaskReader(len(classes) if classes else None, colors, mask_map, ignore)
    # Predictions are index PNGs with any palette; VOC's is the usual one.
    count = len(classes) if classes else None
    results = MaskReader(count, colors, by_name, trust_voc_palette=False)
    if classes is None:
        true, all_, unlabelled = _count_values(pairs, truths, results)
        if true < 2 and all_ <= 2 and unlabelled and not mask_map.values and ignore == IGNORE:
            # With a single class, which every pixel has, 255 can only be the other one.
            report.say(f"masks of 0 and 255: 255 is read as class 1 (--mask-map {BINARY})")
            mask_map, all_ = parse_mask_map(BINARY), 2
        if all_ > true > 1:
            report.warn(
                f"the predictions have values up to {all_ - 1}, the truth only up to {true - 1}"
            )
        if all_ < 2:
            raise DataError(
                f"{truth}: truths and predictions have only one class besides {ignore}, the "
                "value of pixels without a label",
                code="classes.count",
                hint="give each class a value of its own, or use --mask-map",
            )
        classes = numbered_classes(all_)
        truths = MaskReader(len(classes), colors, mask_map, ignore)
    return truths, results, classes


def _in_threads(function: Callable[[ScoredPair], R], pairs: Iterable[ScoredPair]) -> Iterator[R]:
    """Yield the result of each pair in order, on all cores; few of them wait at a time."""
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(count := cores(), "score") as pool:
        try:
            for pair in pairs:
                waiting.append(pool.submit(function, pair))
                if len(waiting) > 4 * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def _score(
    pair: ScoredPair, results: MaskReader, truths: MaskReader, num_classes: int
) -> ImageCounts | Failure:
    """Return the counts of a pair, or why there are none."""
    truth = truths.read(pair.mask)
    if isinstance(pair.prediction, Failure):
        return pair.prediction
    try:
        result = _foreground(_read_result(pair.prediction, results), num_classes)
    except CvkitError as error:
        if error.code.startswith("image."):
            return Failure(pair.key, error.code, str(error))
        raise
    try:
        return image_counts(result, truth, num_classes)
    except ValueError as error:
        raise DataError(
            f"{pair.prediction}: {error}",
            code="prediction.mismatch",
            hint="pixels must be class indices; only truths have pixels without a label"
            if result.shape == truth.shape
            else "predictions must be index PNGs of the size of the truth",
        ) from error


def _read_result(prediction: Path | Drawing, results: MaskReader) -> np.ndarray:
    """Return a prediction; the remedies for its defects are those of a prediction.

    Raises:
        DataError: see `MaskReader.read`.
    """
    try:
        return results.read(prediction)
    except DataError as error:
        if error.code in ("mask.color", "mask.value_range"):
            error.hint = "pixels are class indices, or have the colours of the truth's classes.txt"
        raise


def _foreground(result: np.ndarray, num_classes: int) -> np.ndarray:
    """Return a prediction of two classes in which 255, as other programs write it, is class 1.

    A prediction has no pixels without a label; with both 1 and 255 it is refused later.
    """
    if num_classes != 2 or (result == 1).any():
        return result
    return np.where(result == IGNORE, np.uint8(1), result)


def _count_values(
    pairs: list[ScoredPair], truths: MaskReader, results: MaskReader
) -> tuple[int, int, bool]:
    """Return one more than the largest value in truths, and in truths and predictions.

    And whether truths or predictions have pixels without a label.
    """

    def largest(pair: ScoredPair) -> tuple[int, int, bool]:
        truth = truths.read(pair.mask)
        true, unlabelled = _largest(truth), bool((truth == IGNORE).any())
        if isinstance(pair.prediction, Failure) or (
            isinstance(pair.prediction, Path) and not pair.prediction.is_file()
        ):
            return true, true, unlabelled
        try:
            found = _read_result(pair.prediction, results)
        except CvkitError as error:
            if not error.code.startswith("image."):
                raise
            return true, true, unlabelled  # scoring counts it as failed
        return true, max(true, _largest(found)), unlabelled or bool((found == IGNORE).any())

    true, all_, unlabelled = zip(*_in_threads(largest, pairs), strict=True)
    return max(true) + 1, max(all_) + 1, any(unlabelled)


def _largest(labels: np.ndarray) -> int:
    largest = int(labels.max(initial=0))
    return largest if largest < IGNORE else int(labels.max(initial=0, where=labels != IGNORE))


def write_report(
    scored: Scored[ConfusionMatrix, ImageCounts], folder: Path | None
) -> dict[str, Any]:
    """Return the numbers of `eval --json`, and write the tables and pictures of the report.

    Args:
        scored: the evaluation.
        folder: gets `per_image.csv`, `confusion_matrix.csv` and `confusion_matrix.png`; None
            writes nothing.
    """
    metric, names = scored.metric, scored.classes.names
    report = content(
        scored,
        metric.report(scored.classes),
        truths=((str(image.of_classes()[1].tolist()),) for _, image in scored.outcomes),
        counts={"pixels": int(metric.matrix.sum())},
        errors=errors_as_json([image for _, image in scored.outcomes]),
        baseline={"pixel_accuracy": commonest(metric.matrix)},
    )
    if folder is not None:
        table, columns = folder / "per_image.csv", [f"iou:{name}" for name in names]
        rows = (_image_row(*image, metric) for image in scored.outcomes)
        write_csv(table, ["path", "miou", "pixel_accuracy", *KINDS, *columns], rows)
        matrix, picture = write_confusion(folder, metric.matrix, names, shares=True)
        files = {"per_image": table, "confusion_matrix": matrix, "confusion_picture": picture}
        report["files"] = {name: str(path) for name, path in files.items()}
    return report


def _image_row(path: str, image: ImageCounts, metric: ConfusionMatrix) -> list[object]:
    dialect, matrix = metric.dialects[0], image.dense()
    miou = confusion.summary(matrix, metric.absent_class, dialect)["miou"]
    accuracy = whole(matrix)["pixel_accuracy"]
    ious = confusion.scores_in(matrix, dialect)["iou"]
    return [path, miou, number(accuracy), *image.errors().tolist(), *map(number, ious)]
