"""Detection datasets: which layout a folder has, and what its splits contain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cvkit.data.annotated import AnnotatedImage, Annotations
from cvkit.data.division import WHOLE, Division, Parts, Source, read_splits
from cvkit.data.files import matches
from cvkit.data.formats.coco import read_coco
from cvkit.data.formats.coco_places import TRAINING, DataFlags, coco_hint, coco_parts, find_coco
from cvkit.data.formats.index_maps import read_index_maps
from cvkit.data.formats.layouts import folder_parts, list_parts
from cvkit.data.formats.voc import read_voc
from cvkit.data.formats.yolo import find_yaml, read_yolo, yolo_parts
from cvkit.errors import CvkitError, DataError, UsageError
from cvkit.structures import ClassList

LAYOUTS = ("voc", "coco", "yolo", "index")


@dataclass(frozen=True)
class BoxData:
    """Splits of images with boxes.

    Attributes:
        layout: one of `LAYOUTS`.
        classes: of all splits.
        splits: images by name of the split.
        defects: everything that makes the data unusable.
        notes: what is odd but usable.
        heap: what had to be divided, see `Parts`; None where the data are split.
    """

    layout: str
    classes: ClassList
    splits: dict[str, list[AnnotatedImage]]
    defects: list[CvkitError]
    notes: list[str]
    heap: str | None = None


def detect_box_layout(
    root: Path, wanted: str = "auto", masks: bool = False, flag: str = "--data"
) -> str:
    """Return one of `LAYOUTS`: what the folder looks like, or what `wanted` says.

    Args:
        root: the dataset.
        wanted: `auto`, or the answer.
        masks: look for layouts of objects with masks (`coco` and `index`) only.
        flag: what names the dataset, for messages.

    Raises:
        DataError: the folder is missing or has none of them.
    """
    if not root.is_dir() and not (root.suffix in (".yaml", ".yml") and root.is_file()):
        raise DataError(f"{flag} {root} is not a folder", code="data.missing", hint="check it")
    if wanted != "auto":
        return wanted
    voc = all((root / name).is_dir() for name in ("JPEGImages", "Annotations"))
    if not masks and (voc or (root / "ImageSets" / "Main").is_dir()):
        return "voc"
    if not masks and (root.is_file() or find_yaml(root) or (root / "labels").is_dir()):
        return "yolo"
    if any((root / name).is_dir() for name in ("annotations", "coco")) or any(
        [*matches(root, "*.json"), *matches(root, "*/_annotations.coco.json")]
    ):
        return "coco"
    if masks and (root / "images").is_dir() and (root / "masks").is_dir():
        return "index"
    known = "coco: annotations/instances_SPLIT.json and images; "
    known += (
        "index: images/SPLIT/ and masks/SPLIT/ with equal names"
        if masks
        else "voc: Annotations/, JPEGImages/, ImageSets/Main/SPLIT.txt; "
        "yolo: data.yaml, images/, labels/"
    )
    raise DataError(f"{flag} {root} has no known layout", code="data.layout", hint=known)


def read_boxes(
    root: Path,
    layout: str,
    splits: Sequence[str],
    *,
    json_files: dict[str, Path | None] | None = None,
    images: Path | None = None,
    masks: bool = False,
    flags: DataFlags = TRAINING,
    division: Division = WHOLE,
) -> BoxData:
    """Return the splits of a dataset, defects collected.

    Args:
        root: its folder.
        layout: one of `LAYOUTS`, or `auto`.
        splits: their names.
        json_files: COCO files of splits that are not found by their names; one under "" is not
            split, and divided.
        images: folder that the file names of COCO files are relative to.
        masks: read the objects' masks too, which all of them must have.
        flags: how the command names the data, for messages.
        division: of data that are not split; each side gets its share of every class.

    Raises:
        DataError: no such layout or split, or the splits have different classes.
        UsageError: `layout` or `images` contradict what is there.
    """
    given = {split: path for split, path in (json_files or {}).items() if path}
    if given and "" not in given:
        division = WHOLE  # each file is named for its split
    chosen = "coco" if given else detect_box_layout(root, layout, masks, flags.place)
    _require_agreement(root, layout, chosen, given, images)
    layout = chosen
    found: dict[str, Annotations] = {}
    known, heap, hint = _parts(root, layout, splits, given)
    other = given.get("") or (coco_parts(root, splits)[1] if layout == "coco" else None)

    def read(split: str) -> list[AnnotatedImage]:
        if layout == "coco":
            path = (given.get(split) if split else other) or find_coco(root, split, flags.choose)
            found[split] = read_coco(path, images, root, split, masks=masks)
        else:
            readers = {"voc": read_voc, "yolo": read_yolo, "index": read_index_maps}
            found[split] = readers[layout](root, split)
        return found[split].images

    source = Source(
        root, known, heap, read, lambda image: image.path, partial(_labels, found), hint
    )
    parts = read_splits(source, splits, division)
    for split, own in parts.own.items():
        if not parts.splits[split] and not found[own].defects:
            raise DataError(f"split {split!r} of {root} is empty", code="split.empty")
    return _joined(root, layout, found, parts)


def _joined(root: Path, layout: str, found: dict[str, Annotations], parts: Parts) -> BoxData:
    """Return all splits together; their classes are compared where nothing else is wrong."""
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
        own = found[split].classes
        if (own.names, own.ids) != (classes.names, classes.ids):
            raise DataError(
                f"{root}: splits {first!r} and {split!r} have different classes",
                code="classes.differ",
                hint="both files must list the same categories",
            )
    return classes


def divided_file(place: Path, content: Annotations, split: str, division: Division) -> BoxData:
    """Return one side of a COCO file that is not split.

    Args:
        place: the file.
        content: of it.
        split: `train`, `val` or `all`.
        division: by which share and seed.

    Raises:
        DataError: no such split, or an empty one.
    """
    labels = partial(_labels, {"": content})
    source = Source(place, [], "", lambda _: content.images, lambda image: image.path, labels)
    parts = read_splits(source, [split], division)
    notes = [*content.notes, *parts.notes]
    return BoxData("coco", content.classes, parts.splits, content.defects, notes, parts.heap)


def _parts(
    root: Path, layout: str, splits: Sequence[str], given: dict[str, Path]
) -> tuple[list[str], str | None, str]:
    """Return the names of the splits, what may be divided, and what there is; see `Source`.

    Args:
        root: the dataset.
        layout: of it.
        splits: that are asked for.
        given: COCO files of splits; that of "" is divided.
    """
    if layout == "coco":
        named, other = coco_parts(root, splits)
        heap = "" if "" in given or (other and not given) else None
        return [] if "" in given else [*named, *given], heap, coco_hint(root)
    if layout == "voc":
        return *list_parts(root, "Main", splits), "the dataset has no splits"
    list_folders = yolo_parts if layout == "yolo" else folder_parts
    return *list_folders(root, splits), "the dataset has no splits"


def _labels(found: dict[str, Annotations], images: Sequence[AnnotatedImage]) -> list[list[str]]:
    """Return the names of the classes in each image of what is divided."""
    names = next(iter(found.values())).classes.names
    return [[names[label - 1] for label in set(image.truth.labels.tolist())] for image in images]


def _require_agreement(
    root: Path,
    asked: str,
    layout: str,
    json_files: dict[str, Path],
    images: Path | None,
) -> None:
    """Check that files and folders of COCO are named for data in that layout only.

    Args:
        root: the dataset.
        asked: the layout that is asked for, or `auto`.
        layout: the one that is read.
        json_files: COCO files of splits.
        images: folder of their images.

    Raises:
        UsageError: they contradict each other.
    """
    file = next(iter(json_files.values()), None)
    if file is not None and asked not in ("auto", "coco"):
        raise UsageError(
            f"--format {asked}: {file} is a COCO file",
            code="format.json",
            hint="--format coco, or leave it out",
        )
    if images is not None and layout != "coco":
        raise UsageError(
            f"--images has no effect: {root} has the layout {layout}, which says where they lie",
            code="images.idle",
            hint="it belongs to COCO files",
        )


def with_truths(images: Sequence[AnnotatedImage], table: dict[int, int]) -> list[AnnotatedImage]:
    """Return images whose labels are numbers of another class list.

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
