"""Scoring of detections with masks, of any origin. Does not import torch."""

from cvkit.console import Reporter
from cvkit.metrics.coco import BoxMetric, ImageOutcome
from cvkit.metrics.protocols import mask_metric, mask_metric_names
from cvkit.options.detect import protocols
from cvkit.options.instance import InstanceEval
from cvkit.scoring.contract import Scored
from cvkit.scoring.detect import score_boxes, write_report
from cvkit.structures import ClassList

__all__ = ["SAMPLE", "metric_names", "score", "write_report"]


SAMPLE = "image"


def metric_names(options: InstanceEval) -> tuple[str, ...]:
    """Return the names of the metrics."""
    return mask_metric_names(protocols(options.protocol), options.boundary)


def score(options: InstanceEval, report: Reporter) -> Scored[BoxMetric, ImageOutcome]:
    """Compare detections with masks with the truth; see `score_boxes`."""

    def metric(classes: ClassList) -> BoxMetric:
        named = protocols(options.protocol)
        return mask_metric(classes, named, options.iou, options.boundary)

    return score_boxes(options, report, metric, masks=True)
