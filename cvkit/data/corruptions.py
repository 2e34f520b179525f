"""Natural corruptions of images, in five severities, and datasets whose samples are corrupted.

The numbers are those of ImageNet-C (Benchmarking Neural Network Robustness to Common Corruptions
and Perturbations, 2019, arXiv:1903.12261), whose images have 224 pixels a side; its blur grows here
with the shorter side. Rotations are our choice.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from cvkit.ops.seeds import key_seed
from cvkit.structures import IGNORE, Geometry, Sample, SegMap
from cvkit.tasks.contract import Dataset, Measurable

GREY = 128
"""Value of pixels that a rotation brings in from outside."""
SIDE = 224
"""Shorter side of the images for which the numbers were chosen."""


def brightness(image: np.ndarray, amount: float, rng: np.random.Generator) -> np.ndarray:
    """Return an HWC RGB uint8 image whose value (of hue, saturation, value) is raised.

    Args:
        image: the image.
        amount: that is added to the value, of 1.
        rng: not used.
    """
    hsv = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 2] = np.minimum(hsv[..., 2] + amount, 1)
    return _as_bytes(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255)


def contrast(image: np.ndarray, factor: float, rng: np.random.Generator) -> np.ndarray:
    """Return an image whose distance from its mean colour is multiplied by a factor below 1."""
    mean = image.reshape(-1, 3).mean(0)
    return _as_bytes((image - mean) * factor + mean)


def blur(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """Return an image after a Gaussian filter of `sigma` pixels, of 224 on the shorter side."""
    sigma = sigma * min(image.shape[:2]) / SIDE
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)


def noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Return an image with Gaussian noise of a standard deviation, of 1."""
    drawn = rng.standard_normal(image.shape, dtype=np.float32)
    return _as_bytes(image + 255 * deviation * drawn)


def jpeg(image: np.ndarray, quality: float, rng: np.random.Generator) -> np.ndarray:
    """Return an image that was a JPEG file of this quality, from 0 to 100."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, int(quality)]
    _, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flags)
    decoded = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert decoded is not None, "it was coded a moment ago"
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)


def rotation(image: np.ndarray, degrees: float, rng: np.random.Generator) -> np.ndarray:
    """Return an image that is turned anticlockwise about its centre; outside of it is grey."""
    return turned(image, degrees, cv2.INTER_LINEAR, (GREY, GREY, GREY))


def turned(image: np.ndarray, degrees: float, interpolation: int, outside: Any) -> np.ndarray:
    """Return an HW or HWC image turned anticlockwise about its centre, its size kept."""
    height, width = image.shape[:2]
    centre = (width - 1) / 2, (height - 1) / 2
    matrix = cv2.getRotationMatrix2D(centre, degrees, 1.0)
    constant = cv2.BORDER_CONSTANT
    return cv2.warpAffine(
        image,
        matrix,
        (width, height),
        flags=interpolation,
        borderMode=constant,
        borderValue=outside,
    )


def _as_bytes(values: np.ndarray) -> np.ndarray:
    return values.clip(0, 255).round().astype(np.uint8)


Corrupt = Callable[[np.ndarray, float, np.random.Generator], np.ndarray]


@dataclass(frozen=True)
class Corruption:
    """A corruption.

    Attributes:
        function: of an HWC RGB uint8 image, a number and a generator.
        numbers: of the five severities.
        rule: what the numbers are.
        turns: the number is an angle, whose sign is drawn.
    """

    function: Corrupt
    numbers: tuple[float, ...]
    rule: str
    turns: bool = False

    def number(self, severity: int, seed: int) -> float:
        """Return the number of a severity; with its sign, if it has one."""
        negative = self.turns and np.random.default_rng(seed).random() < 0.5
        return -self.numbers[severity - 1] if negative else self.numbers[severity - 1]

    def __call__(self, image: np.ndarray, severity: int, seed: int) -> np.ndarray:
        """Return a corrupted image (HWC), or clip (..., HWC) of images with one number."""
        rng, number = np.random.default_rng(seed), self.number(severity, seed)
        images = np.ascontiguousarray(image).reshape(-1, *image.shape[-3:])
        return np.stack([self.function(each, number, rng) for each in images]).reshape(image.shape)


TABLE = {
    "brightness": Corruption(brightness, (0.1, 0.2, 0.3, 0.4, 0.5), "added to the value of HSV"),
    "contrast": Corruption(contrast, (0.4, 0.3, 0.2, 0.1, 0.05), "factor around the mean colour"),
    "blur": Corruption(blur, (1, 2, 3, 4, 6), "sigma in pixels, of 224 on the shorter side"),
    "noise": Corruption(noise, (0.08, 0.12, 0.18, 0.26, 0.38), "deviation of Gaussian noise, of 1"),
    "jpeg": Corruption(jpeg, (25, 18, 15, 10, 7), "JPEG quality"),
    "rotation": Corruption(rotation, (6, 12, 18, 24, 30), "degrees, to the left or right", True),
}
"""The corruptions of `--corruptions` by name."""


@dataclass(frozen=True)
class Corrupted:
    """A dataset whose samples are corrupted, as the network would get them.

    What is random depends on the seed, the corruption and the key of a sample, and so neither on
    batches nor on workers; severities share it.

    Attributes:
        data: the samples.
        name: of the corruption.
        severity: from 1 to 5.
        seed: of noise and of the sides of rotations.
    """

    data: Dataset
    name: str
    severity: int
    seed: int

    def __len__(self) -> int:
        return len(self.data)

    def key(self, index: int) -> str:
        """Return the path of a sample, relative to the dataset."""
        return self.data.key(index)

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return one sample, its image corrupted; a rotation turns its label map, too.

        Raises:
            DataError: the image cannot be read.
        """
        sample, corruption = self.data.read(index, seed), TABLE[self.name]
        words = (self.name, sample.path)
        drawn = key_seed(self.seed, *(zlib.crc32(word.encode()) for word in words))
        image, truth = corruption(sample.image, self.severity, drawn), sample.truth
        if corruption.turns and isinstance(truth, SegMap):  # what came from outside has no label
            degrees = corruption.number(self.severity, drawn)
            truth = SegMap(turned(truth.labels, degrees, cv2.INTER_NEAREST, IGNORE))
        return replace(sample, image=image, truth=truth)


@dataclass(frozen=True)
class MeasurableCorrupted(Corrupted):
    """The same of a dataset that knows the sizes of its samples."""

    def geometry(self, index: int) -> Geometry:
        """Return the size of a sample, which is that of the sound one.

        Raises:
            CvkitError: the header of its file is unusable.
        """
        assert isinstance(self.data, Measurable), "`corrupted` has looked"
        return self.data.geometry(index)


def corrupted(data: Dataset, name: str, severity: int, seed: int) -> Corrupted:
    """Return a dataset with corrupted samples; see `Corrupted`."""
    if isinstance(data, Measurable):
        return MeasurableCorrupted(data, name, severity, seed)
    return Corrupted(data, name, severity, seed)
