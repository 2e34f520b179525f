"""ADE20K's scene parsing benchmark: `images/training` and `annotations/training`, ...

`objectInfo150.txt` names the classes 1 to 150 of the masks; 0 is unlabelled.
"""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.classes import make_classes
from cvkit.data.files import inside
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.image_tree import folder_parts
from cvkit.data.formats.recoded import Recoded, pair_up
from cvkit.data.labelled import LabelledImage
from cvkit.errors import DataError
from cvkit.structures import IGNORE
from cvkit.texts import counted, read_lines, shown, whole_number

NAMES = "objectInfo150.txt"


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has the list of classes and the folder of masks."""
    return (place / NAMES).is_file() and (place / "annotations").is_dir()


def read(query: Query) -> Contents[Listing[LabelledImage]]:
    """Return the splits of the dataset."""
    known, heap = folder_parts(query.root, query.splits)
    return Contents(known, heap, lambda split: _read_split(query.root, split))


def _read_split(root: Path, split: str) -> Listing[LabelledImage]:
    names = _names(root / NAMES)
    table = ((0, IGNORE), *((number, number - 1) for number in range(1, len(names) + 1)))
    drawing = Recoded(root, make_classes(names), table)
    images, masks = inside(root / "images", split), inside(root / "annotations", split)
    return pair_up(root, images, [(masks, "")], drawing)


def _names(path: Path) -> list[str]:
    """Return the classes: the first synonym of each, with its number if another class has it too.

    Raises:
        DataError: a line is not the number, three counts and the name of the next class.
    """
    names: list[str] = []
    for number, line in enumerate(read_lines(path, area="classes"), 1):
        cells = line.split("\t")
        if number == 1 or not line.strip():
            continue  # the names of the columns
        name = cells[-1].split(",")[0].split(";")[0].strip()
        if (
            len(cells) != 5
            or whole_number(cells[0].strip()) != len(names) + 1
            or not (name and name.isprintable())
        ):
            raise DataError(
                f"{path}:{number}: {shown(line)} is not class {len(names) + 1}",
                code="classes.line",
                hint="number, share, counts and name, separated by tabs",
            )
        names.append(f"{name} {len(names) + 1}" if name in names else name)
    if not 0 < len(names) < IGNORE:
        raise DataError(
            f"{path} lists {counted(len(names), 'class', 'classes')}", code="classes.count"
        )
    return names
