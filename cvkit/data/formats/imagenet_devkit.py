"""Labels of ImageNet's validation images in the development kit of ILSVRC 2012.

Each line of `ILSVRC2012_validation_ground_truth.txt` is the number of a class, in the order of the
names of the images; `meta.mat` beside it names the classes.
"""

from pathlib import Path

import numpy as np

from cvkit.data.files import IMAGE_SUFFIXES, matches
from cvkit.errors import CvkitError, DataError, raise_defects
from cvkit.texts import counted, read_lines, require_regular, shown, whole_number

LABELS = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
PLACES = ("", "data/", "*/", "*/data/")
"""Where the labels may be, relative to the dataset."""


def labels_of(root: Path) -> Path | None:
    """Return the file of the labels; None if there is none or no image is directly in `val`."""
    files = (file for place in PLACES for file in matches(root, f"{place}{LABELS}"))
    return next((file for file in files if _images(root / "val")), None)


def read_labels(file: Path, folder: Path) -> list[tuple[str, str, str]]:
    """Return the place, the image and the class of each line.

    Args:
        file: of the labels.
        folder: of the images.

    Raises:
        DataError: lists the lines that are not the number of a class; or their number is not that
            of the images; or `meta.mat` is missing or unusable.
    """
    lines, images, classes = read_lines(file, area="split"), _images(folder), _classes(file)
    if len(lines) != len(images):
        raise DataError(
            f"{file} has {counted(len(lines), 'line')}, and {folder} has "
            f"{counted(len(images), 'image')}",
            code="imagenet.count",
            hint="put all validation images, and no others, into the folder",
        )
    defects: list[CvkitError] = []
    rows: list[tuple[str, str, str]] = []
    for number, (line, image) in enumerate(zip(lines, images, strict=True), 1):
        where, label = f"{file}:{number}", whole_number(line.strip())
        if label in classes:
            rows.append((where, image.name, classes[label]))
        elif label is None:
            reason = f"{where}: {shown(line)} is not a whole number"
            defects.append(DataError(reason, code="list.bad_line"))
        else:
            reason = f"{where}: {label} is not the number of a class in {META}"
            defects.append(DataError(reason, code="class.unknown", hint=f"1 to {len(classes)}"))
    raise_defects(defects, str(file))
    return rows


def _images(folder: Path) -> list[Path]:
    """Return the images directly in a folder by name; none without the folder."""
    found = matches(folder, "*") if folder.is_dir() else []
    return [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]


def _classes(labels: Path) -> dict[int, str]:
    """Return the folder of each class by its number.

    Raises:
        DataError: the file is missing, or not of the development kit.
    """
    from scipy.io import loadmat  # takes long to import

    file = labels.with_name(META)
    if not file.is_file():
        raise DataError(
            f"{labels} needs {META} beside it, which names the classes",
            code="imagenet.meta",
            hint="copy it from the development kit",
        )
    require_regular(file)
    try:
        rows = np.atleast_1d(loadmat(str(file), squeeze_me=True)["synsets"])
        leaves = [row for row in rows if row["num_children"] == 0]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in leaves}
    except Exception as error:  # of malformed files, loadmat raises many kinds of exceptions
        raise DataError(
            f"{file} cannot be read as the list of classes of ILSVRC 2012: {shown(str(error))}",
            code="imagenet.meta",
            hint="copy it from the development kit",
        ) from error
