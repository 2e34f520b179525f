"""Images in `images/SPLIT` and masks under the same names in `masks/SPLIT`."""

from collections.abc import Collection, Sequence
from pathlib import Path

from cvkit.data.files import inside, note_beside, walk_images
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.image_tree import folder_parts
from cvkit.data.labelled import LabelledImage, missing_files
from cvkit.data.notes import Note


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has the folders of images and of masks."""
    return (place / "images").is_dir() and (place / "masks").is_dir()


def read(query: Query) -> Contents[Listing[LabelledImage]]:
    """Return the splits of a dataset; without any, all of it may be divided."""
    known, heap = folder_parts(query.root, query.splits)
    return Contents(known, heap, lambda split: read_split(query.root, split))


def read_split(root: Path, split: str) -> Listing[LabelledImage]:
    """Return the images of a split with their masks, sorted, and notes about oddities.

    Images without a mask are a defect, which counts them all.

    Args:
        root: the dataset.
        split: its folder's name; "" for a dataset without splits.
    """
    images, masks = inside(root / "images", split), inside(root / "masks", split)
    all_masks = list(walk_images(masks))
    by_stem = {path.relative_to(masks).with_suffix(""): path for path in all_masks}
    found: list[LabelledImage] = []
    missing: dict[str, str] = {}
    for image in walk_images(images):
        stem = image.relative_to(images).with_suffix("")
        key = image.relative_to(root).as_posix()
        mask = by_stem.get(stem)
        if mask is None:
            missing[masks.joinpath(stem).with_suffix(".png").relative_to(root).as_posix()] = key
        else:
            found.append(LabelledImage(key, image, mask, stem.as_posix()))
    beside = note_beside(root / "images", "split") if split else ""
    unused = _unused_masks(root, split, all_masks, {pair.mask for pair in found})
    notes = [note for note in (beside, *unused) if note]
    return Listing(found, notes, missing_files(images, missing))


def _unused_masks(
    root: Path, split: str, masks: Sequence[Path], used: Collection[Path]
) -> list[str]:
    """Return notes of masks that are not read."""
    where = f"masks of {split!r}" if split else "masks"
    stems = {mask.with_suffix("") for mask in used}
    unused = [mask for mask in masks if mask not in used]
    twins = [mask for mask in unused if mask.with_suffix("") in stems]
    spare = [mask for mask in unused if mask.with_suffix("") not in stems]
    notes: list[str] = []
    if twins:
        text = (
            f"{where} ignored because another file has the same name: {len(twins)}, such as "
            f"{twins[0].relative_to(root)}"
        )
        notes.append(Note(text, "file.same_name"))
    if spare:
        first = spare[0].relative_to(root)
        text = f"{where} without an image, unused: {len(spare)}, such as {first}"
        notes.append(Note(text, "mask.unused"))
    return notes
