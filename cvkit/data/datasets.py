"""Datasets: a length, and `read(index, seed)`, which gives one sample."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from cvkit.data.annotated import AnnotatedImage, trainable
from cvkit.data.classified import ClassifiedImage
from cvkit.data.decode import read_image, upright_size_hw
from cvkit.data.given import ImageInput, pixels_of, placed, size_hw_of
from cvkit.data.labelled import LabelledImage
from cvkit.data.masks import MaskReader
from cvkit.data.resize import centre_crop, input_size_hw, prepare, resize_antialiased, short_side_hw
from cvkit.data.video_frames import VideoFrame
from cvkit.errors import DataError
from cvkit.structures import Classes, Geometry, Instances, Sample, SegMap


class Transform(Protocol):
    """A random transform that is a function of its seed."""

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, seed: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the transformed image and mask."""


def read_pair(
    pair: LabelledImage, reader: MaskReader, bits: int | None = 16
) -> tuple[np.ndarray, np.ndarray]:
    """Return an image (HWC RGB uint8; `bits` as in `read_image`) and its mask (HW uint8).

    Raises:
        DataError: either cannot be read, or `mask.size_mismatch`.
    """
    image, mask = read_image(pair.image, bits), reader.read(pair.mask)
    require_same_size(pair, image.shape[:2], mask)
    return image, mask


def require_same_size(pair: LabelledImage, image_hw: tuple[int, int], mask: np.ndarray) -> None:
    """Check that a mask has the size of its image.

    Raises:
        DataError: `mask.size_mismatch`.
    """
    if image_hw != mask.shape:
        raise DataError(
            f"{pair.mask}: {mask.shape[1]}x{mask.shape[0]} pixels, but its image {pair.key} has "
            f"{image_hw[1]}x{image_hw[0]}",
            code="mask.size_mismatch",
            hint="save the mask at the size of the upright image",
        )


@dataclass(frozen=True)
class SegmentationDataset:
    """Images with masks.

    Attributes:
        pairs: its content, in order.
        reader: how the masks are read.
        image_size_wh: width and height that the network input should fit into.
        resize: `fit` or `native`.
        transform: random training transform; None for evaluation, where the truth stays in original
            pixels.
        bits: see `read_image`.
    """

    pairs: Sequence[LabelledImage]
    reader: MaskReader
    image_size_wh: tuple[int, int]
    resize: str
    transform: Transform | None = None
    bits: int | None = 16

    def __len__(self) -> int:
        return len(self.pairs)

    def key(self, index: int) -> str:
        """Return the path of a sample, relative to the dataset."""
        return self.pairs[index].key

    def geometry(self, index: int) -> Geometry:
        """Return the size of a sample for evaluation, from the header of its file.

        Raises:
            DataError: it is unusable.
        """
        original_hw = upright_size_hw(self.pairs[index].image)
        size_hw = input_size_hw(original_hw, self.image_size_wh, self.resize)
        return Geometry(original_hw, size_hw)

    def file(self, index: int) -> Path:
        """Return the location of the image of a sample."""
        return self.pairs[index].image

    def truth(self, index: int, size_hw: tuple[int, int]) -> SegMap:
        """Return the label of an image of a size, without its pixels.

        Raises:
            DataError: its mask cannot be read, or has another size.
        """
        pair = self.pairs[index]
        mask = self.reader.read(pair.mask)
        require_same_size(pair, size_hw, mask)
        return SegMap(mask)

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return one sample; `seed` determines the random transform.

        Raises:
            DataError: the image or its mask cannot be read.
        """
        pair = self.pairs[index]
        image, mask = read_pair(pair, self.reader, self.bits)
        if self.transform is not None:
            inputs, target = self.transform(image, mask, seed)
            return Sample(path=pair.key, image=inputs, mask=target)
        inputs, geometry = prepare(image, self.image_size_wh, self.resize)
        return Sample(path=pair.key, image=inputs, geometry=geometry, truth=SegMap(mask))


class ObjectTransform(Protocol):
    """A random transform of an image with objects and proposals."""

    mosaic: bool

    def __call__(
        self, image: np.ndarray, objects: Instances, proposals: np.ndarray | None, seed: int
    ) -> tuple[np.ndarray, Instances, np.ndarray | None]:
        """Return the transformed image, objects and proposals."""


@dataclass(frozen=True)
class BoxDataset:
    """Images with boxes, each in its own size.

    Attributes:
        images: its content, in order.
        transform: random training transform; None for evaluation.
        proposals: [R, 4] regions of each image by its key; None for networks that make their own.
        join: puts four images into one, for `mosaic`.
        bits: see `read_image`.
    """

    images: Sequence[AnnotatedImage]
    transform: ObjectTransform | None = None
    proposals: Mapping[str, np.ndarray] | None = None
    join: Callable[..., tuple[np.ndarray, Instances, np.ndarray | None]] | None = None
    bits: int | None = 16

    @property
    def ragged(self) -> bool:
        """Whether training samples of different sizes share a batch."""
        return self.transform is not None

    def __len__(self) -> int:
        return len(self.images)

    def key(self, index: int) -> str:
        """Return the path of a sample, relative to the dataset."""
        return self.images[index].key

    def file(self, index: int) -> Path:
        """Return the location of the image of a sample."""
        return self.images[index].path

    def groups(self) -> list[int]:
        """Return a number for each image, equal for images of similar aspect ratio.

        Ratios up to 1.26 count as square: the effect of batches with only one kind of images on
            batch norms costs more than a quarter of padding.
        """
        sizes = (image.size_wh or (1, 1) for image in self.images)
        return [round(1.5 * math.log2(width / height)) for width, height in sizes]

    def geometry(self, index: int) -> Geometry:
        """Return the size of a sample for evaluation, from the header of its file.

        Raises:
            DataError: it is unusable.
        """
        original_hw = upright_size_hw(self.images[index].path)
        return Geometry(original_hw, original_hw)

    def truth(self, index: int, size_hw: tuple[int, int]) -> Instances:
        """Return the label of an image, without its pixels."""
        return self.images[index].truth

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return one sample; `seed` determines the random transform.

        Raises:
            DataError: the image cannot be read.
        """
        item = self.images[index]
        if self.transform is None:
            image, regions = read_image(item.path, self.bits), self._proposals(item)
            geometry = Geometry(image.shape[:2], image.shape[:2])
            return Sample(
                path=item.key, image=image, geometry=geometry, truth=item.truth, proposals=regions
            )
        parts = self._whole(index)
        rng = np.random.default_rng(seed)
        if self.join and self.transform.mosaic and rng.random() < 0.5:
            others = rng.integers(len(self.images), size=3)
            parts = self.join([parts, *(self._whole(int(other)) for other in others)], seed)
        image, objects, regions = self.transform(*parts, seed)
        return Sample(path=item.key, image=image, boxes=objects, proposals=regions, seed=seed)

    def _whole(self, index: int) -> tuple[np.ndarray, Instances, np.ndarray | None]:
        item = self.images[index]
        image = read_image(item.path, self.bits)
        return image, trainable(item.truth, image.shape[:2]), self._proposals(item)

    def _proposals(self, item: AnnotatedImage) -> np.ndarray | None:
        return None if self.proposals is None else self.proposals[item.key]


class ImageTransform(Protocol):
    """A random transform of an image without a mask."""

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Return the transformed image."""


@dataclass(frozen=True)
class CropRule:
    """How an image becomes a square network input: resize the shorter side, crop the centre.

    Attributes:
        image_size: side of the input.
        resize_size: of the shorter side, before the crop.
        interpolation: key of `cvkit.data.resize.INTERPOLATIONS`.
        whole: do not crop; for ten-crop evaluation.
    """

    image_size: int
    resize_size: int
    interpolation: str
    whole: bool = False

    def size_hw(self, original_hw: tuple[int, int]) -> tuple[int, int]:
        """Return the size of the network input of an image."""
        side = self.image_size
        return short_side_hw(original_hw, self.resize_size) if self.whole else (side, side)

    def __call__(self, image: np.ndarray) -> tuple[np.ndarray, Geometry]:
        """Return the network input (HWC uint8) of an image, and its geometry."""
        original_hw = image.shape[:2]
        size_hw = short_side_hw(original_hw, self.resize_size)
        image = resize_antialiased(image, size_hw, self.interpolation)
        if not self.whole:
            image = centre_crop(image, (self.image_size, self.image_size))
        return image, Geometry(original_hw, image.shape[:2])


@dataclass(frozen=True)
class ClassificationDataset:
    """Images with a class each.

    Attributes:
        images: its content, in order.
        names: of the classes, in index order.
        rule: makes the network input for evaluation.
        transform: random training transform; None for evaluation.
        bits: see `read_image`.
    """

    images: Sequence[ClassifiedImage]
    names: Sequence[str]
    rule: CropRule
    transform: ImageTransform | None = None
    bits: int | None = 16

    def __len__(self) -> int:
        return len(self.images)

    def key(self, index: int) -> str:
        """Return the path of a sample, relative to the dataset."""
        return self.images[index].key

    def geometry(self, index: int) -> Geometry:
        """Return the size of a sample for evaluation, from the header of its file.

        Raises:
            DataError: it is unusable.
        """
        original_hw = upright_size_hw(self.images[index].path)
        return Geometry(original_hw, self.rule.size_hw(original_hw))

    def file(self, index: int) -> Path:
        """Return the location of the image of a sample."""
        return self.images[index].path

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return one sample; `seed` determines the random transform.

        Raises:
            DataError: the image cannot be read.
        """
        item = self.images[index]
        image = read_image(item.path, self.bits)
        truth, geometry = Classes(self.names.index(item.label)), None
        if self.transform is not None:
            image = self.transform(image, seed)
        else:
            image, geometry = self.rule(image)
        return Sample(path=item.key, image=image, geometry=geometry, truth=truth, seed=seed)


@dataclass(frozen=True)
class ImageSource:
    """Images without labels, for predict.

    Attributes:
        files: its content, in order.
        rule: makes the network input (HWC uint8) of an image, and returns its geometry.
        size_hw: size of that input, from the size of an image.
        keep_original: samples also contain the decoded image, for drawing.
        propose: finds the regions of an image, called with its key.
        bits: see `read_image`.
    """

    files: Sequence[ImageInput]
    rule: Callable[[np.ndarray], tuple[np.ndarray, Geometry]]
    size_hw: Callable[[tuple[int, int]], tuple[int, int]]
    keep_original: bool = False
    propose: Callable[[str, np.ndarray], np.ndarray] | None = None
    bits: int | None = 16

    @property
    def python_bound(self) -> bool:
        """Selective search is Python code; decoding is not."""
        return self.propose is not None

    @property
    def sequential(self) -> bool:
        """Whether threads should read it, in order, as they share the decoders of videos."""
        return any(isinstance(file, VideoFrame) for file in self.files)

    def __len__(self) -> int:
        return len(self.files)

    def key(self, index: int) -> str:
        """Return the path of a sample, relative to the inputs."""
        return self.files[index].key

    def geometry(self, index: int) -> Geometry:
        """Return the size of a sample for evaluation, from the header of its file.

        Raises:
            DataError: it is unusable.
        """
        original_hw = size_hw_of(self.files[index])
        return Geometry(original_hw, self.size_hw(original_hw))

    def read(self, index: int, seed: int = 0) -> Sample:
        """Return one sample, without randomness.

        Raises:
            DataError: the image cannot be read.
        """
        file = self.files[index]
        image = pixels_of(file, self.bits)
        inputs, geometry = self.rule(image)
        sample = Sample(
            path=file.key,
            image=inputs,
            geometry=geometry,
            original=image if self.keep_original else None,
            proposals=self.propose(file.key, image) if self.propose else None,
        )
        return placed(sample, file)
