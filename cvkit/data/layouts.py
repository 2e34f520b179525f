"""Dataset folders: which layout they have, and what each split contains."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cvkit.catalog import nearest
from cvkit.data.files import IMAGE_SUFFIXES, escapes, inside, matches, note_beside, walk_images
from cvkit.errors import DataError, raise_defects
from cvkit.texts import read_lines, shown


@dataclass(frozen=True)
class LabelledImage:
    """An image and its mask; `key` is the image's path relative to the dataset."""

    key: str
    image: Path
    mask: Path


def detect_layout(root: Path, wanted: str = "auto") -> str:
    """Return `voc` or `pairs`: what the folder looks like, or what `wanted` says.

    Raises:
        DataError: the folder is missing or has neither layout.
    """
    if not root.is_dir():
        raise DataError(f"--data {root} is not a folder", code="data.missing", hint="check it")
    if wanted != "auto":
        return wanted
    if (root / "ImageSets" / "Segmentation").is_dir():
        return "voc"
    if (root / "images").is_dir() and (root / "masks").is_dir():
        return "pairs"
    raise DataError(
        f"--data {root} has no known layout",
        code="data.layout",
        hint="voc: JPEGImages/, SegmentationClass/, ImageSets/Segmentation/<split>.txt; "
        "pairs: images/<split>/, masks/<split>/ with equal names",
    )


def list_split(root: Path, layout: str, split: str) -> list[LabelledImage]:
    """Return the labelled images of a split, sorted by name (VOC: in the file's order).

    Raises:
        DataError: no such split, an empty one, or images without a mask; all are counted.
    """
    found = _list_voc(root, split) if layout == "voc" else _list_pairs(root, split)
    if not found:
        raise DataError(f"split {split!r} of {root} is empty", code="split.empty")
    return found


def list_names(root: Path, kind: str, split: str) -> list[str]:
    """Return the image names of a VOC split, in the file's order.

    Args:
        root: with the folder `ImageSets`.
        kind: `Segmentation` or `Main`.
        split: name of the file without `.txt`.

    Raises:
        DataError: no such split, or a name twice.
    """
    folder = root / "ImageSets" / kind
    file = inside(folder, f"{split}.txt")
    if not file.is_file():
        raise _no_split(root, split, [path.stem for path in matches(folder, "*.txt")])
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
    names = list_names(root, "Segmentation", split)
    raise_defects([defect for name in names if (defect := _leaving(root, name))], str(file))
    found, missing = [], []
    for name in names:
        image = with_image_suffix(root / "JPEGImages" / name)
        mask = root / "SegmentationClass" / f"{name}.png"
        missing += [] if image else [f"JPEGImages/{name}.jpg"]
        missing += [] if mask.is_file() else [f"SegmentationClass/{name}.png"]
        if image:
            found.append(LabelledImage(image.relative_to(root).as_posix(), image, mask))
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
    if not images.is_dir():
        raise _no_split(root, split, [p.name for p in matches(root / "images", "*") if p.is_dir()])
    by_stem = {path.relative_to(masks).with_suffix(""): path for path in walk_images(masks)}
    found, missing = [], []
    for image in walk_images(images):
        mask = by_stem.get(image.relative_to(images).with_suffix(""))
        if mask is None:
            missing.append(f"masks/{split}/{image.relative_to(images).with_suffix('.png')}")
        else:
            found.append(LabelledImage(image.relative_to(root).as_posix(), image, mask))
    _raise_if_missing(images, missing)
    return found


def odd_files(root: Path, layout: str, split: str, pairs: list[LabelledImage]) -> list[str]:
    """Return what is odd but usable about a split: files that are shared, ambiguous or unused.

    Args:
        root: the dataset.
        layout: `voc`, whose lists name every file, or `pairs`.
        split: its name.
        pairs: what it contains.
    """
    if layout == "voc":
        return []
    notes = [
        note_beside(root / "images", "split"),
        *shared_labels([(p.mask, p.key) for p in pairs]),
    ]
    used, spare, others = {pair.mask for pair in pairs}, [], []
    stems = {mask.with_suffix("") for mask in used}
    for mask in walk_images(root / "masks" / split):
        if mask not in used:
            (others if mask.with_suffix("") in stems else spare).append(mask)
    if others:
        notes.append(
            f"masks of {split!r} that are not read, because another one has the same name: "
            f"{len(others)}, such as {others[0].relative_to(root)}"
        )
    if spare:
        notes.append(
            f"masks of {split!r} that belong to no image: {len(spare)}, such as "
            f"{spare[0].relative_to(root)}"
        )
    return [note for note in notes if note]


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


def _no_split(root: Path, split: str, known: list[str]) -> DataError:
    hint = nearest(split, known) if known else "the dataset has no splits"
    return DataError(f"{root} has no split {split!r}", code="split.missing", hint=hint)


def _raise_if_missing(where: Path, missing: list[str]) -> None:
    if missing:
        shown = ", ".join(missing[:5]) + (" ..." if len(missing) > 5 else "")
        raise DataError(
            f"{where}: {len(missing)} files are missing: {shown}",
            code="split.id_without_file",
            hint="add them, or take their names out of the split",
        )
