"""Builds the network that a model file describes, for every task."""

from collections.abc import Callable
from typing import Any

from torch import nn

from cvkit.models.classify import build_classifier
from cvkit.models.detection.build import build_detector
from cvkit.models.detection.inputs import DetectorPreprocessing
from cvkit.models.segmentation.build import build_segmenter
from cvkit.models.specs import Spec
from cvkit.models.video.build import build_clip_network

BUILDERS: dict[str, Callable[..., nn.Module]] = {
    "classify": build_classifier,
    "segment": build_segmenter,
    "detect": build_detector,
    "instance": build_detector,
    "video": build_clip_network,
}
"""The builder of each task's network."""


def build(
    task: str, spec: Spec, num_classes: int, preprocessing: DetectorPreprocessing | None = None
) -> nn.Module:
    """Return a freshly initialised network.

    Args:
        task: key of `catalog.TASKS`.
        spec: the one of `cvkit.models.specs` that belongs to the task.
        num_classes: K; of detectors without background.
        preprocessing: of the images, which is part of detectors; None for other networks.

    Raises:
        UsageError: a name is unknown, or these parts cannot be combined.
    """
    more: tuple[Any, ...] = () if preprocessing is None else (preprocessing,)
    return BUILDERS[task](spec, num_classes, *more)
