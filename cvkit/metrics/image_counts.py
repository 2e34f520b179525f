"""Confusions of single images, only those that occur, and their errors by kind. No torch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

KINDS = ("missed", "spurious", "boundary", "confused")
"""Kinds of wrong pixels."""
RULE = (
    "labelled pixels, by image; missed: the true class is predicted nowhere in the image, and the "
    "predicted class is in its truth; spurious: the predicted class is nowhere in the truth of the "
    "image, and the true class is predicted in it; boundary: both classes are in both, and the "
    "pixel is at most {width} of the shorter side (at least 1 pixel) from a pixel with another "
    "label in the truth; confused: the rest"
)
WIDTH = 0.01
"""Distance from an outline that counts as near, in shorter sides of the image."""


@dataclass(frozen=True, eq=False)
class ImageCounts:
    """The confusion matrix of one image; memory follows the pairs of classes that occur.

    Attributes:
        num_classes: K.
        cells: [P] int32, rising: K times the true class plus the predicted one.
        pixels: [P] int64 number of pixels of each pair.
        near: [P] int64 number of those near an outline of the truth.
    """

    num_classes: int
    cells: np.ndarray
    pixels: np.ndarray
    near: np.ndarray

    def dense(self) -> np.ndarray:
        """Return the [K, K] int64 matrix; rows are truth, columns are prediction."""
        matrix = np.zeros(self.num_classes**2, np.int64)
        matrix[self.cells] = self.pixels
        return matrix.reshape(self.num_classes, -1)

    def of_classes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return [K] int64 numbers of pixels: correct ones, in the truth, and predicted."""
        true, predicted = np.divmod(self.cells, self.num_classes)
        hits, truth, found = np.zeros((3, self.num_classes), np.int64)
        same = true == predicted
        hits[true[same]] = self.pixels[same]
        np.add.at(truth, true, self.pixels)
        np.add.at(found, predicted, self.pixels)
        return hits, truth, found

    def errors(self) -> np.ndarray:
        """Return [4] int64 numbers of wrong pixels of each kind in `KINDS`."""
        true, predicted = np.divmod(self.cells, self.num_classes)
        wrong = true != predicted
        found, there = np.isin(true, predicted), np.isin(predicted, true)
        missed, spurious = wrong & ~found & there, wrong & found & ~there
        both = wrong & found & there
        boundary = int(self.near[both].sum())
        counts = [int(self.pixels[which].sum()) for which in (missed, spurious, wrong)]
        return np.array([*counts[:2], boundary, counts[2] - counts[0] - counts[1] - boundary])


def count_image(matrix: np.ndarray, near: np.ndarray) -> ImageCounts:
    """Return the counts of an image from [K, K] matrices of all its pixels and of those near."""
    cells = np.flatnonzero(matrix)
    return ImageCounts(len(matrix), cells.astype(np.int32), matrix.flat[cells], near.flat[cells])


def near_outlines(truth: np.ndarray) -> np.ndarray:
    """Return HW bool: pixels of an HW uint8 truth near one with another label, or without any."""
    reach = max(1, round(WIDTH * min(truth.shape)))
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    labels = np.ascontiguousarray(truth)
    return np.asarray(cv2.dilate(labels, kernel) != cv2.erode(labels, kernel))


def errors_as_json(images: Sequence[ImageCounts]) -> dict[str, Any]:
    """Return the number of correct pixels, of wrong ones by kind, and the rule."""
    counts = sum((each.errors() for each in images), np.zeros(len(KINDS), np.int64))
    correct = sum(int(each.of_classes()[0].sum()) for each in images)
    kinds = dict(zip(KINDS, counts.tolist(), strict=True))
    return {"correct": correct, **kinds, "rule": RULE.format(width=f"{WIDTH:.0%}")}
