"""Darknet's files: `obj.data` names the classes and a list of images for each split.

The labels of an image are beside it, or in the parallel tree of `labels`; their lines are those of
YOLO. Paths are relative to where Darknet ran, so that their beginnings may not exist here.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cvkit.data.annotated import AnnotatedImage, Annotations
from cvkit.data.classes import object_classes, read_classes
from cvkit.data.decode import upright_size_hw
from cvkit.data.division import is_split
from cvkit.data.files import escapes, matches
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.yolo import label_path, objects_of, read_labels
from cvkit.data.formats.yolo_lines import Line, oriented
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.texts import read_lines, require_regular, shown

MOST_BYTES = 100_000


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has such a file."""
    return _data_file(place) is not None


def read(query: Query) -> Contents[Annotations]:
    """Return the splits that the file names; a single one may be divided.

    Raises:
        DataError: it is malformed, or a file that it names is missing.
    """
    root = query.root
    file = _data_file(root)
    if file is None:
        raise DataError(f"{root} has no file such as obj.data", code="data.layout")
    entries = _entries(file)
    known = [name for name in entries if is_split(name)]
    return Contents(known, None, lambda split: _read(root, file, entries, entries[split]))


def _data_file(root: Path) -> Path | None:
    return next((f for f in matches(root, "*.data") if _has_names(f)), None)


def _has_names(file: Path) -> bool:
    try:
        require_regular(file)
        with file.open("rb") as stream:
            content = stream.read(MOST_BYTES)
    except (OSError, DataError):
        return False
    return b"names" in content and b"=" in content


def _entries(file: Path) -> dict[str, str]:
    """Return the entries of the file.

    Raises:
        DataError: a line is not a name and a value, or there are no names of classes.
    """
    result: dict[str, str] = {}
    for number, line in enumerate(read_lines(file, area="yolo"), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not equals or not value.strip():
            reason = f"{file}:{number}: {shown(line)} is not NAME = VALUE"
            raise DataError(reason, code="yolo.syntax")
        result[name.strip()] = value.strip()
    if "names" not in result:
        raise DataError(f"{file} does not name the classes", code="classes.missing", hint="names =")
    return result


def _beside(root: Path, name: str, where: str, code: str) -> Path:
    """Return the file that the end of a path names in the dataset.

    Raises:
        DataError: there is none.
    """
    parts = [part for part in PurePosixPath(name.replace("\\", "/")).parts if part not in ".."]
    for first in range(len(parts)):
        tail = "/".join(parts[first:])
        if not escapes(tail) and (root / tail).is_file():
            return root / tail
    raise DataError(f"{where}: {shown(name)} does not exist", code=code, hint=f"put it into {root}")


def _read(root: Path, file: Path, entries: dict[str, str], listed: str) -> Annotations:
    """Return the images of a list; defects of single images are collected.

    Raises:
        DataError: the list or that of the classes is missing or malformed.
    """
    names = _beside(root, entries["names"], str(file), "classes.missing")
    classes = read_classes(names)[0].names
    found = Annotations(object_classes(classes, range(len(classes))))
    images = _beside(root, listed, str(file), "split.id_without_file")
    lines: list[Line] = []
    seen: set[Path] = set()
    for number, line in enumerate(read_lines(images, area="split"), 1):
        if not line.strip():
            continue
        where = f"{images}:{number}"
        try:
            path = _beside(root, line.strip(), where, "image.missing")
            if path in seen:
                text = f"{where}: {shown(line)} is listed twice"
                raise DataError(text, code="split.duplicate")
            seen.add(path)
            height, width = upright_size_hw(path)
            labels = path.with_suffix(".txt")
            labels = labels if labels.is_file() else label_path(root, path)
            mine = read_labels(labels, len(classes), (width, height), masks=False)
        except CvkitError as defect:
            found.defects.append(of_sample(defect, line.strip()))
            continue
        key, truth = path.relative_to(root).as_posix(), objects_of(mine, (width, height), False)
        ordinal = len(found.images) + 1
        found.images.append(AnnotatedImage(key, path, ordinal, (width, height), truth))
        lines += mine
    if not found.images and not found.defects:
        raise DataError(f"{images} lists no images", code="split.empty")
    if tilted := oriented(root, lines):
        found.defects.append(tilted)
    return found
