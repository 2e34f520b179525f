"""Flags of the commands that count and show labelled data."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cvkit.catalog import TASKS
from cvkit.options.data import FORMAT_NAMES
from cvkit.options.described import Choice, Several
from cvkit.options.job import Command
from cvkit.options.panels import DATA, OUTPUT, flag


@dataclass(frozen=True, kw_only=True)
class DataView(Command):
    """Flags of the commands that read a labelled dataset."""

    data: Annotated[
        str,
        Several(),
        typer.Argument(
            metavar="DATA",
            help="Dataset folder or file, or 'samples'; several datasets are joined",
            show_default=False,
        ),
    ]
    task: Annotated[
        str | None,
        Choice(TASKS),
        flag(DATA, "Task whose labels are read (default: found from the layout)"),
    ] = None
    format: Annotated[
        str, Choice(FORMAT_NAMES), flag(DATA, "Layout of the data; auto: detected")
    ] = "auto"
    split: Annotated[
        list[str], flag(DATA, "Split to read; may be repeated (default: all splits)")
    ] = dataclasses.field(default_factory=list)
    set: Annotated[
        list[str],
        flag(
            DATA,
            "Flag of the task's train that says how data are read or transformed, as NAME=VALUE, "
            "such as mask_map=255=1 or image_size=256; may be repeated",
        ),
    ] = dataclasses.field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class DataStats(DataView):
    """Count classes, sizes, objects and colours of a labelled dataset.

    The last table says what the numbers of the training split imply for the flags of train. Sizes
    are read from the headers of the files, colours from a random sample of the images.
    """

    colour_sample: Annotated[
        int,
        flag(
            DATA,
            "Number of images of each split whose colours are measured; 0: none",
            min=0,
        ),
    ] = 500
    seed: Annotated[
        int, flag(DATA, "Seed of the sample and of the page's gallery", min=0, max=2**31 - 1)
    ] = 0
    out: Annotated[
        Path | None, flag(OUTPUT, "Also write a page with charts and samples to this file (.html)")
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the file --out")] = False


@dataclass(frozen=True, kw_only=True)
class DataShow(DataView):
    """Draw labels over images: as a sheet (.png) or as a page (.html).

    With --augment, each sample is followed by what training passes to the network.
    """

    out: Annotated[Path, flag(OUTPUT, "File to write: a sheet (.png) or a page (.html)")]
    count: Annotated[int, flag(DATA, "Number of samples, drawn at random", min=1, max=400)] = 16
    seed: Annotated[
        int, flag(DATA, "Seed of the samples and of --augment", min=0, max=2**31 - 1)
    ] = 0
    with_class: Annotated[
        str | None, flag(DATA, "Only samples that contain this class, such as dog")
    ] = None
    augment: Annotated[
        str | None,
        flag(
            DATA,
            "Also show each sample as training sees it with this augmentation: a name such as "
            "none, light or strong, or an albumentations YAML or JSON file",
        ),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the file --out")] = False


@dataclass(frozen=True, kw_only=True)
class DataSplit(DataView):
    """Divide a dataset into train, val and test, or into folds, and list them in a file.

    Train and eval take the file as --splits. Every split gets its share of every class; identical
    files and the samples of a group stay together.
    """

    out: Annotated[Path, flag(OUTPUT, "File to write (.json)")]
    val_fraction: Annotated[
        float, flag(DATA, "Fraction of the samples for the split val", min=0, max=1)
    ] = 0.2
    test_fraction: Annotated[
        float, flag(DATA, "Fraction of the samples for the split test; 0: none", min=0, max=1)
    ] = 0.0
    folds: Annotated[
        int,
        flag(DATA, "Number of equal folds to divide into instead, such as 5; 0: none", min=0),
    ] = 0
    group_by: Annotated[
        str | None,
        flag(
            DATA,
            "What keeps samples together: folder, regex:PATTERN (its first group in the path), or "
            "csv:FILE:COLUMN (the value in the row with the sample's path)",
        ),
    ] = None
    seed: Annotated[int, flag(DATA, "Seed of the division", min=0, max=2**31 - 1)] = 0
    copy: Annotated[
        Path | None,
        flag(
            OUTPUT, "Also write a new dataset with these splits, in the same format, to this folder"
        ),
    ] = None
    link: Annotated[
        Path | None,
        flag(OUTPUT, "The same as --copy, with hard links to the images, on the same disk"),
    ] = None
    overwrite: Annotated[bool, flag(OUTPUT, "Replace the file --out")] = False
