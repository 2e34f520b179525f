"""Scoring segmentation masks, whoever made them. Needs no network and does not import torch."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cvkit.data.classes import dataset_classes, make_classes, numbered_classes
from cvkit.data.files import inside, walk_images
from cvkit.data.joining import join_names
from cvkit.data.layouts import detect_layout, list_split
from cvkit.data.masks import MaskMap, MaskReader, parse_mask_map
from cvkit.engine.report import Reporter
from cvkit.errors import CvkitError, DataError, UsageError
from cvkit.metrics import confusion
from cvkit.metrics.confusion import ConfusionMatrix
from cvkit.options.segment import SegmentEval
from cvkit.output.files import write_csv
from cvkit.structures import IGNORE, ClassList, Failure, SegMap
from cvkit.tasks.predicted import Predicted, read_predicted, require_any, tell_unknown


@dataclass(frozen=True)
class ScoredPair:
    """A truth and its prediction.

    Attributes:
        key: name of the truth, without suffix.
        prediction: its PNG, which may be missing; or why there is none.
        mask: of the truth.
        labels: names of the classes that were predicted, as far as they are known.
    """

    key: str
    prediction: Path | Failure
    mask: Path
    labels: tuple[str, ...] = ()


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
    _require_folders(options)
    predicted = read_predicted(options.predictions)
    pairs = _joined(options, predicted) if predicted else _pairs(options)
    truths, results, classes = _readers(options, predicted, pairs, report)
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
    require_any(failures, len(pairs))
    return metric, classes, images, failures


def _readers(
    options: SegmentEval, predicted: Predicted | None, pairs: list[ScoredPair], report: Reporter
) -> tuple[MaskReader, MaskReader, ClassList]:
    """Return what reads truths and predictions, as flags or the model say, and the classes."""
    classes, colors = dataset_classes(options.truth)
    labels = predicted.labels if predicted else {}
    written = labels.get("mask_map") if options.mask_map is None else options.mask_map
    mask_map = parse_mask_map(written) if written else MaskMap()
    ignore = options.ignore_index
    ignore = labels.get("ignore_index", IGNORE) if ignore is None else ignore
    renumbered = MaskMap()
    if predicted and classes:
        renumbered = _renumbered(predicted, classes, pairs, report)
    elif predicted and predicted.names:
        classes = make_classes(list(predicted.names))
    truths = MaskReader(len(classes) if classes else None, colors, mask_map, ignore)
    results = MaskReader(len(classes) if classes else None, colors, renumbered)
    if classes is None:
        classes = _count_classes(pairs, truths, results)
        truths = MaskReader(len(classes), colors, mask_map, ignore)
    return truths, results, classes


def _score(
    pair: ScoredPair, results: MaskReader, truths: MaskReader, metric: ConfusionMatrix
) -> np.ndarray | Failure:
    """Return the matrix of a pair, or why there is none."""
    truth = truths.read(pair.mask)
    if isinstance(pair.prediction, Failure):
        return pair.prediction
    try:
        result = results.read(pair.prediction)
    except CvkitError as error:
        if error.code.startswith("image."):
            return Failure(pair.key, error.code, str(error))
        raise
    try:
        return metric.update(SegMap(result), SegMap(truth))
    except ValueError as error:
        raise DataError(
            f"{pair.prediction}: {error}",
            code="prediction.mismatch",
            hint="predictions are index PNGs at the size of the truth",
        ) from error


def _require_folders(options: SegmentEval) -> None:
    """Check what `--predictions` and `--truth` name.

    Raises:
        DataError: one of them is no folder, or there is no prediction.
    """
    for flag, folder in (("--predictions", options.predictions), ("--truth", options.truth)):
        if not folder.is_dir():
            raise DataError(f"{flag} {folder} is not a folder", code="data.missing")
    if not any(walk_images(options.predictions)):
        raise DataError(
            f"--predictions {options.predictions} holds no image", code="predictions.empty"
        )


def _pairs(options: SegmentEval) -> list[ScoredPair]:
    """Return prediction and truth of each sample of the truth, joined by their names."""
    predictions = options.predictions
    folders = [predictions, predictions / options.split]
    pairs = []
    for name, _, mask in _truths(options, options.truth):
        places = [folder / f"{name}.png" for folder in folders]
        found = next((place for place in places if place.is_file()), places[0])
        pairs.append(ScoredPair(name, found, mask))
    if not any(pair.prediction.is_file() for pair in pairs):
        raise DataError(
            f"no file in {predictions} has the name of a truth mask",
            code="predictions.names",
            hint=f"expected for example {pairs[0].key}.png",
        )
    return pairs


def _joined(options: SegmentEval, predicted: Predicted) -> list[ScoredPair]:
    """Return prediction and truth of each sample, joined by the names of the images.

    Raises:
        DataError: nothing that was predicted is in the truth, or a line is malformed.
    """
    truths = list(_truths(options, options.truth))
    lines = {line["path"]: line for line in predicted.lines}
    if all(image is None for _, image, _ in truths):  # only masks, which have other suffixes
        own = {path: PurePosixPath(path).with_suffix("").as_posix() for path in predicted.paths}
        found = join_names([name for name, _, _ in truths], list(own.values()))
        paths = {stem: path for path, stem in own.items()}
        joined = {name: paths[stem] for name, stem in found.items()}
    else:
        names = {name: image.as_posix() for name, image, _ in truths}
        places = join_names(list(names.values()), predicted.paths)
        joined = {name: places[place] for name, place in names.items() if place in places}
    if not joined:
        raise DataError(
            f"no image of {predicted.folder / 'predictions.jsonl'} is in the truth",
            code="predictions.names",
            hint=f"expected for example {truths[0][0]}",
        )
    pairs = []
    for name, _, mask in truths:
        path = joined.get(name)
        line = lines.get(path)
        if line is None:
            pairs.append(ScoredPair(name, predicted.failure(name, path), mask))
            continue
        try:
            png, labels = inside(predicted.folder, line["mask"]), tuple(line["labels"])
        except (KeyError, TypeError) as error:
            raise DataError(
                f"{predicted.folder / 'predictions.jsonl'}: {path} has no mask: {error!r}",
                code="predictions.task",
                hint="it must come from predict of the same task",
            ) from error
        pairs.append(ScoredPair(name, png, mask, labels))
    return pairs


def _renumbered(
    predicted: Predicted, classes: ClassList, pairs: list[ScoredPair], report: Reporter
) -> MaskMap:
    """Return the truth's number of each class of the model, by its name.

    Raises:
        DataError: a class was predicted that the truth does not have.
    """
    for pair in pairs:
        if other := [name for name in pair.labels if name not in classes.names]:
            raise DataError(
                f"{pair.prediction}: class {other[0]!r} is not in the truth",
                code="classes.differ",
                hint=f"it has {', '.join(classes.names[:8])}",
            )
    tell_unknown(classes.names, predicted.names, report)
    known = predicted.names_by_value().items()
    return MaskMap({v: classes.names.index(name) for v, name in known if name in classes.names})


def _truths(options: SegmentEval, truth: Path) -> Iterator[tuple[str, Path | None, Path]]:
    """Yield the name (without suffix), the image (of a dataset) and the mask of each truth."""
    layout = options.format
    if layout == "auto":
        try:
            layout = detect_layout(truth)
        except DataError:
            for mask in walk_images(truth):
                yield mask.relative_to(truth).with_suffix("").as_posix(), None, mask
            return
    base = {"voc": "JPEGImages", "pairs": f"images/{options.split}"}[layout]
    for pair in list_split(truth, layout, options.split):
        name = Path(pair.key).relative_to(base).with_suffix("").as_posix()
        yield name, pair.image, pair.mask


def _count_classes(pairs: list[ScoredPair], truths: MaskReader, results: MaskReader) -> ClassList:
    """Return the classes 0 to the largest value in truths and predictions."""
    largest = 0
    for pair in pairs:
        largest = max(largest, _largest(truths.read(pair.mask)))
        if isinstance(pair.prediction, Path) and pair.prediction.is_file():
            largest = max(largest, _largest(results.read(pair.prediction)))
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
