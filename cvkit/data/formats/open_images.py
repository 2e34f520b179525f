"""Open Images: tables of boxes and of the classes; images are found by their ids.

The tables are `SPLIT-annotations-bbox.csv`, with anything before the split, such as `oidv6-`, and
`*class-descriptions*.csv`. Groups are crowds.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cvkit.data.annotated import AnnotatedImage, Annotations, box_defect, make_truth
from cvkit.data.classes import object_classes
from cvkit.data.decode import upright_size_hw
from cvkit.data.division import is_split
from cvkit.data.files import matches, walk_images
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.named_files import SOME_MISSING, FilesByName, Named
from cvkit.data.labelled import missing_files
from cvkit.data.tables import read_rows
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.structures import ClassList, Instances
from cvkit.texts import parse_number, read_lines, shown

BOXES, CLASSES = "annotations-bbox", "class-descriptions"
IMAGE, LABEL, GROUP = "ImageID", "LabelName", "IsGroupOf"
SIDES = ("XMin", "YMin", "XMax", "YMax")
BOXABLE = "boxable"
HEADER = "LabelName,DisplayName"


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has a table of boxes and one of classes."""
    return bool(tables_of(place, BOXES) and files_of(place, CLASSES))


def read(query: Query) -> Contents[Annotations]:
    """Return the splits that have a table of boxes."""
    root, tables = query.root, tables_of(query.root, BOXES)
    names = names_of(root, boxable=True)
    files = FilesByName(root, walk_images)
    return Contents([*tables], None, lambda split: _boxes(root, tables[split], names, files))


def files_of(root: Path, part: str) -> list[Path]:
    """Return the tables with a part in their names, in a folder or else one below it."""
    return matches(root, f"*{part}*.csv") or matches(root, f"*/*{part}*.csv")


def tables_of(root: Path, part: str) -> dict[str, Path]:
    """Return the table of each split."""
    result: dict[str, Path] = {}
    for file in files_of(root, part):
        for word in file.stem.split("-"):
            if is_split(word):
                result.setdefault(word, file)
    return result


def names_of(root: Path, *, boxable: bool) -> dict[str, str]:
    """Return the names of the classes by their ids; equal names get the id, too.

    Args:
        root: the dataset.
        boxable: which table is taken if there are two, of the classes with boxes and of all.

    Raises:
        DataError: a malformed line.
    """
    tables = files_of(root, CLASSES)
    file = next((table for table in tables if (BOXABLE in table.stem) == boxable), tables[0])
    rows: list[tuple[str, str]] = []
    for number, line in enumerate(read_lines(file, area="classes"), 1):
        if not line.strip() or line.strip() == HEADER:
            continue
        label, _, name = line.partition(",")
        if not label.strip() or not (name := name.strip().strip('"')) or not name.isprintable():
            reason = f"{file}:{number}: {shown(line)} is not an id and a name"
            raise DataError(reason, code="classes.line")
        rows.append((label.strip(), name))
    if not rows:
        raise DataError(f"{file} lists no classes", code="classes.count")
    counts = Counter(name for _, name in rows)
    return {label: name if counts[name] == 1 else f"{name} ({label})" for label, name in rows}


def _boxes(root: Path, table: Path, names: dict[str, str], files: FilesByName) -> Annotations:
    """Return the images of a table with their boxes; all defects are collected."""
    rows: dict[str, list[tuple[str, dict[str, str]]]] = {}
    for number, row in enumerate(read_rows(table, (IMAGE, LABEL, *SIDES)), 1):
        rows.setdefault(row[IMAGE].strip(), []).append((f"{table}: row {number}", row))
    classes: ClassList = object_classes([*names.values()], range(1, len(names) + 1))
    found = Annotations(classes)
    labels = {label: number for number, label in enumerate(names, 1)}
    missing: dict[str, str] = {}
    for image, mine in rows.items():
        try:
            path = files.find(Named(f"{table}: {shown(image)}", (image,), ""))
            if path is None:
                missing[image] = image
                continue
            height, width = upright_size_hw(path)
            truth = _truth(mine, labels, (width, height))
        except CvkitError as defect:
            found.defects.append(of_sample(defect, image))
            continue
        key, number = path.relative_to(root).as_posix(), len(found.images) + 1
        found.images.append(AnnotatedImage(key, path, number, (width, height), truth))
    found.defects += missing_files(table, missing, SOME_MISSING)
    return found


def _truth(
    rows: Sequence[tuple[str, dict[str, str]]], labels: dict[str, int], size_wh: tuple[int, int]
) -> Instances:
    """Return the objects of an image; sides are shares of its size.

    Raises:
        DataError: describes the defect of one.
    """
    boxes, numbers, groups = [], [], []
    for where, row in rows:
        if row[LABEL].strip() not in labels:
            text = f"{where}: {shown(row[LABEL])} is not one of the classes"
            raise DataError(text, code="object.name_unknown")
        values = [parse_number(row[side].strip()) for side in SIDES]
        shares = [value for value in values if value is not None]
        if len(shares) < len(values) or not all(-0.001 <= share <= 1.001 for share in shares):
            text = f"{where}: {shown([row[side] for side in SIDES])} are not shares from 0 to 1"
            raise DataError(text, code="bbox.length")
        box = [v * size_wh[n % 2] for n, v in enumerate(shares)]
        if defect := box_defect(box, size_wh, where, "bbox"):
            raise defect
        boxes.append(box)
        numbers.append(labels[row[LABEL].strip()])
        groups.append((row.get(GROUP) or "0").strip() == "1")
    return make_truth(boxes, numbers, crowd=groups)
