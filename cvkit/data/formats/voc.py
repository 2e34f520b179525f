"""PASCAL VOC's detection layout.

Its pixels are 1-based and inclusive: the box (1, 1, 1, 1) is the first pixel. Here it becomes (0,
0, 1, 1): 1 is subtracted from xmin and ymin, xmax and ymax are kept.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from cvkit.data.annotated import (
    AnnotatedImage,
    Annotations,
    box_defect,
    claimed_size,
    make_truth,
)
from cvkit.data.classes import dataset_classes, object_classes, without_background
from cvkit.data.files import inside, matches
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.voc_lists import (
    list_names,
    list_parts,
    passed_over,
    with_image_suffix,
    without_labels,
)
from cvkit.data.formats.xml_files import read_root
from cvkit.data.notes import Note
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.structures import ClassList
from cvkit.texts import parse_number, shown

MOST_BYTES = 10_000_000
"""Maximum size of an annotation; VOC's have a few thousand bytes."""

VOC_CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)


@dataclass(frozen=True)
class VocObject:
    """One `<object>`: name, continuous box, whether it is difficult."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool


_Parsed = tuple[tuple[int, int] | None, list[VocObject], str]
"""Claimed width and height, objects, and the name of the image, of an annotation."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has images and annotations, or lists of them."""
    both = all((place / name).is_dir() for name in ("JPEGImages", "Annotations"))
    return both or (place / "ImageSets" / "Main").is_dir()


def read(query: Query) -> Contents[Annotations]:
    """Return the splits of a dataset; see `list_parts`."""
    known, heap = list_parts(query.root, "Main", query.splits)
    return Contents(known, heap, lambda split: read_voc(query.root, split))


def read_voc(root: Path, split: str) -> Annotations:
    """Return the images and boxes of a split; of all annotations if its name is "".

    Classes are those of `classes.txt` or `labelmap.txt`, without a background that no object has;
    otherwise all names that occur in the folder, sorted, which are VOC's twenty if those all occur.
    Ids are 1, 2, ...

    Raises:
        DataError: no such split. Defects of single files are collected.
    """
    folder, notes = root / "Annotations", []
    source = root / "ImageSets" / "Main" / f"{split}.txt" if split else None
    if split:
        names = list_names(root, "Main", split)
    else:
        files = matches(folder, "**/*.xml")
        names = [file.relative_to(folder).with_suffix("").as_posix() for file in files]
        notes = without_labels(root, "Annotations", "annotation")
    defects: list[CvkitError] = []
    entries = []
    for number, name in enumerate(names, 1):
        try:
            stem = inside(root / "JPEGImages", name, source)
            entries.append(Entry(number, stem, root / "Annotations" / f"{name}.xml"))
        except DataError as defect:
            defects.append(defect)
    found = Annotations(ClassList((), (), ()), defects=defects, notes=notes)
    read_entries(root, entries, lambda: matches(folder, "**/*.xml"), found)
    found.notes += passed_over(root, [image.path for image in found.images])
    return found


@dataclass(frozen=True)
class Entry:
    """An image of a split: its number, its path without suffix, and its annotation."""

    number: int
    stem: Path
    xml: Path


def read_entries(
    root: Path, entries: Sequence[Entry], files: Callable[[], list[Path]], found: Annotations
) -> None:
    """Read the images and boxes of a split; defects of single files are collected.

    Args:
        root: the dataset.
        entries: the images.
        files: returns all annotations of the dataset, whose splits share their classes.
        found: gets images, classes and defects.
    """
    parsed: dict[Path, _Parsed] = {}
    for entry in entries:
        try:
            parsed[entry.xml] = _read_xml(entry.xml)
        except DataError as defect:
            key = _key(root, entry.stem)
            found.defects += [of_sample(each, key) for each in defect.defects or [defect]]
    found.classes = _classes(root, parsed, files)
    numbers = {name: number for number, name in enumerate(found.classes.names, 1)}
    for entry in entries:
        path = with_image_suffix(entry.stem)
        if path is None:
            missing = DataError(f"{entry.stem}.jpg does not exist", code="split.id_without_file")
            found.defects.append(of_sample(missing, _key(root, entry.stem)))
        elif entry.xml in parsed:
            size_wh, objects, claimed = parsed[entry.xml]
            key = path.relative_to(root).as_posix()
            if unknown := sorted({o.name for o in objects} - numbers.keys()):
                wrong = DataError(
                    f"{entry.xml}: {shown(unknown[0])} is not a class",
                    code="object.name_unknown",
                    hint=f"known: {', '.join(found.classes.names[:20])}",
                )
                found.defects.append(of_sample(wrong, key))
                continue
            truth = make_truth(
                [o.box for o in objects],
                [numbers[o.name] for o in objects],
                difficult=[o.difficult for o in objects],
            )
            found.images.append(AnnotatedImage(key, path, entry.number, size_wh, truth))
            if claimed and claimed not in (path.name, path.stem):
                text = f"{entry.xml}: <filename>: {shown(claimed)} is not the name of {key}"
                found.remarks.append(Note(text, "filename.mismatch", key))


def _key(root: Path, stem: Path) -> str:
    """Return the key of the image with a path without suffix: its path relative to the dataset."""
    return (with_image_suffix(stem) or stem).relative_to(root).as_posix()


def _classes(root: Path, parsed: dict[Path, _Parsed], files: Callable[[], list[Path]]) -> ClassList:
    """Return the classes of the dataset, which all splits share."""
    listed, _ = dataset_classes(root)
    if listed is None:
        names = sorted(_used_names(parsed, files())) or list(VOC_CLASSES)
    else:
        names = without_background(listed.names, lambda: _used_names(parsed, files()))
    return object_classes(names, range(1, len(names) + 1))


def _used_names(parsed: dict[Path, _Parsed], files: Sequence[Path]) -> set[str]:
    """Return the class names in all readable annotations of the dataset.

    Args:
        parsed: annotations that have been read already.
        files: all of them.
    """
    names = {o.name for _, objects, _ in parsed.values() for o in objects}
    for file in sorted(set(files) - parsed.keys()):
        try:
            _, objects, _ = _read_xml(file)
        except DataError:
            continue  # reported for its own split
        names |= {o.name for o in objects}
    return names


def _read_xml(path: Path) -> _Parsed:
    """Return the claimed width and height, and the objects.

    Raises:
        DataError: missing, malformed, or with malformed objects; `_Defects` lists several.
    """
    try:
        about = path.stat()
    except OSError:
        about = None
    return _parse(path, about and about.st_mtime_ns, about and about.st_size)


class _Defects(DataError):
    """Several defects of one file."""

    def __init__(self, defects: list[DataError]) -> None:
        super().__init__(str(defects[0]), code=defects[0].code)
        self.defects = defects


@functools.lru_cache(100_000)
def _parse(path: Path, changed_ns: int | None, size: int | None) -> _Parsed:
    """Return the content of a file; cached, because each split needs all files of the folder.

    Raises:
        DataError: it is not an annotation.
    """
    root = read_root(path, "annotation", MOST_BYTES)
    defects: list[DataError] = []
    size_wh, objects = None, []
    try:
        sides = [_side(root.findtext(f"size/{side}")) for side in ("width", "height")]
        size_wh = claimed_size(sides, f"{path}: <size>", "size.value")
    except DataError as defect:
        defects.append(defect)
    for node in root.findall("object"):
        try:
            objects.append(_object(node, path, size_wh))
        except DataError as defect:
            defects.append(defect)
    if defects:
        raise _Defects(defects)
    return size_wh, objects, (root.findtext("filename") or "").strip()


def _side(text: str | None) -> float | str | None:
    """Return a side of an image as `claimed_size` takes it; None if it is not given."""
    if text is None or not text.strip():
        return None
    number = parse_number(text)
    return text if number is None else number


def _object(node: Element, path: Path, size_wh: tuple[int, int] | None) -> VocObject:
    name = (node.findtext("name") or "").strip()
    where = f"{path}: {shown(name)[1:-1] or 'object without a name'}"
    if not name:
        raise DataError(where, code="object.name_missing")
    sides = ("xmin", "ymin", "xmax", "ymax")
    found = [parse_number(node.findtext(f"bndbox/{side}") or "") for side in sides]
    values = [value for value in found if value is not None]
    if len(values) < len(sides):
        raise DataError(f"{where}: <bndbox> is incomplete", code="bndbox.missing")
    box = (values[0] - 1, values[1] - 1, values[2], values[3])
    if defect := box_defect(box, size_wh, where, "bndbox"):
        raise defect
    difficult = (node.findtext("difficult") or "").strip() or "0"
    if difficult not in ("0", "1"):
        raise DataError(
            f"{where}: <difficult> {shown(difficult)} is not 0 or 1", code="difficult.value"
        )
    return VocObject(name, box, difficult == "1")
