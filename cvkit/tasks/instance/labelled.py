"""Labelled images with objects and their masks, to count and to show."""

from dataclasses import dataclass, replace

import numpy as np

from cvkit.ops import rle
from cvkit.options.instance import InstanceTrain
from cvkit.output.draw import draw_instances
from cvkit.structures import Instances, MaskLayers
from cvkit.tasks.detect.labelled import LabelledObjects


@dataclass(frozen=True, kw_only=True)
class LabelledSamples(LabelledObjects[InstanceTrain]):
    """Images with objects and their masks."""

    task, truths = "instance", "instances"

    def draw(self, image: np.ndarray, objects: Instances) -> np.ndarray:
        """Return an image with its objects drawn on it, each in its own colour."""
        layers = objects.masks
        if isinstance(layers, MaskLayers):
            objects = replace(objects, masks=rle.from_layers(layers))
        return draw_instances(image, objects, self.classes)

    def of_masks(self, truth: Instances) -> dict[str, np.ndarray]:
        """Return the areas of the masks, and the share of its box that each fills."""
        areas = rle.mask_areas(truth.coded_masks())
        boxes = truth.corner_and_size()[:, 2:].prod(1)
        return {"mask_area": areas, "mask_share_of_box": areas / np.maximum(boxes, 1)}
