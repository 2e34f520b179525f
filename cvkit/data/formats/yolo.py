"""The text layout of the YOLO tools: one file per image, one line per object.

A line is `CLASS CX CY W H` in fractions of the image size, or `CLASS X Y X Y X Y ...` for a
polygon, which becomes its box. `data.yaml` names the classes and the image folders; labels are in
the same tree, with `labels` in place of `images`.

Nothing outside the folder of `data.yaml` is read: if its `path` leads out, images are looked up
    beside the file, with a warning; if they are not there, that is an error.
"""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cvkit.data.annotated import AnnotatedImage, Annotations, make_truth, no_objects
from cvkit.data.classes import dataset_classes, object_classes
from cvkit.data.decode import upright_size_hw
from cvkit.data.division import is_split
from cvkit.data.files import escapes, inside, matches, walk_images
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.image_tree import folder_parts, shared_labels
from cvkit.data.notes import Note
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.structures import ClassList, Instances
from cvkit.texts import counted, is_text, parse_number, read_lines, require_regular, shown
from cvkit.yaml_files import MOST_BYTES, read_yaml

SLACK = 1e-3
"""How far rounding may move a box over the image border, as a fraction of the image size."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a dataset is a YAML file, or a folder with one or with labels."""
    return place.is_file() or find_yaml(place) is not None or (place / "labels").is_dir()


def read(query: Query) -> Contents[Annotations]:
    """Return the splits of a dataset; without any, all images may be divided."""
    known, heap = yolo_parts(query.root, query.splits)
    return Contents(known, heap, lambda split: read_yolo(query.root, split))


def find_yaml(root: Path) -> Path | None:
    """Return the dataset's YAML file, if it has one with class names.

    Raises:
        DataError: there is none, and a file that seems to have class names cannot be read.
    """
    files = [root] if root.suffix.lower() in (".yaml", ".yml") else matches(root, "*.y*ml")
    refused = None
    for file in files:
        try:
            if "names" in _read(file):
                return file
        except DataError as error:
            # A folder may contain YAML files of other programs, with any content.
            refused = refused or (error if file == root or _has_names(file) else None)
    if refused:
        raise refused
    return None


def _has_names(file: Path) -> bool:
    """Return whether a file that cannot be read as YAML has a line that begins with `names`."""
    try:
        require_regular(file)
        with file.open("rb") as stream:
            return re.search(rb"^[\s'\"{]*names\b", stream.read(MOST_BYTES), re.M) is not None
    except (OSError, DataError):
        return False


def _read(path: Path) -> dict[str, Any]:
    content = read_yaml(path)
    return content if isinstance(content, dict) else {}


def yolo_parts(root: Path, splits: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the names of the splits, and "" if there are none: then `images` is divided.

    Args:
        root: the dataset, or its YAML file.
        splits: names that may be nested.
    """
    file = find_yaml(root)
    if file is None:
        return folder_parts(root, splits)
    entries = {name: value for name, value in _read(file).items() if value is not None}
    known = [name for name in entries if is_split(name) or name in splits]
    if not known:
        return folder_parts(_base(file, entries)[0], splits)
    return known, None


def read_yolo(root: Path, split: str) -> Annotations:
    """Return the images and boxes of a split; ids are the file's own class numbers.

    Args:
        root: the dataset, or its YAML file.
        split: the dataset's own name; "" for all images.

    Raises:
        DataError: no such folder or no class names. Defects of single lines are collected.
    """
    file = find_yaml(root)
    base, places = (root if root.is_dir() else root.parent), [f"images/{split}".rstrip("/")]
    outside = ""
    if file is not None:
        content = _read(file)
        base, outside = _base(file, content)
        places = _places(file, content, split) or places
    defects: list[CvkitError] = []
    try:
        paths = _images(base, places, split, defects)
    except DataError as error:
        if file is not None and outside and error.code == "split.missing":
            raise _left(file, outside) from error
        raise
    images = [(path, path.relative_to(base).as_posix()) for path in paths]
    labels = [(_label_path(base, path), key) for path, key in dict(images).items()]
    found = Annotations(_classes(file, base), defects=defects, notes=shared_labels(labels))
    if outside:
        text = (
            f"{file}: path {shown(outside)} leads out of the dataset folder and is not followed; "
            "the images beside the file are used"
        )
        found.notes.append(Note(text, "path.ignored"))
    for path, key in images:
        try:
            height, width = upright_size_hw(path)
            truth = _truth(_label_path(base, path), len(found.classes), (width, height))
        except CvkitError as defect:
            found.defects.append(of_sample(defect, key))
            continue
        number = len(found.images) + 1
        found.images.append(AnnotatedImage(key, path, number, (width, height), truth))
    return found


def _left(file: Path, outside: str) -> DataError:
    return DataError(
        f"{file}: path {shown(outside)} leads out of the dataset folder, and the images are not "
        "beside the file",
        code="path.escape",
        hint=f"put {file.name} into the folder of the images, without path, and give that folder",
    )


def _base(file: Path, content: dict[str, Any]) -> tuple[Path, str]:
    """Return the folder to which the YAML's paths are relative, and its `path` if it leads out.

    Raises:
        DataError: `path` is not text.
    """
    here, named = file.parent, content.get("path")
    if named is None:
        return here, ""
    if not isinstance(named, str):
        raise DataError(f"{file}: path {shown(named)} is not text", code="yolo.path")
    if not escapes(named):
        return (here / named if (here / named).is_dir() else here), ""
    try:
        same = (here / named).resolve() == here.resolve()
    except (OSError, ValueError, RuntimeError):  # too long, a NUL character, or a loop of links
        same = False
    return here, "" if same else named


def _places(file: Path, content: dict[str, Any], split: str) -> list[str]:
    """Return the folders and lists that the YAML gives for a split, if any.

    Raises:
        DataError: an entry is not a path.
    """
    entry = content.get(split)
    places = entry if isinstance(entry, list) else [] if entry is None else [entry]
    for place in places:
        if not isinstance(place, str):
            raise DataError(f"{file}: {split}: {shown(place)} is not a path", code="yolo.path")
    return places


def _classes(file: Path | None, base: Path) -> ClassList:
    if file is None:
        listed, _ = dataset_classes(base)
        if listed is None:
            raise DataError(
                f"{base} does not list any classes",
                code="classes.missing",
                hint="data.yaml or classes.txt",
            )
        return listed
    names = _read(file)["names"]
    if isinstance(names, list):
        names = dict(enumerate(names))
    numbered = isinstance(names, dict) and set(map(type, names)) == {int}
    if not numbered or sorted(names) != list(range(len(names))):
        raise DataError(
            f"{file}: names must be a list, or a mapping of numbers from 0 to names",
            code="classes.syntax",
        )
    for number, name in names.items():
        if type(name) is not int and (not is_text(name) or not name.strip()):
            raise DataError(
                f"{file}: the name of class {number}, {shown(name)}, is not text",
                code="classes.syntax",
                hint="put it in quotes",
            )
    ordered = [str(names[number]) for number in range(len(names))]
    if len(set(ordered)) < len(ordered):
        raise DataError(f"{file}: a class name occurs twice", code="classes.duplicate")
    return object_classes(ordered, range(len(ordered)))


def _images(base: Path, places: list[str], split: str, defects: list[CvkitError]) -> list[Path]:
    """Return the images in the folders and lists of a split; lines that lead out are defects.

    Raises:
        DataError: a place leads out, is missing, or all of them are empty.
    """
    result: list[Path] = []
    for place in places:
        # Exports give folders relative to the place where a training tool once ran.
        path = inside(base, place.removeprefix("../").removeprefix("./"))
        if path.suffix == ".txt" and path.is_file():
            for line in filter(None, map(str.strip, read_lines(path, area="split"))):
                try:
                    result.append(inside(base, line.removeprefix("./")))
                except DataError as defect:
                    defects.append(defect)
        elif path.is_dir():
            result += walk_images(path)
        else:
            raise DataError(
                f"{base} has no split {split!r}: {path} is missing", code="split.missing"
            )
    if not result and not defects:
        raise DataError(f"split {split!r} of {base} is empty", code="split.empty")
    return result


def _label_path(base: Path, image: Path) -> Path:
    """Return the path of an image's labels: `labels` replaces the last `images` in its path."""
    parts = list(image.relative_to(base).parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return base.joinpath(*parts).with_suffix(".txt")


def _truth(path: Path, count: int, size_wh: tuple[int, int]) -> Instances:
    """Return the objects of a label file; an image without one has none.

    Raises:
        DataError: names the first malformed line.
    """
    if not path.exists():
        return no_objects()
    boxes, labels = [], []
    for number, line in enumerate(read_lines(path, area="yolo"), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        parts = [parse_number(part) for part in line.split()]
        numbers = [part for part in parts if part is not None]
        if len(numbers) < len(parts):
            raise DataError(
                f"{where}: {shown(line)} does not consist of numbers", code="yolo.syntax"
            )
        label, *values = numbers
        if not label.is_integer() or not 0 <= label < count:
            raise DataError(
                f"{where}: class {shown(line.split()[0])} is not in 0..{count - 1}",
                code="yolo.class",
            )
        boxes.append(_corners(values, size_wh, where))
        labels.append(int(label) + 1)
    return make_truth(boxes, labels) if boxes else no_objects()


def _corners(values: list[float], size_wh: tuple[int, int], where: str) -> tuple[float, ...]:
    if len(values) == 4:
        x, y, w, h = values
        shares = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
    elif len(values) >= 6 and len(values) % 2 == 0:
        shares = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
    else:
        raise DataError(
            f"{where}: {counted(len(values), 'number')} instead of a box", code="yolo.syntax"
        )
    wrong = not all(map(math.isfinite, values))  # the minimum and maximum hide NaN
    wrong |= not all(-SLACK <= share <= 1 + SLACK for share in shares)
    if wrong or shares[2] < shares[0] or shares[3] < shares[1]:
        raise DataError(
            f"{where}: box {shown([round(v, 4) for v in values])} leaves the image",
            code="yolo.range",
            hint="centre and size are shares of the image from 0 to 1",
        )
    width, height = size_wh
    x1, y1, x2, y2 = (min(1.0, max(0.0, share)) for share in shares)
    return x1 * width, y1 * height, x2 * width, y2 * height
