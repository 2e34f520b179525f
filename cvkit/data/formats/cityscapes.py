"""Cityscapes: `leftImg8bit/SPLIT/CITY` and `gtFine/SPLIT/CITY`.

Classes are the 19 of the benchmark; all other labels are ignored. Masks are the files with
`labelTrainIds` in their names, or those with `labelIds`.
"""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.classes import make_classes
from cvkit.data.files import inside, matches
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.recoded import Recoded, pair_up
from cvkit.data.labelled import LabelledImage
from cvkit.structures import IGNORE

CLASSES = (
    ("road", 7, (128, 64, 128)),
    ("sidewalk", 8, (244, 35, 232)),
    ("building", 11, (70, 70, 70)),
    ("wall", 12, (102, 102, 156)),
    ("fence", 13, (190, 153, 153)),
    ("pole", 17, (153, 153, 153)),
    ("traffic light", 19, (250, 170, 30)),
    ("traffic sign", 20, (220, 220, 0)),
    ("vegetation", 21, (107, 142, 35)),
    ("terrain", 22, (152, 251, 152)),
    ("sky", 23, (70, 130, 180)),
    ("person", 24, (220, 20, 60)),
    ("rider", 25, (255, 0, 0)),
    ("car", 26, (0, 0, 142)),
    ("truck", 27, (0, 0, 70)),
    ("bus", 28, (0, 60, 100)),
    ("train", 31, (0, 80, 100)),
    ("motorcycle", 32, (0, 0, 230)),
    ("bicycle", 33, (119, 11, 32)),
)
"""Name, value in `labelIds` files, and colour, in the order of `labelTrainIds`."""
MOST_IDS = 34


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has those of Cityscapes."""
    return (place / "leftImg8bit").is_dir() and (place / "gtFine").is_dir()


def read(query: Query) -> Contents[Listing[LabelledImage]]:
    """Return the splits of the dataset."""
    root = query.root
    known = [path.name for path in matches(root / "leftImg8bit", "*") if path.is_dir()]
    return Contents(known, None, lambda split: _read_split(root, split))


def _read_split(root: Path, split: str) -> Listing[LabelledImage]:
    images, masks = inside(root / "leftImg8bit", split), inside(root / "gtFine", split)
    classes = make_classes([n for n, _, _ in CLASSES], {k: c for k, (*_, c) in enumerate(CLASSES)})
    trained = any(masks.glob("**/*_gtFine_labelTrainIds.png"))
    ending = "_gtFine_labelTrainIds" if trained else "_gtFine_labelIds"
    if trained:
        table = {index: index for index in range(len(CLASSES))}
    else:
        table = dict.fromkeys(range(MOST_IDS), IGNORE)
        table |= {value: index for index, (_, value, _) in enumerate(CLASSES)}
    drawing = Recoded(root, classes, tuple(sorted(table.items())))
    return pair_up(root, images, [(masks, ending)], drawing, "_leftImg8bit")
