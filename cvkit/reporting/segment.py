"""The report of semantic segmentation."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import cv2
import numpy as np

from cvkit.metrics import confusion
from cvkit.metrics.image_counts import KINDS, ImageCounts, errors_as_json
from cvkit.output.draw import draw_segmentation
from cvkit.reporting.charts import bars, histogram
from cvkit.reporting.contract import Chart, Section, Shown
from cvkit.reporting.matrix import confusion_section
from cvkit.scoring.contract import Scene, Scored
from cvkit.structures import ClassList, SegMap
from cvkit.texts import counted

SIDES = (0, 8, 16, 32, 64, 128, 256, 512)
"""Limits of the sizes of regions: square roots of their areas in pixels."""


def by_size(images: Sequence[ImageCounts]) -> list[tuple[str, float, int]]:
    """Return the sizes of the regions of a class in an image, their mean IoU and their number."""
    ious, areas = [np.zeros(0)], [np.zeros(0)]
    for image in images:
        hits, truth, found = image.of_classes()
        present = truth > 0
        ious.append(hits[present] / (truth + found - hits)[present])
        areas.append(truth[present])
    group = np.digitize(np.sqrt(np.concatenate(areas)), SIDES[1:])
    names = [f"{low}–{high}" for low, high in pairwise(SIDES)] + [f"{SIDES[-1]}+"]
    regions = [np.concatenate(ious)[group == place] for place in range(len(names))]
    pairs = zip(names, regions, strict=True)
    return [(name, float(iou.mean()), len(iou)) for name, iou in pairs if len(iou)]


def _drawn(image: np.ndarray, labels: SegMap, classes: ClassList) -> np.ndarray:
    """Return the label map over the image, which may be the smaller input of a network."""
    size_wh = image.shape[1::-1]
    small = cv2.resize(labels.labels, size_wh, interpolation=cv2.INTER_NEAREST_EXACT)
    return draw_segmentation(image, SegMap(small), classes)


def _text(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


class Pages:
    """The report of an evaluation."""

    HEADLINES: tuple[str, ...] = ("miou", "pixel_accuracy", "mean_accuracy", "mean_dice")
    GALLERY = "In the order of the mean IoU of each image, over the classes in it."

    def __init__(self, scored: Scored[Any, Any]) -> None:
        self.scored = scored

    def sections(self) -> Sequence[Section]:
        """Return errors by kind, IoU by image and by size, and confusions."""
        names = list(self.scored.classes.names)
        return (
            Section("errors", "Errors", (self._errors(), *self._iou_charts())),
            confusion_section(self.scored.metric.matrix, names, "pixels"),
        )

    def _errors(self) -> Chart:
        counts = errors_as_json([image for _, image in self.scored.outcomes])
        total = max(sum(counts[kind] for kind in ("correct", *KINDS)), 1)
        shares = {kind: counts[kind] / total for kind in KINDS}
        alt = "wrong pixels by kind: " + ", ".join(f"{k} {v:.2%}" for k, v in shares.items())
        body = bars(alt, [(kind, round(100 * share, 3), "s2") for kind, share in shares.items()])
        rule = str(counts["rule"])
        return Chart("Errors by kind, in %", body, f"Of all {rule}.")

    def _iou_charts(self) -> list[Chart]:
        values = np.array([value for value in self.qualities() if value is not None])
        counts = np.histogram(values, 10, (0, 1))[0].tolist()
        edges = [f"{tenth / 10:g}" for tenth in range(10)]
        images = histogram(
            f"histogram of the mean IoU of {counted(len(values), 'image')}, median "
            f"{np.median(values) if len(values) else float('nan'):.2f}",
            edges,
            [("images", counts)],
            "mean IoU of the image, from",
            "images",
        )
        charts = [Chart("IoU of images", images, "The mean over the classes in the image.")]
        rows = by_size([image for _, image in self.scored.outcomes])
        sizes = bars(
            "mean IoU by size: " + "; ".join(f"{side} {mean:.2f}" for side, mean, _ in rows),
            [(f"{side} px", round(mean, 3), "s1") for side, mean, _ in rows],
        )
        about = "Mean IoU of a class in an image, by the square root of its area in the truth; "
        about += "regions: " + ", ".join(f"{count} of {side} px" for side, _, count in rows)
        return [*charts, Chart("IoU by size", sizes, about + ".")]

    def qualities(self) -> list[float | None]:
        """Return the mean IoU of each image over the classes in its truth or prediction."""
        return [confusion.summary(image.dense())["miou"] for _, image in self.scored.outcomes]

    def show(self, place: int, scene: Scene | None) -> Shown:
        """Return the classes of truth and prediction over the image."""
        matrix = self.scored.outcomes[place][1].dense()
        found = confusion.summary(matrix)
        truth = counted(int((matrix.sum(1) > 0).sum()), "class", "classes")
        result = f"mean IoU {_text(found['miou'])}, accuracy {_text(found['pixel_accuracy'])}"
        if scene is None:
            return Shown((), truth, result)
        pictures = [
            (title, _drawn(scene.image, labels, self.scored.classes))
            for title, labels in (("truth", scene.truth), ("prediction", scene.predict()))
            if isinstance(labels, SegMap)
        ]
        return Shown(tuple(pictures), truth, result)
