"""Labelled images with one class each, to count and to show."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from cvkit.data.classified import ClassifiedImage
from cvkit.data.datasets import ClassificationDataset, CropRule
from cvkit.data.decode import read_image, upright_size_hw
from cvkit.data.files import walk_images
from cvkit.data.known import Known
from cvkit.data.statistics import Facts, Measured
from cvkit.options.classify import ClassifyTrain
from cvkit.tasks.classed_labels import LabelledFiles
from cvkit.tasks.classify import setup
from cvkit.tasks.classify.network import Preprocessing
from cvkit.tasks.labelled import Advice, View, imbalance, known_header, sizes


@dataclass(frozen=True, kw_only=True)
class LabelledSamples(LabelledFiles[ClassifyTrain]):
    """Images with one class each."""

    task, walk = "classify", staticmethod(walk_images)

    def picture(self, item: ClassifiedImage) -> np.ndarray:
        """Return the pixels of an image."""
        return read_image(item.path, None)

    def truth(self, item: ClassifiedImage) -> View:
        """Return an image and its class."""
        return View(self.picture(item), item.label)

    def augmented(self, split: str, place: int, seed: int) -> View:
        """Return a training sample as the network gets it."""
        side = self._preprocessing.image_size
        transform = setup.transform_for(self.options, side)
        rule = CropRule(side, self._preprocessing.resize_size, self._preprocessing.interpolation)
        names = self.classes.names
        data = ClassificationDataset(self.splits[split], names, rule, transform, bits=None)
        return View(data.read(place, seed).image, f"{side}x{side}")

    @cached_property
    def _preprocessing(self) -> Preprocessing:
        images = next(iter(self.splits.values())) if self.options.image_size == "auto" else ()
        return self.preprocessing([upright_size_hw(image.path) for image in images] or [(1, 1)])

    def preprocessing(self, sizes_hw: Sequence[tuple[int, int]]) -> Preprocessing:
        """Return the preprocessing of a training on images of these sizes."""
        return setup.preprocessing_for(self.options, sizes_hw)

    def measure(self, item: ClassifiedImage, known: Known) -> Measured[ClassifiedImage]:
        """Return the size and the class of an image."""
        size_hw, _ = known_header(item.path, known)
        return Measured(item, sizes(size_hw), {"images": {self.label(item): 1}})

    def normalisation(
        self, facts: Facts[ClassifiedImage]
    ) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and standard deviation that training subtracts."""
        made = self.preprocessing(_sizes_hw(facts))
        return made.mean, made.std

    def advice(self, facts: Facts[ClassifiedImage]) -> list[Advice]:
        """Return what the numbers imply for the flags of train."""
        side = self.preprocessing(_sizes_hw(facts)).image_size
        short = np.minimum(facts.values["width"], facts.values["height"])
        enlarged = float((short < side).mean())
        text = f"the shorter side of the median image has {np.median(short):.0f} pixels"
        if enlarged > 0.01:
            text += f"; {enlarged:.0%} of the images are smaller than the input and are enlarged"
        found = [Advice(f"--image-size {self.options.image_size} gives {side}x{side}", text)]
        return found + imbalance(facts.per_class["images"], self.classes.names, "images")


def _sizes_hw(facts: Facts[ClassifiedImage]) -> list[tuple[int, int]]:
    pairs = zip(facts.values["height"].tolist(), facts.values["width"].tolist(), strict=True)
    return [(int(height), int(width)) for height, width in pairs]
