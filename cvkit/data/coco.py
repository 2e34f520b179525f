"""COCO's annotation files, read strictly."""

import json
import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import AnnotatedImage, Annotations, box_defect, make_truth
from cvkit.data.coco_places import find_images
from cvkit.data.decode import upright_size_hw
from cvkit.data.files import inside
from cvkit.data.segmentations import around, is_number, read_segmentation
from cvkit.errors import DataError
from cvkit.ops.masks import make_masks, mask_areas
from cvkit.structures import ClassList, Instances, voc_color


def read_json(path: Path, unique_keys: bool = True) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        unique_keys: refuse a key that stands twice in an object; takes as long as all the rest.

    Raises:
        DataError: missing, malformed, with NaN or infinity, or with a key twice.
    """

    def refuse(text: str) -> None:
        raise DataError(f"{path}: {text} is not JSON", code="json.nan_literal")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(result) < len(pairs):
            key = Counter(name for name, _ in pairs).most_common(1)[0][0]
            raise DataError(f"{path}: key {key!r} twice in one object", code="json.duplicate_key")
        return result

    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(
            text, parse_constant=refuse, object_pairs_hook=unique if unique_keys else None
        )
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", code="json.missing") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}", code="json.missing") from error
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else error
        raise DataError(f"{path} is not valid JSON: {reason}", code="json.syntax") from error


@dataclass(frozen=True)
class _File:
    """What reading an annotation needs to know: labels by category id, image sizes by image id."""

    path: Path
    labels: dict[int, int]
    sizes_wh: dict[int, tuple[int, int] | None]
    masks: bool


@dataclass(frozen=True)
class _Entry:
    """An annotation that can be used; `code` is its mask."""

    xywh: tuple[float, float, float, float]
    label: int
    area: float
    crowd: bool
    code: bytes | None


def read_coco(
    path: Path, images: Path | None, root: Path, split: str = "", *, masks: bool = False
) -> Annotations:
    """Return the images and boxes of an annotation file, and the masks if they are wanted.

    Boxes become x1, y1, x2 = x + w, y2 = y + h. Image and annotation ids may be any numbers;
    classes are in the order of their ids.

    Args:
        path: the file.
        images: folder that `file_name` is relative to; None looks for it.
        root: the dataset's folder, that keys are relative to.
        split: whose name the image folder may have.
        masks: every annotation must have a segmentation.

    Raises:
        DataError: it is no such file at all. Defects of single entries are collected.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no object", code="json.not_object")
    for name in ("images", "categories", "annotations"):
        if not isinstance(content.get(name), list):
            raise DataError(
                f"{path} has no list {name!r}",
                code=f"{name}.missing",
                hint="a COCO file has images, categories and annotations",
            )
    if images is None:
        images = find_images(root, path, split, content["images"])
    found = Annotations(_classes(content["categories"], path))
    rows = _index_images(content["images"], path, found)
    places = _places(rows, images, found)
    sizes = {id_: _size(rows[id_]) for id_ in places}
    if masks:
        sizes = {id_: size or _header_size(places[id_], found) for id_, size in sizes.items()}
    labels = {id_: number for number, id_ in enumerate(found.classes.ids, 1)}
    objects = _collect(content["annotations"], _File(path, labels, sizes, masks), rows, found)
    # By id, as pycocotools visits them: of equal scores in two images the first one counts first.
    for id_, place in sorted(places.items()):
        key = place.relative_to(root).as_posix() if place.is_relative_to(root) else None
        size, name = _size(rows[id_]), key or rows[id_]["file_name"]
        truth = _truth(objects[id_], sizes[id_] if masks else None)
        found.images.append(AnnotatedImage(name, place, id_, size, truth))
    return found


def _places(rows: dict[int, dict], folder: Path, found: Annotations) -> dict[int, Path]:
    """Return where each image lies, without those whose names lead out of the folder."""
    result = {}
    for id_, row in rows.items():
        try:
            result[id_] = inside(folder, row["file_name"])
        except DataError as defect:
            found.defects.append(defect)
    return result


def _header_size(path: Path, found: Annotations) -> tuple[int, int] | None:
    """Return width and height of an upright image; a defect is noted where it has none."""
    try:
        return upright_size_hw(path)[::-1]
    except DataError as defect:
        found.defects.append(defect)
        return None


def _classes(rows: list[Any], path: Path) -> ClassList:
    try:
        pairs = sorted((int(row["id"]), str(row["name"])) for row in rows)
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"{path}: categories must have a number 'id' and a 'name'", code="category.malformed"
        ) from error
    for position, code in ((0, "category.id_duplicate"), (1, "category.name_duplicate")):
        values = Counter(pair[position] for pair in pairs)
        twice = [value for value, count in values.items() if count > 1]
        if twice:
            raise DataError(f"{path}: category {twice[0]!r} twice", code=code)
    if not pairs:
        raise DataError(f"{path} has no categories", code="category.missing")
    colors = tuple(voc_color(number % 256) for number in range(1, len(pairs) + 1))
    return ClassList(
        names=tuple(name for _, name in pairs), ids=tuple(id_ for id_, _ in pairs), colors=colors
    )


def _index_images(rows: list[Any], path: Path, found: Annotations) -> dict[int, dict]:
    """Return the images by id, without those that cannot be used."""
    result: dict[int, dict] = {}
    names: set[str] = set()
    for place, row in enumerate(rows):
        where = f"{path}: images[{place}]"
        id_, name = (row.get("id"), row.get("file_name")) if isinstance(row, dict) else (None, None)
        if isinstance(id_, str) and re.fullmatch(r"-?\d+", id_):
            id_ = int(id_)
        if not isinstance(id_, int) or isinstance(id_, bool):
            defect = DataError(f"{where}: id {id_!r} is not a whole number", code="image.id_type")
        elif not isinstance(name, str) or not name:
            defect = DataError(
                f"{where}: file_name {name!r} is not text", code="image.file_name_type"
            )
        elif id_ in result:
            defect = DataError(f"{where}: image id {id_} twice", code="image.id_duplicate")
        elif name in names:
            defect = DataError(f"{where}: file {name!r} twice", code="image.file_duplicate")
        else:
            result[id_] = row
            names.add(name)
            continue
        found.defects.append(defect)
    if not rows:
        found.defects.append(DataError(f"{path} lists no images", code="images.empty"))
    return result


def _size(row: dict) -> tuple[int, int] | None:
    width, height = row.get("width"), row.get("height")
    whole = all(isinstance(side, int) and side > 0 for side in (width, height))
    return (width, height) if whole else None


def _collect(
    rows: list[Any], file: _File, images: dict[int, dict], found: Annotations
) -> dict[int, list[_Entry]]:
    """Return the annotations of each image by its id."""
    result: dict[int, list[_Entry]] = {id_: [] for id_ in images}
    seen: set[Any] = set()
    for place, row in enumerate(rows):
        made = _annotation(row, images, file, seen, f"{file.path}: annotations[{place}]")
        if isinstance(made, DataError):
            found.defects.append(made)
        else:
            result[made[0]].append(made[1])
    empty = sum(0 in entry.xywh[2:] for entries in result.values() for entry in entries)
    if empty:
        found.notes.append(f"{file.path.name}: {empty} boxes have no area; they are not trained on")
    return result


def _annotation(
    row: Any, images: dict[int, dict], file: _File, seen: set[Any], where: str
) -> tuple[int, _Entry] | DataError:
    """Return the image and content of an annotation, or what is wrong with it."""
    if not isinstance(row, dict):
        return DataError(f"{where} is not an object", code="ann.malformed")
    id_, image_id = row.get("id"), row.get("image_id")
    where = f"{where} (id {id_})"
    if isinstance(image_id, str) and re.fullmatch(r"-?\d+", image_id):
        image_id = int(image_id)
    if not isinstance(id_, Hashable):
        return DataError(f"{where}: its id is not a number", code="ann.id_type")
    if id_ is not None and id_ in seen:
        return DataError(f"{where}: annotation id twice", code="ann.id_duplicate")
    seen.add(id_)
    if not isinstance(image_id, Hashable) or image_id not in images:
        return DataError(f"{where}: there is no image {image_id!r}", code="ann.image_unknown")
    category = row.get("category_id")
    if not isinstance(category, Hashable) or category not in file.labels:
        return DataError(f"{where}: there is no category {category!r}", code="ann.category_unknown")
    if row.get("iscrowd", 0) not in (0, 1):
        return DataError(f"{where}: iscrowd {row['iscrowd']!r} is not 0 or 1", code="iscrowd.value")
    size_wh, code = file.sizes_wh.get(image_id), None
    if file.masks and size_wh:
        code = read_segmentation(row.get("segmentation"), size_wh[::-1], where)
        if isinstance(code, DataError):
            return code
    box = row["bbox"] if "bbox" in row else around(row.get("segmentation"))
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(v) for v in box):
        return DataError(f"{where}: bbox {box!r} is not four numbers", code="bbox.length")
    x, y, w, h = (float(value) for value in box)
    if defect := box_defect((x, y, x + w, y + h), size_wh, where, "bbox"):
        return defect
    area = row["area"] if is_number(row.get("area")) else w * h
    if code and not is_number(row.get("area")):
        area = mask_areas(make_masks([code], size_wh[::-1]))[0]
    crowd = bool(row.get("iscrowd", 0))
    return image_id, _Entry((x, y, w, h), file.labels[row["category_id"]], float(area), crowd, code)


def _truth(entries: list[_Entry], size_wh: tuple[int, int] | None) -> Instances:
    """Return the objects of an image; with masks if its size is given."""
    masks = make_masks([entry.code for entry in entries], size_wh[::-1]) if size_wh else None
    boxes = np.array([entry.xywh for entry in entries], np.float64).reshape(-1, 4)
    return make_truth(
        np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1),
        [entry.label for entry in entries],
        areas=[entry.area for entry in entries],
        crowd=[entry.crowd for entry in entries],
        xywh=boxes,
        masks=masks,
    )
