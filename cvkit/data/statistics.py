"""Statistics of labelled samples: numbers per sample, counts per class, and colours."""

import os
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np

from cvkit.errors import CvkitError
from cvkit.structures import Failure

S = TypeVar("S")
R = TypeVar("R")


QUANTITIES = {
    "width": "image width (px)",
    "height": "image height (px)",
    "image_aspect": "image width / height",
    "frames": "frames per video",
    "fps": "frames per second",
    "seconds": "length of a video (s)",
    "classes_per_image": "classes per image",
    "class_share": "share of the image of each class in it",
    "objects_per_image": "objects per image",
    "object_width": "object width (px)",
    "object_height": "object height (px)",
    "object_side": "object side, root of its area (px)",
    "object_aspect": "object width / height",
    "object_share": "box area / image area",
    "mask_area": "mask area (px)",
    "mask_share_of_box": "mask area / box area",
}
"""Titles of the quantities of samples and objects, in the order of tables."""


@dataclass(frozen=True)
class Measured(Generic[S]):
    """What is counted of one sample.

    Attributes:
        item: the sample, in the pixels of the upright image.
        values: numbers by quantity: one of the sample, or one of each of its objects.
        per_class: counts by column and class index.
        counts: further counts by name.
    """

    item: S
    values: Mapping[str, np.ndarray | float]
    per_class: Mapping[str, Mapping[int, int]]
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts(Generic[S]):
    """What was counted of the samples of a split.

    Attributes:
        items: the readable samples.
        values: numbers by quantity.
        per_class: [K] int64 counts by column.
        counts: further counts by name.
        failures: samples that could not be read.
    """

    items: list[S]
    values: dict[str, np.ndarray]
    per_class: dict[str, np.ndarray]
    counts: dict[str, int]
    failures: list[Failure]


def collect(
    items: Sequence[S],
    key: Callable[[S], str],
    measure: Callable[[S], Measured[S]],
    num_classes: int,
    on_step: Callable[[int], None] | None = None,
) -> Facts[S]:
    """Measure all samples of a split on all cores; those that cannot be read are listed.

    Args:
        items: the split.
        key: returns the path that identifies a sample.
        measure: of one sample.
        num_classes: K.
        on_step: called with the number of samples done so far.
    """
    values: dict[str, array[float]] = defaultdict(lambda: array("f"))
    per_class: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(num_classes, np.int64))
    counts: dict[str, int] = defaultdict(int)
    kept: list[S] = []
    failures: list[Failure] = []
    for done, (item, found) in enumerate(each_on_all_cores(measure, items), 1):
        if isinstance(found, CvkitError):
            failures.append(Failure(key(item), found.code, str(found)))
        else:
            kept.append(found.item)
            for name, numbers in found.values.items():
                values[name].frombytes(np.asarray(numbers, np.float32).tobytes())
            for column, classes in found.per_class.items():
                for index, count in classes.items():
                    per_class[column][index] += count
            for name, count in found.counts.items():
                counts[name] += count
        if on_step:
            on_step(done)
    joined = {name: np.frombuffer(numbers, np.float32) for name, numbers in values.items()}
    return Facts(kept, joined, dict(per_class), dict(counts), failures)


def each_on_all_cores(
    examine: Callable[[S], R], items: Sequence[S], at_once: int = 64
) -> Iterator[tuple[S, R | CvkitError]]:
    """Yield each item with the result of `examine`, or with its error, in order.

    Args:
        examine: called in threads.
        items: of any number; results of a few parts of them are in memory at a time.
        at_once: items that are passed to a thread together.
    """

    def examined(part: Sequence[S]) -> list[R | CvkitError]:
        results: list[R | CvkitError] = []
        for item in part:
            try:
                results.append(examine(item))
            except CvkitError as error:
                results.append(error)
        return results

    cores = os.cpu_count() or 1
    with ThreadPoolExecutor(cores) as pool:
        step = at_once * cores
        for first in range(0, len(items), step):
            block = items[first : first + step]
            parts = [block[at : at + at_once] for at in range(0, len(block), at_once)]
            for part, found in zip(parts, pool.map(examined, parts), strict=True):
                yield from zip(part, found, strict=True)


PERCENTILES = {"min": 0, "p5": 5, "p25": 25, "median": 50, "p75": 75, "p95": 95, "max": 100}


def summary(numbers: np.ndarray) -> dict[str, float]:
    """Return the percentiles and the mean of [N] numbers, N > 0."""
    found = np.percentile(numbers.astype(np.float64), list(PERCENTILES.values()))
    result = dict(zip(PERCENTILES, map(float, found), strict=True))
    return result | {"mean": float(numbers.mean(dtype=np.float64))}


@dataclass(frozen=True)
class Colours:
    """The colours of a sample of images.

    Attributes:
        images: number of images measured.
        of: number of images from which they are drawn.
        mean: [3] of all pixels, in [0, 1].
        std: [3] of all pixels, in [0, 1].
        grey: number of the measured images whose channels are all equal.
    """

    images: int
    of: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    grey: int

    def as_json(self) -> dict[str, Any]:
        """Return the content for `--json`."""
        return {**vars(self), "mean": list(self.mean), "std": list(self.std)}


def drawn(count: int, wanted: int, seed: int) -> list[int]:
    """Return the places of `wanted` of `count` samples, in order; all of them if there are fewer.

    A function of its arguments, so that the same samples are drawn again.
    """
    if wanted >= count:
        return list(range(count))
    return sorted(np.random.default_rng(seed).choice(count, wanted, replace=False).tolist())


def colours(
    items: Sequence[S],
    picture: Callable[[S], np.ndarray],
    wanted: int,
    seed: int,
    on_step: Callable[[int], None] | None = None,
) -> Colours | None:
    """Return mean and standard deviation of the pixels of a random sample; None without any.

    Args:
        items: the split; samples that cannot be read are left out.
        picture: returns the HWC RGB uint8 pixels of one.
        wanted: size of the sample.
        seed: of it.
        on_step: called with the number of images done so far.
    """

    def sums(item: S) -> tuple[int, np.ndarray, np.ndarray, bool]:
        image = picture(item)
        levels = np.arange(256, dtype=np.float64)
        counts = np.stack([np.bincount(image[..., c].ravel(), minlength=256) for c in range(3)])
        grey = bool(
            (image[..., 0] == image[..., 1]).all() and (image[..., 1] == image[..., 2]).all()
        )
        return image[..., 0].size, counts @ levels, counts @ levels**2, grey

    chosen = [items[place] for place in drawn(len(items), wanted, seed)]
    pixels, first, second, grey, images = 0, np.zeros(3), np.zeros(3), 0, 0
    for done, (_, found) in enumerate(each_on_all_cores(sums, chosen, at_once=4), 1):
        if not isinstance(found, CvkitError):
            size, once, twice, without = found
            pixels, first, second = pixels + size, first + once, second + twice
            grey, images = grey + without, images + 1
        if on_step:
            on_step(done)
    if not images:
        return None
    mean = first / pixels / 255
    std = np.sqrt(np.maximum(second / pixels / 255**2 - mean**2, 0))
    return Colours(images, len(items), tuple(mean.tolist()), tuple(std.tolist()), grey)
