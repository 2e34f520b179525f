"""Detections in the formats of other programs, as rows of COCO's results. Imports no torch."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from cvkit.data.annotated import AnnotatedImage
from cvkit.data.named import Names, without_suffix
from cvkit.data.run_lengths import PIXELS, coco_counts, parse_runs
from cvkit.data.tables import numbered_rows
from cvkit.errors import CvkitError, DataError, raise_defects
from cvkit.scoring.class_tables import find_column
from cvkit.scoring.voc_results import files_by_label
from cvkit.scoring.yolo_results import add_box, polygon_rows, yolo_classes, yolo_rows
from cvkit.structures import ClassList
from cvkit.texts import is_text, parse_number, shown, whole_number

IMAGES = ("path", "image", "file", "filename", "file_name", "name", "ImageId", "image_id", "id")
CLASSES = ("label", "class", "class_name", "category", "category_name", "ClassId")
SCORES = ("score", "confidence", "conf", "Confidence")
CORNERS = (("x1", "y1", "x2", "y2"), ("xmin", "ymin", "xmax", "ymax"))
SIDES = (("x", "y", "width", "height"), ("x", "y", "w", "h"))
"""Columns of tables of boxes: corners, or the upper left corner and the sides, in pixels."""
RESULTS = ("voc", "Annotations", "labels")
"""Folders that programs add to the names of their result files."""


@dataclass(frozen=True)
class BoxFile:
    """The detections in files of another program.

    Attributes:
        rows: COCO's results, with `file_name` and `category_name` of the truth where known.
        present: numbers of the images of the truth that the files mention, even without detections.
        extra: names of images that are not in the truth.
        notes: remarks for warnings.
    """

    rows: list[dict[str, Any]]
    present: frozenset[int] = frozenset()
    extra: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


Finder = Callable[[str], int | None]
"""Function that returns the number of the image that a name means; None: not in the truth."""


def read_box_file(
    place: Path, images: Sequence[AnnotatedImage], classes: ClassList, masks: bool
) -> BoxFile | None:
    """Return the detections of a file or folder; None if it is in COCO's or VOC's result format.

    Recognised by content: a folder of VOC XML files; a folder of YOLO's text files, named after
    images, with boxes or (for masks) polygons; a CSV table with a row for each box, or for each
    run-length code (`EncodedPixels`); a COCO dataset whose annotations have scores.

    Args:
        place: of the detections.
        images: of the truth.
        classes: of the truth.
        masks: detections must have masks.

    Raises:
        DataError: lists every malformed line.
    """
    if place.is_dir():
        files = sorted(path for path in place.rglob("*") if path.suffix in (".txt", ".xml"))
        xml = [path for path in files if path.suffix == ".xml"]
        if xml and not masks and not files_by_label(place, classes):  # predict writes both
            return _read_each(xml, place, images, lambda path, _: _xml_rows(path))
        texts = [path for path in files if path.suffix == ".txt" and path.name != "classes.txt"]
        find = _finder(images)
        if (texts and masks) or any(_found(path, place, find) is not None for path in texts):
            names, read = yolo_classes(place, classes), polygon_rows if masks else yolo_rows
            return _read_each(texts, place, images, lambda path, image: read(path, image, names))
        return None
    if place.suffix.lower() == ".csv":
        return _read_csv(place, images, classes, masks)
    return None


def _finder(images: Sequence[AnnotatedImage]) -> Finder:
    """Return a function that finds an image by its path or name, with or without suffix, or id."""
    keys = [image.key for image in images]
    indices = Names(keys), Names([without_suffix(key) for key in keys])
    by_id = {str(image.image_id): number for number, image in enumerate(images)}

    def find(name: str) -> int | None:
        for index in indices:
            if len(found := index.find_inside(name)) == 1:
                return found[0]
        return by_id.get(name)

    return find


def _found(path: Path, folder: Path, find: Finder) -> int | None:
    """Return the number of the image that a file is named after, directly or in `RESULTS`."""
    name = path.relative_to(folder).with_suffix("").as_posix()
    while (found := find(name)) is None:
        outer, slash, inner = name.partition("/")
        if not slash or outer not in RESULTS:
            return None
        name = inner
    return found


def _read_each(
    files: Sequence[Path],
    folder: Path,
    images: Sequence[AnnotatedImage],
    read: Callable[[Path, AnnotatedImage], list[dict[str, Any]]],
) -> BoxFile:
    """Return the detections of files with one image each."""
    find = _finder(images)
    rows: list[dict[str, Any]] = []
    present: dict[int, Path] = {}
    extra: list[str] = []
    defects: list[CvkitError] = []
    for path in files:
        number = _found(path, folder, find)
        if number is None:
            extra.append(path.relative_to(folder).as_posix())
            continue
        if number in present:
            raise DataError(
                f"{path} and {present[number]} are of the same image, {images[number].key}",
                code="predictions.ambiguous",
                hint="keep one of them",
            )
        present[number] = path
        try:
            rows += [{"file_name": images[number].key} | row for row in read(path, images[number])]
        except DataError as defect:
            defects += defect.defects or [defect]
    raise_defects(defects, str(folder))
    if not present:
        raise DataError(
            f"no file in {folder} has the name of an image of the truth",
            code="predictions.names",
            hint=f"expected for example {without_suffix(images[0].key)}",
        )
    return BoxFile(rows, frozenset(present), tuple(extra))


def _xml_rows(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a VOC annotation, which must have a `score` or `confidence` each."""
    try:
        objects = list(parse(path).iter("object"))
    except (SyntaxError, ValueError, LookupError, DefusedXmlException) as error:
        raise DataError(f"{path} is not XML: {error}", code="results.syntax") from error
    rows: list[dict[str, Any]] = []
    defects: list[CvkitError] = []
    for number, node in enumerate(objects, 1):
        where = f"{path}: object {number}"
        texts = [node.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
        corners = [parse_number(text.strip()) if text else None for text in texts]
        score = parse_number((node.findtext("score") or node.findtext("confidence") or "").strip())
        name = (node.findtext("name") or "").strip()
        if not name or any(side is None for side in corners):
            defects.append(DataError(f"{where} has no name or no whole box", code="results.row"))
        elif score is None:
            defects.append(
                DataError(
                    f"{where} has no score",
                    code="results.key",
                    hint="predictions need <score> in each object",
                )
            )
        else:
            x1, y1, x2, y2 = (float(side) for side in corners if side is not None)
            box = [x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1]  # VOC's pixels are from 1, inclusive
            add_box(rows, defects, box, score, where, category_name=name)
    raise_defects(defects, str(path))
    return rows


def _read_csv(
    path: Path, images: Sequence[AnnotatedImage], classes: ClassList, masks: bool
) -> BoxFile:
    """Return the boxes or run-length codes of a table.

    Raises:
        DataError: a column is missing, or lists every malformed row.
    """
    table = numbered_rows(path, ())
    image, label, score, box = _columns(table[0][1], path, classes, masks)
    find, rows, present = _finder(images), [], set()
    extra: dict[str, None] = {}
    defects: list[CvkitError] = []
    for number, cells in table:
        found = find(cells[image])
        if found is None:
            extra[cells[image]] = None
            continue
        present.add(found)
        where, size_hw = f"{path}:{number}", None
        known = _class_name(cells[label], classes) if label else classes.names[0]
        values = {"file_name": images[found].key, "category_name": known}
        sure = parse_number(cells[score]) if score else 1.0
        if known is None:
            defects.append(_unknown_class(f"{where}: {label} {shown(cells[label or ''])}", classes))
        elif sure is None or not math.isfinite(sure):
            message = f"{where}: {score} {shown(cells[score or ''])} is not a finite number"
            defects.append(DataError(message, code="results.value"))
        elif masks:
            size_hw = images[found].truth.coded_masks().size_hw
            if cells[PIXELS].strip():  # without runs: an image without objects
                runs = _runs(cells[PIXELS], size_hw, where)
                if isinstance(runs, DataError):
                    defects.append(runs)
                else:
                    rows.append(values | {"segmentation": runs, "score": sure})
        elif box is not None:
            _add_row(rows, defects, [cells[name] for name in box], box, sure, where, values)
    raise_defects(defects, str(path))
    if not present:
        raise DataError(
            f"no row of {path} is of an image of the truth",
            code="predictions.names",
            hint=f"expected for example {images[0].key}",
        )
    notes = () if score else (f"{path} has no scores: all its detections count alike",)
    return BoxFile(rows, frozenset(present), tuple(extra), notes)


def _columns(
    first: dict[str, str], path: Path, classes: ClassList, masks: bool
) -> tuple[str, str | None, str | None, Sequence[str] | None]:
    """Return the columns of the image, class, score and box of a table, by its first row.

    Raises:
        DataError: one is missing.
    """
    image = find_column(first, IMAGES, path)
    label = next((name for name in CLASSES if name in first), None)
    score = next((name for name in SCORES if name in first), None)
    if label is None and len(classes) > 1:
        label = find_column(first, CLASSES, path)
    if score is None and not masks:
        score = find_column(first, SCORES, path)
    box = next((names for names in (*CORNERS, *SIDES) if all(n in first for n in names)), None)
    if (masks and PIXELS not in first) or (not masks and box is None):
        wanted = f"column {PIXELS}" if masks else "columns x1, y1, x2, y2 (or x, y, width, height)"
        alone = "; 'cvkit detect eval' scores boxes alone" if masks and box else ""
        raise DataError(
            f"{path} has no {wanted}",
            code="list.column",
            hint=f"its first line has {shown(', '.join(first))}{alone}",
        )
    return image, label, score, box


def _class_name(cell: str, classes: ClassList) -> str | None:
    """Return the name of a class that a table gives by its name, or by its id in the truth.

    None if it is a number that is not an id.
    """
    if cell in classes.names:
        return cell
    number = whole_number(parse_number(cell))  # pandas writes 1.0 into columns with empty cells
    if number is None or any(whole_number(name) is not None for name in classes.names):
        return cell
    return dict(zip(classes.ids, classes.names, strict=True)).get(number)


def _unknown_class(what: str, classes: ClassList) -> DataError:
    known = zip(classes.ids[:8], classes.names, strict=False)
    return DataError(
        f"{what} is not an id of the truth",
        code="results.category",
        hint=f"it has {', '.join(f'{id_} ({name})' for id_, name in known)}",
    )


def _add_row(
    rows: list[dict[str, Any]],
    defects: list[CvkitError],
    cells: Sequence[str],
    columns: Sequence[str],
    score: float,
    where: str,
    values: dict[str, Any],
) -> None:
    """Append the box of a table's row, or its defect."""
    numbers = [parse_number(cell) for cell in cells]
    wrong = [n for n, value in enumerate(numbers) if value is None or not math.isfinite(value)]
    if wrong:
        message = f"{where}: {columns[wrong[0]]} {shown(cells[wrong[0]])} is not a finite number"
        defects.append(DataError(message, code="results.value"))
        return
    a, b, c, d = (float(value) for value in numbers if value is not None)
    box = [a, b, c - a, d - b] if columns in CORNERS else [a, b, c, d]
    add_box(rows, defects, box, score, where, **values)


def _runs(text: str, size_hw: tuple[int, int], where: str) -> dict[str, Any] | DataError:
    """Return Kaggle's run-length code as COCO's."""
    try:
        runs = parse_runs(text, size_hw)
    except ValueError as error:
        return DataError(f"{where}: {PIXELS} {shown(text)} {error}", code="results.value")
    return {"size": list(size_hw), "counts": coco_counts(runs, size_hw)}


def dataset_rows(content: Any, path: Path) -> Any:
    """Return COCO's results from a whole COCO dataset; any other content as it is.

    Raises:
        DataError: an annotation has no score, or its image or category is not in the file.
    """
    if not isinstance(content, dict) or not isinstance(content.get("annotations"), list):
        return content
    images = _named(content.get("images"), "file_name")
    names = _named(content.get("categories"), "name")
    rows = []
    for place, row in enumerate(content["annotations"]):
        where = f"{path}: annotations[{place}]"
        if not isinstance(row, dict) or "score" not in row:
            raise DataError(
                f"{where} has no 'score'",
                code="results.key",
                hint="predictions need a score; the ground truth belongs to --truth",
            )
        image, name = images.get(row.get("image_id")), names.get(row.get("category_id"))
        if image is None or name is None:
            raise DataError(
                f"{where}: its image or category is not in the file", code="results.image"
            )
        rows.append(row | {"file_name": image, "category_name": name})
    return rows


def _named(rows: Any, field: str) -> dict[Any, str]:
    """Return the names of the entries of a COCO file by their ids."""
    known = rows if isinstance(rows, list) else []
    pairs = [(row.get("id"), row.get(field)) for row in known if isinstance(row, dict)]
    return {id_: str(name) for id_, name in pairs if isinstance(id_, int | str) and is_text(name)}
