"""PASCAL VOC's detection layout.

Its pixels are 1-based and inclusive: the box (1, 1, 1, 1) is the first pixel. Here it becomes
(0, 0, 1, 1): xmin and ymin go down by one, xmax and ymax stay.
"""

from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import parse

from cvkit.data.annotated import AnnotatedImage, Annotations, box_defect, make_truth
from cvkit.data.classes import dataset_classes, make_classes
from cvkit.data.files import inside, matches
from cvkit.data.layouts import list_names, with_image_suffix
from cvkit.errors import DataError
from cvkit.structures import ClassList, voc_color

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


def read_voc(root: Path, split: str) -> Annotations:
    """Return the images and boxes of a split.

    Classes are those of `classes.txt`, else VOC's twenty if they suffice, else all names that
    occur in the folder, sorted; ids are 1, 2, ...

    Raises:
        DataError: no such split. Defects of single files are collected.
    """
    names = list_names(root, "Main", split)
    parsed = {}
    defects = []
    for name in names:
        file = inside(root / "Annotations", f"{name}.xml")
        try:
            parsed[name] = _read_xml(file)
        except DataError as defect:
            defects.append(defect)
    found = Annotations(_classes(root, parsed), defects=defects)
    numbers = {name: number for number, name in enumerate(found.classes.names, 1)}
    for position, name in enumerate(names, 1):
        path = with_image_suffix(inside(root / "JPEGImages", name))
        if path is None:
            found.defects.append(
                DataError(
                    f"{root / 'JPEGImages' / name}.jpg does not exist", code="split.id_without_file"
                )
            )
        elif name in parsed:
            size_wh, objects = parsed[name]
            unknown = sorted({o.name for o in objects} - numbers.keys())
            if unknown:
                where = root / "Annotations" / f"{name}.xml"
                found.defects.append(
                    DataError(
                        f"{where}: {unknown[0]!r} is no class",
                        code="object.name_unknown",
                        hint=f"known: {', '.join(found.classes.names[:20])}",
                    )
                )
                continue
            truth = make_truth(
                [o.box for o in objects],
                [numbers[o.name] for o in objects],
                difficult=[o.difficult for o in objects],
            )
            key = path.relative_to(root).as_posix()
            found.images.append(AnnotatedImage(key, path, position, size_wh, truth))
    return found


def _classes(root: Path, parsed: dict) -> ClassList:
    listed, _ = dataset_classes(root)
    if listed is not None:
        names = list(listed.names)
    else:
        names = sorted({o.name for _, objects in parsed.values() for o in objects})
        if set(names) <= set(VOC_CLASSES):
            names = list(VOC_CLASSES)
        else:  # every split must know the same classes
            names = sorted({*names, *_all_names(root)})
    colors = {number: voc_color((number + 1) % 256) for number in range(len(names))}
    made = make_classes(names, colors)
    return ClassList(made.names, tuple(range(1, len(names) + 1)), made.colors)


def _all_names(root: Path) -> set[str]:
    """Return the class names in all readable annotations of the folder."""
    names: set[str] = set()
    for file in matches(root / "Annotations", "*.xml"):
        try:
            _, objects = _read_xml(file)
        except DataError:
            continue  # told for the split that it belongs to
        names |= {o.name for o in objects}
    return names


def _read_xml(path: Path) -> tuple[tuple[int, int] | None, list[VocObject]]:
    """Return the claimed width and height, and the objects.

    Raises:
        DataError: missing, malformed, or with a malformed object.
    """
    try:
        if path.stat().st_size > 10_000_000:
            raise DataError(f"{path} is larger than 10 MB", code="xml.size")
        root = parse(path, forbid_dtd=True).getroot()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist", code="split.id_without_file") from error
    except DefusedXmlException as error:
        raise DataError(f"{path} holds a DTD or entities", code="xml.dtd") from error
    except (ParseError, OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path} is not valid XML: {error}", code="xml.syntax") from error
    if root.tag != "annotation":
        raise DataError(f"{path}: the root is <{root.tag}>, not <annotation>", code="root.name")
    sides = [_number(root, f"size/{side}") for side in ("width", "height")]
    size_wh = tuple(int(side) for side in sides) if all(sides) else None
    return size_wh, [_object(node, path, size_wh) for node in root.findall("object")]


def _object(node: Element, path: Path, size_wh: tuple[int, int] | None) -> VocObject:
    name = (node.findtext("name") or "").strip()
    where = f"{path}: {name or 'object without a name'}"
    if not name:
        raise DataError(where, code="object.name_missing")
    values = [_number(node, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if None in values:
        raise DataError(f"{where}: <bndbox> is incomplete", code="bndbox.missing")
    if values[2] < values[0] or values[3] < values[1]:
        raise DataError(
            f"{where}: box {[f'{v:g}' for v in values]} ends before it begins", code="bndbox.order"
        )
    box = (values[0] - 1, values[1] - 1, values[2], values[3])
    if defect := box_defect(box, size_wh, where, "bndbox"):
        raise defect
    return VocObject(name, box, (node.findtext("difficult") or "0").strip() == "1")


def _number(node: Element, place: str) -> float | None:
    try:
        return float(node.findtext(place) or "")
    except ValueError:
        return None
