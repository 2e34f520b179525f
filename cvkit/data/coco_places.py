"""Where the files of a COCO dataset lie."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvkit.data.files import escapes, matches
from cvkit.errors import DataError
from cvkit.texts import shown


@dataclass(frozen=True)
class DataFlags:
    """How a command names its data, for messages that say what to change.

    Attributes:
        place: the flag or argument that names the dataset.
        choose: what to do where several COCO files fit a split.
    """

    place: str
    choose: str


TRAINING = DataFlags("--data", "choose with --train-json and --val-json")
"""Those of train."""


def find_coco(root: Path, split: str, choose: str) -> Path:
    """Return the annotation file of a split: `annotations/instances_SPLIT.json` and the like.

    Args:
        root: of the dataset.
        split: whose name the file has.
        choose: see `DataFlags`.

    Raises:
        DataError: none, or several.
    """
    folders = [root / "annotations", root / "coco", root / split, root]
    everything: list[Path] = []
    for folder in folders:
        files = matches(folder, "*.json")
        everything += files
        if folder.name == split and (folder / "_annotations.coco.json").is_file():
            return folder / "_annotations.coco.json"
        named = [f for f in files if split in re.split(r"[^A-Za-z]+", f.stem)]
        named = [f for f in named if "instances" in f.stem] or named
        if len(named) == 1:
            return named[0]
        if named:
            raise DataError(
                f"{folder} has {len(named)} files for split {split!r}: "
                f"{', '.join(f.name for f in named)}",
                code="split.ambiguous",
                hint=choose,
            )
    names = ", ".join(file.name for file in everything[:8])
    raise DataError(
        f"{root} has no COCO file for split {split!r}",
        code="split.missing",
        hint=f"there is {names}" if names else "expected annotations/instances_SPLIT.json",
    )


def find_images(root: Path, path: Path, split: str, rows: list[dict[str, Any]]) -> Path:
    """Return the folder that the file names of a COCO file are relative to.

    Args:
        root: of the dataset.
        path: of the file.
        split: whose name the folder may have.
        rows: the file's images, each with a `file_name`; names that `inside` refuses do not count.

    Raises:
        DataError: no folder holds its first image.
    """
    name = next((row["file_name"] for row in rows if not escapes(row["file_name"])), None)
    if name is None:
        return root
    near = [root / "images" / split, root / "images", root / split, root, path.parent]
    deeper = sorted(p for p in [*matches(root, "*"), *matches(root, "*/*")] if p.is_dir())
    for folder in [*near, *deeper]:
        if (folder / name).is_file():
            return folder
    raise DataError(
        f"{path}: no folder under {root} holds its first image {shown(name)}",
        code="image.file_missing",
        hint="name the folder with --images",
    )
