"""Scoring detections, whoever made them. Needs no network and does not import torch."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage, Annotations, turn_upright
from cvkit.data.boxes import BoxData, divided_file, read_boxes
from cvkit.data.division import Division
from cvkit.data.formats.coco import read_coco
from cvkit.data.formats.coco_places import find_images
from cvkit.data.formats.contract import DataFlags
from cvkit.dividing import model_division, tell_division
from cvkit.errors import DataError, UsageError, raise_defects
from cvkit.metrics import box_errors, coco, masks, voc
from cvkit.metrics.coco import BoxMetric, CocoMetric, ImageOutcome
from cvkit.metrics.masks import MaskMetric
from cvkit.metrics.voc import VocMetric
from cvkit.options.detect import DetectEval
from cvkit.options.instance import InstanceEval
from cvkit.output.box_reports import write_box_reports
from cvkit.scoring.predicted import predicted_folder, read_labels, require_any, tell_unknown
from cvkit.scoring.results import Results, read_results
from cvkit.structures import ClassList, Failure, Instances

ImageOutcomes = list[tuple[str, ImageOutcome]]
"""(path, how it went) of each evaluated image."""


def box_metric(classes: ClassList, protocol: str, iou: float) -> BoxMetric:
    """Return an empty metric of a protocol."""
    if protocol == "coco":
        return CocoMetric(classes)
    return VocMetric(classes, protocol == "voc07", iou)


def metric_names(options: DetectEval | InstanceEval) -> tuple[str, ...]:
    """Return the names of what is computed."""
    if isinstance(options, InstanceEval):
        return masks.metric_names(MaskMetric(ClassList((), (), ()), options.boundary).kinds)
    return coco.METRICS if options.protocol == "coco" else (f"{options.protocol}_map",)


def score_detection(
    options: DetectEval, report: Reporter
) -> tuple[BoxMetric, ClassList, ImageOutcomes, list[Failure]]:
    """Compare detections with the truth; see `_score`."""
    truth = _truth(options, report, masks=False)
    metric = box_metric(truth.classes, options.protocol, options.iou)
    return _score(options, truth, metric, report)


def score_instances(
    options: InstanceEval, report: Reporter
) -> tuple[BoxMetric, ClassList, ImageOutcomes, list[Failure]]:
    """Compare detections that have masks with the truth; see `_score`."""
    truth = _truth(options, report, masks=True)
    return _score(options, truth, MaskMetric(truth.classes, options.boundary), report)


def _score(
    options: DetectEval | InstanceEval, truth: BoxData, metric: BoxMetric, report: Reporter
) -> tuple[BoxMetric, ClassList, ImageOutcomes, list[Failure]]:
    """Compare a file or folder of detections with the truth.

    Args:
        options: `predictions`, COCO results (.json), the output folder of predict, or a folder of
            VOC result files; `truth`, a COCO file or a dataset (then `split` applies).
        truth: what it names.
        metric: empty.
        report: for what is odd.

    Returns:
        The metric, the classes, the outcome of each image of the truth (those without detections
        too), and the images that predict could not read or did not see.

    Raises:
        DataError: malformed, or detections of unknown images or categories.
    """
    images = next(iter(truth.splits.values()))
    with_masks = isinstance(metric, MaskMetric)
    found = read_results(options.predictions, images, truth.classes, with_masks)
    _warn_of_failures(options.predictions, report)
    outcomes: ImageOutcomes = []
    failures: list[Failure] = []
    for image, result in zip(images, found.images, strict=True):
        if isinstance(result, Failure):
            failures.append(result)
        else:
            own = metric.update(_limited(result, options), image.truth)
            outcomes.append((image.key, own))
    metric.left_out = found.left_out.total()
    require_any(failures, len(images))
    _tell(found, metric, options.predictions, report)
    return metric, truth.classes, outcomes, failures


def _tell(found: Results, metric: BoxMetric, place: Path, report: Reporter) -> None:
    """Warn of what does not fit between results and truth."""
    if found.left_out:
        shown = ", ".join(f"{name} ({n})" for name, n in found.left_out.most_common(8))
        more = ", ..." if len(found.left_out) > 8 else ""
        report.warn(
            f"{found.left_out.total()} detections of classes that the truth lacks do not count: "
            f"{shown}{more}"
        )
    if found.extra:
        report.warn(
            f"{len(found.extra)} predictions have no truth, such as {sorted(found.extra)[0]}"
        )
    tell_unknown(metric.classes.names, found.names, report)
    if not any(len(result) for result in found.images if isinstance(result, Instances)):
        report.warn(f"{place} holds no detection: every class with objects scores 0")


def _limited(result: Instances, options: DetectEval | InstanceEval) -> Instances:
    """Return the detections that `--threshold` and `--max-detections` leave."""
    if options.threshold is not None:
        result = result.pick(result.scores > options.threshold)
    return result if options.max_detections is None else result.pick(slice(options.max_detections))


def _warn_of_failures(place: Path, report: Reporter) -> None:
    """Say that a file of predict does not know which images could not be read."""
    folder = predicted_folder(place.parent)
    if folder and folder != predicted_folder(place) and (folder / "failures.jsonl").stat().st_size:
        report.warn(
            f"{place} does not say which images could not be predicted: they count as images "
            f"without detections; --predictions {folder} counts them as failed"
        )


def _truth(options: DetectEval | InstanceEval, report: Reporter, *, masks: bool) -> BoxData:
    """Return what `--truth` names.

    Raises:
        DataError: lists every defect.
        UsageError: `--truth` is missing.
    """
    place = options.truth
    if place is None:
        raise UsageError("--truth is missing", code="truth.missing", hint="--truth instances.json")
    predicted = read_labels(options.predictions)
    division = model_division(options, {"labels": predicted})
    if place.suffix == ".json":
        folder = options.images or place.parent
        content = read_coco(place, folder, folder, masks=masks)
        if options.images is None and (near := _folder_near(content.images, place, options.split)):
            if content.defects:  # the size of an image may have been wanted
                content = read_coco(place, near, near, masks=masks)
            content.images = [replace(each, path=near / each.key) for each in content.images]
        found = _of_file(options, content, division, place.name == predicted.get("divided_file"))
    else:
        flags = DataFlags("--truth", "name the file itself with --truth")
        names, images = [options.split], options.images
        found = read_boxes(
            place,
            options.format,
            names,
            images=images,
            masks=masks,
            flags=flags,
            division=division,
        )
    tell_division(options, place, found.heap, division, found.splits, report)
    images, defects, turned = turn_upright(found.splits[options.split])
    # Images that were only found near the file, and do not fit it, may be others.
    near = place.suffix == ".json" and options.images is None
    raise_defects([*found.defects, *([] if near else defects)], str(place))
    for note in found.notes:
        report.warn(note)
    if turned:
        # Predict writes upright pixels; what others do is not known.
        tell = report.say if predicted_folder(options.predictions) else report.warn
        count = "1 image is" if turned == 1 else f"{turned} images are"
        tell(
            f"{count} turned by EXIF, annotated in the pixels as stored: the annotations are "
            "turned upright, detections must be upright"
        )
    return replace(found, splits={options.split: images})


def _of_file(
    options: DetectEval | InstanceEval, content: Annotations, division: Division, known: bool
) -> BoxData:
    """Return what is scored of a COCO file: all of it, or its part of a division.

    Args:
        options: of the command.
        content: of the file.
        division: see `cvkit.data.division.read_splits`.
        known: the model that predicted was trained on the other part of this file.
    """
    if known or options.val_fraction is not None:
        return divided_file(options.truth, content, options.split, division)
    splits = {options.split: content.images}
    return BoxData("coco", content.classes, splits, content.defects, content.notes)


def _folder_near(images: list[AnnotatedImage], file: Path, split: str) -> Path | None:
    """Return the folder of the images of a COCO file; None if they are not at hand."""
    root = file.parent.parent if file.parent.name in ("annotations", "coco") else file.parent
    try:
        return find_images(root, file, split, [{"file_name": each.key} for each in images[:1]])
    except DataError:
        return None


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
    if isinstance(metric, MaskMetric):
        both = metric.accumulate_all()
        metrics, rows = masks.summary(both), masks.per_class(both, metric)
        rules, curves = masks.rules(metric.kinds), coco.curves(both["mask"], classes)
    elif isinstance(metric, CocoMetric):
        found = metric.accumulate()
        metrics, rows, rules = coco.summary(found), coco.per_class(found, metric), dict(coco.RULES)
        curves = coco.curves(found, classes)
    else:
        found = metric.accumulate()
        metrics, rows = metric.summary(found), metric.per_class(found)
        rules = {metric.name: voc.RULES[metric.name].format(iou=metric.iou)}
        curves = metric.curves(found)
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
            **({"left_out": metric.left_out} if metric.left_out else {}),
        },
        "failures": [asdict(failure) for failure in failures],
    }
    if folder is not None:
        report["files"] = write_box_reports(
            folder, classes, images, curves, errors, iou=metric.iou_words()
        )
    return report
