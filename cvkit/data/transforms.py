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

from cvkit.data.resize import input_size_hw, resize_image, resize_mask, short_side_hw
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


class _Seeded:
    """A pipeline whose randomness is a function of a seed; may travel between processes."""

    def __init__(self, steps: list[A.BasicTransform | A.BaseCompose]) -> None:
        self._pipeline = A.Compose(steps)
        self._own = threading.local()

    def _run(self, seed: int, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        if not hasattr(self._own, "pipeline"):
            self._own.pipeline = copy.deepcopy(self._pipeline)
        self._own.pipeline.set_random_seed(seed)
        result = self._own.pipeline(**arrays)
        return {name: np.ascontiguousarray(result[name]) for name in arrays}

    def __getstate__(self) -> dict:
        return {"_pipeline": self._pipeline}

    def __setstate__(self, state: dict) -> None:
        self._pipeline, self._own = state["_pipeline"], threading.local()


class TrainTransform(_Seeded):
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
            super().__init__([still if augment == "none" else crop, *steps])
        else:
            super().__init__([load_pipeline(Path(augment)), still])

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the transformed HWC image and HW mask; equal seeds give equal results."""
        result = self._run(seed, image=image, mask=mask)
        return result["image"], result["mask"]


class RandomArea(A.ImageOnlyTransform):
    """Cut out a random rectangle and resize it to a square.

    Source: Going Deeper with Convolutions, 2014, arXiv:1409.4842.

    Args:
        side: of the result, in pixels.
        scale: smallest and largest share of the image's area.
    """

    def __init__(self, side: int, scale: tuple[float, float]) -> None:
        super().__init__(p=1.0)
        self.side, self.scale = side, scale

    def get_params_dependent_on_data(self, params: dict, data: dict) -> dict:
        """Draw the rectangle; one that does not fit is cut to the image."""
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
    """Resize so that the shorter side has a length."""

    def __init__(self, side: int) -> None:
        super().__init__(p=1.0)
        self.side = side

    def apply(self, img: np.ndarray, **_: object) -> np.ndarray:
        """Transform an HWC uint8 image."""
        return resize_image(img, short_side_hw(img.shape[:2], self.side))


def _policy() -> list[A.BasicTransform]:
    """Return the operations of RandAugment, each of random strength up to the usual limit.

    Source: RandAugment, 2019, arXiv:1909.13719.
    """
    sure, plain = {"p": 1.0}, {"fill": FILL_RGB, "p": 1.0}
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
        A.Affine(rotate=(-30, 30), **plain),
        A.Affine(shear={"x": (-17, 17), "y": (0, 0)}, **plain),
        A.Affine(shear={"x": (0, 0), "y": (-17, 17)}, **plain),
        A.Affine(translate_percent={"x": (-0.3, 0.3), "y": (0, 0)}, **plain),
        A.Affine(translate_percent={"x": (0, 0), "y": (-0.3, 0.3)}, **plain),
    ]
    return [A.NoOp(p=1.0), *colors, *shapes]


SMALL_SIDE = 64
"""Images up to this side are shifted by an eighth instead of being cut and enlarged."""

CLASSIFY_POLICIES = ("none", "light", "strong", "randaugment", "trivialaugment")


class ClassifyTransform(_Seeded):
    """Turns an image into a training sample of a class, decided by one seed.

    Args:
        augment: one of `CLASSIFY_POLICIES`, or the path of an albumentations pipeline, which
            then replaces the random steps. `light` cuts (or shifts, at up to `SMALL_SIDE`
            pixels) and mirrors; `strong` adds colours; `randaugment` adds two and
            `trivialaugment` one random operation to `light`.
        side: of the result, in pixels.
        erasing: probability that a random rectangle is painted over.

    Raises:
        UsageError: the pipeline file cannot be read.
    """

    def __init__(self, augment: str, side: int, erasing: float = 0.0) -> None:
        still = [ShortSide(side), A.CenterCrop(side, side)]
        if side <= SMALL_SIDE:
            shift = A.Pad(side // 8, border_mode=4)  # 4: mirrored without repeating the edge
            cut = [ShortSide(side), shift, A.RandomCrop(side, side)]
        else:
            cut = [RandomArea(side, (0.25, 1.0))]
        light = [*cut, A.HorizontalFlip(p=0.5)]
        colors = A.ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.05, p=0.8)
        plans = {
            "none": still,
            "light": light,
            "strong": [*light, colors],
            "randaugment": [*light, A.SomeOf(_policy(), n=2, replace=True, p=1.0)],
            "trivialaugment": [*light, A.OneOf(_policy(), p=1.0)],
        }
        steps = plans[augment] if augment in plans else [load_pipeline(Path(augment)), *still]
        if erasing:
            steps = [*steps, A.Erasing(fill=FILL_RGB, p=erasing)]
        super().__init__(steps)

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Return the transformed HWC image; equal seeds give equal results."""
        return self._run(seed, image=image)["image"]


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
            hint=f"{', '.join(CLASSIFY_POLICIES)} (the last two to classify only), or an "
            "albumentations YAML or JSON file",
        ) from error
    except (ValueError, TypeError, KeyError, AttributeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(
            f"--augment {path}: {reason}", code="augment.invalid", hint=hint
        ) from error
