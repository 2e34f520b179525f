"""Images or videos in a folder for each split and class: SPLIT/CLASS/images."""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.classified import ClassifiedImage
from cvkit.data.division import find_split, is_split, spellings
from cvkit.data.files import inside
from cvkit.data.formats.class_folders import list_part, visible_folders
from cvkit.data.formats.contract import Contents, Listing, Query


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether folders are splits, and not classes with the name of a split.

    Splits contain class folders, or are beside other splits.
    """
    folders = visible_folders(place)
    named = [folder for folder in folders if is_split(folder.name) or folder.name in splits]
    several = len({spellings(folder.name)[-1] for folder in named}) > 1
    alone = bool(named) and len(named) == len(folders)
    return several or alone or any(visible_folders(folder) for folder in named)


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the splits of a dataset; the training split may be divided."""
    root = query.root
    here = [split for split in query.splits if inside(root, split).is_dir()]
    known = list(dict.fromkeys([*(folder.name for folder in visible_folders(root)), *here]))

    def read_split(split: str) -> Listing[ClassifiedImage]:
        return list_part(inside(root, split), root, query.walk)

    def class_names() -> set[str]:
        both = filter(None, (find_split(split, known) for split in ("train", "val")))
        return {folder.name for split in both for folder in visible_folders(root / split)}

    return Contents(known, None, read_split, class_names)
