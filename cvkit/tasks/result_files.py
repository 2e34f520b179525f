"""Files of detections that others wrote: COCO's results and VOC's. Needs no torch."""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import AnnotatedImage
from cvkit.data.joining import join_names
from cvkit.data.named import Names
from cvkit.data.segmentations import read_segmentation
from cvkit.errors import DataError
from cvkit.ops.masks import are_codes, mask_boxes
from cvkit.structures import ClassList, Instances, Masks
from cvkit.tasks.voc_results import read_voc_results

NO_BOX = (0.0, 0.0, 0.0, 0.0)
"""Stands for the box of a detection that has a mask only."""


@dataclass(frozen=True)
class Table:
    """Detections: number of the image, label from 1, score, and x, y, width, height.

    `codes` are those of their masks; `boxless` says whose box follows from the mask.
    """

    images: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    xywh: np.ndarray
    codes: np.ndarray | None = None
    boxless: np.ndarray | None = None


def by_image(table: Table, images: list[AnnotatedImage]) -> list[Instances]:
    """Return the detections of each image, best first; of equal scores the file's order stays."""
    order = np.lexsort((-table.scores, table.images))  # stable
    cuts = np.searchsorted(table.images[order], np.arange(1, len(images)))
    parts = zip(images, np.split(order, cuts), strict=True)
    return [_instances(table, part, image) for image, part in parts]


def _instances(table: Table, rows: np.ndarray, image: AnnotatedImage) -> Instances:
    """Return the detections of an image, the given rows."""
    xywh, masks = table.xywh[rows], None
    if table.codes is not None:
        masks = Masks(image.truth.masks.size_hw, table.codes[rows])
        xywh = np.where(table.boxless[rows, None], mask_boxes(masks), xywh)
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    labels, scores = table.labels[rows], table.scores[rows]
    return Instances(corners, labels, scores=scores, xywh=xywh, masks=masks)


def read_table(
    path: Path, content: Any, images: list[AnnotatedImage], classes: ClassList, masks: bool
) -> tuple[Table, Counter[str]]:
    """Return the detections in COCO's results format, and those of other classes by name.

    Raises:
        DataError: malformed, or of an image or category that the truth does not have.
    """
    shape = "segmentation" if masks else "bbox"
    if not isinstance(content, list):
        raise DataError(
            f"{path} is not a list of detections",
            code="results.type",
            hint=f"COCO's results format: [{{image_id, category_id, {shape}, score}}, ...]",
        )
    try:
        numbers = _image_numbers(content, images, path)
        kinds = _labels(content, classes, path)
        scores = np.array([row["score"] for row in content], np.float64)
        boxes = [row.get("bbox", NO_BOX) if masks else row["bbox"] for row in content]
        xywh = np.array(boxes, np.float64).reshape(-1, 4)
        table = Table(np.array(numbers, int), np.array(kinds, int), scores, xywh)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        for place, row in enumerate(content):
            _require_row(row, masks, f"{path}: [{place}]")
        raise
    _require_known(table, content, path)
    left_out = Counter(
        row["category_name"] for row, kind in zip(content, kinds, strict=True) if not kind
    )
    if left_out:
        kept = table.labels > 0
        content = [row for row, keep in zip(content, kept.tolist(), strict=True) if keep]
        table = Table(table.images[kept], table.labels[kept], scores[kept], xywh[kept])
    return (_with_masks(table, content, images, path) if masks else table), left_out


def _image_numbers(content: list[dict], images: list[AnnotatedImage], path: Path) -> list[int]:
    """Return the number of each row's image, by its file's name if it has one; -1: of none.

    Raises:
        DataError: none of the names is in the truth.
        TypeError, AttributeError: a name is not text.
    """
    by_id = {image.image_id: number for number, image in enumerate(images)}
    by_id |= {str(id_): number for id_, number in by_id.items()}
    given = {row.get("file_name") for row in content} - {None}
    joined = {name: number for number, name in join_images(images, list(given)).items()}
    names = Names([image.key for image in images])
    several = {name: names.find_inside(name) for name in given - joined.keys()}
    if given and not joined and not any(several.values()):
        raise DataError(
            f"{path}: none of its images, such as {min(map(str, given))}, is in the truth",
            code="results.image",
            hint=f"expected for example {images[0].key}; rows without file_name are joined by "
            "image_id",
        )

    def number(row: dict) -> int:
        if (name := row.get("file_name")) is None:
            return by_id.get(row["image_id"], -1)
        if name in joined:
            return joined[name]
        # Folders may be missing in a name that several images have; the id may tell.
        found = by_id.get(row.get("image_id"), -1)
        return found if len(several[name]) > 1 and found in several[name] else -1

    return [number(row) for row in content]


def join_images(images: list[AnnotatedImage], names: list[str]) -> dict[int, str]:
    """Return which of the names, of files, is that of each image by its number."""
    keys = [image.key for image in images]
    places = {image.key: [image.path.as_posix()] for image in images}
    found = join_names(keys, names, places)
    return {number: found[key] for number, key in enumerate(keys) if key in found}


def _labels(content: list[dict], classes: ClassList, path: Path) -> list[int]:
    """Return the label of each row, by its name if it has one; 0: of a class left out, -1: of none.

    Raises:
        DataError: none of the names is in the truth.
    """
    by_id = {id_: number for number, id_ in enumerate(classes.ids, 1)}
    by_name = {name: number for number, name in enumerate(classes.names, 1)}
    given = {row.get("category_name") for row in content} - {None}
    if given and not given & by_name.keys():
        shown = ", ".join(sorted(map(str, given))[:8])
        raise DataError(
            f"{path}: none of its classes ({shown}) is in the truth",
            code="results.category",
            hint=f"the truth has {', '.join(classes.names[:8])}; rows without category_name are "
            "joined by category_id",
        )
    return [
        by_name.get(name, 0)
        if (name := row.get("category_name")) is not None
        else by_id.get(row["category_id"], -1)
        for row in content
    ]


def _require_known(table: Table, content: list[dict], path: Path) -> None:
    """Check that every row has an image, a category and usable numbers.

    Raises:
        DataError: names the first row that does not.
    """
    fine = np.isfinite(table.scores) & np.isfinite(table.xywh).all(1)
    fine &= (table.xywh[:, 2:] >= 0).all(1)
    for wrong, code, text in (
        (table.images < 0, "results.image", "image {image_id!r}{named} is not in the truth"),
        (table.labels < 0, "results.category", "category {category_id!r} is not in the truth"),
        (~fine, "results.value", "box {bbox} or score {score} is not usable"),
    ):
        if wrong.any():
            place = int(np.argmax(wrong))
            row = {"bbox": None, "image_id": None} | content[place]
            named = f" ({row['file_name']})" if row.get("file_name") else ""
            hint = "predict --image-ids writes a COCO file's" if code == "results.image" else ""
            message = f"{path}: [{place}]: {text.format(**row | {'named': named})}"
            raise DataError(message, code=code, hint=hint)


def _with_masks(
    table: Table, content: list[dict], images: list[AnnotatedImage], path: Path
) -> Table:
    """Return detections with the codes of their masks, and boxes where the file has none.

    Raises:
        DataError: names the first mask that is missing or not of its image's size.
    """
    sizes = [images[number].truth.masks.size_hw for number in table.images.tolist()]
    codes = np.empty(len(content), object)
    codes[:] = _plain_codes(content, sizes) or [
        _code(row, size, f"{path}: [{place}]")
        for place, (row, size) in enumerate(zip(content, sizes, strict=True))
    ]
    boxless = np.array(["bbox" not in row for row in content], bool)
    return replace(table, codes=codes, boxless=boxless)


def _plain_codes(content: list[dict], sizes: list[tuple[int, int]]) -> list[bytes] | None:
    """Return compressed codes, checked all at once; None if some are anything else."""
    try:
        masks = [row["segmentation"] for row in content]
        if any(mask["size"] != [*size] for mask, size in zip(masks, sizes, strict=True)):
            return None
        codes = [mask["counts"].encode("ascii") for mask in masks]
    except (KeyError, TypeError, AttributeError, UnicodeEncodeError):
        return None
    return codes if are_codes(codes, [height * width for height, width in sizes]) else None


def _code(row: dict, size_hw: tuple[int, int], where: str) -> bytes:
    """Return the code of a detection's mask.

    Raises:
        DataError: it has none, or one that is malformed or of another size.
    """
    code = read_segmentation(row.get("segmentation"), size_hw, where)
    if isinstance(code, DataError):
        raise code
    return code


def _require_row(row: Any, masks: bool, where: str) -> None:
    """Check one entry of a result file.

    Raises:
        DataError: what is wrong with it.
    """
    try:
        hash((row["image_id"], row["category_id"], row.get("file_name"), row.get("category_name")))
        if not isinstance(row.get("file_name", ""), str | None):
            raise TypeError(f"file_name {row['file_name']!r} is not text")
        boxes = row.get("bbox", NO_BOX) if masks else row["bbox"]
        box, score = [float(value) for value in boxes], float(row["score"])
    except KeyError as error:
        raise DataError(f"{where} has no {error.args[0]!r}", code="results.key") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise DataError(f"{where} is malformed: {error}", code="results.row") from error
    if len(box) != 4:
        raise DataError(f"{where}: bbox {box} is not four numbers", code="results.row")
    if isinstance(row["score"], str) or any(isinstance(v, str) for v in boxes):
        raise DataError(f"{where}: score {score} or box is text", code="results.row")


def read_voc_table(folder: Path, images: list[AnnotatedImage], classes: ClassList) -> Table:
    """Return the lines of files `..._CLASS.txt`: image, score and 1-based inclusive box."""
    rows = read_voc_results(folder, [image.key for image in images], classes)
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    found, labels, scores, boxes = columns
    return Table(
        np.array(found, int),
        np.array(labels, int),
        np.array(scores, np.float64),
        np.array(boxes, np.float64).reshape(-1, 4),
    )
