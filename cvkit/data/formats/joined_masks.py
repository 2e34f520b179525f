"""Masks of several datasets, whose values get the indices of the joined classes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from cvkit.data.classes import make_classes
from cvkit.data.labelled import LabelledImage, mask_classes, mask_file, stored_values
from cvkit.data.masks import BINARY, Drawing, MaskReader, parse_mask_map
from cvkit.errors import DataError
from cvkit.structures import IGNORE, ClassList


@dataclass(frozen=True)
class Renumbered(Drawing):
    """A mask with the indices of other classes.

    Attributes:
        mask: with the indices of its dataset.
        reader: of it.
        table: new index of each of the dataset's classes.
    """

    mask: Path | Drawing
    reader: MaskReader = field(hash=False)
    table: tuple[int, ...]

    @property
    def rule(self) -> str:
        """The classes, and how the mask is read."""
        inner = self.mask.rule if isinstance(self.mask, Drawing) else ""
        return f"{self.classes.names} {self.table} {self.reader} {inner}"

    def values(self) -> np.ndarray:
        """Return HW uint8 class indices.

        Raises:
            DataError: the mask is unusable.
        """
        table = np.full(256, IGNORE, np.uint8)
        table[: len(self.table)] = self.table
        renumbered: np.ndarray = table[self.reader.read(self.mask)]
        return renumbered


@dataclass(frozen=True)
class RootMasks:
    """The masks of a dataset.

    Attributes:
        classes: of them; None if the dataset does not name them.
        colors: that the dataset gives to its classes.
        reader: of the masks.
    """

    classes: ClassList | None
    colors: dict[tuple[int, int, int], int]
    reader: MaskReader

    @classmethod
    def of(cls, root: Path, images: Sequence[LabelledImage]) -> "RootMasks":
        """Return the masks of a dataset, of which some images are given.

        Masks of two classes may have the values 0 and 255, as in a dataset that is read alone.
        """
        classes, colors = mask_classes(root, [image.mask for image in images])
        reader = MaskReader(len(classes) if classes else None, colors)
        files = all(isinstance(image.mask, Path) for image in images)
        if classes is not None and len(classes) == 2 and files:
            values = {value for each in stored_values(images) for value in each}
            if values == {"0", "255"}:
                reader = MaskReader(2, colors, parse_mask_map(BINARY))
        return cls(classes, colors, reader)

    @property
    def names(self) -> list[str]:
        """The names of the classes."""
        return [*self.classes.names] if self.classes else []

    def renumbered(self, mask: Path | Drawing, classes: ClassList) -> Renumbered:
        """Return a mask of the dataset with the indices of the joined classes."""
        table = tuple(classes.names.index(name) for name in self.names)
        return Renumbered(mask_file(mask), classes, mask, self.reader, table)


def joined_mask_classes(masks: Sequence[RootMasks], roots: Sequence[Path]) -> ClassList | None:
    """Return the classes of all datasets; None if none of them names its classes.

    A class has the colour that the first dataset with a colour for it gives, unless it is taken.

    Raises:
        DataError: some datasets name their classes and others do not, or there are too many.
    """
    named = [each.classes is not None for each in masks]
    if not any(named):
        return None
    if not all(named):
        root = roots[named.index(False)]
        raise DataError(
            f"{root} does not name the classes of its masks, and other datasets do",
            code="classes.unnamed",
            hint=f"write them into {root / 'classes.txt'}, one per line",
        )
    names = [*dict.fromkeys(name for each in masks for name in each.names)]
    if len(names) > IGNORE:
        raise DataError(
            f"{roots[0]} and the other datasets have more than {IGNORE} classes",
            code="classes.count",
        )
    colors: dict[int, tuple[int, int, int]] = {}
    for each in masks:
        for color, index in each.colors.items():
            place = names.index(each.names[index])
            if place not in colors and color not in colors.values():
                colors[place] = color
    return make_classes(names, colors)
