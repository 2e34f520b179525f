"""Transforms of images with masks."""

import math
from pathlib import Path

import albumentations as A
import numpy as np
from numpy.typing import ArrayLike

from cvkit.catalog import AUGMENTATIONS
from cvkit.data.resize import input_size_hw, resize_image, resize_mask
from cvkit.data.transforms.lecture import lecture_steps
from cvkit.data.transforms.pipelines import FILL_RGB, Seeded, load_pipeline
from cvkit.structures import IGNORE

POLICIES = AUGMENTATIONS["segment"]
SCALED = ("light", "strong")
"""Augmentations that begin with a random scale."""


class ScaleCrop(A.DualTransform):
    """Resize by a random factor around the evaluation scale, then crop or pad to a size.

    Args:
        image_size_wh: width and height of the result.
        scale: smallest and largest factor, drawn log-uniformly; 1 is the evaluation scale.
        resize: as in `cvkit.data.resize.input_size_hw`.
    """

    def __init__(
        self, image_size_wh: tuple[int, int], scale: tuple[float, float], resize: str
    ) -> None:
        super().__init__(p=1.0)
        self.image_size_wh, self.scale, self.resize = image_size_wh, scale, resize

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """Draw the factor and the crop."""
        factor = math.exp(self.py_random.uniform(*(math.log(limit) for limit in self.scale)))
        base_hw = input_size_hw(params["shape"][:2], self.image_size_wh, self.resize)
        scaled_hw = tuple(max(1, round(side * factor)) for side in base_hw)
        offset = [
            self.py_random.randint(min(0, have - want), max(0, have - want))
            for have, want in zip(scaled_hw, self.image_size_wh[::-1], strict=True)
        ]  # negative: padding before the image
        return {"scaled_hw": scaled_hw, "offset": offset}

    def apply(
        self, img: np.ndarray, scaled_hw: tuple[int, int], offset: list[int], **_: object
    ) -> np.ndarray:
        """Transform an HWC uint8 image."""
        return self._cut(resize_image(img, scaled_hw), offset, np.array(FILL_RGB, np.uint8))

    def apply_to_mask(
        self, mask: np.ndarray, scaled_hw: tuple[int, int], offset: list[int], **_: object
    ) -> np.ndarray:
        """Transform an HW uint8 mask; padding is `IGNORE`."""
        return self._cut(resize_mask(mask, scaled_hw), offset, np.uint8(IGNORE))

    def _cut(self, array: np.ndarray, offset: list[int], fill: ArrayLike) -> np.ndarray:
        result = np.empty((*self.image_size_wh[::-1], *array.shape[2:]), np.uint8)
        result[:] = fill
        source, target = [], []
        for start, have, want in zip(offset, array.shape, result.shape, strict=False):
            size = min(have, want)
            source.append(slice(max(0, start), max(0, start) + size))
            target.append(slice(max(0, -start), max(0, -start) + size))
        result[tuple(target)] = array[tuple(source)]
        return result


def _light() -> list[A.BasicTransform]:
    return [
        A.HorizontalFlip(p=0.5),
        A.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.03, p=0.8),
    ]


def _strong() -> list[A.BasicTransform]:
    return [
        A.HorizontalFlip(p=0.5),
        A.Affine(rotate=(-10, 10), p=0.5, fill=FILL_RGB, fill_mask=IGNORE),
        A.ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.08, p=0.8),
        A.OneOf(
            [A.GaussianBlur(), A.GaussNoise(), A.ImageCompression(quality_range=(40, 95))], p=0.3
        ),
        A.CoarseDropout(p=0.2, fill=FILL_RGB, fill_mask=IGNORE),
    ]


class TrainTransform(Seeded):
    """Turns an image and its mask into a training sample, determined by a seed.

    Args:
        augment: one of `POLICIES`, or the path of an albumentations pipeline that
            `albumentations.save` wrote as YAML or JSON; it then replaces the random steps.
        image_size_wh: width and height of the result.
        resize: as in `cvkit.data.resize.input_size_hw`.
        scale: smallest and largest random scale.

    Raises:
        UsageError: the pipeline file cannot be read.
    """

    def __init__(
        self,
        augment: str,
        image_size_wh: tuple[int, int],
        resize: str,
        scale: tuple[float, float],
    ) -> None:
        crop = ScaleCrop(image_size_wh, scale, resize)
        still = ScaleCrop(image_size_wh, (1.0, 1.0), resize)
        if augment in POLICIES:
            made = {"none": list, "light": _light, "strong": _strong, "lecture": lecture_steps}
            first = crop if augment in SCALED else still
            super().__init__([first, *made[augment]()])
        else:
            super().__init__([load_pipeline(Path(augment), POLICIES), still])

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the transformed HWC image and HW mask; equal seeds give equal results."""
        result = self.apply(seed, image=image, mask=mask)
        return result["image"], result["mask"]
