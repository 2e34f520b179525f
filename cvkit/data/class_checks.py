"""What `cvkit data check` finds in the classes of a dataset."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from cvkit.data.checked import Checked, Request
from cvkit.data.classes import dataset_classes, numbered_classes
from cvkit.data.findings import Finding, found_defects, warning
from cvkit.data.scan import Scan
from cvkit.errors import CvkitError, DataError
from cvkit.format_table import Truth
from cvkit.structures import IGNORE, ClassList


def listed_classes(
    request: Request, result: Checked | None, most: int | None = None
) -> tuple[ClassList | None, dict[tuple[int, int, int], int]]:
    """Return the result of `dataset_classes`; a defect of the list is noted in the result."""
    try:
        return dataset_classes(request.root, most)
    except CvkitError as error:
        if result is not None:
            result.findings += found_defects(error, request.root)
        return None, {}


def _error(rule: str, message: str, root: Path, split: str = "") -> list[Finding]:
    return found_defects(DataError(message, code=rule), root, split)


def _classes_of_samples(request: Request, result: Checked) -> list[Finding]:
    """Return findings about the classes of images or videos."""
    place = request.place
    listed, _ = listed_classes(request, result)
    labels = {part.name: {item.label for item in part.items} for part in result.parts}
    used = set().union(*labels.values())
    names = sorted(used) if listed is None else [*listed.names]
    made: list[Finding] = []
    for label in sorted(used - {*names}):
        text = f"class {label!r} of {place} is not in its classes.txt"
        made += _error("class.unknown", text, request.root)
    if used and len(names) < 2:
        text = f"{place} has only one class, {names[0]!r}"
        made += _error("classes.count", text, request.root)
    if result.train in labels:
        for label in sorted({*names} - labels[result.train]):
            text = f"class {label!r} of {place} has no samples in {result.train!r}"
            made += _error("class.only_in_val", text, request.root)
        others = set().union(*(each for name, each in labels.items() if name != result.train))
        for label in sorted(labels[result.train] - others) if len(labels) > 1 else []:
            text = f"class {label!r} of {place} is not evaluated: it is in {result.train!r} only"
            made.append(warning("class.not_evaluated", text))
    return made


def _classes_of_masks(request: Request, result: Checked) -> list[Finding]:
    """Return findings about the classes of pixels."""
    listed, _ = listed_classes(request, None, IGNORE)
    scans = {part.name: part.scan for part in result.parts if isinstance(part.scan, Scan)}
    if not any(scan.hashes for scan in scans.values()):
        return []
    largest = max(scan.largest_label for scan in scans.values())
    classes = listed or (numbered_classes(largest + 1) if largest > 0 else None)
    if classes is None or len(classes) < 2:
        text = (
            f"{request.place}: the masks have fewer than 2 classes besides the ignored value "
            f"{request.ignore_index}"
        )
        return _error("classes.count", text, request.root)
    made: list[Finding] = []
    train = scans.get(result.train)
    if train and train.hashes and not train.pixels[: len(classes)].any():
        made += _error(
            "mask.all_ignore", f"{request.place}: no training pixel has a label", request.root
        )
    pixels = np.sum([scan.pixels for scan in scans.values()], 0)
    unused = [name for name, count in zip(classes.names, pixels, strict=False) if not count]
    return made + [
        warning("class.unused", f"{request.place}: no pixel has class {name!r}") for name in unused
    ]


def _classes_of_objects(request: Request, result: Checked) -> list[Finding]:
    """Return findings about the classes of objects."""
    lists = {part.name: part.classes for part in result.parts if part.classes}
    if not lists:
        return []
    made: list[Finding] = []
    (first, classes), *others = lists.items()
    if any(each.rule.startswith("category.") for each in result.findings):
        others = []  # a list without its malformed categories
    for name, other in others:
        if (other.names, other.ids) != (classes.names, classes.ids):
            text = f"{request.place}: splits {first!r} and {name!r} have different classes"
            made += _error("classes.differ", text, request.root)
    trained = [p for p in result.parts if p.name == result.train and p.items]
    for part in trained:
        if not any(image.truth.counted.any() for image in part.items):
            text = f"{request.place}: no training image has an object"
            made += _error("annotations.empty", text, request.root)
    used = {
        part.classes.names[label - 1]
        for part in result.parts
        if part.classes
        for image in part.items
        for label in np.unique(image.truth.labels).tolist()
    }
    broken = any(each.level == "error" and each.sample for each in result.findings)
    for name in [] if broken else [each for each in classes.names if each not in used]:
        made.append(warning("class.unused", f"{request.place}: no object has class {name!r}"))
    return made


CLASS_CHECKS: dict[Truth, Callable[[Request, Checked], list[Finding]]] = {
    "classes": _classes_of_samples,
    "masks": _classes_of_masks,
    "boxes": _classes_of_objects,
    "instances": _classes_of_objects,
}
"""What is checked about the classes, by the kind of labels."""
