"""Files of detections from other programs: COCO's results and VOC's. Does not import torch."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, repeat
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.data.annotated import MOST_PIXELS, AnnotatedImage
from cvkit.data.joining import join_names
from cvkit.data.named import Names
from cvkit.data.segmentations import compressed_codes, read_segmentation
from cvkit.errors import DataError, raise_defects
from cvkit.ops.rle import mask_boxes
from cvkit.scoring.detection_numbers import Table, refused
from cvkit.scoring.voc_results import read_voc_results
from cvkit.structures import ClassList, Instances, Masks
from cvkit.texts import is_number, is_text, shown, whole_number

NO_BOX = (0.0, 0.0, 0.0, 0.0)
"""Placeholder for the box of a detection that has only a mask."""


def by_image(table: Table, images: list[AnnotatedImage]) -> list[Instances]:
    """Return the detections of each image, best first; equal scores keep the order of the file."""
    sorted_table = table.pick(np.lexsort((-table.scores, table.images)))  # stable
    xywh = sorted_table.xywh
    masks: list[Masks] = []
    cuts = np.searchsorted(sorted_table.images, np.arange(len(images) + 1)).tolist()
    spans = [slice(*pair) for pair in pairwise(cuts)]
    if sorted_table.codes is not None:
        sizes = [image.truth.coded_masks().size_hw for image in images]
        coded = Masks((0, 0), sorted_table.codes, sorted_table.extents)
        masks = [replace(coded[s], size_hw=size) for size, s in zip(sizes, spans, strict=True)]
        if sorted_table.boxless is not None and sorted_table.boxless.any():
            if coded.extents is None:
                around = np.concatenate([np.zeros((0, 4)), *map(mask_boxes, masks)])
            else:
                around = mask_boxes(coded)
            xywh = np.where(sorted_table.boxless[:, None], around, xywh)
    corners = np.concatenate([xywh[:, :2], xywh[:, :2] + xywh[:, 2:]], 1)
    labels, scores = sorted_table.labels, sorted_table.scores
    return [
        Instances(corners[s], labels[s], scores=scores[s], xywh=xywh[s], masks=each)
        for s, each in zip(spans, masks or repeat(None, len(spans)), strict=True)
    ]


def read_table(
    path: Path,
    content: Any,
    images: list[AnnotatedImage],
    classes: ClassList,
    masks: bool,
    extra: dict[str, None] | None = None,
) -> tuple[Table, Counter[str]]:
    """Return the detections in COCO's results format, and the numbers of those left out by class.

    With `extra`, detections of images that are not in the truth are left out, and these images are
    added to it.

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
    if not _all_well_formed(content, masks):
        raise_defects(_malformed(content, masks, path), str(path))
    numbers = image_numbers(content, images, path)
    if extra is not None:
        pairs = list(zip(content, numbers, strict=True))
        extra |= {str(row.get("file_name", row.get("image_id"))): None for row, n in pairs if n < 0}
        content, numbers = [row for row, n in pairs if n >= 0], [n for n in numbers if n >= 0]
    kinds = label_numbers(content, classes, path)
    scores = np.array([row["score"] for row in content], np.float64)
    boxes = [row.get("bbox", NO_BOX) if masks else row["bbox"] for row in content]
    xywh = np.array(boxes, np.float64).reshape(-1, 4)
    table = Table(np.array(numbers, int), np.array(kinds, int), scores, xywh)
    raise_defects(_unknown(table, content, path, images, classes), str(path))
    left_out = Counter(
        row["category_name"] for row, kind in zip(content, kinds, strict=True) if not kind
    )
    if left_out:
        kept = table.labels > 0
        content = [row for row, keep in zip(content, kept.tolist(), strict=True) if keep]
        table = table.pick(kept)
    return (_with_masks(table, content, images, path) if masks else table), left_out


def image_numbers(content: list[dict], images: list[AnnotatedImage], path: Path) -> list[int]:
    """Return the number of each row's image, by its file name if it has one; -1: no such image.

    Raises:
        DataError: none of the names is in the truth.
    """
    by_id: dict[Any, int] = {image.image_id: number for number, image in enumerate(images)}
    by_id |= {str(id_): number for id_, number in by_id.items()}
    given = _given(content, "file_name")
    joined = {name: number for number, name in join_images(images, list(given)).items()}
    names = Names([image.key for image in images])
    several = {name: names.find_inside(name) for name in given - joined.keys()}
    if given and not joined and not any(several.values()):
        raise DataError(
            f"{path}: none of its images, such as {shown(min(given))}, is in the truth",
            code="results.image",
            hint=f"expected for example {images[0].key}; rows without file_name are joined by "
            "image_id",
        )

    def number(row: dict) -> int:
        if (name := row.get("file_name")) is None:
            return by_id.get(row.get("image_id"), -1)
        if name in joined:
            return joined[name]
        # Without folders, several images may have a name; the id may decide.
        found = by_id.get(row.get("image_id"), -1)
        return found if len(several[name]) > 1 and found in several[name] else -1

    return [number(row) for row in content]


def _given(content: list[dict], field: str) -> set[str]:
    """Return the values of a field of the rows that have it."""
    return {value for row in content if (value := row.get(field)) is not None}


def join_images(images: list[AnnotatedImage], names: list[str]) -> dict[int, str]:
    """Return the file name that matches each image, by the image's number."""
    keys = [image.key for image in images]
    places = {image.key: [image.path.as_posix()] for image in images}
    found = join_names(keys, names, places)
    return {number: found[key] for number, key in enumerate(keys) if key in found}


def label_numbers(content: list[dict], classes: ClassList, path: Path) -> list[int]:
    """Return the label of each row, by its name if it has one; 0: class left out, -1: unknown.

    Raises:
        DataError: none of the names is in the truth.
    """
    by_id: dict[Any, int] = {id_: number for number, id_ in enumerate(classes.ids, 1)}
    by_name = {name: number for number, name in enumerate(classes.names, 1)}
    given = _given(content, "category_name")
    if given and not given & by_name.keys():
        some = shown(", ".join(sorted(given)[:8]))
        raise DataError(
            f"{path}: none of its classes ({some}) is in the truth",
            code="results.category",
            hint=f"the truth has {', '.join(classes.names[:8])}"
            + ("; rows without category_name are joined by category_id" * (path.suffix == ".json")),
        )
    return [
        by_name.get(name, 0)
        if (name := row.get("category_name")) is not None
        else by_id.get(row.get("category_id"), -1)
        for row in content
    ]


def _unknown(
    table: Table,
    content: list[dict],
    path: Path,
    images: list[AnnotatedImage],
    classes: ClassList,
) -> Iterator[DataError]:
    """Yield the defects of rows whose image, category or numbers are not usable."""
    fine = np.isfinite(table.scores) & (np.abs(table.xywh) <= MOST_PIXELS).all(1)
    fine &= (table.xywh[:, 2:] >= 0).all(1)
    known = zip(classes.ids[:8], classes.names, strict=False)
    hints = {
        "results.image": f"the truth has for example {images[0].image_id} ({images[0].key}); "
        "--extra ignore leaves other images out, and predict --image-ids writes the ids of a COCO "
        "file"
        if images
        else "the truth has no images",
        "results.category": f"the truth has {', '.join(f'{i} ({name})' for i, name in known)}",
    }
    for wrong, code, text in (
        (table.images < 0, "results.image", "image {image_id}{named} is not in the truth"),
        (table.labels < 0, "results.category", "category {category_id} is not in the truth"),
        (~fine, "results.value", "{reason}"),
    ):
        for place in np.flatnonzero(wrong).tolist():
            row = {"image_id": None, "category_id": None} | content[place]
            values = {name: shown(value) for name, value in row.items()}
            values["named"] = f" ({values['file_name']})" if row.get("file_name") else ""
            values["reason"] = refused(table.xywh[place].tolist(), float(table.scores[place]))
            message = f"{path}: [{place}]: {text.format(**values)}"
            yield DataError(message, code=code, hint=hints.get(code, ""))


def _with_masks(
    table: Table, content: list[dict], images: list[AnnotatedImage], path: Path
) -> Table:
    """Return detections with the codes of their masks, and boxes if the file has none.

    Raises:
        DataError: lists the masks that are missing or do not have their image's size.
    """
    sizes = [images[number].truth.coded_masks().size_hw for number in table.images.tolist()]
    codes = np.empty(len(content), object)
    compressed = compressed_codes([row.get("segmentation") for row in content], sizes)
    if compressed is None:
        pairs = enumerate(zip(content, sizes, strict=True))
        found = [
            read_segmentation(row.get("segmentation"), size, f"{path}: [{place}]")
            for place, (row, size) in pairs
        ]
        raise_defects((each for each in found if isinstance(each, DataError)), str(path))
        codes[:] = found
        extents = None
    else:
        codes[:], extents = compressed
    boxless = np.array(["bbox" not in row for row in content], bool)
    return replace(table, codes=codes, boxless=boxless, extents=extents)


def _all_well_formed(content: list[Any], masks: bool) -> bool:
    """Return whether all rows have the required fields and types; fast."""
    if set(map(type, content)) - {dict}:
        return False
    ids = {type(row.get(name)) for name in ("image_id", "category_id") for row in content}
    names = {type(row.get(name)) for name in ("file_name", "category_name") for row in content}
    boxes = [row.get("bbox", NO_BOX if masks else None) for row in content]
    if not (ids <= {int, str, type(None)} and names <= {str, type(None)}):
        return False
    if any(not isinstance(box, list | tuple) or len(box) != 4 for box in boxes):
        return False
    numbers = [row.get("score") for row in content] + [value for box in boxes for value in box]
    if set(map(type, numbers)) - {float, int}:
        return False
    if any(abs(number) > MOST_PIXELS for number in numbers):
        return False
    pairs = (("image_id", "file_name"), ("category_id", "category_name"))
    return all(id_ in row or row.get(name) is not None for row in content for id_, name in pairs)


def _malformed(content: list[Any], masks: bool, path: Path) -> Iterator[DataError]:
    """Yield the defects of rows that lack a field, or have one of another type."""
    for place, row in enumerate(content):
        if defect := _row_defect(row, masks, f"{path}: [{place}]"):
            yield defect


def _row_defect(row: Any, masks: bool, where: str) -> DataError | None:
    """Return the defect in the fields of an entry of a result file; None if there is none."""
    if not isinstance(row, dict):
        return DataError(f"{where} is not an object", code="results.row")
    for id_, name in (("image_id", "file_name"), ("category_id", "category_name")):
        if row.get(name) is not None and not is_text(row[name]):
            return DataError(f"{where}: {name} {shown(row[name])} is not text", code="results.row")
        if row.get(name) is None and id_ not in row:
            return DataError(f"{where} has no {id_!r}", code="results.key")
        known = isinstance(row.get(id_), str) or whole_number(row.get(id_)) is not None
        if row.get(id_) is not None and not known:
            message = f"{where}: {id_} {shown(row[id_])} is not a whole number"
            return DataError(message, code="results.row")
    if "score" not in row or (not masks and "bbox" not in row):
        lacking = "bbox" if "score" in row else "score"
        return DataError(f"{where} has no {lacking!r}", code="results.key")
    box = row.get("bbox", list(NO_BOX))
    if not isinstance(box, list) or len(box) != 4 or not all(map(is_number, box)):
        return DataError(f"{where}: bbox {shown(box)} is not four numbers", code="results.row")
    if not is_number(row["score"]):
        message = f"{where}: score {shown(row['score'])} is not a number"
        return DataError(message, code="results.row")
    return None


def read_voc_table(
    folder: Path,
    images: list[AnnotatedImage],
    classes: ClassList,
    extra: dict[str, None] | None = None,
) -> Table:
    """Return the lines of files `..._CLASS.txt`: image, score and 1-based inclusive box."""
    rows = read_voc_results(folder, [image.key for image in images], classes, extra)
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    found, labels, scores, boxes = columns
    return Table(
        np.array(found, int),
        np.array(labels, int),
        np.array(scores, np.float64),
        np.array(boxes, np.float64).reshape(-1, 4),
    )
