"""Images with boxes or masks of objects, in any format."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cvkit.data.annotated import AnnotatedImage, Annotations
from cvkit.data.division import WHOLE, Division, Parts, Source, read_splits
from cvkit.data.exclusion import NOTHING, Exclusion
from cvkit.data.formats.contract import TRAINING, DataFlags, Query
from cvkit.data.formats.recognise import detect_format, reader_of
from cvkit.data.roots import several
from cvkit.errors import CvkitError, DataError, UsageError
from cvkit.format_table import FORMATS, Truth
from cvkit.structures import ClassList


@dataclass(frozen=True)
class BoxData:
    """Splits of images with boxes.

    Attributes:
        layout: the name of its format.
        classes: of all splits.
        splits: images by name of the split.
        defects: everything that makes the data unusable.
        notes: remarks on usable oddities, for warnings.
        heap: the part that was divided, see `Parts`; None if the data have splits.
    """

    layout: str
    classes: ClassList
    splits: dict[str, list[AnnotatedImage]]
    defects: list[CvkitError]
    notes: list[str]
    heap: str | None = None


def read_boxes(
    root: Path,
    layout: str,
    splits: Sequence[str],
    *,
    json_files: Mapping[str, Path | None] | None = None,
    images: Path | None = None,
    masks: bool = False,
    flags: DataFlags = TRAINING,
    division: Division = WHOLE,
    exclude: Exclusion = NOTHING,
) -> BoxData:
    """Return the splits of a dataset, and all defects.

    Args:
        root: its folder.
        layout: the name of its format, or `auto`.
        splits: their names.
        json_files: COCO files by split, if not found by their names; a file under "" is divided.
        images: folder that the file names of COCO files are relative to.
        masks: also read the masks, which all objects must have.
        flags: how the command names the data, for messages.
        division: of data without splits; each split gets its share of every class.
        exclude: samples that are left out.

    Raises:
        DataError: no known format, no such split, or the splits have different classes.
        UsageError: `layout` or `images` contradict the data.
    """
    given = {split: path for split, path in (json_files or {}).items() if path}
    truth: Truth = "instances" if masks else "boxes"
    query = Query(
        root=root, splits=splits, json_files=given, images=images, masks=masks, flags=flags
    )
    chosen = _format_of(truth, query, layout)
    contents = reader_of(truth, chosen).read(query)
    found: dict[str, Annotations] = {}

    def read(split: str) -> list[AnnotatedImage]:
        content = contents.read(split)
        defects = exclude.tolerated(content.defects, str(root))
        found[split] = replace(content, defects=defects)
        return found[split].images

    source = Source(
        root,
        contents.known,
        contents.heap,
        read,
        lambda image: image.path,
        partial(_labels, found),
        contents.hint,
    )
    parts = read_splits(source, splits, _of_files(given, division))
    for split, name in parts.names.items():
        if not parts.splits[split] and not found[name].defects:
            raise DataError(f"split {split!r} of {root} is empty", code="split.empty")
    return _joined(root, chosen, found, exclude.without(parts))


def _of_files(given: Mapping[str, Path], division: Division) -> Division:
    """Return the division of a dataset whose annotation files are given; those of splits have none.

    Raises:
        UsageError: lists of splits are given, too.
    """
    if not given or "" in given:
        return division
    if division.lists is not None:
        raise UsageError(
            f"--splits {division.lists.file} and files of splits cannot be combined",
            code="splits.files",
            hint="give --splits, or a COCO file for each split",
        )
    return WHOLE


def _format_of(truth: Truth, query: Query, wanted: str) -> str:
    """Return the name of a dataset's format; it follows from annotation files if any are given.

    Args:
        truth: `boxes` or `instances`.
        query: the dataset.
        wanted: a name, or `auto`.

    Raises:
        DataError: it has no known format.
        UsageError: files or a folder of images are given for data in another format.
    """
    taking = next(name for name, row in FORMATS[truth].items() if row.json_files)
    if query.json_files and several(query.root):
        raise UsageError(
            f"a COCO file has no effect on several datasets, {query.root}",
            code="json.several",
            hint="give the folder of each dataset, or one dataset",
        )
    if not query.json_files:
        found = detect_format(truth, query.root, wanted, query.splits, query.flags.place)
    elif wanted in ("auto", taking):
        found = taking
    else:
        raise UsageError(
            f"--format {wanted}: {next(iter(query.json_files.values()))} is a COCO file",
            code="format.json",
            hint="use --format coco, or omit it",
        )
    if query.images is not None and found != taking:
        raise UsageError(
            f"--images has no effect: {query.root} has the layout {found}, which defines where "
            "its images are",
            code="images.idle",
            hint="--images is for COCO files only",
        )
    return found


def _joined(root: Path, layout: str, found: dict[str, Annotations], parts: Parts) -> BoxData:
    """Return all splits together; their classes are compared if there are no defects."""
    defects = [defect for content in found.values() for defect in content.defects]
    first = next(iter(found.values())).classes
    notes = [note for content in found.values() for note in content.notes]
    return BoxData(
        layout=layout,
        classes=first if defects else _same_classes(root, found),
        splits=parts.splits,
        defects=defects,
        notes=[*notes, *parts.notes],
        heap=parts.heap,
    )


def _same_classes(root: Path, found: dict[str, Annotations]) -> ClassList:
    """Return the classes of all splits.

    Raises:
        DataError: the splits have different ones.
    """
    first, *others = found
    classes = found[first].classes
    for split in others:
        other = found[split].classes
        if (other.names, other.ids) != (classes.names, classes.ids):
            raise DataError(
                f"{root}: splits {first!r} and {split!r} have different classes",
                code="classes.differ",
                hint="both files must list the same categories",
            )
    return classes


def divided_file(place: Path, content: Annotations, split: str, division: Division) -> BoxData:
    """Return one split of a COCO file that is divided.

    Args:
        place: the file.
        content: of it.
        split: `train`, `val` or `all`.
        division: fraction and seed.

    Raises:
        DataError: no such split, or an empty one.
    """
    labels = partial(_labels, {"": content})
    source = Source(place, [], "", lambda _: content.images, lambda image: image.path, labels)
    parts = read_splits(source, [split], division)
    notes = [*content.notes, *parts.notes]
    return BoxData("coco", content.classes, parts.splits, content.defects, notes, parts.heap)


def _labels(found: dict[str, Annotations], images: Sequence[AnnotatedImage]) -> list[list[str]]:
    """Return the class names in each image, for the division."""
    names = next(iter(found.values())).classes.names
    return [[names[label - 1] for label in set(image.truth.labels.tolist())] for image in images]


def with_truths(images: Sequence[AnnotatedImage], table: dict[int, int]) -> list[AnnotatedImage]:
    """Return images with their labels converted to another class list.

    Args:
        images: as read.
        table: new label of each old one.
    """
    result = []
    for image in images:
        labels = image.truth.labels.copy()
        for place, label in enumerate(image.truth.labels.tolist()):
            labels[place] = table[label]
        result.append(replace(image, truth=replace(image.truth, labels=labels)))
    return result
