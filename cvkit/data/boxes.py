"""Detection datasets: which layout a folder has, and what its splits contain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cvkit.data.annotated import AnnotatedImage, Annotations
from cvkit.data.coco import read_coco
from cvkit.data.coco_places import TRAINING, DataFlags, find_coco
from cvkit.data.files import matches
from cvkit.data.index_maps import read_index_maps
from cvkit.data.voc import read_voc
from cvkit.data.yolo import find_yaml, read_yolo
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
    """

    layout: str
    classes: ClassList
    splits: dict[str, list[AnnotatedImage]]
    defects: list[CvkitError]
    notes: list[str]


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
    if not masks and (root / "ImageSets" / "Main").is_dir():
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
) -> BoxData:
    """Return the splits of a dataset, defects collected.

    Args:
        root: its folder.
        layout: one of `LAYOUTS`, or `auto`.
        splits: their names.
        json_files: COCO files of splits that are not found by their names.
        images: folder that the file names of COCO files are relative to.
        masks: read the objects' masks too, which all of them must have.
        flags: how the command names the data, for messages.

    Raises:
        DataError: no such layout or split, or the splits have different classes.
        UsageError: `layout` or `images` contradict what is there.
    """
    json_files = json_files or {}
    forced = any(json_files.values())
    chosen = "coco" if forced else detect_box_layout(root, layout, masks, flags.place)
    _require_agreement(root, layout, chosen, json_files, images)
    layout = chosen
    found: dict[str, Annotations] = {}
    for split in splits:
        if layout == "coco":
            path = json_files.get(split) or find_coco(root, split, flags.choose)
            found[split] = read_coco(path, images, root, split, masks=masks)
        else:
            read = {"voc": read_voc, "yolo": read_yolo, "index": read_index_maps}[layout]
            found[split] = read(root, split)
        if not found[split].images and not found[split].defects:
            raise DataError(f"split {split!r} of {root} is empty", code="split.empty")
    first = found[splits[0]].classes
    for split, content in found.items():
        if (content.classes.names, content.classes.ids) != (first.names, first.ids):
            raise DataError(
                f"{root}: splits {splits[0]!r} and {split!r} have different classes",
                code="classes.differ",
                hint="both files must list the same categories",
            )
    return BoxData(
        layout=layout,
        classes=first,
        splits={split: content.images for split, content in found.items()},
        defects=[defect for content in found.values() for defect in content.defects],
        notes=[note for content in found.values() for note in content.notes],
    )


def _require_agreement(
    root: Path,
    asked: str,
    layout: str,
    json_files: dict[str, Path | None],
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
    file = next(filter(None, json_files.values()), None)
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
