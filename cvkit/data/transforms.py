"""Random transforms for training, by albumentations.

This is the only module that imports albumentations, and only training imports this module.
"""

import os

os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # else its import asks the network for its version

import copy
import json
import math
import threading
import warnings
from pathlib import Path

import albumentations as A
import numpy as np
import yaml

from cvkit.data.resize import input_size_hw, resize_image, resize_mask
from cvkit.errors import UsageError
from cvkit.structures import IGNORE

FILL_RGB = (124, 116, 104)
"""Colour of padding: the mean of ImageNet, 0 after normalisation."""


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
        ]  # negative: that much padding before the image
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

    def _cut(self, array: np.ndarray, offset: list[int], fill: np.ndarray) -> np.ndarray:
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


class TrainTransform:
    """Turns an image and its mask into a training sample, decided by one seed.

    Args:
        augment: `none`, `light` or `strong`, or the path of an albumentations pipeline that
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
        if augment in ("none", "light", "strong"):
            steps = {"none": list, "light": _light, "strong": _strong}[augment]()
            pipeline = [still if augment == "none" else crop, *steps]
        else:
            pipeline = [load_pipeline(Path(augment)), still]
        self._pipeline = A.Compose(pipeline)
        self._own = threading.local()

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the transformed HWC image and HW mask; equal seeds give equal results."""
        if not hasattr(self._own, "pipeline"):
            self._own.pipeline = copy.deepcopy(self._pipeline)
        self._own.pipeline.set_random_seed(seed)
        result = self._own.pipeline(image=image, mask=mask)
        return np.ascontiguousarray(result["image"]), np.ascontiguousarray(result["mask"])

    def __getstate__(self) -> dict:
        return {"_pipeline": self._pipeline}

    def __setstate__(self, state: dict) -> None:
        self._pipeline, self._own = state["_pipeline"], threading.local()


def load_pipeline(path: Path) -> A.BaseCompose | A.BasicTransform:
    """Return the albumentations pipeline in a YAML or JSON file.

    Raises:
        UsageError: the file is missing, malformed or names an unknown transform.
    """
    hint = "albumentations.save(pipeline, FILE, data_format='yaml') writes such a file"
    try:
        text = path.read_text()
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the errors below say what matters
            return A.from_dict(content)
    except OSError as error:
        raise UsageError(
            f"--augment {path}: {error.strerror}",
            code="augment.missing",
            hint="none, light, strong, or an albumentations YAML or JSON file",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"--augment {path}: {reason}", code="augment.invalid", hint=hint
        ) from error
