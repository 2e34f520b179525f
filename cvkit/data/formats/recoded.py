"""Masks whose values are not the indices of their classes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvkit.data.files import walk_images
from cvkit.data.formats.contract import Listing
from cvkit.data.labelled import LabelledImage, missing_files
from cvkit.data.masks import RGB, Drawing, MaskReader
from cvkit.errors import DataError
from cvkit.structures import IGNORE
from cvkit.texts import counted


@dataclass(frozen=True)
class Recoded(Drawing):
    """A mask with a table of its values.

    Attributes:
        table: value in the file and class index, of all values but `IGNORE`.
        colors: value that each colour stands for, of masks in colour.
    """

    table: tuple[tuple[int, int], ...]
    colors: tuple[tuple[RGB, int], ...] = ()

    @property
    def rule(self) -> str:
        """The classes, the table and the colours."""
        return f"{self.classes.names} {self.table}" + (f" {self.colors}" if self.colors else "")

    def values(self) -> np.ndarray:
        """Return HW uint8 class indices.

        Raises:
            DataError: a value is not in the table, or the file is unusable.
        """
        found = MaskReader(colors=dict(self.colors)).read(self.file)
        lookup = np.full(256, -1, np.int16)
        lookup[IGNORE] = IGNORE
        for value, index in self.table:
            lookup[value] = index
        result = lookup[found]
        if (result < 0).any():
            raise DataError(
                f"{self.file}: value {int(found[result < 0].max())} belongs to no class",
                code="mask.value_range",
                hint=f"{counted(len(self.classes), 'class', 'classes')}: "
                f"{', '.join(self.classes.names[:8])} ...",
            )
        return result.astype(np.uint8)


def pair_up(
    root: Path, images: Path, masks: Sequence[tuple[Path, str]], drawing: Drawing, ending: str = ""
) -> Listing[LabelledImage]:
    """Return the images of a folder with their masks, which have the same names.

    Args:
        root: the dataset.
        images: the folder.
        masks: folders with the endings of their names; of each image the first that exists is used.
        drawing: how masks are made, of any file.
        ending: of the names of images.
    """
    found: list[LabelledImage] = []
    missing: dict[str, str] = {}
    for image in walk_images(images):
        key = image.relative_to(root).as_posix()
        stem = image.relative_to(images).with_suffix("").as_posix().removesuffix(ending)
        paths = [folder / f"{stem}{end}.png" for folder, end in masks]
        mask = next((path for path in paths if path.is_file()), None)
        if mask is None:
            missing[paths[0].relative_to(root).as_posix()] = key
            continue
        name = image.relative_to(images).with_suffix("").as_posix()
        found.append(LabelledImage(key, image, replace(drawing, file=mask), name))
    return Listing(found, (), missing_files(images, missing))
