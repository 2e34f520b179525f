"""Scoring detections, of any origin. Does not import torch."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage, Annotations, turn_upright
from cvkit.data.boxes import BoxData, divided_file, read_boxes
from cvkit.data.decode import read_image
from cvkit.data.division import Division
from cvkit.data.formats.coco import read_coco
from cvkit.data.formats.coco_places import find_images
from cvkit.data.formats.contract import DataFlags
from cvkit.dividing import model_division, tell_division
from cvkit.errors import DataError, raise_defects
from cvkit.metrics import box_errors
from cvkit.metrics.coco import BoxMetric, ImageOutcome
from cvkit.metrics.protocols import box_metric
from cvkit.metrics.protocols import metric_names as named_metrics
from cvkit.options.detect import DetectEval, protocols
from cvkit.options.instance import InstanceEval
from cvkit.output.box_reports import write_box_reports
from cvkit.scoring.contract import Places, Scene, Scored, content, given_places
from cvkit.scoring.predicted import (
    predicted_folder,
    read_labels,
    require_any,
    require_complete,
    tell_extra,
    tell_unknown,
)
from cvkit.scoring.results import Results, read_results, with_missing
from cvkit.structures import ClassList, Failure, Instances
from cvkit.texts import counted

SAMPLE = "image"
MetricT = TypeVar("MetricT", bound=BoxMetric)


def metric_names(options: DetectEval) -> tuple[str, ...]:
    """Return the names of the metrics."""
    return named_metrics(protocols(options.protocol))


def score(options: DetectEval, report: Reporter) -> Scored[BoxMetric, ImageOutcome]:
    """Compare detections with the truth; see `score_boxes`."""

    def metric(classes: ClassList) -> BoxMetric:
        return box_metric(classes, protocols(options.protocol), options.iou)

    return score_boxes(options, report, metric, masks=False)


def score_boxes(
    options: DetectEval | InstanceEval,
    report: Reporter,
    make_metric: Callable[[ClassList], MetricT],
    *,
    masks: bool,
) -> Scored[MetricT, ImageOutcome]:
    """Compare a file or folder of detections with the truth.

    Args:
        options: `predictions`, COCO results (.json), the output folder of predict, or a folder of
            VOC result files; `truth`, a COCO file or a dataset (then `split` applies).
        report: for warnings.
        make_metric: called with the classes of the truth.
        masks: the detections and objects have masks.

    Returns:
        The evaluation, with the outcome of each image of the truth (those without detections
        too); images that predict could not read or did not get are its failures.

    Raises:
        DataError: malformed, or detections of unknown images or categories.
        UsageError: `--truth` is missing.
    """
    places = given_places(options, "instances.json")
    truth = _truth(options, places, report, masks=masks)
    metric = make_metric(truth.classes)
    images = truth.splits[options.split]
    superset = options.extra == "ignore"
    found = read_results(places.predictions, images, truth.classes, masks, superset=superset)
    found = replace(found, images=with_missing(found, images, options, truth.classes, masks=masks))
    _warn_of_failures(places.predictions, report)
    failures = [result for result in found.images if isinstance(result, Failure)]
    require_complete(failures, options, SAMPLE, empties=True)
    require_any(failures, len(images), SAMPLE)
    metric.left_out = found.left_out.total()
    _tell(found, metric, options, report)
    scored = [
        (image, _limited(result, options))
        for image, result in zip(images, found.images, strict=True)
        if isinstance(result, Instances)
    ]
    made = metric.extend([result for _, result in scored], [image.truth for image, _ in scored])
    outcomes = [(image.key, outcome) for (image, _), outcome in zip(scored, made, strict=True)]
    files = {image.key: image.path for image in images}
    return Scored(
        metric, truth.classes, outcomes, failures, lambda key: Scene(read_image(files[key]))
    )


def _tell(
    found: Results, metric: BoxMetric, options: DetectEval | InstanceEval, report: Reporter
) -> None:
    """Warn of mismatches between results and truth."""
    for note in found.notes:
        report.warn(note)
    if found.left_out:
        shown = ", ".join(f"{name} ({n})" for name, n in found.left_out.most_common(8))
        more = ", ..." if len(found.left_out) > 8 else ""
        left_out = found.left_out.total()
        count = counted(left_out, "detection")
        report.warn(f"{count} left out, of classes that are not in the truth: {shown}{more}")
    tell_extra(found.extra, options, report)
    tell_unknown(metric.classes.names, found.names, report)
    if not any(len(result) for result in found.images if isinstance(result, Instances)):
        report.warn(
            f"{options.predictions} contains no detections: every class with objects scores 0"
        )


def _limited(result: Instances, options: DetectEval | InstanceEval) -> Instances:
    """Return the detections within `--threshold` and `--max-detections`."""
    if options.threshold is not None:
        result = result.pick(result.prediction_scores() > options.threshold)
    return result if options.max_detections is None else result.pick(slice(options.max_detections))


def _warn_of_failures(place: Path, report: Reporter) -> None:
    """Warn that a result file of predict does not list the images that could not be read."""
    folder = predicted_folder(place.parent)
    if folder and folder != predicted_folder(place) and (folder / "failures.jsonl").stat().st_size:
        report.warn(
            f"{place} does not say which images could not be predicted: they count as images "
            f"without detections; --predictions {folder} counts them as failed"
        )


def _truth(
    options: DetectEval | InstanceEval, places: Places, report: Reporter, *, masks: bool
) -> BoxData:
    """Return the ground truth of `--truth`.

    Raises:
        DataError: lists every defect.
    """
    place = places.truth
    predicted = read_labels(places.predictions)
    division = model_division(options, {"labels": predicted})
    if place.suffix == ".json":
        folder = options.images or place.parent
        content = read_coco(place, folder, folder, masks=masks)
        if options.images is None and (near := _folder_near(content.images, place, options.split)):
            if content.defects:  # the size of an image may be needed
                content = read_coco(place, near, near, masks=masks)
            content.images = [replace(each, path=near / each.key) for each in content.images]
        known = place.name == predicted.get("divided_file")
        found = _of_file(options, place, content, division, known)
    else:
        flags = DataFlags("--truth", "give the file itself with --truth")
        found = read_boxes(
            place,
            options.format,
            [options.split],
            images=options.images,
            masks=masks,
            flags=flags,
            division=division,
        )
    tell_division(options, place, found.heap, division, found.splits, report)
    images, defects, turned = turn_upright(found.splits[options.split])
    # Images that were only found near the file, and do not match it, may be other ones.
    guessed = place.suffix == ".json" and options.images is None
    raise_defects([*found.defects, *([] if guessed else defects)], str(place))
    for note in found.notes:
        report.warn(note)
    if turned:
        # Predict writes upright pixels; other programs may not.
        tell = report.say if predicted_folder(places.predictions) else report.warn
        count = f"{counted(turned, 'image')} {'is' if turned == 1 else 'are'}"
        tell(
            f"{count} rotated by EXIF but annotated as stored: the annotations are rotated with "
            "the image, and detections must fit the rotated image"
        )
    return replace(found, splits={options.split: images})


def _of_file(
    options: DetectEval | InstanceEval,
    file: Path,
    content: Annotations,
    division: Division,
    known: bool,
) -> BoxData:
    """Return the scored part of a COCO file: everything, or one split of a division.

    Args:
        options: of the command.
        file: COCO's.
        content: of it.
        division: see `cvkit.data.division.read_splits`.
        known: whether the predicting model was trained on the other part of this file.
    """
    if known or options.val_fraction is not None:
        return divided_file(file, content, options.split, division)
    splits = {options.split: content.images}
    return BoxData("coco", content.classes, splits, content.defects, content.notes)


def _folder_near(images: list[AnnotatedImage], file: Path, split: str) -> Path | None:
    """Return the folder of the images of a COCO file; None if it is not found."""
    root = file.parent.parent if file.parent.name in ("annotations", "coco") else file.parent
    try:
        return find_images(root, file, split, [each.key for each in images[:1]])
    except DataError:
        return None


def _described(truth: Instances) -> tuple[str, ...]:
    """Return a SHA-256 over the boxes, areas and labels of an image's objects."""
    arrays = (truth.corner_and_size(), truth.areas, truth.labels, truth.crowd, truth.difficult)
    content = b"".join(b"-" if array is None else array.tobytes() for array in arrays)
    return (hashlib.sha256(content).hexdigest(),)


def write_report(scored: Scored[BoxMetric, ImageOutcome], folder: Path | None) -> dict[str, Any]:
    """Return the numbers of `eval --json`, and write the tables and pictures of the report.

    Args:
        scored: the evaluation.
        folder: gets tables and pictures; None writes nothing.
    """
    metric, outcomes = scored.metric, [outcome for _, outcome in scored.outcomes]
    numbers, errors = metric.report(scored.classes), box_errors.analyse(metric)
    counts = {
        "objects": sum(outcome.objects for outcome in outcomes),
        "detections": sum(outcome.detections for outcome in outcomes),
        **({"left_out": metric.left_out} if metric.left_out else {}),
    }
    report = content(
        scored,
        numbers,
        truths=(_described(truth) for truth in metric.truths),
        counts=counts,
        errors=errors.as_json(),
    )
    if folder is not None:
        report["files"] = write_box_reports(
            folder,
            scored.classes,
            scored.outcomes,
            numbers.curves,
            errors,
            iou=metric.iou_words(),
        )
    return report
