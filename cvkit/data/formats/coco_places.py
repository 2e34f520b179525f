"""Locations of the files of a COCO dataset."""

import re
from collections.abc import Sequence
from pathlib import Path

from cvkit.data.division import is_split
from cvkit.data.files import escapes, inside, matches
from cvkit.errors import DataError
from cvkit.texts import require_regular, shown

ROBOFLOW = "_annotations.coco.json"
"""Name of the annotation file in each split folder of a Roboflow export."""


SIGNS = re.compile(rb'"(images|annotations|categories)"')
FIRST_BYTES = 1_000_000
"""Number of bytes to search for the start of a COCO list; other small files are shorter."""


def json_files(folder: Path) -> list[Path]:
    """Return the JSON files of a folder, except those that are clearly not COCO's.

    A dataset may have others, from the programs that made it.
    """
    return [file for file in matches(folder, "*.json") if _may_be_coco(file)]


def _may_be_coco(file: Path) -> bool:
    """Return whether a file contains a COCO list, is named after a split, or cannot be read.

    Errors are reported when it is read.
    """
    if any(is_split(part) for part in _name_parts(file)):
        return True
    try:
        require_regular(file)
        with file.open("rb") as stream:
            start = stream.read(FIRST_BYTES)
    except (OSError, DataError):
        return True
    small = start.lstrip().startswith(b"{") and len(start) < FIRST_BYTES
    return not small or SIGNS.search(start) is not None


def all_files(root: Path) -> list[Path]:
    """Return the COCO files of a dataset, or the one that is given instead."""
    if root.is_file():
        return [root]
    folders = [root / "annotations", root / "coco", root]
    files = [file for folder in folders for file in json_files(folder)]
    return [*files, *matches(root, f"*/{ROBOFLOW}")]


def find_coco(root: Path, split: str, choose: str) -> Path:
    """Return the annotation file of a split: `annotations/instances_SPLIT.json` and the like.

    Args:
        root: of the dataset.
        split: in the file's name.
        choose: see `cvkit.data.formats.contract.DataFlags`.

    Raises:
        DataError: there is none, or there are several.
    """
    named = _named(root, split)
    if not named:
        raise DataError(
            f"{root} has no COCO file for split {split!r}",
            code="split.missing",
            hint=coco_hint(root),
        )
    if len(named) > 1:
        raise DataError(
            f"{named[0].parent} has {len(named)} files for split {split!r}: "
            f"{', '.join(f.name for f in named)}",
            code="split.ambiguous",
            hint=choose,
        )
    return named[0]


def _named(root: Path, split: str) -> list[Path]:
    """Return the files of a split in the first folder that has any."""
    for folder in (root / "annotations", root / "coco", inside(root, split), root):
        if folder.name == split and (folder / ROBOFLOW).is_file():
            return [folder / ROBOFLOW]
        named = [f for f in json_files(folder) if split in _name_parts(f)]
        if named := [f for f in named if "instances" in f.stem] or named:
            return named
    return []


def _name_parts(file: Path) -> list[str]:
    """Return the parts of a file's name, such as `instances` and `val`."""
    return [part for part in re.split(r"[^A-Za-z]+", file.stem) if part]


def coco_parts(root: Path, splits: Sequence[str]) -> tuple[list[str], Path | None]:
    """Return the splits that files are named after, and the file that belongs to none.

    Args:
        root: of the dataset.
        splits: additional, unusual names.

    Returns:
        The splits, and the other file if there is exactly one.
    """
    folders = [root / "annotations", root / "coco", root]
    files = [file for folder in folders for file in json_files(folder)]
    parts = {part for file in files for part in _name_parts(file)}
    parts |= {file.parent.name for file in matches(root, f"*/{ROBOFLOW}") if file.is_file()}
    known = [name for name in parts if is_split(name) or name in splits]
    known += [split for split in splits if split not in known and _named(root, split)]
    others = [file for file in files if not {*_name_parts(file)} & {*known}]
    others = [file for file in others if "instances" in file.stem] or others
    return sorted(known), others[0] if len(others) == 1 else None


def coco_hint(root: Path) -> str:
    """Return a hint that lists the COCO files."""
    folders = [root / "annotations", root / "coco", root]
    names = ", ".join([f.name for folder in folders for f in json_files(folder)][:8])
    return f"found {names}" if names else "expected annotations/instances_SPLIT.json"


def find_images(root: Path, path: Path, split: str, names: list[str]) -> Path:
    """Return the folder to which the file names in a COCO file are relative.

    Args:
        root: of the dataset.
        path: of the file.
        split: whose name the folder may have.
        names: of the file's images; those that `inside` refuses are ignored.

    Raises:
        DataError: no folder contains its first image.
    """
    name = next((name for name in names if not escapes(name)), None)
    if name is None:
        return root
    near = [root / "images" / split, root / "images", root / split, root, path.parent]
    deeper = sorted(p for p in [*matches(root, "*"), *matches(root, "*/*")] if p.is_dir())
    for folder in [*near, *deeper]:
        if (folder / name).is_file():
            return folder
    raise DataError(
        f"{path}: no folder under {root} contains its first image {shown(name)}",
        code="image.file_missing",
        hint="give the folder with --images",
    )
