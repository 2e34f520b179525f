"""COCO's panoptic annotations as masks of classes: `annotations/panoptic_SPLIT.json` and PNGs.

The colour of a segment, red + 256 green + 65536 blue, is its id in the JSON file, which gives its
category; 0 is unlabelled. Crowds have no label.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.classes import make_classes
from cvkit.data.decode import decode, open_image
from cvkit.data.files import inside, matches
from cvkit.data.formats.coco_places import find_images
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.labelled import LabelledImage, missing_files
from cvkit.data.masks import Drawing
from cvkit.errors import CvkitError, DataError, defects_of
from cvkit.structures import IGNORE, ClassList
from cvkit.texts import counted, is_text, read_json, shown, whole_number

PREFIX = "panoptic_"


@dataclass(frozen=True)
class Segments(Drawing):
    """A PNG of segments.

    Attributes:
        indices: class index of each segment by its id, or `IGNORE`.
    """

    indices: tuple[tuple[int, int], ...]

    @property
    def rule(self) -> str:
        """The classes of all segments."""
        return f"{self.classes.names} {self.indices}"

    def values(self) -> np.ndarray:
        """Return HW uint8 class indices.

        Raises:
            DataError: the file is unusable, or has a segment that the JSON file does not list.
        """
        with open_image(self.file) as image:
            pixels = np.asarray(decode(image, self.file))
            mode = image.mode
        if mode != "RGB":
            raise DataError(f"{self.file} has {mode} pixels, not colours", code="mask.color")
        ids = pixels.astype(np.uint32) @ np.array([1, 256, 65536], np.uint32)  # [H, W]
        found, inverse = np.unique(ids, return_inverse=True)
        table = {0: IGNORE} | dict(self.indices)
        if unknown := [int(id_) for id_ in found if int(id_) not in table]:
            raise DataError(
                f"{self.file}: segment {unknown[0]} is not in the annotation file",
                code="mask.color",
                hint="use the PNGs that belong to the file",
            )
        values = np.array([table[int(id_)] for id_ in found], np.uint8)
        return values[inverse].reshape(ids.shape)


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has panoptic annotations."""
    return any(matches(folder, f"{PREFIX}*.json") for folder in (place, place / "annotations"))


def read(query: Query) -> Contents[Listing[LabelledImage]]:
    """Return the splits of a dataset."""
    root = query.root
    folders = (root, root / "annotations")
    files = {f.stem.removeprefix(PREFIX): f for d in folders for f in matches(d, f"{PREFIX}*.json")}
    names = {_split_of(stem): file for stem, file in files.items()}
    return Contents([*names], None, lambda split: _read_split(root, names[split], split))


def _split_of(stem: str) -> str:
    """Return the split that a file is for: `val` for `val2017`."""
    return stem.rstrip("0123456789") or stem


def _read_split(root: Path, file: Path, split: str) -> Listing[LabelledImage]:
    content = read_json(file)
    lists = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(k), list) for k in lists):
        raise DataError(
            f"{file} has no lists of images, annotations and categories", code="json.not_object"
        )
    classes, indices = _classes(content["categories"], file)
    rows: dict[int, str] = {}
    for place, row in enumerate(content["images"]):
        number = whole_number(row.get("id")) if isinstance(row, dict) else None
        if number is None or not isinstance(row.get("file_name"), str) or number in rows:
            reason = "is not an image with an id of its own and a file_name"
            raise DataError(f"{file}: images[{place}] {reason}", code="image.id_type")
        rows[number] = row["file_name"]
    images = find_images(root, file, split, list(rows.values()))
    defects: list[CvkitError] = []
    found: list[LabelledImage] = []
    missing: dict[str, str] = {}
    for place, row in enumerate(content["annotations"]):
        try:
            pair = _pair(row, f"{file}: annotations[{place}]", rows, indices)
            image, png = inside(images, pair[0], file), inside(file.with_suffix(""), pair[1], file)
        except DataError as defect:
            defects.append(defect)
            continue
        key = image.relative_to(root).as_posix()
        lacking = [path for path in (image, png) if not path.is_file()]
        missing |= {path.relative_to(root).as_posix(): key for path in lacking}
        name = image.relative_to(images).with_suffix("").as_posix()
        found.append(LabelledImage(key, image, Segments(png, classes, pair[2]), name))
    bare = len(rows)  # those that no annotation took
    notes = [f"{file}: images without annotation, unused: {bare}"] if bare else []
    return Listing(found, notes, [*defects_of(defects, str(file)), *missing_files(file, missing)])


def _classes(rows: list[Any], file: Path) -> tuple[ClassList, dict[int, int]]:
    """Return the classes in the order of their ids, and the index of each id."""
    names: dict[int, str] = {}
    for place, row in enumerate(rows):
        number = whole_number(row.get("id")) if isinstance(row, dict) else None
        name = row.get("name") if isinstance(row, dict) else None
        fits = number is not None and is_text(name) and bool(str(name).strip())
        if number is None or not fits or number in names or name in names.values():
            raise DataError(
                f"{file}: categories[{place}] {shown(row)} is not an id and a name of its own",
                code="category.malformed",
            )
        names[number] = str(name)
    if not 0 < len(names) <= IGNORE:
        raise DataError(
            f"{file} has {counted(len(names), 'category', 'categories')}", code="category.missing"
        )
    ids = sorted(names)
    return make_classes([names[id_] for id_ in ids]), {id_: k for k, id_ in enumerate(ids)}


def _pair(
    row: Any, where: str, images: dict[int, str], indices: dict[int, int]
) -> tuple[str, str, tuple[tuple[int, int], ...]]:
    """Return the names of image and PNG of an annotation, and the index of each segment.

    Args:
        row: the annotation.
        where: file and position, for messages.
        images: names of the images by id; that of the annotation is taken out.
        indices: of the classes, by the id of their category.

    Raises:
        DataError: describes its defect.
    """
    segments = row.get("segments_info") if isinstance(row, dict) else None
    if not isinstance(segments, list) or not isinstance(row.get("file_name"), str):
        raise DataError(f"{where} has no file_name and segments_info", code="ann.malformed")
    number = whole_number(row.get("image_id"))
    image = None if number is None else images.pop(number, None)
    if image is None:
        raise DataError(
            f"{where}: image {shown(row.get('image_id'))} is unknown, or occurs twice",
            code="ann.image_unknown",
        )
    result = []
    for segment in segments:
        pair = [segment.get(k) for k in ("id", "category_id")] if isinstance(segment, dict) else []
        numbers = [whole_number(value) for value in pair]
        if len(numbers) < 2 or numbers[0] is None or numbers[1] not in indices:
            raise DataError(
                f"{where}: segment {shown(segment)} has no known category",
                code="ann.category_unknown",
            )
        index = IGNORE if segment.get("iscrowd") else indices[numbers[1]]
        result.append((numbers[0], index))
    return image, row["file_name"], tuple(result)
