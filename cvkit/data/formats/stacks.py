"""Stacks: TIFF files with many pages, and files with the masks of the same pages.

They are `NAME-volume.tif` and `NAME-labels.tif` (ISBI 2012), `images.tif` and `masks.tif`, or files
with equal names in `images/` and `masks/`, also in a folder for each split. Each page is a sample.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cvkit.data.decode import page_count
from cvkit.data.division import is_split
from cvkit.data.files import inside, matches, walk_images
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.image_tree import folder_parts
from cvkit.data.labelled import LabelledImage, missing_files
from cvkit.data.pages import page_path
from cvkit.errors import CvkitError, DataError
from cvkit.texts import counted

IMAGES = ("volume", "images", "image")
MASKS = ("labels", "masks", "label", "mask")
SUFFIXES = (".tif", ".tiff")


@dataclass(frozen=True)
class _Stack:
    """A file of images, that of its masks if there is one, and the split that its name gives."""

    images: Path
    masks: Path | None
    split: str


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has stacks."""
    if any(stack.masks for stack in _beside(place)):
        return True
    if not (place / "images").is_dir() or _mask_folder(place) is None:
        return False
    first = next(walk_images(place / "images"), None)
    if first is None or first.suffix.lower() not in SUFFIXES:
        return False
    try:
        return page_count(first) > 1
    except DataError:  # of whatever format it is: the reader reports it
        return False


def read(query: Query) -> Contents[Listing[LabelledImage]]:
    """Return the splits of a dataset; without any, all pages may be divided."""
    root, stacks = query.root, _beside(query.root)
    if not any(stack.masks for stack in stacks):
        known, heap = folder_parts(root, query.splits)
        return Contents(known, heap, lambda split: _pages(root, _in_folders(root, split)))
    names = {stack.split for stack in stacks if stack.masks} - {""}

    def read_split(split: str) -> Listing[LabelledImage]:
        return _pages(root, [stack for stack in stacks if split in ("", stack.split)])

    return Contents(sorted(names), None if names else "", read_split)


def _beside(root: Path) -> list[_Stack]:
    """Return the stacks in a folder whose names say what they are."""
    files = {path.stem: path for path in matches(root, "*") if path.suffix.lower() in SUFFIXES}
    result = []
    for stem, path in files.items():
        match = re.fullmatch(rf"(?:(.*)([-_]))?({'|'.join(IMAGES)})", stem)
        if match:
            start = f"{match[1]}{match[2]}" if match[1] else ""
            masks = next((files[start + m] for m in MASKS if start + m in files), None)
            name = match[1] or ""
            result.append(_Stack(path, masks, name if is_split(name) else ""))
    return result


def _mask_folder(root: Path) -> Path | None:
    return next((root / name for name in MASKS if (root / name).is_dir()), None)


def _in_folders(root: Path, split: str) -> list[_Stack]:
    """Return the stacks of a split that are in folders of images and masks."""
    images, masks = inside(root / "images", split), inside(_mask_folder(root) or root, split)
    by_stem = {path.relative_to(masks).with_suffix(""): path for path in walk_images(masks)}
    return [
        _Stack(path, by_stem.get(path.relative_to(images).with_suffix("")), split)
        for path in walk_images(images)
    ]


def _pages(root: Path, stacks: Sequence[_Stack]) -> Listing[LabelledImage]:
    """Return the pages of stacks; those without masks are named in notes or defects."""
    found: list[LabelledImage] = []
    defects: list[CvkitError] = []
    notes: list[str] = []
    missing: dict[str, str] = {}
    for stack in stacks:
        key = stack.images.relative_to(root).as_posix()
        if stack.masks is None and stack.images.parent == root:
            notes.append(f"{stack.images} has no file of masks, unused")
        elif stack.masks is None:
            missing[f"masks of {key}"] = key
        else:
            try:
                count = _common_count(stack.images, stack.masks)
            except CvkitError as error:
                defects.append(error)
                continue
            for number in range(1, count + 1):
                image = page_path(stack.images, number)
                name = f"{Path(key).with_suffix('').as_posix()}#{number}"
                mask = page_path(stack.masks, number)
                found.append(LabelledImage(f"{key}#{number}", image, mask, name))
    return Listing(found, notes, [*defects, *missing_files(root, missing, "add them")])


def _common_count(images: Path, masks: Path) -> int:
    """Return the number of pages of a stack.

    Raises:
        DataError: the masks have another number, or a file cannot be read.
    """
    count, others = page_count(images), page_count(masks)
    if count != others:
        raise DataError(
            f"{images}: {counted(count, 'page')}, but {masks.name} has {others}",
            code="stack.pages",
            hint="each page of images has a page of masks, in the same order",
        )
    return count
