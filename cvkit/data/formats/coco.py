"""COCO's annotation files, read strictly."""

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cvkit.data.annotated import AnnotatedImage, Annotations, claimed_size
from cvkit.data.classes import object_classes
from cvkit.data.decode import upright_size_hw
from cvkit.data.files import inside, matches
from cvkit.data.formats.coco_columns import Columns
from cvkit.data.formats.coco_places import (
    ROBOFLOW,
    all_files,
    coco_hint,
    coco_parts,
    find_coco,
    find_images,
    json_files,
)
from cvkit.data.formats.coco_singly import File, collect_singly
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.signs import any_has
from cvkit.data.json_lists import ListStart, read_lists
from cvkit.data.notes import Note
from cvkit.errors import DataError, of_sample
from cvkit.ops.rle import mask_areas
from cvkit.structures import ClassList, Instances, Masks
from cvkit.texts import counted, is_text, shown, whole_number

OUTLINE = re.compile(rb'"segmentation"\s*:\s*(\[\s*\[\s*[-\d]|\{\s*")')
"""The start of polygons or of a run-length code; objects without an outline may have `[]`."""

LISTS = ("images", "categories", "annotations")
KEPT = ("id", "file_name", "width", "height")
"""What is needed of an image; files have its licence, its addresses and more."""


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
    categories, rows, columns = _scan(path, masks)
    found = Annotations(ClassList((), (), ()))
    found.classes = _classes(categories, path, found)
    complete = not found.defects
    names, sizes = _index_images(rows, path, found)
    if images is None:
        images = find_images(root, path, split, list(names.values()))
    places = _places(names, images, path, found)
    prefix = f"{root.as_posix()}/"
    keys = {id_: _key(place, root, prefix, names[id_]) for id_, place in places.items()}
    known = sizes
    if masks:
        known = {id_: sizes[id_] or _header_size(places[id_], keys[id_], found) for id_ in places}
    labels = {id_: number for number, id_ in enumerate(found.classes.ids, 1)}
    file = File(path, labels, known, masks, complete, keys)
    truths = _collect(columns, file, names, found)
    found.remarks = _remarks(columns.zeros, path)
    # By id, the order of pycocotools, which decides between equal scores in two images.
    for id_, place in sorted(places.items()):
        found.images.append(AnnotatedImage(keys[id_], place, id_, sizes[id_], truths[id_]))
    return found


def _scan(path: Path, masks: bool) -> tuple[list[Any], list[Any], Columns]:
    """Return the categories, what is needed of the images, and the annotations of a file.

    Masks can be read at once where their images precede them and have sizes.
    """
    lists: dict[str, list[Any]] = {}
    columns = Columns(None)
    for name, value in read_lists(path, LISTS):
        if isinstance(value, ListStart):
            lists[name] = []
            if masks and name == "annotations":
                columns = Columns(_sizes(lists.get("images", [])))
        elif name not in lists:
            continue
        elif name == "annotations":
            columns.add(value)
        else:
            used = name == "images" and isinstance(value, dict)
            lists[name].append({k: value[k] for k in KEPT if k in value} if used else value)
    for name in LISTS:
        if name not in lists:
            raise DataError(
                f"{path} has no list {name!r}",
                code=f"{name}.missing",
                hint="a COCO file has images, categories and annotations",
            )
    return lists["categories"], lists["images"], columns


def _sizes(rows: list[Any]) -> dict[int, tuple[int, int] | None]:
    """Return width and height of the images that have them, by their ids."""
    found = {}
    for row in rows:
        if isinstance(row, dict) and type(row.get("id")) is int:
            with contextlib.suppress(DataError):  # named when all images are read
                sides = [row.get("width"), row.get("height")]
                found[row["id"]] = claimed_size(sides, "", "image.size")
    return found


def _remarks(zeros: list[int], path: Path) -> list[Note]:
    """Return what other programs may stumble over: COCO's tools ignore matches with the id 0."""
    text = "{}: annotations[{}]: its id is 0, which COCO's tools take for no match"
    return [Note(text.format(path, place), "ann.id_zero") for place in zeros]


def _key(place: Path, root: Path, prefix: str, name: str) -> str:
    """Return the key of an image: its path relative to the dataset, else its name in the file."""
    if (text := place.as_posix()).startswith(prefix):  # many times faster than with paths
        return text[len(prefix) :]
    return (place.relative_to(root).as_posix() if place.is_relative_to(root) else "") or name


def _places(names: dict[int, str], folder: Path, file: Path, found: Annotations) -> dict[int, Path]:
    """Return the path of each image, without those whose names lead out of the folder."""
    result = {}
    for id_, name in names.items():
        try:
            result[id_] = inside(folder, name, file)
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
        elif not str(name).strip():
            reason, code = f"name {shown(name)} is empty", "category.malformed"
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
) -> tuple[dict[int, str], dict[int, tuple[int, int] | None]]:
    """Return the names of the usable images by id, and their claimed sizes."""
    result: dict[int, str] = {}
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
            result[number] = name
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
    columns: Columns, file: File, images: dict[int, str], found: Annotations
) -> dict[int, Instances]:
    """Return the objects of each image by its id."""
    truths = None
    if file.complete and file.sizes_wh.keys() == images.keys():
        truths = columns.objects(file.labels, file.sizes_wh)
    if truths is None:
        truths = collect_singly(_rows(file.path), file, images, found)
    empty = sum(int((each.corner_and_size()[:, 2:] == 0).any(1).sum()) for each in truths.values())
    if empty:
        count = counted(empty, "box", "boxes")
        text = f"{file.path.name}: {count} without area, not used for training"
        found.notes.append(Note(text, "box.without_area"))
    if file.masks and (bare := sum(map(_without_pixels, truths.values()))):
        text = f"{file.path.name}: masks without pixels, not used for training: {bare}"
        found.notes.append(Note(text, "mask.without_pixels"))
    return truths


def _rows(path: Path) -> Iterator[Any]:
    """Read the annotations of a file again."""
    for name, value in read_lists(path, ["annotations"]):
        if name == "annotations" and not isinstance(value, ListStart):
            yield value


def _without_pixels(truth: Instances) -> int:
    """Return how many of the masks of an image are empty."""
    return int((mask_areas(truth.masks) == 0).sum()) if isinstance(truth.masks, Masks) else 0
