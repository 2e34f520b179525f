"""Dataset folders: which layout they have, and what each split contains."""

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from cvkit.data.decode import decode, open_image
from cvkit.data.division import WHOLE, Division, Parts, Source, is_split, read_splits
from cvkit.data.files import IMAGE_SUFFIXES, escapes, inside, matches, note_beside, walk_images
from cvkit.data.known import Known
from cvkit.errors import DataError, raise_defects
from cvkit.texts import counted, read_lines, shown


@dataclass(frozen=True)
class LabelledImage:
    """An image and its mask.

    Attributes:
        key: the image's path relative to the dataset.
        image: where it lies.
        mask: where its mask lies.
        name: the image's path relative to the folder of its split, without suffix.
    """

    key: str
    image: Path
    mask: Path
    name: str


def detect_layout(root: Path, wanted: str = "auto") -> str:
    """Return `voc` or `pairs`: what the folder looks like, or what `wanted` says.

    Raises:
        DataError: the folder is missing or has neither layout.
    """
    if not root.is_dir():
        raise DataError(f"--data {root} is not a folder", code="data.missing", hint="check it")
    if wanted != "auto":
        return wanted
    if (root / "ImageSets" / "Segmentation").is_dir() or all(
        (root / name).is_dir() for name in ("JPEGImages", "SegmentationClass")
    ):
        return "voc"
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return "pairs"
    raise DataError(
        f"--data {root} has no known layout",
        code="data.layout",
        hint="voc: JPEGImages/, SegmentationClass/, and ImageSets/Segmentation/<split>.txt if it "
        "is split; pairs: images/<split>/, masks/<split>/ with equal names, or images/, masks/",
    )


def read_pairs(
    root: Path, layout: str, splits: Sequence[str], division: Division = WHOLE
) -> Parts[LabelledImage]:
    """Return the labelled images of splits, sorted by name (VOC: in the file's order).

    Args:
        root: the dataset.
        layout: `voc` or `pairs`.
        splits: their names.
        division: of data that are not split; each side gets its share of every value that masks
            hold.

    Raises:
        DataError: no such split, an empty one, or images without a mask; all are counted.
    """
    if layout == "voc":
        known, heap = list_parts(root, "Segmentation", splits)
        read = partial(_list_voc, root)
    else:
        known, heap = folder_parts(root, splits)
        read = partial(_list_pairs, root)
    source = Source(root, known, heap, read, lambda pair: pair.image, _mask_values)
    parts = read_splits(source, splits, division)
    for split, found in parts.splits.items():
        if not found:
            raise DataError(f"split {split!r} of {root} is empty", code="split.empty")
    notes = [n for own in dict.fromkeys(parts.own.values()) for n in odd_files(root, layout, own)]
    named = ((p.mask, p.key) for pairs in parts.splits.values() for p in pairs)
    shared = shared_labels(list(dict.fromkeys(named))) if layout == "pairs" else []
    return replace(parts, notes=(*dict.fromkeys(notes), *shared, *parts.notes))


def _mask_values(pairs: Sequence[LabelledImage]) -> list[list[str]]:
    """Return the values or colours in each mask as they are stored; of unreadable ones none.

    They are not classes yet: flags that say what a value means must not move the division.
    """
    with Known("mask values", [pair.mask for pair in pairs]) as known:

        def look(pair: LabelledImage) -> list[str]:
            try:
                return known.find([pair.mask], lambda: _stored_values(pair.mask))
            except DataError:
                return []

        with ThreadPoolExecutor() as pool:
            return list(pool.map(look, pairs))


def _stored_values(path: Path) -> list[str]:
    with open_image(path) as image:
        values = np.asarray(decode(image, path))
    return sorted(
        {str(value) for value in np.unique(values.reshape(-1, *values.shape[2:]), axis=0)}
    )


def list_split(root: Path, layout: str, split: str) -> list[LabelledImage]:
    """Return the labelled images of one split; see `read_pairs`."""
    return read_pairs(root, layout, [split]).splits[split]


def list_parts(root: Path, kind: str, splits: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the names of VOC's lists, and which of them is not one side only.

    Without any list it is all of the folder (""): `trainval`, or the only list that there is.

    Args:
        root: the dataset.
        kind: `Segmentation` or `Main`.
        splits: names that may lie deeper.
    """
    folder = root / "ImageSets" / kind
    known = [path.stem for path in matches(folder, "*.txt")]
    known += [s for s in splits if s not in known and inside(folder, f"{s}.txt").is_file()]
    if not known:
        return [], ""
    heaps = [name for name in known if name == "trainval"]
    alone = [name for name in known if len(known) == 1 and not is_split(name)]
    return known, next(iter(heaps + alone), None)


def folder_parts(root: Path, splits: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the folders under `images`, and "" where none of them is a split.

    Args:
        root: the dataset.
        splits: names that may lie deeper.
    """
    known = [path.name for path in matches(root / "images", "*") if path.is_dir()]
    known += [s for s in splits if s not in known and inside(root / "images", s).is_dir()]
    return known, None if any(map(is_split, known)) else ""


def list_names(root: Path, kind: str, split: str) -> list[str]:
    """Return the image names of a VOC split, in the file's order.

    Args:
        root: with the folder `ImageSets`.
        kind: `Segmentation` or `Main`.
        split: name of the file without `.txt`.

    Raises:
        DataError: a name twice.
    """
    folder = root / "ImageSets" / kind
    file = inside(folder, f"{split}.txt")
    lines = [line.strip() for line in read_lines(file, area="split") if line.strip()]
    names = [_listed_name(root / "JPEGImages", line) for line in lines]
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{file} lists {shown(min(twice))} twice", code="split.duplicate")
    return names


def _listed_name(images: Path, line: str) -> str:
    """Return the name in a line, after which VOC's lists of one class say 1, 0 or -1.

    `cat 1` is the image `cat 1.jpg` where there is one.
    """
    name = re.sub(r"\s+(-1|0|1)$", "", line)
    has_image = name != line and not escapes(line) and with_image_suffix(images / line)
    return line if has_image else name


def _list_voc(root: Path, split: str) -> list[LabelledImage]:
    file = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    masks = root / "SegmentationClass"
    if split:
        names = list_names(root, "Segmentation", split)
    else:
        file = masks
        names = [p.relative_to(masks).with_suffix("").as_posix() for p in walk_images(masks)]
    raise_defects([defect for name in names if (defect := _leaving(root, name))], str(file))
    found, missing = [], []
    for name in names:
        image = with_image_suffix(root / "JPEGImages" / name)
        mask = masks / f"{name}.png"
        missing += [] if image else [f"JPEGImages/{name}.jpg"]
        missing += [] if mask.is_file() else [f"SegmentationClass/{name}.png"]
        if image:
            found.append(LabelledImage(image.relative_to(root).as_posix(), image, mask, name))
    _raise_if_missing(file, missing)
    return found


def _leaving(root: Path, name: str) -> DataError | None:
    """Return why a name of a list is not one in the dataset; None if it is."""
    try:
        inside(root, f"{name}.png")
    except DataError as defect:
        return defect
    return None


def _list_pairs(root: Path, split: str) -> list[LabelledImage]:
    images, masks = inside(root / "images", split), inside(root / "masks", split)
    by_stem = {path.relative_to(masks).with_suffix(""): path for path in walk_images(masks)}
    found, missing = [], []
    for image in walk_images(images):
        stem = image.relative_to(images).with_suffix("")
        mask = by_stem.get(stem)
        if mask is None:
            missing.append(masks.joinpath(stem).with_suffix(".png").relative_to(root).as_posix())
        else:
            key = image.relative_to(root).as_posix()
            found.append(LabelledImage(key, image, mask, stem.as_posix()))
    _raise_if_missing(images, missing)
    return found


def odd_files(root: Path, layout: str, split: str) -> list[str]:
    """Return what is odd but usable about a split: files that are ambiguous or unused.

    Args:
        root: the dataset.
        layout: `voc`, whose lists name every file, or `pairs`.
        split: its own name of it; empty for a dataset that is not split.
    """
    if layout == "voc":
        return [] if split else _without_labels(root, "SegmentationClass", "mask")
    pairs, where = _list_pairs(root, split), f"masks of {split!r}" if split else "masks"
    notes = [note_beside(root / "images", "split")] if split else []
    used, spare, others = {pair.mask for pair in pairs}, [], []
    stems = {mask.with_suffix("") for mask in used}
    for mask in walk_images(inside(root / "masks", split)):
        if mask not in used:
            (others if mask.with_suffix("") in stems else spare).append(mask)
    if others:
        notes.append(
            f"{where} that are not read, because another one has the same name: "
            f"{len(others)}, such as {others[0].relative_to(root)}"
        )
    if spare:
        notes.append(
            f"{where} that belong to no image: {len(spare)}, such as {spare[0].relative_to(root)}"
        )
    return [note for note in notes if note]


def _without_labels(root: Path, folder: str, what: str) -> list[str]:
    """Return a note if images of a VOC dataset without lists have no file of labels."""
    labels = (path.relative_to(root / folder) for path in matches(root / folder, "**/*.*"))
    stems = {path.with_suffix("") for path in labels}
    images = [path.relative_to(root / "JPEGImages") for path in walk_images(root / "JPEGImages")]
    bare = [path for path in images if path.with_suffix("") not in stems]
    if not bare:
        return []
    return [f"images without {what}, unused: {len(bare)}, such as JPEGImages/{bare[0]}"]


def without_annotation(root: Path) -> list[str]:
    """Return a note if images of a VOC dataset without lists have no annotation."""
    return _without_labels(root, "Annotations", "annotation")


def shared_labels(pairs: list[tuple[Path, str]]) -> list[str]:
    """Return a note if images that differ in their suffix only share a file of labels.

    Args:
        pairs: the file of labels and the key of each image.
    """
    keys: dict[Path, list[str]] = {}
    for path, key in pairs:
        keys.setdefault(path, []).append(key)
    shared = {path: own for path, own in keys.items() if len(own) > 1}
    if not shared:
        return []
    path, own = next(iter(shared.items()))
    images = " and ".join(own)
    return [f"labels that several images share: {len(shared)}, such as {path} of {images}"]


def with_image_suffix(stem: Path) -> Path | None:
    """Return the image file whose name begins with the stem, .jpg first; None without one."""
    suffixes = [".jpg", ".png", *sorted(IMAGE_SUFFIXES - {".jpg", ".png"})]
    candidates = (stem.with_name(stem.name + suffix) for suffix in suffixes)
    return next((path for path in candidates if path.is_file()), None)


def _raise_if_missing(where: Path, missing: list[str]) -> None:
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise DataError(
            f"{where}: {counted(len(missing), 'file')} missing: {shown}",
            code="split.id_without_file",
            hint="add them, or take their names out of the split",
        )
