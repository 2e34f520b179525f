"""Common parts of both PASCAL VOC formats: lists in `ImageSets`, images in `JPEGImages`."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from cvkit.data.division import is_split
from cvkit.data.files import IMAGE_SUFFIXES, escapes, inside, matches, walk_images
from cvkit.data.notes import Note
from cvkit.errors import DataError
from cvkit.texts import read_lines, shown


def list_parts(root: Path, kind: str, splits: Sequence[str]) -> tuple[list[str], str | None]:
    """Return the names of VOC's lists, and the one that may be divided.

    It is `trainval`, or the only list; without lists, the whole folder ("").

    Args:
        root: the dataset.
        kind: `Segmentation` or `Main`.
        splits: names that may be nested.
    """
    folder = root / "ImageSets" / kind
    known = [path.stem for path in matches(folder, "*.txt")]
    known += [s for s in splits if s not in known and inside(folder, f"{s}.txt").is_file()]
    if not known:
        return [], ""
    heaps = [name for name in known if name == "trainval"]
    alone = [name for name in known if len(known) == 1 and not is_split(name)]
    return known, next(iter(heaps + alone), None)


def list_names(root: Path, kind: str, split: str) -> list[str]:
    """Return the image names of a VOC split, in the file's order.

    Args:
        root: with the folder `ImageSets`.
        kind: `Segmentation` or `Main`.
        split: name of the file without `.txt`.

    Raises:
        DataError: a name occurs twice.
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
    """Return the name in a line, without the 1, 0 or -1 of VOC's lists for one class.

    `cat 1` is the image `cat 1.jpg` if that exists.
    """
    name = re.sub(r"\s+(-1|0|1)$", "", line)
    has_image = name != line and not escapes(line) and with_image_suffix(images / line)
    return line if has_image else name


def without_labels(root: Path, folder: str, what: str) -> list[str]:
    """Return a note if images of a VOC dataset without lists have no label file."""
    labels = (path.relative_to(root / folder) for path in matches(root / folder, "**/*.*"))
    stems = {path.with_suffix("") for path in labels}
    images = [path.relative_to(root / "JPEGImages") for path in walk_images(root / "JPEGImages")]
    bare = [path for path in images if path.with_suffix("") not in stems]
    if not bare:
        return []
    text = f"images without {what}, unused: {len(bare)}, such as JPEGImages/{bare[0]}"
    return [Note(text, "image.without_label")]


SUFFIXES = (".jpg", ".png", *sorted(IMAGE_SUFFIXES - {".jpg", ".png"}))


def with_image_suffix(stem: Path) -> Path | None:
    """Return the image file with a stem, .jpg first; None if there is none."""
    candidates = (stem.with_name(stem.name + suffix) for suffix in SUFFIXES)
    return next((path for path in candidates if path.is_file()), None)


def passed_over(root: Path, used: Sequence[Path]) -> list[str]:
    """Return a note if there are images that differ only in their suffix from those used.

    Args:
        root: the dataset.
        used: the images of a split, in `JPEGImages`.
    """
    names: dict[Path, list[str]] = {}
    for folder in {path.parent for path in used}:
        for path in matches(folder, "*.*"):
            if path.suffix in SUFFIXES:
                names.setdefault(path.with_suffix(""), []).append(path.suffix)
    twins = [path for path in used if len(names.get(path.with_suffix(""), ())) > 1]
    if not twins:
        return []
    path = twins[0]
    other = next(s for s in names[path.with_suffix("")] if s != path.suffix)
    text = (
        f"images ignored because another file has the same name: {len(twins)}, such as "
        f"{path.with_suffix(other).relative_to(root)}"
    )
    return [Note(text, "file.same_name")]
