"""The picture on which results are drawn; small images are enlarged first."""

import math

import cv2
import numpy as np

SHORTER, LONGER = 480, 4096
"""Minimum shorter side of a picture, and maximum longer side after enlarging, in pixels."""
SQUARES_FROM = 8
"""From this factor on, each pixel of the image becomes a square and stays distinguishable."""


class Canvas:
    """An image, enlarged if it is small, with the sizes of the lines and text drawn on it.

    Args:
        image: HWC RGB uint8; it is copied.

    Attributes:
        picture: HWC RGB uint8, to draw on.
        factor_xy: from image coordinates to picture coordinates.
        line: width of lines in pixels.
        text: size of text in pixels.
    """

    def __init__(self, image: np.ndarray) -> None:
        size_hw = image.shape[:2]
        height, width = enlarged_hw(size_hw)
        self.factor_xy = width / size_hw[1], height / size_hw[0]
        factor = max(self.factor_xy)
        how = cv2.INTER_NEAREST_EXACT if factor >= SQUARES_FROM else cv2.INTER_CUBIC
        alike = (height, width) == size_hw
        self.picture = (
            image.copy() if alike else cv2.resize(image, (width, height), None, 0, 0, how)
        )
        self.line = max(1, round(min(height, width) / 300))
        self.text = max(13, round(min(height, width) / 36))
        # The image pixel under the centre of each picture pixel.
        self._columns = ((np.arange(width) + 0.5) / self.factor_xy[0]).astype(int)
        self._rows = ((np.arange(height) + 0.5) / self.factor_xy[1]).astype(int)

    def enlarge_part(
        self, part: np.ndarray, corner_yx: tuple[int, int] = (0, 0)
    ) -> tuple[np.ndarray, tuple[int, int]]:
        """Return a part of a label map or mask in the picture's pixels, and its corner (y, x).

        Values are repeated, not interpolated, and parts that touch still touch.

        Args:
            part: [h, w] in pixels of the image.
            corner_yx: of the part in the image.
        """
        if self.factor_xy == (1, 1):
            return part, corner_yx
        (y, x), (height, width) = corner_yx, part.shape
        top, bottom = np.searchsorted(self._rows, (y, y + height))
        left, right = np.searchsorted(self._columns, (x, x + width))
        rows, columns = self._rows[top:bottom] - y, self._columns[left:right] - x
        return part[rows[:, None], columns], (int(top), int(left))

    def enlarge_boxes(self, boxes: np.ndarray) -> np.ndarray:
        """Return [N, 4] boxes x1, y1, x2, y2 in whole pixels of the picture."""
        return np.rint(boxes * np.array(2 * self.factor_xy)).astype(int)


def enlarged_hw(size_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size of an image in pictures.

    A shorter side below `SHORTER` is enlarged to it, by a whole factor if it is at least two, so
    that all pixels stay equally large. No side becomes longer than `LONGER`.
    """
    factor, most = SHORTER / min(size_hw), LONGER / max(size_hw)
    factor = min(math.ceil(factor), max(1, int(most))) if factor > 2 else min(factor, most)
    if factor <= 1:
        return size_hw
    return round(size_hw[0] * factor), round(size_hw[1] * factor)
