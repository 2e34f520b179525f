"""A tree of images and a parallel tree of label files with the same names."""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.division import is_split
from cvkit.data.files import inside, matches
from cvkit.data.notes import Note


def folder_parts(root: Path, splits: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the folders under `images`, and "" if none of them is a split.

    Args:
        root: the dataset.
        splits: names that may be nested.
    """
    known = [path.name for path in matches(root / "images", "*") if path.is_dir()]
    known += [s for s in splits if s not in known and inside(root / "images", s).is_dir()]
    return known, None if any(map(is_split, known)) else ""


def shared_labels(pairs: Sequence[tuple[Path, str]]) -> list[str]:
    """Return a note if images that differ only in their suffix share a label file.

    Args:
        pairs: the label file and the key of each image.
    """
    keys: dict[Path, list[str]] = {}
    for path, key in pairs:
        keys.setdefault(path, []).append(key)
    shared = {path: images for path, images in keys.items() if len(images) > 1}
    if not shared:
        return []
    path, images = next(iter(shared.items()))
    what = f"{path} of {' and '.join(images)}"
    text = f"labels shared by several images: {len(shared)}, such as {what}"
    return [Note(text, "label.shared")]
