"""Instance segmentation: object detection with a mask per object."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.metrics.coco import BoxMetric
from cvkit.metrics.protocols import mask_metric, mask_metric_names
from cvkit.models.detection.roi_heads import Detections
from cvkit.ops.mask_pasting import paste_masks
from cvkit.options.detect import protocols
from cvkit.options.instance import InstanceEval, InstancePredict, InstanceTrain
from cvkit.output.draw import draw_instances
from cvkit.output.instances import describe_masks, write_index_map, write_instances
from cvkit.structures import Failure, Instances, Masks, Sample
from cvkit.tasks.common import required
from cvkit.tasks.detect.network import Network
from cvkit.tasks.detect.objects import ObjectTask


@dataclass(frozen=True, kw_only=True)
class Instance(ObjectTask[InstanceTrain, InstanceEval, InstancePredict]):
    """Instance segmentation, as the three loops use it.

    Attributes:
        mask_threshold: probability above which a pixel belongs to an object.
        boundary: also compute Boundary IoU.
        protocols: of the metric.
        iou: that a match must exceed with VOC's protocols.
    """

    name, best, with_masks = "instance", "mask.AP", True

    mask_threshold: float = 0.5
    boundary: bool = False
    protocols: tuple[str, ...] = ("coco",)
    iou: float = 0.5

    @classmethod
    def _parts_for_model(
        cls, options: InstanceEval | InstancePredict, network: Network, header: dict[str, Any]
    ) -> dict[str, Any]:
        parts: dict[str, Any] = {"mask_threshold": options.mask_threshold}
        if isinstance(options, InstanceEval):
            parts |= {"boundary": options.boundary, "iou": options.iou}
            parts["protocols"] = protocols(options.protocol)
        return parts

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Names of the metrics."""
        return mask_metric_names(self.protocols, self.boundary)

    def result(self, found: Detections, sample: Sample) -> Instances:
        """Return the objects found in an image, in original pixels."""
        size_hw = required(sample.geometry).original_hw
        masks = paste_masks(required(found.grids), found.boxes, size_hw, self.mask_threshold)
        return replace(super().result(found, sample), masks=masks)

    def result_in(self, line: dict[str, Any]) -> Instances:
        """Return the objects in a line of `predictions.jsonl`, with their masks."""
        codes = np.array([mask["counts"].encode() for mask in line["masks"]], object)
        masks = Masks((line["height"], line["width"]), codes)
        return replace(super().result_in(line), masks=masks)

    def metric(self) -> BoxMetric:
        """Return an empty metric of the protocols."""
        return mask_metric(self.classes, self.protocols, self.iou, self.boundary)

    def draw(self, image: np.ndarray, result: Instances) -> np.ndarray:
        """Return an overlay: the masks and boxes drawn on their HWC RGB uint8 image."""
        return draw_instances(image, result, self.classes)

    def inference_rule(self) -> dict[str, Any]:
        """Return a description of the inference, for reports."""
        return super().inference_rule() | {"mask_threshold": self.mask_threshold}

    def write(self, result: Instances, sample: Sample, stem: str, folder: Path) -> dict[str, Any]:
        """Write the map of objects and the overlay; return the line of `predictions.jsonl`."""
        line = super().write(result, sample, stem, folder) | describe_masks(result.coded_masks())
        line["mask"] = f"masks/{stem}.png"
        shown = result.pick(result.prediction_scores() >= self.inference.draw_threshold)
        write_index_map(folder / line["mask"], shown.coded_masks())
        return line

    def finish(self, folder: Path) -> list[Failure]:
        """Write `results.json` and `instances.csv` of all results together."""
        failures = super().finish(folder)
        write_instances(folder)
        return failures
