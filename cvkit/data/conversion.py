"""Converts a dataset: the content of one in another format, and what is lost on the way."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cvkit.console import Reporter
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.classes import (
    BACKGROUND,
    make_classes,
    numbered_classes,
    without_background,
)
from cvkit.data.division import ALL
from cvkit.data.labelled import LabelledImage
from cvkit.data.masks import MaskReader
from cvkit.data.pages import file_of
from cvkit.data.scan import Found, scan_boxes, scan_images, scan_pairs, scan_videos
from cvkit.data.writing.contract import Content, Feature, Item
from cvkit.data.writing.painting import hidden_pixels
from cvkit.errors import CvkitError, UsageError, raise_defects
from cvkit.format_table import Truth
from cvkit.ops.rle import mask_areas
from cvkit.structures import IGNORE, ClassList, Instances, Masks
from cvkit.texts import counted


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The samples that are written.

    Attributes:
        place: the dataset, for messages.
        layout: the name of its format.
        truth: the kind of its labels.
        videos: its samples are videos.
        classes: in index order; None for masks whose classes are not listed.
        splits: the samples by split.
        reader: of masks.
        defects: of the annotations.
        notes: remarks on usable oddities.
    """

    place: Path
    layout: str
    truth: Truth
    videos: bool = False
    classes: ClassList | None
    splits: Mapping[str, Sequence[Any]]
    reader: MaskReader = field(default_factory=MaskReader)
    defects: Sequence[CvkitError] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Conversion:
    """What is to be written.

    Attributes:
        content: to be written.
        lost: a sentence for everything that the new format cannot hold.
    """

    content: Content[Any]
    lost: Sequence[str]


def convert(samples: Samples, keeps: frozenset[Feature], report: Reporter) -> Conversion:
    """Return samples as the content of a dataset in another format.

    Args:
        samples: of the dataset.
        keeps: what the other format can hold.
        report: for progress.

    Raises:
        DataError: all defects of the dataset.
        UsageError: the format cannot hold the samples.
    """
    converters: dict[Truth, Callable[..., Conversion]] = {
        "boxes": _objects,
        "instances": _objects,
        "masks": _masks,
        "classes": _classes,
    }
    return converters[samples.truth](samples, keeps, report)


def _objects(data: Samples, keeps: frozenset[Feature], report: Reporter) -> Conversion:
    """Return the content of a dataset of objects."""
    assert data.classes is not None, "formats of objects list their classes"
    splits: dict[str, list[AnnotatedImage]] = {}
    defects = list(data.defects)
    for name, images in data.splits.items():
        found = _scanned(name, images, scan_boxes, report)
        defects += found.defects
        splits[name] = found.images
    raise_defects(defects, str(data.place))
    lost: Counter[str] = Counter()
    kept = {
        name: [_kept(image, keeps, lost) for image in images] for name, images in splits.items()
    }
    items = _items(kept, lambda image: (image.key, image.path, image.size_wh or (0, 0)))
    return Conversion(Content(data.classes, items), _sentences(lost))


def _kept(image: AnnotatedImage, keeps: frozenset[Feature], lost: Counter[str]) -> AnnotatedImage:
    """Return an image with the labels that are kept; count the others."""
    truth = image.truth
    masks = truth.masks if isinstance(truth.masks, Masks) else None
    if truth.crowd is not None and truth.crowd.any() and "crowd" not in keeps:
        lost["crowd regions, which are left out"] += int(truth.crowd.sum())
        truth = truth.pick(~truth.crowd)
        masks = truth.masks if isinstance(truth.masks, Masks) else None
    if truth.difficult is not None and "difficult" not in keeps:
        lost["marks difficult, so that these objects count"] += int(truth.difficult.sum())
        truth = replace(truth, difficult=None)
    if "areas" not in keeps:
        lost["annotated areas"] += _annotated_areas(truth, masks)
    if "beyond" not in keeps and masks is None and image.size_wh:
        lost["boxes beyond their image, which end at its border"] += _beyond(truth, image.size_wh)
    if masks is not None:
        if "overlaps" not in keeps and image.size_wh:
            hidden = hidden_pixels(truth, image.size_wh[::-1])
            lost["pixels of masks under smaller objects"] += hidden
        if empty := int((mask_areas(masks) == 0).sum()):
            lost["objects without pixels"] += empty if "crowd" not in keeps else 0
    return replace(image, truth=truth)


def _annotated_areas(truth: Instances, masks: Masks | None) -> int:
    """Return how many areas do not follow from masks or boxes."""
    if truth.areas is None:
        return 0
    sides = truth.corner_and_size()[:, 2:]
    implied = sides[:, 0] * sides[:, 1] if masks is None else mask_areas(masks)
    return int((~np.isclose(truth.areas, implied, rtol=1e-6)).sum())


def _beyond(truth: Instances, size_wh: tuple[int, int]) -> int:
    """Return how many boxes leave the image by more than rounding."""
    box = truth.corner_and_size()
    over = (box[:, :2] < -0.01) | (box[:, :2] + box[:, 2:] > np.array(size_wh) + 0.01)
    return int(over.any(1).sum())


def _masks(data: Samples, keeps: frozenset[Feature], report: Reporter) -> Conversion:
    """Return the content of a dataset of masks."""
    reader = data.reader
    defects: list[CvkitError] = []
    largest = unlabelled = 0
    sizes: dict[str, tuple[int, int]] = {}
    for name, pairs in data.splits.items():
        found = _scanned(
            name, pairs, lambda items, advance: scan_pairs(items, reader, advance), report
        )
        defects += found.defects
        largest = max(largest, found.largest_label)
        unlabelled += int(found.pixels[IGNORE])
        sizes |= {
            pair.key: size[::-1] for pair, size in zip(pairs, found.sizes_hw, strict=True) if size
        }
    raise_defects(defects, str(data.place))
    classes = data.classes or numbered_classes(largest + 1)
    reader = replace(reader, num_classes=len(classes))
    items = _items(data.splits, lambda pair: (pair.key, pair.image, sizes[pair.key]))
    read = {
        split: [replace(item, labels=partial(_labels, reader, item.labels)) for item in row]
        for split, row in items.items()
    }
    lost: Counter[str] = Counter()
    if "unlabelled" not in keeps:
        lost["pixels without a label, which become background"] = unlabelled
    if "classes" not in keeps:
        lost["classes with another index, name or colour, behind a background"] = _moved(classes)
    return Conversion(Content(classes, read), _sentences(lost))


def _moved(classes: ClassList) -> int:
    """Return how many classes differ in a list of background and the others, in usual colours."""
    others = without_background(classes.names, tuple)
    usual = make_classes([BACKGROUND[0], *others])
    pairs = itertools.zip_longest(
        zip(classes.names, classes.colors, strict=True), zip(usual.names, usual.colors, strict=True)
    )
    return sum(old != new for old, new in pairs)


def _labels(reader: MaskReader, pair: LabelledImage) -> np.ndarray:
    return reader.read(pair.mask)


def _classes(data: Samples, keeps: frozenset[Feature], report: Reporter) -> Conversion:
    """Return the content of a dataset of images or videos with classes."""
    assert data.classes is not None, "classes are listed, or are those of the samples"
    defects: list[CvkitError] = []
    for name, samples in data.splits.items():
        scan = scan_videos if data.videos else scan_images
        defects += _scanned(name, samples, scan, report).defects
    raise_defects(defects, str(data.place))
    parts = [s for samples in data.splits.values() for s in samples if s.seconds is not None]
    if parts and "parts" not in keeps:
        raise UsageError(
            f"{data.place}: {counted(len(parts), 'sample')} are parts of videos, such as "
            f"{parts[0].key}, which this format cannot hold",
            code="to.parts",
            hint="use --to csv",
        )
    items = _items(data.splits, lambda sample: (sample.key, sample.path, (0, 0)))
    return Conversion(Content(data.classes, items), ())


def _scanned(name: str, samples: Sequence[Any], scan: Callable[..., Any], report: Reporter) -> Any:
    """Return what the files of a split contain, with a progress bar."""
    with report.progress(f"checking {name}", len(samples)) as advance:
        found: Found = scan(samples, advance)
    if found.note:
        report.warn(f"the results of the data check cannot be cached: {found.note}")
    return found


def _items(
    splits: Mapping[str, Sequence[Any]],
    about: Callable[[Any], tuple[str, Path, tuple[int, int]]],
) -> dict[str, list[Item[Any]]]:
    """Return the samples of splits with names that no two files share.

    Parts of one video share its file, and so its name.

    Args:
        splits: the samples.
        about: returns the key, the file and the size of a sample.
    """
    rows = {split: [about(sample) for sample in samples] for split, samples in splits.items()}
    paths = dict.fromkeys((path, key) for row in rows.values() for key, path, _ in row)
    names = _unique_names({path: _file_key(path, key) for path, key in paths})
    whole = list(splits) == [ALL]
    return {
        "" if whole else split: [
            Item("" if whole else split, names[path], path, size, sample)
            for sample, (_, path, size) in zip(splits[split], rows[split], strict=True)
        ]
        for split in splits
    }


def _file_key(path: Path, key: str) -> str:
    """Return the path of a new file relative to the dataset: each page of a file is one."""
    name, _, part = key.rpartition("#")
    file = PurePosixPath(name)
    if file_of(path) == path:
        return name if file.name == path.name else key  # a part of a video, or the whole file
    return file.with_name(f"{file.stem}-{part}{file.suffix}").as_posix()


def _unique_names(keys: Mapping[Path, str]) -> dict[Path, str]:
    """Return names without folder and suffix; where they are equal, as much as is needed of both.

    Capital letters make no difference, because they do not on every disk.

    Args:
        keys: the path of each file relative to its dataset.
    """
    names: dict[Path, str] = {}
    left, depth = dict(keys), 1
    while left:
        tried = {path: _last_parts(key, depth) for path, key in left.items()}
        times = Counter(name.casefold() for name in tried.values())
        taken = {name.casefold() for name in names.values()}
        for path, name in tried.items():
            if times[name.casefold()] == 1 and name.casefold() not in taken:
                names[path] = name
                del left[path]
        depth += 1
        if depth > max((len(PurePosixPath(key).parts) for key in left.values()), default=0):
            for number, path in enumerate(left):
                names[path] = f"{_last_parts(left[path], depth)}-{number}"
            return names
    return names


def _last_parts(key: str, count: int) -> str:
    """Return the last parts of a path, joined, without the suffix."""
    path = PurePosixPath(key)
    return "-".join((*path.parts[:-1], path.stem)[-count:])


def _sentences(lost: Counter[str]) -> list[str]:
    """Return a sentence for everything that is lost."""
    return [f"{what}: {count}" for what, count in lost.items() if count]
