"""Scoring detections, whoever made them. Needs no network and does not import torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from cvkit.metrics import coco, voc
from cvkit.metrics.coco import BoxMetric, CocoMetric, ImageOutcome
from cvkit.output.files import write_csv
from cvkit.structures import ClassList, Failure

ImageOutcomes = list[tuple[str, ImageOutcome]]
"""(path, how it went) of each evaluated image."""


def detection_report(
    metric: BoxMetric,
    classes: ClassList,
    images: ImageOutcomes,
    failures: list[Failure],
    folder: Path | None,
) -> dict[str, Any]:
    """Return what `eval --json` prints about the numbers, and write the tables behind them."""
    if isinstance(metric, CocoMetric):
        found = metric.accumulate()
        metrics, rows, rules = coco.summary(found), coco.per_class(found, metric), dict(coco.RULES)
    else:
        metrics, rows = metric.compute(), metric.per_class()
        rules = {metric.name: voc.RULES[metric.name].format(iou=metric.iou)}
    report = {
        "metrics": metrics,
        "rules": rules,
        "per_class": rows,
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
        table = folder / "per_image.csv"
        write_csv(
            table,
            ["path", "objects", "detections", "found"],
            ([path, own.objects, own.detections, own.found] for path, own in images),
        )
        report["files"] = {"per_image": str(table)}
    return report


def score_detection(options: Any, report: Any) -> Any:
    raise NotImplementedError
