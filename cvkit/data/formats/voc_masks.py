"""PASCAL VOC's segmentation layout: JPEGImages, SegmentationClass, ImageSets/Segmentation."""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.files import inside, walk_images
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.voc_lists import (
    list_names,
    list_parts,
    passed_over,
    with_image_suffix,
    without_labels,
)
from cvkit.data.labelled import LabelledImage, missing_files
from cvkit.errors import DataError, defects_of


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has lists for segmentation, or images and masks."""
    return (place / "ImageSets" / "Segmentation").is_dir() or all(
        (place / name).is_dir() for name in ("JPEGImages", "SegmentationClass")
    )


def read(query: Query) -> Contents[Listing[LabelledImage]]:
    """Return the splits of a dataset; see `list_parts`."""
    known, heap = list_parts(query.root, "Segmentation", query.splits)
    return Contents(known, heap, lambda split: _read_split(query.root, split))


def _read_split(root: Path, split: str) -> Listing[LabelledImage]:
    """Return the images of a list in its order; of all masks if its name is ""."""
    file = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    masks = root / "SegmentationClass"
    if split:
        names = list_names(root, "Segmentation", split)
    else:
        file = masks
        names = [p.relative_to(masks).with_suffix("").as_posix() for p in walk_images(masks)]
    leaving = {name: defect for name in names if (defect := _leaving(root, name))}
    found: list[LabelledImage] = []
    missing: dict[str, str] = {}
    for name in names:
        if name in leaving:
            continue
        image = with_image_suffix(root / "JPEGImages" / name)
        mask = masks / f"{name}.png"
        key = image.relative_to(root).as_posix() if image else f"JPEGImages/{name}.jpg"
        missing |= {} if image else {key: key}
        missing |= {} if mask.is_file() else {f"SegmentationClass/{name}.png": key}
        if image:
            found.append(LabelledImage(key, image, mask, name))
    defects = [*defects_of([*leaving.values()], str(file)), *missing_files(file, missing)]
    notes = [] if split else without_labels(root, "SegmentationClass", "mask")
    notes += passed_over(root, [pair.image for pair in found])
    return Listing(found, notes, defects)


def _leaving(root: Path, name: str) -> DataError | None:
    """Return why a name in a list is not inside the dataset; None if it is."""
    try:
        inside(root, f"{name}.png")
    except DataError as defect:
        return defect
    return None
