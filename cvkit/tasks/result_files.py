"""Files of detections that others wrote: COCO's results and VOC's. Needs no torch."""

from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cvkit.data.annotated import AnnotatedImage
from cvkit.data.coco import read_json
from cvkit.data.segmentations import read_segmentation
from cvkit.errors import DataError
from cvkit.ops.masks import are_codes, mask_boxes
from cvkit.structures import ClassList, Instances, Masks

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


def read_results(
    place: Path, images: list[AnnotatedImage], classes: ClassList, masks: bool = False
) -> list[Instances]:
    """Return the detections of each image, best first; of equal scores the file's order stays.

    Args:
        place: COCO results (.json), the output folder of predict, or a folder of VOC's files.
        images: of the truth.
        classes: of the truth.
        masks: detections must have masks; their boxes then follow from them where none is given.

    Raises:
        DataError: malformed, or detections of unknown images or categories.
    """
    if place.is_dir() and (masks or (place / "results.json").is_file()):
        place = place / "results.json"
    if place.is_dir():
        table = _read_voc(place, images, classes)
    else:
        table = _read_results(place, images, classes, masks)
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


def _read_results(
    path: Path, images: list[AnnotatedImage], classes: ClassList, masks: bool
) -> Table:
    """Return the detections of a file in COCO's results format.

    Raises:
        DataError: malformed, or of an image or category that the truth does not have.
    """
    content = read_json(path, unique_keys=False)
    shape = "segmentation" if masks else "bbox"
    if not isinstance(content, list):
        raise DataError(
            f"{path} is not a list of detections",
            code="results.type",
            hint=f"COCO's results format: [{{image_id, category_id, {shape}, score}}, ...]",
        )
    labels = {id_: number for number, id_ in enumerate(classes.ids, 1)}
    by_id = {image.image_id: number for number, image in enumerate(images)}
    by_id |= {str(id_): number for id_, number in by_id.items()}
    by_name = _by_name(images)
    try:
        found = [
            by_name.get(row.get("file_name"), by_id.get(row["image_id"], -1)) for row in content
        ]
        kinds = [labels.get(row["category_id"], -1) for row in content]
        scores = np.array([row["score"] for row in content], np.float64)
        boxes = [row.get("bbox", NO_BOX) if masks else row["bbox"] for row in content]
        xywh = np.array(boxes, np.float64).reshape(-1, 4)
        table = Table(np.array(found, int), np.array(kinds, int), scores, xywh)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        for place, row in enumerate(content):
            _require_row(row, masks, f"{path}: [{place}]")
        raise
    fine = np.isfinite(table.scores) & np.isfinite(xywh).all(1) & (xywh[:, 2:] >= 0).all(1)
    for wrong, code, text in (
        (table.images < 0, "results.image", "image {image_id!r} is not in the truth"),
        (table.labels < 0, "results.category", "category {category_id!r} is not in the truth"),
        (~fine, "results.value", "box {bbox} or score {score} is not usable"),
    ):
        if wrong.any():
            place = int(np.argmax(wrong))
            hint = "predict --image-ids writes a COCO file's" if code == "results.image" else ""
            message = f"{path}: [{place}]: {text.format(**{'bbox': None} | content[place])}"
            raise DataError(message, code=code, hint=hint)
    return _with_masks(table, content, images, path) if masks else table


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
        hash((row["image_id"], row["category_id"], row.get("file_name")))
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


def _by_name(images: list[AnnotatedImage]) -> dict[str, int]:
    """Return the number of each image by its key and, where that is unique, its file name."""
    names: dict[str, list[int]] = {}
    for number, image in enumerate(images):
        names.setdefault(PurePosixPath(image.key).name, []).append(number)
    unique = {name: numbers[0] for name, numbers in names.items() if len(numbers) == 1}
    return unique | {image.key: number for number, image in enumerate(images)}


def _read_voc(folder: Path, images: list[AnnotatedImage], classes: ClassList) -> Table:
    """Return the lines of files `..._CLASS.txt`: image, score and 1-based inclusive box."""
    stems = {PurePosixPath(image.key).stem: number for number, image in enumerate(images)}
    if (folder / "voc").is_dir():
        folder = folder / "voc"
    files = {
        label: [*folder.glob(f"*_{name.replace('/', '_')}.txt"), *folder.glob(f"{name}.txt")]
        for label, name in enumerate(classes.names, 1)
    }
    if not any(files.values()):
        raise DataError(
            f"--predictions {folder} holds neither results.json nor VOC result files",
            code="predictions.missing",
            hint=f"such as comp3_det_test_{classes.names[0]}.txt",
        )
    rows: list[tuple[Any, ...]] = []
    for label, paths in files.items():
        for path in paths[:1]:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if not line.strip():
                    continue
                try:
                    stem, *values = line.split()
                    score, x1, y1, x2, y2 = (float(value) for value in values)
                except ValueError as error:
                    raise DataError(
                        f"{path}:{number} is not IMAGE SCORE XMIN YMIN XMAX YMAX",
                        code="results.row",
                    ) from error
                if stem not in stems:
                    raise DataError(
                        f"{path}:{number}: image {stem!r} is not in the truth",
                        code="results.image",
                    )
                box = (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)
                rows.append((stems[stem], label, score, box))
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    found, labels, scores, boxes = columns
    return Table(
        np.array(found, int),
        np.array(labels, int),
        np.array(scores, np.float64),
        np.array(boxes, np.float64).reshape(-1, 4),
    )
