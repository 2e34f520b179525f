"""The detections of each image of a truth, from files of any program. Does not import torch."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvkit.data.annotated import AnnotatedImage, claimed_size
from cvkit.errors import DataError
from cvkit.options.detect import DetectEval
from cvkit.options.instance import InstanceEval
from cvkit.scoring.box_files import dataset_rows, read_box_file
from cvkit.scoring.detection_numbers import remarks
from cvkit.scoring.predicted import MISSING, Predicted, line_reason, read_predicted
from cvkit.scoring.result_columns import read_columns
from cvkit.scoring.result_files import by_image, join_images, read_table, read_voc_table
from cvkit.structures import ClassList, Failure, Instances
from cvkit.texts import read_json, shown


@dataclass(frozen=True)
class Results:
    """The content of a file or folder of detections.

    Attributes:
        images: the detections of each image of the truth, best first (equal scores keep the order
            of the file), or why it has none.
        left_out: number of detections of each class that is not in the truth.
        extra: predicted inputs that are not in the truth.
        names: of the classes that the model knows, if available.
        present: numbers of the images that the files mention, though some have no detections.
        notes: remarks for warnings.
        complete: whether every image without detections was predicted.
    """

    images: Sequence[Instances | Failure]
    left_out: Counter[str] = field(default_factory=Counter)
    extra: tuple[str, ...] = ()
    names: tuple[str, ...] | None = None
    present: frozenset[int] = frozenset()
    notes: tuple[str, ...] = ()
    complete: bool = False


def read_results(
    place: Path,
    images: list[AnnotatedImage],
    classes: ClassList,
    masks: bool = False,
    *,
    superset: bool = False,
) -> Results:
    """Return the detections of each image.

    Args:
        place: COCO results (.json), the output folder of predict, a folder of VOC's files, or what
            `read_box_file` recognises.
        images: of the truth.
        classes: of the truth.
        masks: detections must have masks; boxes are derived from them if they are not given.
        superset: leave out detections of images that are not in the truth, instead of refusing
            them.

    Raises:
        DataError: malformed, or detections of unknown images or categories.
    """
    if predicted := read_predicted(place):
        return _join(predicted, images, classes, masks)
    if place.is_dir() and (place / "results.json").is_file():
        place = place / "results.json"
    extra: dict[str, None] | None = {} if superset else None
    if found := read_box_file(place, images, classes, masks):
        if found.extra and not superset:
            raise DataError(
                f"{place}: image {shown(found.extra[0])} is not in the truth",
                code="results.image",
                hint="--extra ignore leaves the detections of such images out",
            )
        table, left_out = read_table(place, found.rows, images, classes, masks)
        return Results(
            by_image(table, images),
            left_out,
            found.extra,
            present=found.present,
            notes=(*found.notes, *remarks(table, images, place)),
        )
    if place.is_dir() and masks:
        place = place / "results.json"
    if place.is_dir():
        table = read_voc_table(place, images, classes, extra)
        notes = remarks(table, images, place)
        return Results(by_image(table, images), extra=tuple(extra or ()), notes=notes)
    columns = None if superset else read_columns(place, images, classes, masks)
    if columns is None:
        rows = dataset_rows(_unique_rows(place), place)
        columns = read_table(place, rows, images, classes, masks, extra)
    table, left_out = columns
    notes = remarks(table, images, place)
    return Results(by_image(table, images), left_out, tuple(extra or ()), notes=notes)


def with_missing(
    found: Results,
    images: list[AnnotatedImage],
    options: DetectEval | InstanceEval,
    classes: ClassList,
    *,
    masks: bool,
) -> list[Instances | Failure]:
    """Return the detections of each image, where `--missing` says what images without any are.

    Args:
        found: the detections.
        images: of the truth.
        options: of the command.
        classes: of the truth.
        masks: detections have masks.
    """
    place, result = Path(str(options.predictions)), list(found.images)
    strict = options.missing in ("error", "fail") and not found.complete
    for number, each in enumerate(result):
        if isinstance(each, Failure):
            if each.code == MISSING and options.missing == "empty":
                nothing, _ = read_table(place, [], [images[number]], classes, masks)
                (result[number],) = by_image(nothing, [images[number]])
        elif strict and not len(each) and number not in found.present:
            key = images[number].key
            result[number] = Failure(key, MISSING, f"{place} has no detection in {key}")
    return result


def _unique_rows(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        DataError: malformed, or a key occurs twice in an object.
    """
    try:
        content = read_json(path, unique_keys=False)
    except DataError as error:
        if not path.is_file() or error.hint:
            raise
        hint = "COCO's results are one list, with finite numbers"
        if path.read_bytes()[:64].lstrip()[:1] not in (b"[", b"{"):
            hint = "COCO results are JSON; a table needs the suffix .csv; of text files, give the "
            hint += "folder"
        error.hint = hint
        raise
    # Faster than checking every object: compare the number of keys with that in the text.
    if len(re.findall(rb'"\s*:', path.read_bytes())) == _keys(content):
        return content
    return read_json(path)


def _keys(content: Any) -> int:
    """Return the number of keys in a list of objects, including nested objects."""
    rows = [row for row in content if isinstance(row, dict)] if isinstance(content, list) else []
    inner = (value for row in rows for value in row.values() if isinstance(value, dict))
    return sum(map(len, rows)) + sum(map(len, inner))


def _join(
    predicted: Predicted, images: list[AnnotatedImage], classes: ClassList, masks: bool
) -> Results:
    """Return the results of predict for each image; images and classes are joined by name.

    Raises:
        DataError: no image is in the truth, or an image was predicted at another size.
    """
    joined = join_images(images, predicted.paths)
    file = predicted.folder / "predictions.jsonl"
    if not joined:
        raise DataError(
            f"no image of {file} is in the truth",
            code="predictions.names",
            hint=f"expected for example {images[0].key}",
        )
    owners = {path: number for number, path in joined.items()}
    content: list[dict[str, Any]] = []
    done = set()
    for place, line in enumerate(predicted.lines, 1):
        if (number := owners.get(line["path"])) is None:
            continue
        try:
            content += _rows(line, images[number].key)
            size_wh = claimed_size([line["width"], line["height"]], f"{file}:{place}", "image.size")
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{file}:{place} has no boxes: {line_reason(error)}",
                code="predictions.task",
                hint="it must be the output of predict for the same task",
            ) from error
        _require_size(images[number], size_wh, f"{file}:{place}")
        done.add(number)
    table, left_out = read_table(file, content, images, classes, masks)
    found: list[Instances | Failure] = list(by_image(table, images))
    for number, image in enumerate(images):
        if number not in done:
            found[number] = predicted.failure(image.key, joined.get(number))
    extra = tuple(line["path"] for line in predicted.lines if line["path"] not in owners)
    notes = remarks(table, images, file)
    return Results(found, left_out, extra, predicted.names, notes=notes, complete=True)


def _rows(line: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a line of `predictions.jsonl` as COCO's results."""
    masks = line.get("masks", [None] * len(line["boxes"]))
    columns = (line["labels"], line["boxes"], line["scores"], masks)
    for name, (x1, y1, x2, y2), score, mask in zip(*columns, strict=True):
        row = {"file_name": key, "category_name": name, "score": score}
        row["bbox"] = [x1, y1, x2 - x1, y2 - y1]
        yield row if mask is None else row | {"segmentation": mask}


def _require_size(image: AnnotatedImage, size_wh: tuple[int, int] | None, where: str) -> None:
    """Check that an image was predicted in the pixels of its truth.

    Raises:
        DataError: it was not.
    """
    if size_wh is None:
        raise DataError(f"{where} has no width and height", code="image.size")
    if image.size_wh not in (None, size_wh):
        raise DataError(
            f"{where}: {image.key} was predicted at {size_wh[0]}x{size_wh[1]}, but its "
            f"annotation says {image.size_wh[0]}x{image.size_wh[1]}",
            code="image.size_mismatch",
            hint="if EXIF rotates the image, its file is needed to rotate the annotation: "
            "--images DIR",
        )
