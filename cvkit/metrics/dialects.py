"""How other programs define the metrics of a confusion matrix. Needs numpy only.

Sources, read in 2026: pytorch/vision references/segmentation/utils.py; open-mmlab/mmsegmentation
mmseg/evaluation/metrics/iou_metric.py; facebookresearch/detectron2
detectron2/evaluation/sem_seg_evaluation.py; PaddlePaddle/PaddleSeg paddleseg/utils/metrics.py;
qubvel-org/segmentation_models.pytorch segmentation_models_pytorch/metrics/functional.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

METRICS = ("miou", "pixel_accuracy", "mean_accuracy", "fwiou", "mean_dice")
MEANS = {"miou": "iou", "mean_accuracy": "accuracy", "mean_dice": "dice"}
"""Metrics that are a mean over classes, and the number of a class that they are the mean of."""
WHOLE = {
    "pixel_accuracy": "fraction of the labelled pixels whose class is the true one",
    "fwiou": "mean of IoU over classes, weighted by the true pixels of each",
}
"""Rules of the metrics that no dialect defines in another way."""
TITLES = {"iou": "IoU", "accuracy": "accuracy (recall)", "dice": "Dice (F1)"}


@dataclass(frozen=True)
class Dialect:
    """A program's definition of the means over classes.

    Attributes:
        rule: which classes a mean contains, as text.
        difference: how the mean IoU differs from cvkit's default, as a sentence.
        metrics: those that the program computes.
        undefined: what 0/0, the number of a class without pixels, counts as.
        skips: leaves classes whose number is undefined out of a mean.
        true_only: leaves classes without true pixels out of a mean.
    """

    rule: str
    difference: str
    metrics: tuple[str, ...]
    undefined: float = np.nan
    skips: bool = False
    true_only: bool = False

    def of_classes(self, matrix: np.ndarray) -> dict[str, np.ndarray]:
        """Return [K] `iou`, `accuracy` and `dice` of each class; NaN where undefined."""
        found = class_scores(matrix)
        for kind, values in found.items():
            values = np.where(np.isnan(values), self.undefined, values)
            found[kind] = np.where(matrix.sum(1) == 0, np.nan, values) if self.true_only else values
        return found

    def counted(self, values: np.ndarray) -> np.ndarray:
        """Return [K] bool: which classes a mean contains, from their numbers in `of_classes`."""
        return ~np.isnan(values) if self.skips else np.ones(len(values), bool)

    def summary(self, matrix: np.ndarray) -> dict[str, float | None]:
        """Return the metrics of a confusion matrix by name; None where undefined."""
        found, values = self.of_classes(matrix), whole(matrix)
        for name, kind in MEANS.items():
            counted = found[kind][self.counted(found[kind])]
            values[name] = counted.mean() if counted.size and matrix.any() else np.nan
        return {name: number(values[name]) for name in self.metrics}

    def rules(self) -> dict[str, str]:
        """Return the rule of each metric as text."""
        means = {
            name: f"mean over classes of {TITLES[kind]} from one confusion matrix of all pixels; "
            f"{self.rule}"
            for name, kind in MEANS.items()
        }
        return {name: (WHOLE | means)[name] for name in self.metrics}


DIALECTS: Mapping[str, Dialect] = {
    "torchvision": Dialect(
        "all classes count, and the mean is undefined (null) if one of them has no pixels "
        "(torchvision's references/segmentation)",
        "one class in neither truth nor predictions makes the mean undefined (null)",
        ("miou", "pixel_accuracy"),
    ),
    "mmseg": Dialect(
        "classes whose number is 0/0 are left out (mmsegmentation's nanmean)",
        "the same classes count as in cvkit; mmsegmentation prints percent with two digits",
        ("miou", "pixel_accuracy", "mean_accuracy", "mean_dice"),
        skips=True,
    ),
    "detectron2": Dialect(
        "only classes that occur in the truth count (detectron2's SemSegEvaluator)",
        "a class that is predicted but not in the truth is left out instead of counting as 0",
        ("miou", "pixel_accuracy", "mean_accuracy", "fwiou"),
        skips=True,
        true_only=True,
    ),
    "paddle": Dialect(
        "all classes count, those whose number is 0/0 as 0 (PaddleSeg)",
        "a class in neither truth nor predictions counts as 0 instead of being left out",
        ("miou", "pixel_accuracy", "mean_dice"),
        undefined=0.0,
    ),
    "smp": Dialect(
        "all classes count, those whose number is 0/0 as 1 (segmentation_models_pytorch's "
        "macro average with zero_division=1)",
        "a class in neither truth nor predictions counts as 1 instead of being left out",
        ("miou", "mean_accuracy", "mean_dice"),
        undefined=1.0,
    ),
}
"""The definitions of other programs, by the name of `--dialect`."""


def class_scores(matrix: np.ndarray) -> dict[str, np.ndarray]:
    """Return [K] `iou`, `accuracy` and `dice` of each class; NaN where undefined."""
    hits = np.diag(matrix).astype(float)
    truth, predicted = matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "iou": hits / (truth + predicted - hits),
            "accuracy": hits / truth,
            "dice": 2 * hits / (truth + predicted),
        }


def whole(matrix: np.ndarray) -> dict[str, float]:
    """Return `pixel_accuracy` and `fwiou`; NaN if no pixel is labelled."""
    total = matrix.sum()
    share = matrix.sum(1) / total if total else np.zeros(len(matrix))
    return {
        "pixel_accuracy": float(np.trace(matrix) / total) if total else np.nan,
        "fwiou": float(np.nansum(share * class_scores(matrix)["iou"])) if total else np.nan,
    }


def number(value: float) -> float | None:
    """Return a number for JSON; None for NaN."""
    return None if np.isnan(value) else float(value)
