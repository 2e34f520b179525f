"""The text layout of the YOLO tools: one file per image, one line per object.

A line is `CLASS CX CY W H` in fractions of the image size, or `CLASS X Y X Y X Y ...` for a
polygon: the outline of an object, or its box if masks are not needed. `data.yaml` names the classes
and the image folders; labels are in the same tree, with `labels` in place of `images`. Without that
file, images are in `images/SPLIT` or `SPLIT/images`.

Nothing outside the folder of `data.yaml` is read: if one of its paths leads out, images are looked
    up beside the file, with a warning; if they are not there, that is an error.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cvkit.data.annotated import AnnotatedImage, Annotations, make_truth, no_objects
from cvkit.data.classes import dataset_classes, object_classes
from cvkit.data.decode import upright_size_hw
from cvkit.data.division import is_split
from cvkit.data.files import escapes, inside, matches, walk_images
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.image_tree import shared_labels, tree_parts
from cvkit.data.formats.signs import any_has
from cvkit.data.formats.yolo_lines import Line, oriented, read_line
from cvkit.data.notes import Note
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.ops.rle import make_masks, mask_areas
from cvkit.structures import ClassList, Instances
from cvkit.texts import is_text, read_lines, require_regular, shown
from cvkit.yaml_files import MOST_BYTES, read_yaml

LABELS = ("labels/**/*.txt", "*/labels/**/*.txt")
POLYGON = re.compile(rb"^[ \t]*\d+([ \t]+[-+.\deE]+){6,}[ \t]*\r?$", re.M)


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a dataset is a YAML file, or a folder with one or with labels."""
    if place.is_file() or find_yaml(place) is not None or (place / "labels").is_dir():
        return True
    return any((folder.parent / "images").is_dir() for folder in matches(place, "*/labels"))


def read(query: Query) -> Contents[Annotations]:
    """Return the splits of a dataset; without any, all images may be divided."""
    known, heap = yolo_parts(query.root, query.splits)
    return Contents(known, heap, lambda split: read_yolo(query.root, split, masks=query.masks))


def has_outlines(place: Path) -> bool:
    """Return whether a label file has a polygon."""
    base = place if place.is_dir() else place.parent
    return any_has([f for p in LABELS for f in matches(base, p)], POLYGON)


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
        return tree_parts(root, splits)
    entries = {name: value for name, value in _read(file).items() if value is not None}
    known = [name for name in entries if is_split(name) or name in splits]
    if not known:
        return tree_parts(_base(file, entries)[0], splits)
    return known, None


def read_yolo(root: Path, split: str, *, masks: bool = False) -> Annotations:
    """Return the images and boxes of a split; ids are the file's own class numbers.

    Args:
        root: the dataset, or its YAML file.
        split: the dataset's own name; "" for all images.
        masks: every object must have an outline.

    Raises:
        DataError: no such folder or no class names. Defects of single lines are collected.
    """
    file = find_yaml(root)
    base, outside, listed = (root if root.is_dir() else root.parent), "", []
    if file is not None:
        content = _read(file)
        base, outside = _base(file, content)
        listed = _places(file, content, split)
    places, moved = _beside(base, listed) if listed else ([_folder(base, split)], "")
    defects: list[CvkitError] = []
    try:
        paths = _images(base, places, split, defects)
    except DataError as error:
        if file is not None and outside and error.code == "split.missing":
            raise _left(file, outside) from error
        raise
    images = [(path, path.relative_to(base).as_posix()) for path in paths]
    labels = [(label_path(base, path), key) for path, key in dict(images).items()]
    found = Annotations(_classes(file, base), defects=defects, notes=shared_labels(labels))
    if moved:
        found.notes.append(f"{file}: {moved}")
    if outside:
        text = (
            f"{file}: path {shown(outside)} leads out of the dataset folder and is not followed; "
            "the images beside the file are used"
        )
        found.notes.append(Note(text, "path.ignored"))
    all_lines: list[Line] = []
    for path, key in images:
        try:
            height, width = upright_size_hw(path)
            lines = read_labels(label_path(base, path), len(found.classes), (width, height), masks)
        except CvkitError as defect:
            found.defects.append(of_sample(defect, key))
            continue
        number, truth = len(found.images) + 1, objects_of(lines, (width, height), masks)
        found.images.append(AnnotatedImage(key, path, number, (width, height), truth))
        all_lines += lines
    if tilted := oriented(base, all_lines):
        found.defects.append(tilted)
    return found


def _folder(base: Path, split: str) -> str:
    """Return the folder of a split's images, of a dataset that does not name it."""
    other = f"{split}/images"
    if split and not (base / "images" / split).is_dir() and inside(base, other).is_dir():
        return other
    return f"images/{split}".rstrip("/")


def _beside(base: Path, places: list[str]) -> tuple[list[str], str]:
    """Return the folders and lists of a split, those that lead out by the end of their paths.

    Exports contain the paths of the place where they were made.

    Args:
        base: the dataset.
        places: as the YAML names them.

    Returns:
        The places, and a note if some lead out; places that are not beside the file are kept.
    """
    result, note = [], ""
    for place in places:
        # Exports give folders relative to the place where a training tool once ran.
        short = place.removeprefix("../").removeprefix("./")
        if escapes(short):
            parts = [part for part in re.split(r"[/\\]", short) if part not in ("", ".", "..")]
            tails = ("/".join(parts[first:]) for first in range(len(parts)))
            short = next((t for t in tails if not escapes(t) and (base / t).exists()), short)
            if not escapes(short):
                note = f"{shown(place)} leads out of the dataset folder; {short} is used"
        result.append(short)
    return result, note


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
        path = inside(base, place)
        if path.suffix == ".txt" and path.is_file():
            for line in filter(None, map(str.strip, read_lines(path, area="split"))):
                try:
                    result.append(inside(base, line.removeprefix("./"), path))
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


def label_path(base: Path, image: Path) -> Path:
    """Return the path of an image's labels: `labels` replaces the last `images` in its path."""
    parts = list(image.relative_to(base).parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return base.joinpath(*parts).with_suffix(".txt")


def read_labels(path: Path, count: int, size_wh: tuple[int, int], masks: bool) -> list[Line]:
    """Return the objects of a label file; an image without one has none.

    Raises:
        DataError: names the first malformed line.
    """
    if not path.exists():
        return []
    lines = enumerate(read_lines(path, area="yolo"), 1)
    return [
        read_line(line, count, size_wh, f"{path}:{number}", masks=masks)
        for number, line in lines
        if line.strip()
    ]


def objects_of(lines: list[Line], size_wh: tuple[int, int], masks: bool) -> Instances:
    """Return the objects of an image."""
    codes = make_masks([line.code for line in lines if line.code is not None], size_wh[::-1])
    if not lines:
        return replace(no_objects(), masks=codes) if masks else no_objects()
    return make_truth(
        [line.box for line in lines],
        [line.label for line in lines],
        areas=mask_areas(codes) if masks else None,
        masks=codes if masks else None,
    )
