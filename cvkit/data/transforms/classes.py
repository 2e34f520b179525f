"""Transforms of images with one class."""

import math
from pathlib import Path

import albumentations as A
import numpy as np

from cvkit.catalog import AUGMENTATIONS
from cvkit.data.resize import resize_image, short_side_hw
from cvkit.data.transforms.lecture import lecture_steps
from cvkit.data.transforms.pipelines import FILL_RGB, Seeded, load_pipeline


class RandomArea(A.ImageOnlyTransform):
    """Crop a random rectangle and resize it to a square.

    Source: Going Deeper with Convolutions, 2014, arXiv:1409.4842.

    Args:
        side: of the result, in pixels.
        scale: smallest and largest fraction of the image's area.
    """

    def __init__(self, side: int, scale: tuple[float, float]) -> None:
        super().__init__(p=1.0)
        self.side, self.scale = side, scale

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """Draw the rectangle; one that does not fit is clipped to the image."""
        height, width = params["shape"][:2]
        area = height * width * self.py_random.uniform(*self.scale)
        ratio = math.exp(self.py_random.uniform(math.log(3 / 4), math.log(4 / 3)))
        wide = max(1, min(width, round(math.sqrt(area * ratio))))
        high = max(1, min(height, round(math.sqrt(area / ratio))))
        left, top = (self.py_random.randint(0, n) for n in (width - wide, height - high))
        return {"box": (slice(top, top + high), slice(left, left + wide))}

    def apply(self, img: np.ndarray, box: tuple[slice, slice], **_: object) -> np.ndarray:
        """Transform an HWC uint8 image."""
        return resize_image(np.ascontiguousarray(img[box]), (self.side, self.side))


class ShortSide(A.ImageOnlyTransform):
    """Resize the shorter side to a given length."""

    def __init__(self, side: int) -> None:
        super().__init__(p=1.0)
        self.side = side

    def apply(self, img: np.ndarray, **_: object) -> np.ndarray:
        """Transform an HWC uint8 image."""
        return resize_image(img, short_side_hw(img.shape[:2], self.side))


def _policy() -> list[A.BasicTransform]:
    """Return the operations of RandAugment, each with random strength up to the usual limit.

    Source: RandAugment, 2019, arXiv:1909.13719.
    """
    sure, filled = {"p": 1.0}, {"fill": FILL_RGB, "p": 1.0}
    colors = [
        A.ColorJitter(brightness=0.9, contrast=0, saturation=0, hue=0, **sure),
        A.ColorJitter(brightness=0, contrast=0.9, saturation=0, hue=0, **sure),
        A.ColorJitter(brightness=0, contrast=0, saturation=0.9, hue=0, **sure),
        A.Sharpen(alpha=(0.0, 0.9), **sure),
        A.Posterize(num_bits=(4, 8), **sure),
        A.Solarize(threshold_range=(0.2, 1.0), **sure),
        A.Equalize(**sure),
        A.AutoContrast(**sure),
    ]
    shapes = [
        A.Affine(rotate=(-30, 30), **filled),
        A.Affine(shear={"x": (-17, 17), "y": (0, 0)}, **filled),
        A.Affine(shear={"x": (0, 0), "y": (-17, 17)}, **filled),
        A.Affine(translate_percent={"x": (-0.3, 0.3), "y": (0, 0)}, **filled),
        A.Affine(translate_percent={"x": (0, 0), "y": (-0.3, 0.3)}, **filled),
    ]
    return [A.NoOp(p=1.0), *colors, *shapes]


SMALL_SIDE = 64
"""Images up to this side are shifted by up to an eighth instead of being cropped and enlarged."""

CLASSIFY_POLICIES = AUGMENTATIONS["classify"]


class ClassifyTransform(Seeded):
    """Turns an image into a training sample of a class, determined by a seed.

    Args:
        augment: one of `CLASSIFY_POLICIES`, or the path of an albumentations pipeline, which
            then replaces the random steps. `light` crops (or shifts, up to `SMALL_SIDE` pixels) and
            mirrors; `strong` also changes colours; `randaugment` adds two random operations to
            `light`, and `trivialaugment` one; `lecture` rotates, shifts, scales, shears and
            stretches the centre crop and adds blur and noise, see `RandomAffine`.
        side: of the result, in pixels.
        erasing: probability that a random rectangle is erased.
        flip: probability that the image is mirrored, unless the pipeline is from a file.

    Raises:
        UsageError: the pipeline file cannot be read.
    """

    def __init__(self, augment: str, side: int, erasing: float = 0.0, flip: float = 0.5) -> None:
        still = [ShortSide(side), A.CenterCrop(side, side)]
        if side <= SMALL_SIDE:
            shift = A.Pad(side // 8, border_mode=4)  # 4: reflection without repeating the edge
            cut = [ShortSide(side), shift, A.RandomCrop(side, side)]
        else:
            cut = [RandomArea(side, (0.25, 1.0))]
        light = [*cut, A.HorizontalFlip(p=flip)]
        colors = A.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.05, p=0.8)
        plans = {
            "none": still,
            "light": light,
            "strong": [*light, colors],
            "randaugment": [*light, A.SomeOf(_policy(), n=2, replace=True, p=1.0)],
            "trivialaugment": [*light, A.OneOf(_policy(), p=1.0)],
            "lecture": [*still, *lecture_steps(flip)],
        }
        steps = (
            plans[augment]
            if augment in plans
            else [load_pipeline(Path(augment), CLASSIFY_POLICIES), *still]
        )
        if erasing:
            steps = [*steps, A.Erasing(fill=FILL_RGB, p=erasing)]
        super().__init__(steps)

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Return the transformed HWC image; equal seeds give equal results."""
        return self.apply(seed, image=image)["image"]


class ClipTransform(ClassifyTransform):
    """Applies the same random `ClassifyTransform` to every frame of a clip."""

    def __call__(self, frames: np.ndarray, seed: int) -> np.ndarray:
        """Return the transformed THWC clip; equal seeds give equal results."""
        return self.apply(seed, images=frames)["images"]
