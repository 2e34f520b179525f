"""COCO's annotation files, read strictly."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import (
    AnnotatedImage,
    Annotations,
    box_defect,
    claimed_size,
    make_truth,
)
from cvkit.data.classes import object_classes
from cvkit.data.decode import upright_size_hw
from cvkit.data.files import inside, matches
from cvkit.data.formats.coco_columns import read_columns
from cvkit.data.formats.coco_places import (
    ROBOFLOW,
    all_files,
    coco_hint,
    coco_parts,
    find_coco,
    find_images,
    json_files,
)
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.signs import any_has
from cvkit.data.notes import Note
from cvkit.data.segmentations import around, lies_outside, read_segmentation
from cvkit.errors import DataError, of_sample
from cvkit.ops.rle import make_masks, mask_areas
from cvkit.structures import ClassList, Instances, Masks
from cvkit.texts import counted, is_number, is_text, read_json, shown, whole_number

OUTLINE = re.compile(rb'"segmentation"\s*:\s*(\[\s*\[\s*[-\d]|\{\s*")')
"""The start of polygons or of a run-length code; objects without an outline may have `[]`."""


@dataclass(frozen=True)
class _File:
    """The context for reading annotations.

    Attributes:
        path: of the file.
        labels: by category id.
        sizes_wh: of images, by id, as far as known.
        masks: annotations must have one.
        complete: all categories could be read, so that any other id is unknown.
        keys: of the images, by id.
    """

    path: Path
    labels: dict[int, int]
    sizes_wh: dict[int, tuple[int, int] | None]
    masks: bool
    complete: bool
    keys: dict[int, str]


@dataclass(frozen=True)
class _Entry:
    """A usable annotation; `code` is its mask."""

    xywh: tuple[float, float, float, float]
    label: int
    area: float
    crowd: bool
    code: bytes | None


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has an annotations folder, or JSON files that may be COCO's."""
    return any((place / name).is_dir() for name in ("annotations", "coco")) or any(
        [*json_files(place), *matches(place, f"*/{ROBOFLOW}")]
    )


def read(query: Query) -> Contents[Annotations]:
    """Return the splits of a dataset, including those of files given for a split.

    A single file without a split may be divided.
    """
    root, files = query.root, query.json_files
    named, other = coco_parts(root, query.splits)
    divided = files.get("") or (None if files else other)

    def read_split(split: str) -> Annotations:
        path = (files.get(split) if split else divided) or find_coco(
            root, split, query.flags.choose
        )
        return read_coco(path, query.images, root, split, masks=query.masks)

    known = [] if "" in files else [*named, *files]
    heap = None if divided is None else ""
    return Contents(known, heap, read_split, hint=coco_hint(root))


def has_outlines(place: Path) -> bool:
    """Return whether an object has an outline."""
    return any_has(all_files(place), OUTLINE)


def read_coco(
    path: Path, images: Path | None, root: Path, split: str = "", *, masks: bool = False
) -> Annotations:
    """Return the images and boxes of an annotation file, and the masks if requested.

    Boxes become x1, y1, x2 = x + w, y2 = y + h. Image and annotation ids may be any numbers;
    classes are in the order of their ids.

    Args:
        path: the file.
        images: folder to which `file_name` is relative; None searches for it.
        root: the dataset's folder, to which keys are relative.
        split: whose name the image folder may have.
        masks: every annotation must have a segmentation.

    Raises:
        DataError: it is not such a file. Defects of single entries are collected.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} does not contain a JSON object", code="json.not_object")
    for name in ("images", "categories", "annotations"):
        if not isinstance(content.get(name), list):
            raise DataError(
                f"{path} has no list {name!r}",
                code=f"{name}.missing",
                hint="a COCO file has images, categories and annotations",
            )
    found = Annotations(ClassList((), (), ()))
    found.classes = _classes(content["categories"], path, found)
    complete = not found.defects
    rows, sizes = _index_images(content["images"], path, found)
    if images is None:
        images = find_images(root, path, split, list(rows.values()))
    places = _places(rows, images, path, found)
    prefix = f"{root.as_posix()}/"
    keys = {id_: _key(place, root, prefix, rows[id_]["file_name"]) for id_, place in places.items()}
    known = sizes
    if masks:
        known = {id_: sizes[id_] or _header_size(places[id_], keys[id_], found) for id_ in places}
    labels = {id_: number for number, id_ in enumerate(found.classes.ids, 1)}
    file = _File(path, labels, known, masks, complete, keys)
    found.remarks = _remarks(content["annotations"], path)
    truths = _collect(content["annotations"], file, rows, found)
    # By id, the order of pycocotools, which decides between equal scores in two images.
    for id_, place in sorted(places.items()):
        found.images.append(AnnotatedImage(keys[id_], place, id_, sizes[id_], truths[id_]))
    return found


def _remarks(rows: list[Any], path: Path) -> list[Note]:
    """Return what other programs may stumble over: COCO's tools ignore matches with the id 0."""
    zero = [n for n, row in enumerate(rows) if isinstance(row, dict) and row.get("id") == 0]
    text = "{}: annotations[{}]: its id is 0, which COCO's tools take for no match"
    return [Note(text.format(path, place), "ann.id_zero") for place in zero]


def _key(place: Path, root: Path, prefix: str, name: str) -> str:
    """Return the key of an image: its path relative to the dataset, else its name in the file."""
    if (text := place.as_posix()).startswith(prefix):  # many times faster than with paths
        return text[len(prefix) :]
    return (place.relative_to(root).as_posix() if place.is_relative_to(root) else "") or name


def _places(rows: dict[int, dict], folder: Path, file: Path, found: Annotations) -> dict[int, Path]:
    """Return the path of each image, without those whose names lead out of the folder."""
    result = {}
    for id_, row in rows.items():
        try:
            result[id_] = inside(folder, row["file_name"], file)
        except DataError as defect:
            found.defects.append(defect)
    return result


def _header_size(path: Path, key: str, found: Annotations) -> tuple[int, int] | None:
    """Return width and height of an upright image; note a defect if there are none."""
    try:
        return upright_size_hw(path)[::-1]
    except DataError as defect:
        found.defects.append(of_sample(defect, key))
        return None


def _classes(rows: list[Any], path: Path, found: Annotations) -> ClassList:
    """Return the classes; unusable categories are left out and are defects."""
    names: dict[int, str] = {}
    for place, row in enumerate(rows):
        where = f"{path}: categories[{place}]"
        id_, name = (row.get("id"), row.get("name")) if isinstance(row, dict) else (None, None)
        number = whole_number(id_)
        if number is None:
            reason, code = f"id {shown(id_)} is not a whole number", "category.malformed"
        elif not is_text(name) and whole_number(name) is None:
            reason, code = f"name {shown(name)} is not text", "category.malformed"
        elif number in names:
            reason, code = f"category id {number} occurs twice", "category.id_duplicate"
        elif str(name) in names.values():
            reason, code = f"category name {shown(name)} occurs twice", "category.name_duplicate"
        else:
            names[number] = str(name)
            continue
        found.defects.append(DataError(f"{where}: {reason}", code=code))
    if not rows:
        found.defects.append(DataError(f"{path} has no categories", code="category.missing"))
    ids = sorted(names)
    return object_classes([names[id_] for id_ in ids], ids)


def _index_images(
    rows: list[Any], path: Path, found: Annotations
) -> tuple[dict[int, dict], dict[int, tuple[int, int] | None]]:
    """Return the usable images by id, and their claimed sizes."""
    result: dict[int, dict] = {}
    sizes: dict[int, tuple[int, int] | None] = {}
    names: set[str] = set()
    for place, row in enumerate(rows):
        where = f"{path}: images[{place}]"
        id_, name = (row.get("id"), row.get("file_name")) if isinstance(row, dict) else (None, None)
        number = whole_number(id_)
        if number is None:
            reason, code = f"id {shown(id_)} is not a whole number", "image.id_type"
        elif not isinstance(name, str) or not name:
            reason, code = f"file_name {shown(name)} is not text", "image.file_name_type"
        elif number in result:
            reason, code = f"image id {number} occurs twice", "image.id_duplicate"
        elif name in names:
            reason, code = f"file {shown(name)} occurs twice", "image.file_duplicate"
        else:
            result[number] = row
            names.add(name)
            sizes[number] = _size(row, where, found)
            continue
        found.defects.append(DataError(f"{where}: {reason}", code=code))
    if not rows:
        found.defects.append(DataError(f"{path} lists no images", code="images.empty"))
    return result, sizes


def _size(row: dict, where: str, found: Annotations) -> tuple[int, int] | None:
    """Return the claimed width and height of an image; note a defect if they are unusable."""
    try:
        return claimed_size([row.get("width"), row.get("height")], where, "image.size")
    except DataError as defect:
        found.defects.append(defect)
        return None


def _collect(
    rows: list[Any], file: _File, images: dict[int, dict], found: Annotations
) -> dict[int, Instances]:
    """Return the objects of each image by its id."""
    truths = None
    if file.complete and file.sizes_wh.keys() == images.keys():
        truths = read_columns(rows, file.labels, file.sizes_wh, masks=file.masks)
    if truths is None:
        truths = _collect_singly(rows, file, images, found)
    empty = sum(int((each.corner_and_size()[:, 2:] == 0).any(1).sum()) for each in truths.values())
    if empty:
        count = counted(empty, "box", "boxes")
        text = f"{file.path.name}: {count} without area, not used for training"
        found.notes.append(Note(text, "box.without_area"))
    if file.masks and (bare := sum(map(_without_pixels, truths.values()))):
        text = f"{file.path.name}: masks without pixels, not used for training: {bare}"
        found.notes.append(Note(text, "mask.without_pixels"))
    return truths


def _collect_singly(
    rows: list[Any], file: _File, images: dict[int, dict], found: Annotations
) -> dict[int, Instances]:
    """Return the objects of each image, and note the defects of annotations."""
    result: dict[int, list[_Entry]] = {id_: [] for id_ in images}
    seen: set[int] = set()
    for place, row in enumerate(rows):
        where = f"{file.path}: annotations[{place}]"
        try:
            image_id, entry = _annotation(row, images, file, seen, where)
        except DataError as defect:
            if file.complete or defect.code != "ann.category_unknown":
                image = whole_number(row.get("image_id")) if isinstance(row, dict) else None
                key = "" if image is None else file.keys.get(image, "")
                found.defects.append(of_sample(defect, key))
        else:
            result[image_id].append(entry)
    sizes = file.sizes_wh if file.masks else {}
    return {id_: _truth(entries, sizes.get(id_)) for id_, entries in result.items()}


def _without_pixels(truth: Instances) -> int:
    """Return how many of the masks of an image are empty."""
    return int((mask_areas(truth.masks) == 0).sum()) if isinstance(truth.masks, Masks) else 0


def _annotation(
    row: Any, images: dict[int, dict], file: _File, seen: set[int], where: str
) -> tuple[int, _Entry]:
    """Return the image and content of an annotation.

    Raises:
        DataError: describes its defect.
    """
    if not isinstance(row, dict):
        raise DataError(f"{where} is not an object", code="ann.malformed")
    if row.get("id") is not None:
        where = f"{where} (id {shown(row['id'])})"
        id_ = whole_number(row["id"])
        if id_ is None:
            raise DataError(f"{where}: its id is not a whole number", code="ann.id_type")
        if id_ in seen:
            raise DataError(f"{where}: its id occurs twice", code="ann.id_duplicate")
        seen.add(id_)
    image_id, category = whole_number(row.get("image_id")), whole_number(row.get("category_id"))
    if image_id not in images:
        reason = f"there is no image {shown(row.get('image_id'))}"
        raise DataError(f"{where}: {reason}", code="ann.image_unknown")
    if category not in file.labels:
        reason = f"there is no category {shown(row.get('category_id'))}"
        raise DataError(f"{where}: {reason}", code="ann.category_unknown")
    crowd = row.get("iscrowd", 0)
    if not isinstance(crowd, int) or crowd not in (0, 1):
        raise DataError(f"{where}: iscrowd {shown(crowd)} is not 0 or 1", code="iscrowd.value")
    size_wh, code = file.sizes_wh.get(image_id), None
    if file.masks and size_wh:
        code = _usable(read_segmentation(row.get("segmentation"), size_wh[::-1], where))
        if lies_outside(row.get("segmentation"), size_wh[::-1]):
            raise DataError(
                f"{where}: its polygons are outside the image of {size_wh[0]}x{size_wh[1]}",
                code="segm.outside",
            )
    xywh = _box(row, size_wh, where)
    area = _area(row, where)
    if area is None:
        if code and size_wh:
            area = float(mask_areas(make_masks([code], size_wh[::-1]))[0])
        else:
            area = xywh[2] * xywh[3]
    return image_id, _Entry(xywh, file.labels[category], float(area), bool(crowd), code)


def _usable(value: Any) -> Any:
    """Return a value, or raise it if it is a defect."""
    if isinstance(value, DataError):
        raise value
    return value


def _box(
    row: dict, size_wh: tuple[int, int] | None, where: str
) -> tuple[float, float, float, float]:
    """Return x, y, width and height of an annotation, from its segmentation if it has no box.

    Raises:
        DataError: they are not usable.
    """
    box = row.get("bbox")
    if "bbox" not in row and isinstance(row.get("segmentation"), list | dict):
        box = _usable(around(row["segmentation"], where))
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(v) for v in box):
        raise DataError(f"{where}: bbox {shown(box)} is not four numbers", code="bbox.length")
    x, y, w, h = (float(value) for value in box)
    if defect := box_defect((x, y, x + w, y + h), size_wh, where, "bbox"):
        raise defect
    return x, y, w, h


def _area(row: dict, where: str) -> float | None:
    """Return the annotated area; None if there is none.

    Raises:
        DataError: it is not an area.
    """
    area = row.get("area")
    if area is not None and (not is_number(area) or area < 0):
        raise DataError(
            f"{where}: area {shown(area)} is not a number of at least 0", code="area.value"
        )
    return area


def _truth(entries: list[_Entry], size_wh: tuple[int, int] | None) -> Instances:
    """Return the objects of an image; with masks if its size is given."""
    codes = [entry.code for entry in entries if entry.code is not None]
    masks = make_masks(codes, size_wh[::-1]) if size_wh else None
    boxes = np.array([entry.xywh for entry in entries], np.float64).reshape(-1, 4)
    return make_truth(
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        [entry.label for entry in entries],
        areas=[entry.area for entry in entries],
        crowd=[entry.crowd for entry in entries],
        xywh=boxes,
        masks=masks,
    )
