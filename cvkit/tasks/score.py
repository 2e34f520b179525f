"""Scoring segmentation masks, whoever made them. Needs no network and does not import torch."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.classes import dataset_classes, numbered_classes
from cvkit.data.files import walk_images
from cvkit.data.layouts import LabelledImage, detect_layout, list_split
from cvkit.data.masks import MaskMap, MaskReader, parse_mask_map
from cvkit.engine.report import Reporter
from cvkit.errors import CvkitError, DataError, UsageError
from cvkit.metrics import confusion
from cvkit.metrics.confusion import ConfusionMatrix
from cvkit.options.segment import SegmentEval
from cvkit.output.files import write_csv
from cvkit.structures import IGNORE, ClassList, Failure, SegMap

ImageMatrices = list[tuple[str, np.ndarray]]
"""(path, [K, K] confusion matrix) of each evaluated image."""


def score_segmentation(
    options: SegmentEval, report: Reporter
) -> tuple[ConfusionMatrix, ClassList, ImageMatrices, list[Failure]]:
    """Compare a folder of index PNGs with the truth.

    Args:
        options: `predictions` and `truth`; the truth is a dataset (then `split` applies) or a
            plain folder of masks.
        report: for progress.

    Returns:
        The metric, the classes, the matrix of each image, and the truths whose prediction is
        missing or unreadable.

    Raises:
        DataError: a label or a predicted value is no class, or nothing matches.
        UsageError: `--truth` is missing.
    """
    if options.truth is None:
        raise UsageError("--truth is missing", code="truth.missing", hint="--truth DATASET")
    pairs = _pairs(options)
    classes, colors = dataset_classes(options.truth)
    mask_map = parse_mask_map(options.mask_map) if options.mask_map else MaskMap()
    ignore = IGNORE if options.ignore_index is None else options.ignore_index
    truths = MaskReader(len(classes) if classes else None, colors, mask_map, ignore)
    results = MaskReader(len(classes) if classes else None, colors)
    if classes is None:
        classes = _count_classes(pairs, truths, results)
        truths = MaskReader(len(classes), colors, mask_map, ignore)
    metric = ConfusionMatrix(len(classes), options.absent_class)
    images: ImageMatrices = []
    failures: list[Failure] = []
    with report.progress("scoring", len(pairs)) as advance:
        for done, pair in enumerate(pairs, 1):
            found = _score(pair, results, truths, metric)
            if isinstance(found, Failure):
                failures.append(found)
            else:
                images.append((pair.key, found))
            advance(done, "")
    return metric, classes, images, failures


def _score(
    pair: LabelledImage, results: MaskReader, truths: MaskReader, metric: ConfusionMatrix
) -> np.ndarray | Failure:
    """Return the matrix of a pair (`image` is the prediction), or why there is none."""
    truth = truths.read(pair.mask)
    try:
        result = results.read(pair.image)
    except CvkitError as error:
        if error.code.startswith("image."):
            return Failure(pair.key, error.code, str(error))
        raise
    try:
        return metric.update(SegMap(result), SegMap(truth))
    except ValueError as error:
        raise DataError(
            f"{pair.image}: {error}",
            code="prediction.mismatch",
            hint="predictions are index PNGs at the size of the truth",
        ) from error


def _pairs(options: SegmentEval) -> list[LabelledImage]:
    """Return prediction (as `image`) and truth (as `mask`) of each sample of the truth."""
    predictions, truth = options.predictions, options.truth
    for flag, folder in (("--predictions", predictions), ("--truth", truth)):
        if not folder.is_dir():
            raise DataError(f"{flag} {folder} is not a folder", code="data.missing")
    if not any(walk_images(predictions)):
        raise DataError(f"--predictions {predictions} holds no image", code="predictions.empty")
    if (predictions / "masks").is_dir() and (predictions / "predictions.jsonl").is_file():
        predictions = predictions / "masks"  # the output folder of predict
    folders = [predictions, predictions / options.split]
    pairs = []
    for stem, mask in _truths(options, truth):
        places = [folder / f"{stem}.png" for folder in folders]
        found = next((place for place in places if place.is_file()), places[0])
        pairs.append(LabelledImage(stem, found, mask))
    if not pairs:
        raise DataError(
            f"--truth {truth} holds neither a dataset nor a mask",
            code="truth.empty",
            hint="name a dataset, or a folder of masks",
        )
    if not any(pair.image.is_file() for pair in pairs):
        raise DataError(
            f"no file in {predictions} has the name of a truth mask",
            code="predictions.names",
            hint=f"expected for example {pairs[0].key}.png",
        )
    return pairs


def _truths(options: SegmentEval, truth: Path) -> Iterator[tuple[str, Path]]:
    """Yield the name (without suffix) and the mask of each truth."""
    layout = options.format
    if layout == "auto":
        try:
            layout = detect_layout(truth)
        except DataError:
            for mask in walk_images(truth):
                yield mask.relative_to(truth).with_suffix("").as_posix(), mask
            return
    base = {"voc": "JPEGImages", "pairs": f"images/{options.split}"}[layout]
    for pair in list_split(truth, layout, options.split):
        yield Path(pair.key).relative_to(base).with_suffix("").as_posix(), pair.mask


def _count_classes(
    pairs: list[LabelledImage], truths: MaskReader, results: MaskReader
) -> ClassList:
    """Return the classes 0 to the largest value in truths and predictions."""
    largest = 0
    for pair in pairs:
        largest = max(largest, _largest(truths.read(pair.mask)))
        if pair.image.is_file():
            largest = max(largest, _largest(results.read(pair.image)))
    return numbered_classes(largest + 1)


def _largest(labels: np.ndarray) -> int:
    values = labels[labels != IGNORE]
    return int(values.max()) if values.size else 0


def segmentation_report(
    metric: ConfusionMatrix,
    classes: ClassList,
    images: ImageMatrices,
    failures: list[Failure],
    folder: Path | None,
) -> dict[str, Any]:
    """Return what `eval --json` prints about the numbers, and write the tables behind them.

    Args:
        metric: filled.
        classes: of the metric.
        images: matrices of the evaluated images.
        failures: samples that could not be evaluated.
        folder: gets `per_image.csv` and `confusion_matrix.csv`; None writes nothing.
    """
    rows = metric.matrix.sum(1)
    report = {
        "metrics": metric.compute(),
        "rules": confusion.rules(metric.matrix, classes, metric.absent_class),
        "per_class": confusion.per_class(metric.matrix, classes),
        "counts": {
            "images": len(images) + len(failures),
            "evaluated": len(images),
            "failed": len(failures),
            "pixels": int(rows.sum()),
        },
        "baseline": {"pixel_accuracy": float(rows.max() / rows.sum()) if rows.sum() else None},
        "failures": [asdict(failure) for failure in failures],
    }
    if folder is not None:
        table, matrix = folder / "per_image.csv", folder / "confusion_matrix.csv"
        columns = ["path", "miou", "pixel_accuracy", *(f"iou:{name}" for name in classes.names)]
        write_csv(table, columns, (_image_row(*image, metric.absent_class) for image in images))
        counts = zip(classes.names, metric.matrix.tolist(), strict=True)
        write_csv(matrix, ["truth\\prediction", *classes.names], ([n, *row] for n, row in counts))
        report["files"] = {"per_image": str(table), "confusion_matrix": str(matrix)}
    return report


def _image_row(path: str, matrix: np.ndarray, absent_class: str) -> list[object]:
    values = confusion.summary(matrix, absent_class)
    ious = confusion.class_scores(matrix)["iou"]
    per_class = [None if np.isnan(iou) else float(iou) for iou in ious]
    return [path, values["miou"], values["pixel_accuracy"], *per_class]
