"""PASCAL VOC's detection layout.

Its pixels are 1-based and inclusive: the box (1, 1, 1, 1) is the first pixel. Here it becomes (0,
0, 1, 1): 1 is subtracted from xmin and ymin, xmax and ymax are kept.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

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
from cvkit.data.notes import Note
from cvkit.errors import CvkitError, DataError, of_sample
from cvkit.structures import ClassList
from cvkit.texts import parse_number, require_regular, shown

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
    if split:
        names = list_names(root, "Main", split)
    else:
        files = matches(folder, "**/*.xml")
        names = [file.relative_to(folder).with_suffix("").as_posix() for file in files]
        notes = without_labels(root, "Annotations", "annotation")
    parsed: dict[str, _Parsed] = {}
    places: dict[str, Path] = {}
    defects: list[CvkitError] = []
    for name in names:
        try:
            places[name] = inside(root / "JPEGImages", name)
            parsed[name] = _read_xml(root / "Annotations" / f"{name}.xml")
        except DataError as defect:
            key = _key(root, name) if name in places else ""
            defects += [of_sample(each, key) for each in defect.defects or [defect]]
    found = Annotations(_classes(root, parsed), defects=defects, notes=notes)
    numbers = {name: number for number, name in enumerate(found.classes.names, 1)}
    for position, name in enumerate(names, 1):
        if name not in places:
            continue
        path = with_image_suffix(places[name])
        if path is None:
            reason = f"{places[name]}.jpg does not exist"
            missing = DataError(reason, code="split.id_without_file")
            found.defects.append(of_sample(missing, _key(root, name)))
        elif name in parsed:
            size_wh, objects, claimed = parsed[name]
            if unknown := sorted({o.name for o in objects} - numbers.keys()):
                where = root / "Annotations" / f"{name}.xml"
                wrong = DataError(
                    f"{where}: {shown(unknown[0])} is not a class",
                    code="object.name_unknown",
                    hint=f"known: {', '.join(found.classes.names[:20])}",
                )
                found.defects.append(of_sample(wrong, _key(root, name)))
                continue
            truth = make_truth(
                [o.box for o in objects],
                [numbers[o.name] for o in objects],
                difficult=[o.difficult for o in objects],
            )
            key = _key(root, name)
            found.images.append(AnnotatedImage(key, path, position, size_wh, truth))
            if claimed and claimed not in (path.name, name):
                found.remarks.append(_other_name(root, name, claimed, key))
    found.notes += passed_over(root, [image.path for image in found.images])
    return found


def _other_name(root: Path, name: str, claimed: str, key: str) -> Note:
    """Return the remark that an annotation claims to belong to another image."""
    where = root / "Annotations" / f"{name}.xml"
    text = f"{where}: <filename>: {shown(claimed)} is not the name of {key}"
    return Note(text, "filename.mismatch", key)


def _key(root: Path, name: str) -> str:
    """Return the key of the image with a name in a list: its path relative to the dataset."""
    stem = root / "JPEGImages" / name
    return (with_image_suffix(stem) or stem).relative_to(root).as_posix()


def _classes(root: Path, parsed: dict[str, _Parsed]) -> ClassList:
    """Return the classes of the folder, which all splits share."""
    listed, _ = dataset_classes(root)
    if listed is None:
        names = sorted(_used_names(root, parsed)) or list(VOC_CLASSES)
    else:
        names = without_background(listed.names, lambda: _used_names(root, parsed))
    return object_classes(names, range(1, len(names) + 1))


def _used_names(root: Path, parsed: dict[str, _Parsed]) -> set[str]:
    """Return the class names in all readable annotations of the folder.

    Args:
        root: the dataset.
        parsed: annotations that have been read already, by name.
    """
    names = {o.name for _, objects, _ in parsed.values() for o in objects}
    folder = root / "Annotations"
    known = {folder / f"{name}.xml" for name in parsed}
    for file in sorted(set(matches(folder, "**/*.xml")) - known):
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
        require_regular(path, area="xml")
        about = path.stat()
        if about.st_size > MOST_BYTES:
            raise DataError(f"{path} is larger than {MOST_BYTES / 1e6:g} MB", code="xml.size")
        return _parse(path, about.st_mtime_ns, about.st_size)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", code="split.id_without_file") from error
    except DefusedXmlException as error:
        raise DataError(f"{path} contains a DTD or entities", code="xml.dtd") from error
    except LookupError as error:
        raise DataError(
            f"{path} has an {error}", code="xml.encoding", hint="save it as UTF-8"
        ) from error
    except (ParseError, OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid XML: {error}", code="xml.syntax") from error


class _Defects(DataError):
    """Several defects of one file."""

    def __init__(self, defects: list[DataError]) -> None:
        super().__init__(str(defects[0]), code=defects[0].code)
        self.defects = defects


@functools.lru_cache(100_000)
def _parse(path: Path, changed_ns: int, size: int) -> _Parsed:
    """Return the content of a file; cached, because each split needs all files of the folder.

    Raises:
        DataError: it is not an annotation.
        ParseError: it is not XML; other errors of defusedxml are possible.
    """
    root = parse(path, forbid_dtd=True).getroot()
    if root is None:
        raise DataError(f"{path} has no root element", code="root.name")
    if root.tag != "annotation":
        raise DataError(
            f"{path}: the root is <{shown(root.tag)[1:-1]}>, not <annotation>", code="root.name"
        )
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
    if values[2] < values[0] or values[3] < values[1]:
        raise DataError(
            f"{where}: box {[f'{v:g}' for v in values]} ends before it begins", code="bndbox.order"
        )
    box = (values[0] - 1, values[1] - 1, values[2], values[3])
    if defect := box_defect(box, size_wh, where, "bndbox"):
        raise defect
    difficult = (node.findtext("difficult") or "").strip() or "0"
    if difficult not in ("0", "1"):
        raise DataError(
            f"{where}: <difficult> {shown(difficult)} is not 0 or 1", code="difficult.value"
        )
    return VocObject(name, box, difficult == "1")
