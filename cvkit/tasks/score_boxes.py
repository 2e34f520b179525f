"""Scoring detections, whoever made them. Needs no network and does not import torch."""

from dataclasses import asdict, dataclass, replace
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
    read = _read_voc if place.is_dir() else _read_results
    table = read(place, images, classes)
    order = np.lexsort((-table.scores, table.images))  # stable
    cuts = np.searchsorted(table.images[order], np.arange(1, len(images)))
    corners = np.concatenate([table.xywh[:, :2], table.xywh[:, :2] + table.xywh[:, 2:]], 1)
    everything = Instances(corners, table.labels, scores=table.scores, xywh=table.xywh)
    return [everything.pick(part) for part in np.split(order, cuts)]


@dataclass(frozen=True)
class Table:
    """Detections: number of the image, label from 1, score, and x, y, width, height."""

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    xywh: np.ndarray


def _read_results(path: Path, images: list[AnnotatedImage], classes: ClassList) -> Table:
    """Return the detections of a file in COCO's results format.

    Raises:
        DataError: malformed, or of an image or category that the truth does not have.
    """
    content = read_json(path, unique_keys=False)
    if not isinstance(content, list):
        raise DataError(
            f"{path} is not a list of detections",
            code="results.type",
            hint="COCO's results format: [{image_id, category_id, bbox, score}, ...]",
        )
    labels = {id_: number for number, id_ in enumerate(classes.ids, 1)}
    by_id = {image.image_id: number for number, image in enumerate(images)}
    by_id |= {str(id_): number for id_, number in by_id.items()}
    by_name = _by_name(images)
    try:
        found = [
            by_name.get(row.get("file_name"), by_id.get(row["image_id"], -1)) for row in content
        ]
        kinds = [labels.get(row["category_id"], -1) for row in content]
        scores = np.array([row["score"] for row in content], np.float64)
        xywh = np.array([row["bbox"] for row in content], np.float64).reshape(-1, 4)
        table = Table(np.array(found, int), np.array(kinds, int), scores, xywh)
    except (KeyError, TypeError, ValueError, AttributeError):
        for place, row in enumerate(content):
            _require_row(row, f"{path}: [{place}]")
        raise
    fine = np.isfinite(table.scores) & np.isfinite(xywh).all(1) & (xywh[:, 2:] >= 0).all(1)
    for wrong, code, text in (
        (table.images < 0, "results.image", "image {image_id!r} is not in the truth"),
        (table.labels < 0, "results.category", "category {category_id!r} is not in the truth"),
        (~fine, "results.value", "box {bbox} or score {score} is not usable"),
    ):
        if wrong.any():
            place = int(np.argmax(wrong))
            hint = "predict --image-ids writes a COCO file's" if code == "results.image" else ""
            message = f"{path}: [{place}]: {text.format(**content[place])}"
            raise DataError(message, code=code, hint=hint)
    return table


def _require_row(row: Any, where: str) -> None:
    """Check one entry of a result file.

    Raises:
        DataError: what is wrong with it.
    """
    try:
        hash((row["image_id"], row["category_id"], row.get("file_name")))
        box, score = [float(value) for value in row["bbox"]], float(row["score"])
    except KeyError as error:
        raise DataError(f"{where} has no {error.args[0]!r}", code="results.key") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{where} is malformed: {error}", code="results.row") from error
    if len(box) != 4:
        raise DataError(f"{where}: bbox {box} is not four numbers", code="results.row")
    if isinstance(row["score"], str) or any(isinstance(v, str) for v in row["bbox"]):
        raise DataError(f"{where}: score {score} or box is text", code="results.row")


def _by_name(images: list[AnnotatedImage]) -> dict[str, int]:
    """Return the number of each image by its key and, where that is unique, its file name."""
    names: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        names.setdefault(PurePosixPath(image.key).name, []).append(number)
    unique = {name: numbers[0] for name, numbers in names.items() if len(numbers) == 1}
    return unique | {image.key: number for number, image in enumerate(images)}


def _read_voc(folder: Path, images: list[AnnotatedImage], classes: ClassList) -> Table:
    """Return the lines of files `..._CLASS.txt`: image, score and 1-based inclusive box."""
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
    rows: list[tuple[Any, ...]] = []
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
                box = (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)
                rows.append((stems[stem], label, score, box))
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    found, labels, scores, boxes = columns
    return Table(
        np.array(found, int),
        np.array(labels, int),
        np.array(scores, np.float64),
        np.array(boxes, np.float64).reshape(-1, 4),
    )


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
