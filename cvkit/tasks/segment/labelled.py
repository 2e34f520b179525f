"""Labelled images with masks, to count and to show."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from cvkit.data.classes import numbered_classes
from cvkit.data.conversion import Samples
from cvkit.data.dataset_splits import dataset_splits
from cvkit.data.datasets import SegmentationDataset, read_pair, require_same_size
from cvkit.data.decode import read_header, read_image, upright_size_hw
from cvkit.data.exclusion import read_exclusion
from cvkit.data.formats.contract import DataFlags, Query
from cvkit.data.formats.recognise import detect_format
from cvkit.data.known import Known
from cvkit.data.labelled import LabelledImage, mask_classes, mask_file, read_pairs, rules
from cvkit.data.masks import MaskMap, MaskReader, parse_mask_map
from cvkit.data.resize import input_size_hw
from cvkit.data.statistics import Facts, Measured
from cvkit.ops.images import IMAGENET_MEAN, IMAGENET_STD
from cvkit.options.segment import SegmentTrain
from cvkit.output.draw import draw_segmentation
from cvkit.structures import IGNORE, ClassList, SegMap
from cvkit.tasks.common import data_place
from cvkit.tasks.labelled import FLAGS, Advice, Labelled, View, imbalance, sizes
from cvkit.tasks.segment import setup

MOST = 254
"""Number of classes for masks whose classes are not listed."""
UNLABELLED = "no label", (224, 224, 192)
"""Name and colour of pixels without a label; the colour is PASCAL VOC's."""


@dataclass(frozen=True, kw_only=True)
class LabelledSamples(Labelled[LabelledImage, SegmentTrain]):
    """Images with masks.

    Attributes:
        reader: of the masks.
        listed: whether the dataset lists its classes.
    """

    task = "segment"

    reader: MaskReader
    listed: bool

    @classmethod
    def read(cls, options: SegmentTrain, splits: Sequence[str]) -> Self:
        """Return the samples of splits; see `Labelled.read`."""
        root = data_place(options.data, "segment")
        layout = detect_format("masks", root, options.format, splits, FLAGS)
        query = Query(root=root, flags=DataFlags(FLAGS))
        names = list(splits) or dataset_splits("masks", layout, query)
        parts = read_pairs(root, layout, names, exclude=read_exclusion(options.exclude))
        masks = [pair.mask for pairs in parts.splits.values() for pair in pairs]
        classes, colors = mask_classes(root, masks)
        reader = MaskReader(
            num_classes=len(classes) if classes else None,
            colors=colors,
            mask_map=parse_mask_map(options.mask_map) if options.mask_map else MaskMap(),
            ignore_index=options.ignore_index,
        )
        return cls(
            options=options,
            root=root,
            layout=layout,
            classes=classes or numbered_classes(MOST),
            splits=parts.splits,
            notes=parts.notes,
            reader=reader,
            listed=classes is not None,
        )

    def samples(self) -> Samples:
        """Return the samples as they are written in another format."""
        classes = self.classes if self.listed else None
        return replace(super().samples(), classes=classes, reader=self.reader)

    def key(self, item: LabelledImage) -> str:
        """Return the path of an image, relative to the dataset."""
        return item.key

    def path(self, item: LabelledImage) -> Path:
        """Return the location of an image."""
        return item.image

    def picture(self, item: LabelledImage) -> np.ndarray:
        """Return the pixels of an image."""
        return read_image(item.image, None)

    def class_names(self, item: LabelledImage) -> Collection[str]:
        """Return the names of the classes in a mask."""
        labels = np.unique(self.reader.read(item.mask))
        return [self.classes.names[label] for label in labels if label != IGNORE]

    def truth(self, item: LabelledImage) -> View:
        """Return an image with its mask in colour."""
        return self._view(*read_pair(item, self.reader, None))

    def augmented(self, split: str, place: int, seed: int) -> View:
        """Return a training sample as the network gets it, with its mask in colour."""
        pairs, resize = self.splits[split], self.options.resize
        transform = setup.transform_for(self.options, self._size_wh)
        data = SegmentationDataset(pairs, self.reader, self._size_wh, resize, transform, bits=None)
        sample = data.read(place, seed)
        assert sample.mask is not None, "training samples have masks"
        return self._view(sample.image, sample.mask)

    def _view(self, image: np.ndarray, mask: np.ndarray) -> View:
        """Return an image with its mask in colour; pixels without a label have a colour, too."""
        count, (name, color) = len(self.classes), UNLABELLED
        shown = self.classes
        if count < IGNORE and (mask == IGNORE).any():
            mask = np.where(mask == IGNORE, np.uint8(count), mask)
            shown = ClassList((*shown.names, name), (*shown.ids, IGNORE), (*shown.colors, color))
        height, width = image.shape[:2]
        return View(draw_segmentation(image, SegMap(mask), shown), f"{width}x{height}")

    @cached_property
    def _size_wh(self) -> tuple[int, int]:
        pairs = next(iter(self.splits.values())) if self.options.image_size == "auto" else ()
        return setup.image_size(
            self.options.image_size, [upright_size_hw(pair.image) for pair in pairs]
        )

    @property
    def cache(self) -> str:
        """Name of the findings that `measure` keeps."""
        masks = (pair.mask for pairs in self.splits.values() for pair in pairs)
        return f"mask pixels {self.reader}{rules(masks)}"

    def measure(self, item: LabelledImage, known: Known) -> Measured[LabelledImage]:
        """Return the size of an image and the pixels of each class; images are not decoded."""
        size_hw, pairs = known.find([item.image, mask_file(item.mask)], lambda: self._counted(item))
        pixels = {label: count for label, count in pairs if label != IGNORE}
        void = sum(count for label, count in pairs if label == IGNORE)
        shares = np.array(list(pixels.values())) / (size_hw[0] * size_hw[1])
        values = {"classes_per_image": len(pixels), "class_share": shares}
        return Measured(
            item,
            sizes(size_hw) | values,
            {"pixels": pixels, "images": dict.fromkeys(pixels, 1)},
            {"pixels_without_label": void},
        )

    def _counted(self, item: LabelledImage) -> list[Any]:
        """Return the size of an image and the pixels of each label."""
        mask = self.reader.read(item.mask)
        size_hw, _ = read_header(item.image)
        require_same_size(item, size_hw, mask)
        counts = np.bincount(mask.ravel(), minlength=256)
        return [list(size_hw), [[int(n), int(counts[n])] for n in np.flatnonzero(counts)]]

    def normalisation(self, facts: Facts[LabelledImage]) -> tuple[Sequence[float], Sequence[float]]:
        """Return mean and standard deviation that training subtracts."""
        return IMAGENET_MEAN, IMAGENET_STD

    def advice(self, facts: Facts[LabelledImage]) -> list[Advice]:
        """Return what the numbers imply for the flags of train."""
        height, width = facts.values["height"], facts.values["width"]
        sizes_hw = list(zip(height.astype(int).tolist(), width.astype(int).tolist(), strict=True))
        size_wh = setup.image_size(self.options.image_size, list(sizes_hw))
        resize = self.options.resize
        scales = [input_size_hw(each, size_wh, resize)[1] / each[1] for each in sizes_hw]
        scale, (wide, high) = float(np.median(scales)), size_wh
        flag = f"--image-size {self.options.image_size} gives {wide}x{high}"
        text = f"the median image has {np.median(width):.0f}x{np.median(height):.0f} pixels"
        found = [Advice(flag, f"{text} and is scaled by {scale:.2f} (--resize {resize})")]
        if scale < 0.5:
            found.append(
                Advice(
                    "--resize native",
                    f"at a scale of {scale:.2f}, what is thinner than {1 / scale:.0f} pixels is "
                    "lost; native trains on crops of the original resolution, and eval and predict "
                    "then need --sliding-window; a larger --image-size helps too",
                )
            )
        pixels = facts.per_class["pixels"]
        names = self.classes.names
        if not self.listed:
            pixels = pixels[: int(np.flatnonzero(pixels).max(initial=0)) + 1]
        total = int(pixels.sum()) + facts.counts["pixels_without_label"]
        if void := facts.counts["pixels_without_label"]:
            share = f"{void / total:.1%} of the pixels have no label and do not count"
            found.append(Advice("", share))
        return found + imbalance(pixels, names[: len(pixels)], "pixels")
