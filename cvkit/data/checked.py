"""What `cvkit data check` is asked, and what it finds."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cvkit.console import Tabular
from cvkit.data.exclusion import NOTHING, Exclusion
from cvkit.data.findings import Finding
from cvkit.data.masks import MaskMap
from cvkit.data.scan import Found
from cvkit.format_table import TRUTH_OF, Truth
from cvkit.structures import IGNORE, ClassList


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to check.

    Attributes:
        place: the dataset's folder, or a file in the place of it.
        task: whose data it has; key of `catalog.TASKS`.
        layout: the name of its format, or `auto`.
        splits: names; empty for all.
        images: folder that the file names of a COCO file are relative to.
        mask_map: see `MaskReader`.
        ignore_index: see `MaskReader`.
        clip_frames: number of frames of a clip.
        most_bits: see `near_duplicates`; below 0, images are not compared.
        exclude: samples that are left out.
    """

    place: Path
    task: str
    layout: str = "auto"
    splits: Sequence[str] = ()
    images: Path | None = None
    mask_map: MaskMap = field(default_factory=MaskMap)
    ignore_index: int = IGNORE
    clip_frames: int = 16
    most_bits: int = 3
    exclude: Exclusion = NOTHING

    @property
    def truth(self) -> Truth:
        """The kind of the labels."""
        return TRUTH_OF[self.task][0]

    @property
    def videos(self) -> bool:
        """Whether the samples are videos."""
        return TRUTH_OF[self.task][1]

    @property
    def root(self) -> Path:
        """The folder of the dataset."""
        return self.place.parent if self.place.is_file() else self.place


@dataclass
class Part:
    """A split.

    Attributes:
        name: as it is called in findings.
        items: its samples.
        classes: of its annotation file, if it has one.
        scan: what was found in the files.
    """

    name: str
    items: list[Any]
    classes: ClassList | None = None
    scan: Found = field(default_factory=Found)


@dataclass
class Checked:
    """The result of a check.

    Attributes:
        layout: the name of the format.
        findings: in the order of splits and files.
        parts: the splits that could be read.
        train: name of the training split; "" if there is none.
        keys: of all samples, including those left out.
        tables: of the classes of several datasets.
    """

    layout: str
    findings: list[Finding] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    train: str = ""
    keys: set[str] = field(default_factory=set)
    tables: dict[Tabular, None] = field(default_factory=dict)
