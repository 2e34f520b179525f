"""Scoring detections, whoever made them. Needs no network and does not import torch."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cvkit.data.annotated import AnnotatedImage
from cvkit.data.boxes import BoxData, read_boxes
from cvkit.data.coco import read_coco, read_json
from cvkit.data.scan import raise_defects
from cvkit.engine.report import Reporter
from cvkit.errors import DataError, UsageError
from cvkit.metrics import box_errors, coco, voc
from cvkit.metrics.coco import BoxMetric, CocoMetric, ImageOutcome
from cvkit.metrics.voc import VocMetric
from cvkit.options.detect import DetectEval
from cvkit.output.box_reports import write_box_reports
from cvkit.structures import ClassList, Failure, Instances

ImageOutcomes = list[tuple[str, ImageOutcome]]
"""(path, how it went) of each evaluated image."""


def box_metric(classes: ClassList, protocol: str, iou: float) -> BoxMetric:
    """Return an empty metric of a protocol."""
    if protocol == "coco":
        return CocoMetric(classes)
    return VocMetric(classes, protocol == "voc07", iou)


def score_detection(
    options: DetectEval, report: Reporter
) -> tuple[BoxMetric, ClassList, ImageOutcomes, list[Failure]]:
    """Compare a file or folder of detections with the truth.

    Args:
        options: `predictions`, COCO results (.json), the output folder of predict, or a folder of
            VOC result files; `truth`, a COCO file or a dataset (then `split` applies).
        report: for what is odd.

    Returns:
        The metric, the classes, the outcome of each image of the truth (those without detections
        too), and no failures.

    Raises:
        DataError: malformed, or detections of unknown images or categories.
        UsageError: `--truth` is missing.
    """
    truth = _truth(options)
    raise_defects(truth.defects, str(options.truth))
    for note in truth.notes:
        report.warn(note)
    images = next(iter(truth.splits.values()))
    found = _predictions(options.predictions, images, truth.classes)
    metric = box_metric(truth.classes, options.protocol, options.iou)
    outcomes = [
        (image.key, metric.update(_limited(result, options), image.truth))
        for image, result in zip(images, found, strict=True)
    ]
    if not any(len(result) for result in found):
        report.warn(f"{options.predictions} holds no detection: every class with objects scores 0")
    return metric, truth.classes, outcomes, []


def _limited(result: Instances, options: DetectEval) -> Instances:
    """Return the detections that `--threshold` and `--max-detections` leave."""
    if options.threshold is not None:
        result = result.pick(result.scores > options.threshold)
    return result if options.max_detections is None else result.pick(slice(options.max_detections))


def _truth(options: DetectEval) -> BoxData:
    place = options.truth
    if place is None:
        raise UsageError("--truth is missing", code="truth.missing", hint="--truth instances.json")
    if place.suffix != ".json":
        return read_boxes(place, options.format, [options.split])
    content = read_coco(place, place.parent, place.parent)
    splits = {options.split: content.images}
    return BoxData("coco", content.classes, splits, content.defects, content.notes)


def _predictions(place: Path, images: list[AnnotatedImage], classes: ClassList) -> list[Instances]:
    """Return the detections of each image, best first; of equal scores the file's order stays."""
    if place.is_dir() and (place / "results.json").is_file():
        place = place / "results.json"
    if place.is_dir():
        rows = list(_voc_rows(place, images, classes))
    else:
        rows = list(_coco_rows(place, images, classes))
    by_image: list[list[tuple]] = [[] for _ in images]
    for number, *row in rows:
        by_image[number].append(tuple(row))
    return [_detections(each) for each in by_image]


def _detections(rows: list[tuple[int, float, tuple[float, ...]]]) -> Instances:
    xywh = np.array([box for _, _, box in rows], np.float64).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows], np.float64)
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    labels = np.array([label for label, _, _ in rows], np.int64)
    made = Instances(boxes=corners, labels=labels, scores=scores, xywh=xywh)
    return made.pick(np.argsort(-scores, kind="stable"))


Row = tuple[int, int, float, tuple[float, ...]]
"""Number of the image, label, score, and x, y, width, height."""


def _coco_rows(path: Path, images: list[AnnotatedImage], classes: ClassList) -> Iterable[Row]:
    content = read_json(path)
    if not isinstance(content, list):
        raise DataError(
            f"{path} is not a list of detections",
            code="results.type",
            hint="COCO's results format: [{image_id, category_id, bbox, score}, ...]",
        )
    labels = {id_: number for number, id_ in enumerate(classes.ids, 1)}
    by_id = {image.image_id: number for number, image in enumerate(images)}
    by_name = _by_name(images)
    for place, row in enumerate(content):
        where = f"{path}: [{place}]"
        try:
            name, id_ = row.get("file_name"), int(row["image_id"])
            category = row["category_id"]
            x, y, w, h = (float(value) for value in row["bbox"])
            score = float(row["score"])
        except KeyError as error:
            raise DataError(f"{where} has no {error.args[0]!r}", code="results.key") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where} is malformed: {error}", code="results.row") from error
        image = by_name.get(name, by_id.get(id_))
        if image is None:
            raise DataError(
                f"{where}: image {id_} is not in the truth",
                code="results.image",
                hint="predict --image-ids writes the ids of a COCO file",
            )
        if category not in labels:
            raise DataError(
                f"{where}: category {category!r} is not in the truth", code="results.category"
            )
        if not np.isfinite([x, y, w, h, score]).all() or w < 0 or h < 0:
            raise DataError(f"{where}: box or score is not usable", code="results.value")
        yield image, labels[category], score, (x, y, w, h)


def _by_name(images: list[AnnotatedImage]) -> dict[str, int]:
    """Return the number of each image by its key and, where that is unique, its file name."""
    names: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        names.setdefault(PurePosixPath(image.key).name, []).append(number)
    unique = {name: numbers[0] for name, numbers in names.items() if len(numbers) == 1}
    return unique | {image.key: number for number, image in enumerate(images)}


def _voc_rows(folder: Path, images: list[AnnotatedImage], classes: ClassList) -> Iterable[Row]:
    """Yield the lines of files `..._CLASS.txt`: image, score and 1-based inclusive box."""
    stems = {PurePosixPath(image.key).stem: number for number, image in enumerate(images)}
    if (folder / "voc").is_dir():
        folder = folder / "voc"
    files = {
        label: [*folder.glob(f"*_{name.replace('/', '_')}.txt"), *folder.glob(f"{name}.txt")]
        for label, name in enumerate(classes.names, 1)
    }
    if not any(files.values()):
        raise DataError(
            f"--predictions {folder} holds neither results.json nor VOC result files",
            code="predictions.missing",
            hint=f"such as comp3_det_test_{classes.names[0]}.txt",
        )
    for label, paths in files.items():
        for path in paths[:1]:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if not line.strip():
                    continue
                try:
                    stem, *values = line.split()
                    score, x1, y1, x2, y2 = (float(value) for value in values)
                except ValueError as error:
                    raise DataError(
                        f"{path}:{number} is not IMAGE SCORE XMIN YMIN XMAX YMAX",
                        code="results.row",
                    ) from error
                if stem not in stems:
                    raise DataError(
                        f"{path}:{number}: image {stem!r} is not in the truth",
                        code="results.image",
                    )
                yield stems[stem], label, score, (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)


def detection_report(
    metric: BoxMetric,
    classes: ClassList,
    images: ImageOutcomes,
    failures: list[Failure],
    folder: Path | None,
) -> dict[str, Any]:
    """Return what `eval --json` prints about the numbers, and write the tables behind them.

    Args:
        metric: filled.
        classes: of the metric.
        images: outcomes of the evaluated images.
        failures: samples that could not be evaluated.
        folder: gets tables and pictures; None writes nothing.
    """
    if isinstance(metric, CocoMetric):
        found = metric.accumulate()
        metrics, rows, rules = coco.summary(found), coco.per_class(found, metric), dict(coco.RULES)
        curves = coco.curves(found, classes)
    else:
        metrics, rows = metric.compute(), metric.per_class()
        rules = {metric.name: voc.RULES[metric.name].format(iou=metric.iou)}
        curves = metric.curves()
    errors = box_errors.analyse(metric)
    report = {
        "metrics": metrics,
        "rules": rules,
        "per_class": rows,
        "errors": replace(errors, matrix=None).as_json(),
        "counts": {
            "images": len(images) + len(failures),
            "evaluated": len(images),
            "failed": len(failures),
            "objects": sum(own.objects for _, own in images),
            "detections": sum(own.detections for _, own in images),
        },
        "failures": [asdict(failure) for failure in failures],
    }
    if folder is not None:
        report["files"] = write_box_reports(folder, classes, images, curves, errors)
    return report
