"""COCO's annotation files, read strictly, and COCO's result files."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import AnnotatedImage, Annotations, box_defect, make_truth, no_objects
from cvkit.data.files import inside
from cvkit.errors import DataError
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


def read_coco(path: Path, images: Path | None, root: Path, split: str = "") -> Annotations:
    """Return the images and boxes of an annotation file.

    Boxes become x1, y1, x2 = x + w, y2 = y + h. Image and annotation ids may be any numbers;
    classes are in the order of their ids.

    Args:
        path: the file.
        images: folder that `file_name` is relative to; None looks for it.
        root: the dataset's folder, that keys are relative to.
        split: whose name the image folder may have.

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
    numbers = {id_: number for number, id_ in enumerate(found.classes.ids, 1)}
    objects = _collect(content["annotations"], rows, numbers, path, found)
    # By id, as pycocotools visits them: of equal scores in two images the first one counts first.
    for id_, row in sorted(rows.items()):
        try:
            place = inside(images, row["file_name"])
        except DataError as defect:
            found.defects.append(defect)
            continue
        key = place.relative_to(root).as_posix() if place.is_relative_to(root) else None
        found.images.append(
            AnnotatedImage(key or row["file_name"], place, id_, _size(row), _truth(objects[id_]))
        )
    return found


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
    rows: list[Any],
    images: dict[int, dict],
    numbers: dict[int, int],
    path: Path,
    found: Annotations,
) -> dict[int, list[tuple]]:
    """Return (x, y, w, h), label, area, crowd of each annotation by image id."""
    result: dict[int, list[tuple]] = {id_: [] for id_ in images}
    seen: set[Any] = set()
    empty = 0
    for place, row in enumerate(rows):
        where = f"{path}: annotations[{place}]"
        made = _annotation(row, images, numbers, seen, where)
        if isinstance(made, DataError):
            found.defects.append(made)
            continue
        image_id, entry = made
        empty += 0 in entry[0][2:]
        result[image_id].append(entry)
    if empty:
        found.notes.append(f"{path.name}: {empty} boxes have no area; they are not trained on")
    return result


def _annotation(
    row: Any, images: dict[int, dict], numbers: dict[int, int], seen: set[Any], where: str
) -> tuple[int, tuple] | DataError:
    if not isinstance(row, dict):
        return DataError(f"{where} is not an object", code="ann.malformed")
    id_, image_id = row.get("id"), row.get("image_id")
    where = f"{where} (id {id_})"
    if isinstance(image_id, str) and re.fullmatch(r"-?\d+", image_id):
        image_id = int(image_id)
    if id_ is not None and id_ in seen:
        return DataError(f"{where}: annotation id twice", code="ann.id_duplicate")
    seen.add(id_)
    if image_id not in images:
        return DataError(f"{where}: there is no image {image_id!r}", code="ann.image_unknown")
    if row.get("category_id") not in numbers:
        category = row.get("category_id")
        return DataError(f"{where}: there is no category {category!r}", code="ann.category_unknown")
    if row.get("iscrowd", 0) not in (0, 1):
        return DataError(f"{where}: iscrowd {row['iscrowd']!r} is not 0 or 1", code="iscrowd.value")
    box = row["bbox"] if "bbox" in row else _around(row.get("segmentation"))
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v) for v in box):
        return DataError(f"{where}: bbox {box!r} is not four numbers", code="bbox.length")
    x, y, w, h = (float(value) for value in box)
    corners = (x, y, x + w, y + h)
    if defect := box_defect(corners, _size(images[image_id]), where, "bbox"):
        return defect
    area = row["area"] if _is_number(row.get("area")) else w * h
    label = numbers[row["category_id"]]
    return image_id, ((x, y, w, h), label, float(area), bool(row.get("iscrowd", 0)))


def _around(segmentation: Any) -> list[float] | None:
    """Return x, y, width, height of polygons or a run-length code; None if they are neither."""
    try:
        if isinstance(segmentation, dict):
            from pycocotools import mask

            height, width = segmentation["size"]
            coded = isinstance(segmentation["counts"], list)
            code = mask.frPyObjects(segmentation, height, width) if coded else segmentation
            return mask.toBbox(code).tolist()
        points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in segmentation])
        low, high = points.min(0), points.max(0)
        return [*low.tolist(), *(high - low).tolist()]
    except (TypeError, ValueError, KeyError):
        return None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _truth(entries: list[tuple]) -> Instances:
    if not entries:
        return no_objects()
    xywh, labels, areas, crowd = (list(column) for column in zip(*entries, strict=True))
    boxes = np.array(xywh, np.float64)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)
    return make_truth(corners, labels, areas=areas, crowd=crowd, xywh=boxes)


def find_coco(root: Path, split: str) -> Path:
    """Return the annotation file of a split: `annotations/instances_SPLIT.json` and the like.

    Raises:
        DataError: none, or several.
    """
    folders = [root / "annotations", root / "coco", root / split, root]
    everything: list[Path] = []
    for folder in folders:
        files = sorted(folder.glob("*.json")) if folder.is_dir() else []
        everything += files
        if folder.name == split and (folder / "_annotations.coco.json").is_file():
            return folder / "_annotations.coco.json"
        named = [f for f in files if split in re.split(r"[^A-Za-z]+", f.stem)]
        named = [f for f in named if "instances" in f.stem] or named
        if len(named) == 1:
            return named[0]
        if named:
            raise DataError(
                f"{folder} has {len(named)} files for split {split!r}: "
                f"{', '.join(f.name for f in named)}",
                code="split.ambiguous",
                hint="choose with --train-json and --val-json",
            )
    names = ", ".join(file.name for file in everything[:8])
    raise DataError(
        f"{root} has no COCO file for split {split!r}",
        code="split.missing",
        hint=f"there is {names}" if names else "expected annotations/instances_SPLIT.json",
    )


def find_images(root: Path, path: Path, split: str, rows: list[Any]) -> Path:
    """Return the folder that the file names of a COCO file are relative to.

    Args:
        root: of the dataset.
        path: of the file.
        split: whose name the folder may have.
        rows: the file's images.

    Raises:
        DataError: no folder holds its first image.
    """
    name = rows[0].get("file_name") if rows and isinstance(rows[0], dict) else None
    if not isinstance(name, str):
        return root
    inside(root, name)
    near = [root / "images" / split, root / "images", root / split, root, path.parent]
    deeper = sorted(p for p in [*root.glob("*"), *root.glob("*/*")] if p.is_dir())
    for folder in [*near, *deeper]:
        if (folder / name).is_file():
            return folder
    raise DataError(
        f"{path}: no folder under {root} holds its first image {name!r}",
        code="image.file_missing",
        hint="name the folder with --images",
    )
