"""VOC's result files: one file per class, one line per detection. Does not import torch."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from cvkit.data.named import Names, without_suffix
from cvkit.errors import CvkitError, DataError, raise_defects
from cvkit.output.names import class_words
from cvkit.scoring.detection_numbers import refused
from cvkit.structures import ClassList
from cvkit.texts import shown

VocRow = tuple[int, int, float, tuple[float, float, float, float]]
"""Number of the image, label from 1, score, and x, y, width, height of a continuous box."""


def read_voc_results(
    folder: Path,
    keys: Sequence[str],
    classes: ClassList,
    extra: dict[str, None] | None = None,
) -> list[VocRow]:
    """Return the lines of files `..._CLASS.txt`: image, score and 1-based inclusive box.

    Args:
        folder: of the files, or the output folder of predict with `voc`.
        keys: paths of the images of the truth.
        classes: of the truth.
        extra: gets the images that are not in the truth, whose lines are left out; None: they are
            an error.

    Raises:
        DataError: no such file, several of a class, a malformed line, or an image that is not in
            the truth or could be several.
    """
    if (folder / "voc").is_dir():
        folder = folder / "voc"
    finder = _Finder(keys, extra)
    rows: list[VocRow] = []
    defects: list[CvkitError] = []
    for label, path in _files(folder, classes).items():
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
        for number, line in enumerate(text.split("\n"), 1):
            try:
                found = _row(line, label, finder, f"{path}:{number}") if line.strip() else None
                rows += [found] if found and found[0] >= 0 else []
            except DataError as defect:
                defects.append(defect)
    raise_defects(defects, str(folder))
    return rows


def files_by_label(folder: Path, classes: ClassList) -> dict[int, list[Path]]:
    """Return the files in a folder that have the name of a class at their end, by its label."""
    labels = {suffix: label for label, suffix in enumerate(class_words(classes.names), 1)}
    labels |= {
        name: label for label, name in enumerate(classes.names, 1)
    }  # as other programs write them
    found: dict[int, list[Path]] = defaultdict(list)
    for path in sorted(folder.glob("[!.]*.txt")):
        if (suffix := _class_suffix(path.stem, labels)) is not None:
            found[labels[suffix]].append(path)
    return found


def _files(folder: Path, classes: ClassList) -> dict[int, Path]:
    """Return the file of each label that has one.

    Raises:
        DataError: there is none, or a label has several.
    """
    found = files_by_label(folder, classes)
    if not found:
        raise DataError(
            f"--predictions {folder} contains neither results.json nor VOC result files",
            code="predictions.missing",
            hint=f"such as comp3_det_test_{class_words(classes.names)[0]}.txt",
        )
    for label, paths in found.items():
        if len(paths) > 1:
            names = ", ".join(path.name for path in paths)
            raise DataError(
                f"--predictions {folder} has {len(paths)} files of class "
                f"{classes.names[label - 1]!r}: {names}",
                code="predictions.ambiguous",
                hint="keep one in the folder",
            )
    return {label: paths[0] for label, paths in found.items()}


def _class_suffix(stem: str, labels: dict[str, int]) -> str | None:
    """Return the class at the end of a file name: after `_det_SPLIT_`, else the longest match."""
    match = re.fullmatch(r".*?_det_[^_]+_(.+)", stem)
    if match and match[1] in labels:
        return match[1]
    fitting = [suffix for suffix in labels if stem == suffix or stem.endswith(f"_{suffix}")]
    return max(fitting, key=len, default=None)


def _row(line: str, label: int, finder: "_Finder", where: str) -> VocRow:
    """Return the content of a line.

    Raises:
        DataError: it is malformed, or of an image that is not in the truth or could be several.
    """
    try:
        name, *values = line.rsplit(maxsplit=5)  # the name may have spaces
        score, x1, y1, x2, y2 = (float(value) for value in values)
    except ValueError as error:
        raise DataError(
            f"{where} is not IMAGE SCORE XMIN YMIN XMAX YMAX", code="results.row"
        ) from error
    box = (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)
    if reason := refused(box, score):
        raise DataError(f"{where}: {reason}", code="results.value")
    return finder.find(name, where), label, score, box


class _Finder:
    """Finds images by their names in result files: paths or names, mostly without suffix."""

    def __init__(self, keys: Sequence[str], extra: dict[str, None] | None) -> None:
        self.keys, self.extra = keys, extra
        self.names = Names(keys), Names([without_suffix(key) for key in keys])
        self.known: dict[str, int] = {}

    def find(self, name: str, where: str) -> int:
        """Return the number of the image; -1 if it is not in the truth and may be left out.

        Raises:
            DataError: there is none, or it matches several.
        """
        if name in self.known:
            return self.known[name]
        found = sorted({place for names in self.names for place in names.find(name)})
        if not found and self.extra is not None:
            self.extra[name] = None
            return -1
        if not found:
            raise DataError(
                f"{where}: image {shown(name)} is not in the truth", code="results.image"
            )
        if len(found) > 1:
            first, second = (self.keys[place] for place in found[:2])
            raise DataError(
                f"{where}: image {shown(name)} may be {first} or {second}",
                code="results.image",
                hint=f"use its path, as {without_suffix(first)}",
            )
        self.known[name] = found[0]
        return found[0]
