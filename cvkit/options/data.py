"""Flags of the commands on datasets."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS
from cvkit.format_table import FORMATS
from cvkit.options.described import Choice, Several
from cvkit.options.job import Command, Device
from cvkit.options.panels import DATA, MODEL, OUTPUT, RUN, flag

FORMAT_NAMES = ("auto", *dict.fromkeys(name for rows in FORMATS.values() for name in rows))


@dataclass(frozen=True, kw_only=True)
class DataPlace(Command):
    """Flags of the commands that read the files of a dataset strictly."""

    data: Annotated[
        Path,
        Several(),
        typer.Argument(
            help="Dataset folder, or a COCO, YAML or CSV file; several datasets are joined",
            show_default=False,
        ),
    ]
    task: Annotated[
        str | None,
        Choice(TASKS),
        flag(DATA, "Task that the data are for (default: by the format and the outlines)"),
    ] = None
    format: Annotated[
        str, Choice(FORMAT_NAMES), flag(DATA, "Format of the data; auto: recognised")
    ] = "auto"
    split: Annotated[
        list[str], flag(DATA, "Split to read; may be repeated (default: all splits)")
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


@dataclass(frozen=True, kw_only=True)
class DataCheck(DataPlace):
    """Check a dataset for every defect in one pass, and for samples that are in two splits.

    Each finding has a rule, a level (error or warning), a place and a remedy. Train and eval stop
    at the same errors. With errors the exit code is 2.
    """

    near: Annotated[
        int,
        flag(
            DATA,
            "Bits in which the 64-bit difference hashes of near duplicates differ at most; "
            "-1: they are not searched for",
            min=-1,
            max=12,
        ),
    ] = 3
    weights: Annotated[
        str | None,
        flag(
            MODEL,
            "Trained model whose confident predictions are compared with the labels, to list "
            "labels that may be wrong; a run folder, a model file or a name",
        ),
    ] = None
    confidence: Annotated[
        float,
        flag(
            MODEL,
            "Smallest probability, or score of an object, of predictions of --weights that are "
            "compared with labels",
            min=0,
            max=1,
        ),
    ] = 0.9
    device: Device = "auto"
    batch_size: Annotated[
        int | None,
        flag(RUN, "Images per forward pass of --weights (default: as the task's eval)", min=1),
    ] = None
    select: Annotated[
        str | None,
        flag(OUTPUT, "Rules to report, or their first parts, such as bbox,leak (default: all)"),
    ] = None
    ignore: Annotated[
        str | None, flag(OUTPUT, "Rules not to report, or their first parts, such as class.unused")
    ] = None
    all: Annotated[bool, flag(OUTPUT, "List all findings, not only the first five per rule")] = (
        False
    )
    fix_list: Annotated[
        Path | None,
        flag(OUTPUT, "File for the keys of the samples with reported findings, one per line"),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the file --fix-list")] = False
