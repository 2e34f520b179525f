"""Random views of images for pretraining without labels."""

from pathlib import Path

import albumentations as A
import numpy as np

from cvkit.catalog import VIEWS
from cvkit.data.transforms.classes import SMALL_SIDE, RandomArea, ShortSide
from cvkit.data.transforms.pipelines import Seeded, load_pipeline


class ViewTransform(Seeded):
    """Turns an image into a square view, determined by a seed.

    Source of `views`: A Simple Framework for Contrastive Learning of Visual Representations, 2020,
    arXiv:2002.05709, with the strengths of MoCo v2, 2020, arXiv:2003.04297; images up to
    `SMALL_SIDE` pixels are not blurred.

    Args:
        augment: `views`, `light` or `none`, or the path of an albumentations pipeline.
        side: of the result, in pixels.

    Raises:
        UsageError: the pipeline file cannot be read.
    """

    def __init__(self, augment: str, side: int) -> None:
        still = [ShortSide(side), A.CenterCrop(side, side)]
        light = [RandomArea(side, (0.2, 1.0)), A.HorizontalFlip(p=0.5)]
        colors = [
            A.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, p=0.8),
            A.ToGray(p=0.2),
        ]
        blur = [] if side <= SMALL_SIDE else [A.GaussianBlur(sigma_limit=(0.1, 2.0), p=0.5)]
        plans = {"none": still, "light": light, "views": [*light, *colors, *blur]}
        steps = (
            plans[augment] if augment in plans else [load_pipeline(Path(augment), VIEWS), *still]
        )
        super().__init__(steps)

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Return the view (HWC) of an HWC image; equal seeds give equal views."""
        return self.apply(seed, image=image)["image"]
