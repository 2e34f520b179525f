"""Text files that list the images or videos of each split, in each line a path and perhaps a label.

The files are `train.txt`, `val.txt`, `test.txt`, or UCF101's `trainlist01.txt` and
`testlist01.txt`, in the dataset's folder or one below it. Without a label, the class is the folder
of the file. A number is a class of `classInd.txt`, which counts from 1, or of `classes.txt` or
`synsets.txt`, which count from 0.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from cvkit.data.classes import dataset_classes, read_classes
from cvkit.data.classified import ClassifiedImage
from cvkit.data.division import find_split, is_split
from cvkit.data.files import READ_SUFFIXES, inside, matches
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.errors import CvkitError, DataError, raise_defects
from cvkit.texts import read_lines, require_regular, shown, whole_number

FIRST_BYTES = 4096
"""Number of bytes of a list that are examined."""
NUMBERS = "classInd.txt"
SYNSETS = "synsets.txt"
"""The classes of ImageNet's lists, numbered from 0."""
UCF101 = "UCF-101"
"""Folder of UCF101's videos, beside that of its lists."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder, or one of its folders, has lists."""
    return any(map(_has_paths, _lists(place, splits).values()))


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the splits of a dataset."""
    root = query.root
    lists = _lists(root, query.splits)

    def read_split(split: str) -> Listing[ClassifiedImage]:
        return _read_list(root, lists[split])

    def class_names() -> set[str]:
        both = filter(None, (find_split(name, lists) for name in ("train", "val")))
        return {image.label for name in both for image in read_split(name).images}

    return Contents([*lists], None, read_split, class_names)


def _lists(root: Path, splits: Sequence[str]) -> dict[str, Path]:
    """Return the file of each split; of UCF101's three divisions the first."""
    result: dict[str, Path] = {}
    for file in [*matches(root, "*.txt"), *matches(root, "*/*.txt")]:
        split = re.sub(r"list0?1$", "", file.stem)
        if is_split(split) or split in splits:
            result.setdefault(split, file)
    return result


def _has_paths(file: Path) -> bool:
    """Return whether the first line of a list begins with the name of an image or video."""
    try:
        require_regular(file)
        with file.open("rb") as stream:
            line = stream.read(FIRST_BYTES).decode(errors="replace").partition("\n")[0]
    except (OSError, DataError):
        return False
    path, label = _parts(line.strip())
    return Path(path).suffix.lower() in READ_SUFFIXES and bool(label or "/" in path)


def _parts(line: str) -> tuple[str, str]:
    """Return the path and the label of a line; the label is "" if there is none."""
    if Path(line).suffix.lower() in READ_SUFFIXES:
        return line, ""
    path, _, label = line.rpartition("," if "," in line and " " not in line else " ")
    return path.strip(), label.strip()


def _read_list(root: Path, file: Path) -> Listing[ClassifiedImage]:
    """Return the files of a list.

    Raises:
        DataError: lists the defects of all lines.
    """
    names = _numbered(root, file)
    defects: list[CvkitError] = []
    images: list[ClassifiedImage] = []
    seen: set[str] = set()
    for number, line in enumerate(read_lines(file, area="split"), 1):
        if not line.strip():
            continue
        where = f"{file}:{number}"
        key, label = _parts(line.strip())
        try:
            path = _find(root, file, key, where)
            label = names.get(whole_number(label) if label else None, label) or path.parent.name
            if key in seen:
                raise DataError(f"{where}: {shown(key)} is listed twice", code="split.duplicate")
            if not label.isprintable():
                raise DataError(f"{where}: {shown(label)} cannot be a class", code="class.name")
        except DataError as defect:
            defects.append(defect)
            continue
        seen.add(key)
        images.append(ClassifiedImage(path.relative_to(root).as_posix(), path, label))
    raise_defects(defects, str(file))
    if not images:
        raise DataError(f"{file} lists no files", code="split.empty")
    return Listing(images)


def _find(root: Path, file: Path, name: str, where: str) -> Path:
    """Return the path of a listed file.

    Raises:
        DataError: it leads out of the dataset, or does not exist.
    """
    folders = (root, file.parent, root / "videos", root / "images", root / file.stem, root / UCF101)
    paths = [inside(folder, name, file) for folder in folders]
    found = next((path for path in paths if path.exists()), None)
    if not name or found is None:
        raise DataError(
            f"{where}: {shown(name)} does not exist",
            code="split.id_without_file",
            hint="paths are relative to the dataset's folder, images/ or videos/",
        )
    return found


def _numbered(root: Path, file: Path) -> dict[int | None, str]:
    """Return the classes by their numbers; none if the dataset does not number them.

    Raises:
        DataError: a line of `classInd.txt` is not a number and a name.
    """
    table = next((f for f in (file.parent / NUMBERS, root / NUMBERS) if f.is_file()), None)
    if table is None:
        listed, _ = dataset_classes(root)
        if listed is None and (root / SYNSETS).is_file():
            listed, _ = read_classes(root / SYNSETS)
        return dict(enumerate(listed.names)) if listed else {}
    result: dict[int | None, str] = {}
    for number, line in enumerate(read_lines(table, area="classes"), 1):
        cells = line.split()
        if cells and (len(cells) != 2 or whole_number(cells[0]) is None):
            raise DataError(
                f"{table}:{number}: {shown(line)} is not a number and a name", code="classes.line"
            )
        if cells:
            result[whole_number(cells[0])] = cells[1]
    return result
