"""The random affine maps, noise and blur of the augmentation preset `lecture`."""

import math

import albumentations as A
import cv2
import numpy as np
from numpy.typing import ArrayLike

from cvkit.data.transforms.pipelines import FILL_RGB
from cvkit.structures import IGNORE

SHIFT = 10
"""Largest translation in each direction, in pixels of the network's input."""
ZOOM = 1.6
"""Largest scale; its inverse is the smallest."""
SHEAR = 20
"""Largest shear, in degrees."""
STRETCH = 1.3
"""Largest factor by which the width grows while the height shrinks; its inverse is the smallest."""


def affine_matrix(
    size_hw: tuple[int, int],
    *,
    rotation: float,
    shear: float,
    scale_xy: tuple[float, float],
    shift_xy: tuple[float, float],
) -> np.ndarray:
    """Return the [2, 3] map of pixels that scales, shears, rotates and then shifts an image.

    Args:
        size_hw: of the image, whose centre stays in place until it is shifted.
        rotation: in degrees, from the x to the y axis.
        shear: of the y axis, in degrees.
        scale_xy: factors.
        shift_xy: in pixels.
    """
    angle = math.radians(rotation)
    turned = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    sheared = np.array([[1.0, -math.tan(math.radians(shear))], [0.0, 1.0]])
    linear = turned @ sheared @ np.diag(scale_xy)
    centre = (np.array(size_hw[::-1]) - 1) / 2
    return np.column_stack([linear, centre + shift_xy - linear @ centre])


class RandomAffine(A.DualTransform):
    """Rotate, shift, scale, shear and stretch an image; scale and stretch are log-uniform.

    Source of the ranges: Classifying Plankton with Deep Neural Networks, 2015 (S. Dieleman et al.,
    first place of the National Data Science Bowl): rotation 0 to 360 degrees, translation -10 to
    10 pixels, scale 1/1.6 to 1.6, shear -20 to 20 degrees, stretch 1/1.3 to 1.3.
    """

    def __init__(self) -> None:
        super().__init__(p=1.0)

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """Draw the map."""
        draw = self.py_random.uniform
        zoom, stretch = (
            math.exp(draw(-math.log(limit), math.log(limit))) for limit in (ZOOM, STRETCH)
        )
        matrix = affine_matrix(
            params["shape"][:2],
            rotation=draw(0, 360),
            shear=draw(-SHEAR, SHEAR),
            scale_xy=(zoom * stretch, zoom / stretch),
            shift_xy=(draw(-SHIFT, SHIFT), draw(-SHIFT, SHIFT)),
        )
        return {"matrix": matrix}

    def apply(self, img: np.ndarray, matrix: np.ndarray, **_: object) -> np.ndarray:
        """Transform an HWC uint8 image."""
        return self._warp(img, matrix, cv2.INTER_LINEAR, FILL_RGB)

    def apply_to_mask(self, mask: np.ndarray, matrix: np.ndarray, **_: object) -> np.ndarray:
        """Transform an HW uint8 mask; pixels from outside are `IGNORE`."""
        return self._warp(mask, matrix, cv2.INTER_NEAREST, IGNORE)

    def _warp(self, array: np.ndarray, matrix: np.ndarray, how: int, fill: ArrayLike) -> np.ndarray:
        height, width = array.shape[:2]
        value = np.broadcast_to(np.asarray(fill, float), (4,)) if np.ndim(fill) == 0 else fill
        return cv2.warpAffine(array, matrix, (width, height), flags=how, borderValue=value)  # type: ignore[call-overload, no-any-return]


def lecture_steps(flip: float = 0.5) -> list[A.BasicTransform]:
    """Return the steps of the preset, for images that already have the network's size.

    Args:
        flip: probability that the image is mirrored.
    """
    return [
        A.HorizontalFlip(p=flip),
        RandomAffine(),
        A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 1.0), p=0.5),
        A.GaussNoise(std_range=(0.0, 0.05), p=0.5),
    ]
