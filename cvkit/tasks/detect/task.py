"""Object detection: images with boxes, two-stage detectors, average precision."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from torch import nn

from cvkit.console import Reporter
from cvkit.data.datasets import ImageSource
from cvkit.data.given import ImageInput
from cvkit.data.windows import TiledImages
from cvkit.metrics.coco import BoxMetric
from cvkit.metrics.protocols import box_metric, metric_names
from cvkit.models.detection.rcnn import RCNN
from cvkit.options.detect import DetectEval, DetectPredict, DetectTrain, protocols
from cvkit.output.draw import draw_boxes
from cvkit.structures import Batch, Instances
from cvkit.tasks.common import required
from cvkit.tasks.contract import PostFit
from cvkit.tasks.detect.inputs import batch_proposals
from cvkit.tasks.detect.network import Network
from cvkit.tasks.detect.objects import ObjectTask
from cvkit.tasks.detect.proposals import (
    Searcher,
    find_proposals,
    fit_regions,
    rcnn_post_fits,
    searcher,
)
from cvkit.tasks.detect.setup import Splits


@dataclass(frozen=True, kw_only=True)
class Detect(ObjectTask[DetectTrain, DetectEval, DetectPredict]):
    """Object detection, as the three loops use it.

    Attributes:
        head: of R-CNN: `svm` or `softmax`.
        proposals: [R, 4] of each image by key; None for a network that makes its own.
        proposal_mode: of selective search, in training.
        search: finds the proposals of an image that is predicted.
        protocols: of the metric.
        iou: that a match must exceed with VOC's protocols.
    """

    name, best, with_masks = "detect", "AP", False

    head: str = "svm"
    proposals: Mapping[str, np.ndarray] | None = None
    proposal_mode: str = "fast"
    search: Searcher | None = None
    protocols: tuple[str, ...] = ("coco",)
    iou: float = 0.5

    @classmethod
    def _parts_for_training(
        cls,
        options: DetectTrain,
        network: Network,
        found: Splits,
        bits: int | None,
        report: Reporter,
    ) -> dict[str, Any]:
        mode = options.proposal_mode
        regions = find_proposals(network, found.images, options.proposals, mode, report, bits)
        return {"head": options.head, "proposal_mode": mode, "proposals": regions}

    @classmethod
    def _parts_for_model(
        cls, options: DetectEval | DetectPredict, network: Network, header: dict[str, Any]
    ) -> dict[str, Any]:
        mode = header.get("proposals", "fast")
        if isinstance(options, DetectEval):
            named = protocols(options.protocol)
            return {"proposal_mode": mode, "protocols": named, "iou": options.iou}
        return {"proposal_mode": mode, "search": searcher(network, options.proposals, mode)}

    def with_data(self, options: DetectEval, header: dict[str, Any], report: Reporter) -> "Detect":
        """Return the task with the split that a trained model is evaluated on, checked.

        Raises:
            DataError: classes that the model does not have, or defects.
        """
        task = super().with_data(options, header, report)
        place, mode, bits = options.proposals, self.proposal_mode, self.preprocessing.bits
        regions = find_proposals(self.network, task.splits, place, mode, report, bits)
        return replace(task, proposals=regions)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics of the protocols."""
        return metric_names(self.protocols)

    def metric(self) -> BoxMetric:
        """Return an empty metric of the protocols."""
        return box_metric(self.classes, self.protocols, self.iou)

    def header(self, options: DetectTrain) -> dict[str, Any]:
        """Return the header of the model file."""
        return super().header(options) | {"proposals": self.proposal_mode}

    def draw(self, image: np.ndarray, result: Instances) -> np.ndarray:
        """Return an overlay: the boxes drawn on their HWC RGB uint8 image."""
        return draw_boxes(image, result, self.classes)

    def _proposals(self) -> Mapping[str, np.ndarray] | None:
        return self.proposals

    def source(self, inputs: Sequence[ImageInput]) -> ImageSource | TiledImages:
        """Return images to predict."""
        data = super().source(inputs)
        return replace(data, propose=self.search) if isinstance(data, ImageSource) else data

    def post_fits(self, model: nn.Module, seed: int) -> list[tuple[str, PostFit]]:
        """Return R-CNN's SVMs and box regressors; other detectors have no post-fits."""
        if not self.network.facts.takes_crops or self.head == "softmax":
            return []
        return rcnn_post_fits(cast(RCNN, model), seed)

    def fit_batch(self, fit: PostFit, batch: Batch) -> None:
        """Pass images, their objects and proposals to a post-fit."""
        fit_regions(fit, batch, required(batch_proposals(batch)))
