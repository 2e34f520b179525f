"""Tables of the dataset formats: names, modules and facts.

A format is a row here and the module that the row names; see `cvkit.data.formats.contract`.
"""

from dataclasses import dataclass
from typing import Literal

Truth = Literal["classes", "masks", "boxes", "instances"]
"""Kind of labels of an image or video: its class, the class of every pixel, or its objects, with or
without masks."""


@dataclass(frozen=True, kw_only=True)
class Format:
    """A dataset format.

    Attributes:
        module: that detects and reads it.
        about: the layout, for hints.
        files: suffixes of files that may be given instead of the folder.
        last: other formats may have its characteristics too, so they are tried first.
        json_files: the flags for annotation files and the folder of images apply to it.
        vague: many folders that are not datasets look like it, so no hint mentions it.
    """

    module: str
    about: str
    files: tuple[str, ...] = ()
    last: bool = False
    json_files: bool = False
    vague: bool = False


_PLACE = "cvkit.data.formats"
FORMATS: dict[Truth, dict[str, Format]] = {
    "classes": {
        "folders": Format(module=f"{_PLACE}.split_folders", about="SPLIT/CLASS/images", last=True),
        "classes": Format(
            module=f"{_PLACE}.class_folders", about="CLASS/images", last=True, vague=True
        ),
        "csv": Format(
            module=f"{_PLACE}.csv_table",
            about="a table labels.csv with path,label[,split]",
            files=(".csv",),
        ),
    },
    "masks": {
        "voc": Format(
            module=f"{_PLACE}.voc_masks",
            about="JPEGImages/, SegmentationClass/, and ImageSets/Segmentation/SPLIT.txt if "
            "there are splits",
        ),
        "pairs": Format(
            module=f"{_PLACE}.pairs",
            about="images/SPLIT/ and masks/SPLIT/ with equal file names, or images/ and masks/",
        ),
    },
    "boxes": {
        "coco": Format(
            module=f"{_PLACE}.coco",
            about="annotations/instances_SPLIT.json and images",
            last=True,
            json_files=True,
        ),
        "voc": Format(
            module=f"{_PLACE}.voc", about="Annotations/, JPEGImages/, ImageSets/Main/SPLIT.txt"
        ),
        "yolo": Format(
            module=f"{_PLACE}.yolo",
            about="data.yaml, images/, labels/",
            files=(".yaml", ".yml"),
        ),
    },
    "instances": {
        "coco": Format(
            module=f"{_PLACE}.coco",
            about="annotations/instances_SPLIT.json and images",
            json_files=True,
        ),
        "index": Format(
            module=f"{_PLACE}.index_maps",
            about="images/SPLIT/ and masks/SPLIT/ with equal file names",
        ),
    },
}
"""Formats by name, in the order of help and hints."""


TASK_OF: dict[Truth, str] = {
    "classes": "classify",
    "masks": "segment",
    "boxes": "detect",
    "instances": "instance",
}
"""The task for each kind of labels; classes may also be those of videos."""


TRUTH_OF: dict[str, tuple[Truth, bool]] = {
    **{task: (truth, False) for truth, task in TASK_OF.items()},
    "video": ("classes", True),
}
"""The kind of labels of each task, and whether its samples are videos."""


def format_choices(truth: Truth) -> tuple[str, ...]:
    """Return the choices of `--format`."""
    return ("auto", *FORMATS[truth])
