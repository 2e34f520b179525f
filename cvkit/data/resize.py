"""The geometry between an image file and a network input, and its exact inverse."""

import cv2
import numpy as np
from PIL import Image

from cvkit.structures import Geometry

cv2.setNumThreads(1)  # the loader and torch share the cores; OpenCV's own threads are too many


def input_size_hw(
    original_hw: tuple[int, int], image_size_wh: tuple[int, int], resize: str
) -> tuple[int, int]:
    """Return the size of the network input for an image.

    Args:
        original_hw: size of the image.
        image_size_wh: width and height into which it should fit; they are swapped for portrait
            images, so that both orientations have the same scale.
        resize: `fit` keeps the aspect ratio and fits; `native` keeps the size; `short` gives
            the shorter side the smaller of width and height, as torchvision does.
    """
    if resize == "native":
        return original_hw
    if resize == "short":
        return short_side_hw(original_hw, min(image_size_wh))
    scale = min(
        max(image_size_wh) / max(original_hw),
        min(image_size_wh) / min(original_hw),
    )
    height, width = original_hw
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize_image(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Resize an HWC uint8 image: area averaging when shrinking, bilinear when enlarging."""
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
    """Return the network input (HWC uint8) of an image, and its geometry."""
    original_hw = image.shape[:2]
    size_hw = input_size_hw(original_hw, image_size_wh, resize)
    if resize == "short":
        return resize_antialiased(image, size_hw, "bilinear"), Geometry(original_hw, size_hw)
    return resize_image(image, size_hw), Geometry(original_hw, size_hw)


INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def short_side_hw(original_hw: tuple[int, int], short: int) -> tuple[int, int]:
    """Return the size whose shorter side is `short`, the other one rounded down."""
    height, width = original_hw
    long = int(short * max(height, width) / min(height, width))
    return (short, long) if height <= width else (long, short)


def resize_antialiased(
    image: np.ndarray, size_hw: tuple[int, int], interpolation: str
) -> np.ndarray:
    """Resize an HWC uint8 image with Pillow, as torchvision's presets do with Pillow images."""
    if image.shape[:2] == tuple(size_hw):
        return image
    resized = Image.fromarray(image).resize(size_hw[::-1], INTERPOLATIONS[interpolation])
    return np.array(resized)


def centre_crop(image: np.ndarray, size_hw: tuple[int, int]) -> np.ndarray:
    """Return the centre of an HWC image; a smaller image is padded with black."""
    missing = [max(0, want - have) for have, want in zip(image.shape, size_hw, strict=False)]
    if any(missing):
        sides = [(m // 2, (m + 1) // 2) for m in missing]
        image = np.pad(image, [*sides, (0, 0)])
    top, left = (round((have - want) / 2) for have, want in zip(image.shape, size_hw, strict=False))
    return np.ascontiguousarray(image[top : top + size_hw[0], left : left + size_hw[1]])


def whole_size(original_hw: tuple[int, int]) -> tuple[int, int]:
    """Return the size of `whole`."""
    return original_hw


def whole(image: np.ndarray) -> tuple[np.ndarray, Geometry]:
    """Return an image unchanged; its network resizes it."""
    return image, Geometry(image.shape[:2], image.shape[:2])
