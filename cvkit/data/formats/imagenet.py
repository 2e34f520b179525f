"""ImageNet with a folder for each class in `train`, and a flat `val` with a file of its labels.

The file is `LOC_val_solution.csv` (Kaggle's edition), `val/val_annotations.txt` (Tiny ImageNet), or
that of the development kit.
With `LOC_synset_mapping.txt`, classes are called `n01440764 tench` instead of `n01440764`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from cvkit.data.classified import ClassifiedImage
from cvkit.data.files import inside
from cvkit.data.formats.class_folders import list_classes, visible_folders
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.imagenet_devkit import LABELS, labels_of, read_labels
from cvkit.data.formats.voc_lists import with_image_suffix
from cvkit.data.tables import read_rows
from cvkit.errors import CvkitError, DataError, raise_defects
from cvkit.texts import parse_number, read_lines, shown

TABLE = "LOC_val_solution.csv"
LINES = "val_annotations.txt"
NAMES = "LOC_synset_mapping.txt"


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has training data and labels of validation images."""
    return (place / "train").is_dir() and _labels(place) is not None


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the splits of the dataset."""
    root = query.root
    names = _names(root / NAMES)

    def read_split(split: str) -> Listing[ClassifiedImage]:
        if split == "train":
            samples, defects = list_classes(root / "train", root, query.walk)
            return Listing(_called(samples, names), (), defects)
        images = _called(_validation(root), names)
        listed = {image.path for image in images}
        bare = [path for path in query.walk(root / "val") if path not in listed]
        note = f"images without a label, unused: {len(bare)}, such as {bare[0]}" if bare else ""
        return Listing(images, [note] if note else [])

    def class_names() -> set[str]:
        return {names.get(f.name, f.name) for f in visible_folders(root / "train")}

    return Contents(["train", "val"], None, read_split, class_names)


def _labels(root: Path) -> Path | None:
    """Return the file with the labels of the validation images."""
    files = (root / TABLE, root / "val" / LINES)
    return next((file for file in files if file.is_file()), None) or labels_of(root)


def _names(file: Path) -> dict[str, str]:
    """Return the names of classes by the names of their folders; none without the file.

    Raises:
        DataError: a line is not a folder and names.
    """
    result: dict[str, str] = {}
    for number, line in enumerate(read_lines(file, area="classes") if file.is_file() else (), 1):
        folder, _, names = line.strip().partition(" ")
        if not line.strip():
            continue
        if not names or not line.isprintable():
            text = f"{file}:{number}: {shown(line)} is not the name of a folder and of its class"
            raise DataError(text, code="classes.line")
        result[folder] = f"{folder} {names.partition(',')[0].strip()}"
    return result


def _called(samples: list[ClassifiedImage], names: dict[str, str]) -> list[ClassifiedImage]:
    return [replace(each, label=names.get(each.label, each.label)) for each in samples]


def _validation(root: Path) -> list[ClassifiedImage]:
    """Return the validation images.

    Raises:
        DataError: lists the defects of all lines.
    """
    known = {folder.name for folder in visible_folders(root / "train")}
    file = _labels(root) or root / "val" / LINES
    defects: list[CvkitError] = []
    images: dict[Path, ClassifiedImage] = {}
    for where, name, label in _rows(file, root / "val"):
        try:
            path = _find(root / "val", name, file)
            if path is None:
                reason = f"{where}: {shown(name)} is not in {root / 'val'}"
                raise DataError(reason, code="split.id_without_file")
            if path in images:
                raise DataError(f"{where}: {shown(name)} is listed twice", code="split.duplicate")
            if label not in known:
                raise DataError(
                    f"{where}: {shown(label)} is not a class of train", code="class.unknown"
                )
        except DataError as defect:
            defects.append(defect)
            continue
        images[path] = ClassifiedImage(path.relative_to(root).as_posix(), path, label)
    raise_defects(defects, str(file))
    if not images:
        raise DataError(f"{file} lists no images", code="split.empty")
    return [*images.values()]


def _rows(file: Path, folder: Path) -> Iterable[tuple[str, str, str]]:
    """Yield the place, the image and the class of each line."""
    if file.name == LABELS:
        yield from read_labels(file, folder)
        return
    if file.name == TABLE:
        for row in read_rows(file, ("ImageId", "PredictionString")):
            yield str(file), row["ImageId"], row["PredictionString"].split()[0]
        return
    for number, line in enumerate(read_lines(file, area="split"), 1):
        cells = line.split("\t")
        if not line.strip():
            continue
        if len(cells) != 6 or any(parse_number(cell.strip()) is None for cell in cells[2:]):
            reason = f"{file}:{number}: {shown(line)} is not an image, a class and a box"
            raise DataError(reason, code="list.bad_line", hint="six cells, separated by tabs")
        yield f"{file}:{number}", cells[0], cells[1]


def _find(folder: Path, name: str, file: Path) -> Path | None:
    """Return the image with a name, which may lack its suffix; None if there is none."""
    for place in (folder, folder / "images"):
        path = inside(place, name, file)
        if path.is_file() and path.name:
            return path
        if found := with_image_suffix(path):
            return found
    return None
