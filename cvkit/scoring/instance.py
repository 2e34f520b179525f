"""Scoring of detections with masks, of any origin. Does not import torch."""

from cvkit.console import Reporter
from cvkit.metrics import masks
from cvkit.metrics.coco import ImageOutcome
from cvkit.metrics.masks import MaskMetric
from cvkit.options.instance import InstanceEval
from cvkit.scoring.contract import Scored
from cvkit.scoring.detect import score_boxes, write_report
from cvkit.structures import ClassList

__all__ = ["SAMPLE", "metric_names", "score", "write_report"]


SAMPLE = "image"


def metric_names(options: InstanceEval) -> tuple[str, ...]:
    """Return the names of the metrics."""
    return masks.metric_names(masks.kinds(options.boundary))


def score(options: InstanceEval, report: Reporter) -> Scored[MaskMetric, ImageOutcome]:
    """Compare detections with masks with the truth; see `score_boxes`."""

    def metric(classes: ClassList) -> MaskMetric:
        return MaskMetric(classes, options.boundary)

    return score_boxes(options, report, metric, masks=True)
