"""Flags of the conversion of datasets."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS
from cvkit.format_table import FORMATS
from cvkit.options.described import Choice
from cvkit.options.job import Command
from cvkit.options.panels import DATA, OUTPUT, flag

READ = ("auto", *dict.fromkeys(name for rows in FORMATS.values() for name in rows))
WRITTEN = tuple(
    dict.fromkeys(name for rows in FORMATS.values() for name, row in rows.items() if row.writer)
)


@dataclass(frozen=True, kw_only=True)
class DataConvert(Command):
    """Write a dataset in another format, and list what that format cannot hold.

    The dataset is checked as for training and not changed. Images are copied.
    """

    data: Annotated[
        Path,
        typer.Argument(help="Dataset folder, or a COCO, YAML or CSV file", show_default=False),
    ]
    to: Annotated[str, Choice(WRITTEN), flag(OUTPUT, "Format to write")]
    out: Annotated[Path, flag(OUTPUT, "New folder for the dataset")]
    task: Annotated[
        str | None,
        Choice(TASKS),
        flag(DATA, "Task that the data are for (default: by the format, if only one fits)"),
    ] = None
    format: Annotated[str, Choice(READ), flag(DATA, "Format of the data; auto: recognised")] = (
        "auto"
    )
    split: Annotated[
        list[str], flag(DATA, "Split to convert; may be repeated (default: all splits)")
    ] = dataclasses.field(default_factory=list)
    images: Annotated[
        Path | None, flag(DATA, "Folder that the file names of a COCO file are relative to")
    ] = None
    mask_map: Annotated[
        str | None, flag(DATA, "Class indices of mask values; see 'cvkit segment train'")
    ] = None
    ignore_index: Annotated[
        int, flag(DATA, "Mask value of pixels without a label", min=0, max=255)
    ] = 255
    exclude: Annotated[
        Path | None,
        flag(
            DATA,
            "File with the keys of samples to leave out, one per line, as 'cvkit data check "
            "--fix-list' writes it",
        ),
    ] = None
    lossless: Annotated[
        bool, flag(OUTPUT, "Write nothing if the format cannot hold everything")
    ] = False
    link: Annotated[
        bool, flag(OUTPUT, "Link images (hard links) instead of copying them, on the same disk")
    ] = False
