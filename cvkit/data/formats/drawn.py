"""Masks of classes, drawn from objects with masks, in any format of such objects."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cvkit.data.annotated import AnnotatedImage, Annotations, upright
from cvkit.data.classes import BACKGROUND, make_classes
from cvkit.data.decode import upright_size_hw
from cvkit.data.formats.contract import Contents, Listing, Query, Reader
from cvkit.data.labelled import LabelledImage
from cvkit.data.masks import Drawing
from cvkit.errors import DataError, raise_defects
from cvkit.ops.rle import decode_parts, mask_areas
from cvkit.structures import IGNORE, ClassList, Masks
from cvkit.texts import counted


@dataclass(frozen=True)
class DrawnObjects(Drawing):
    """The objects of an image over background, small ones over large ones.

    Pixels of crowds have no label, except where an object is drawn over them.

    Attributes:
        image: with its objects, whose labels are one less than their rank among the classes.
        indices: class index of each label, from 1.
    """

    image: AnnotatedImage
    indices: tuple[int, ...]

    def __hash__(self) -> int:
        return hash(self.file)

    @property
    def rule(self) -> str:
        """The codes of all masks, and their classes."""
        truth, digest = self.image.truth, hashlib.sha256()
        for code in truth.masks.codes if isinstance(truth.masks, Masks) else ():
            digest.update(code + b"\0")
        crowd = [] if truth.crowd is None else truth.crowd.tolist()
        about = (self.image.size_wh, self.indices, truth.labels.tolist(), crowd)
        return f"{digest.hexdigest()} {about} {self.classes.names}"

    def values(self) -> np.ndarray:
        """Return HW uint8 class indices."""
        image = upright(self.image)
        result = np.zeros(upright_size_hw(image.path), np.uint8)
        masks, crowd = image.truth.masks, image.truth.crowd
        if not isinstance(masks, Masks) or not len(masks):
            return result
        flags = np.zeros(len(masks), bool) if crowd is None else crowd
        order = np.lexsort((-mask_areas(masks), ~flags))
        parts = list(decode_parts(masks))
        for place in order.tolist():
            part, (y, x) = parts[place]
            index = self.indices[int(image.truth.labels[place]) - 1]
            height, width = part.shape
            inside = result[y : y + height, x : x + width]
            inside[part.astype(bool)] = IGNORE if flags[place] else index
        return result


class DrawnMasks:
    """The reader of a format of objects, as a reader of masks.

    Args:
        objects: the reader.
    """

    def __init__(self, objects: Reader) -> None:
        self._objects = objects

    def looks_like(self, place: Path, splits: Sequence[str]) -> bool:
        """Return whether a dataset has the format."""
        return self._objects.looks_like(place, splits)

    def read(self, query: Query) -> Contents[Listing[LabelledImage]]:
        """Return the content of a dataset; background is class 0.

        Raises:
            DataError: lists all defects of the objects.
        """
        contents = self._objects.read(replace(query, masks=True))
        return replace(contents, read=lambda split: _drawn(query.root, contents.read(split)))


def _drawn(root: Path, found: Annotations) -> Listing[LabelledImage]:
    raise_defects(found.defects, str(root))
    classes, indices = with_background(found.classes, root)
    paths = [str(image.path.parent) for image in found.images]
    folder = Path(os.path.commonpath(paths)) if paths else root
    images = [
        LabelledImage(
            image.key,
            image.path,
            DrawnObjects(image.path, classes, image, indices),
            image.path.relative_to(folder).with_suffix("").as_posix(),
        )
        for image in found.images
    ]
    return Listing(images, [note for note in found.notes if "not used for training" not in note])


def with_background(classes: ClassList, root: Path) -> tuple[ClassList, tuple[int, ...]]:
    """Return classes with the background first, and the index of each of the given ones.

    Raises:
        DataError: too many classes for 8 bits.
    """
    background = next((n for n in classes.names if n.lower() in BACKGROUND), BACKGROUND[0])
    names = [background, *(name for name in classes.names if name != background)]
    if len(names) > IGNORE:
        raise DataError(
            f"{root} has {counted(len(names), 'class', 'classes')} with the background, over "
            f"{IGNORE}",
            code="classes.count",
        )
    return make_classes(names), tuple(names.index(name) for name in classes.names)
