"""The geometry between an image file and a network input, and its exact inverse."""

import cv2
import numpy as np

from cvkit.structures import Geometry

cv2.setNumThreads(1)  # the loader and torch share the cores; OpenCV's own threads are too many


def input_size_hw(
    original_hw: tuple[int, int], image_size_wh: tuple[int, int], resize: str
) -> tuple[int, int]:
    """Return the size at which an image enters the network.

    Args:
        original_hw: size of the image.
        image_size_wh: width and height that it should fit into; portrait images fit into the
            turned frame, so that both orientations have the same scale.
        resize: `fit` keeps the aspect ratio and fits; `native` keeps the size.
    """
    if resize == "native":
        return original_hw
    scale = min(
        max(image_size_wh) / max(original_hw),
        min(image_size_wh) / min(original_hw),
    )
    return tuple(max(1, round(side * scale)) for side in original_hw)


def resize_image(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize an HWC uint8 image: area average when it shrinks, bilinear when it grows."""
    if image.shape[:2] == tuple(size_hw):
        return image
    shrinks = size_hw[0] * size_hw[1] < image.shape[0] * image.shape[1]
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return cv2.resize(image, size_hw[::-1], interpolation=interpolation)


def resize_mask(mask: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize an HW uint8 mask by nearest neighbour at pixel centres."""
    if mask.shape == tuple(size_hw):
        return mask
    return cv2.resize(mask, size_hw[::-1], interpolation=cv2.INTER_NEAREST_EXACT)


def prepare(
    image: np.ndarray, image_size_wh: tuple[int, int], resize: str
) -> tuple[np.ndarray, Geometry]:
    """Return the network input (HWC uint8) of an image, and how it was made."""
    original_hw = image.shape[:2]
    size_hw = input_size_hw(original_hw, image_size_wh, resize)
    return resize_image(image, size_hw), Geometry(original_hw, size_hw)
