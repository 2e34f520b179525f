"""CamVid as SegNet's authors distribute it: `train` and `trainannot`, `val` and `valannot`, ...

Classes are their eleven; value 11 is unlabelled. With a `classes.txt`, or with colours in
`label_colors.txt`, the classes are those of the file.
"""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.classes import dataset_classes, make_classes, read_classes
from cvkit.data.files import inside, matches
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.recoded import Recoded, pair_up
from cvkit.data.labelled import LabelledImage
from cvkit.structures import IGNORE

COLORS = "label_colors.txt"
CLASSES = (
    *("sky", "building", "pole", "road", "pavement", "tree", "sign symbol", "fence", "car"),
    *("pedestrian", "bicyclist"),
)


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has one with masks beside a folder of images."""
    return bool(_splits(place))


def read(query: Query) -> Contents[Listing[LabelledImage]]:
    """Return the splits of the dataset."""
    return Contents(_splits(query.root), None, lambda split: _read_split(query.root, split))


def _splits(root: Path) -> list[str]:
    names = [path.name.removesuffix("annot") for path in matches(root, "?*annot") if path.is_dir()]
    return [name for name in names if (root / name).is_dir()]


def _read_split(root: Path, split: str) -> Listing[LabelledImage]:
    listed, _ = dataset_classes(root, IGNORE)
    colors: dict[tuple[int, int, int], int] = {}
    if listed is None and (root / COLORS).is_file():
        listed, colors = read_classes(root / COLORS, IGNORE)
    classes = listed or make_classes([*CLASSES])
    table = {index: index for index in range(len(classes))}
    if listed is None:
        table[len(CLASSES)] = IGNORE
    drawing = Recoded(root, classes, tuple(table.items()), tuple(colors.items()))
    masks = inside(root, f"{split}annot")
    return pair_up(root, inside(root, split), [(masks, "")], drawing)
