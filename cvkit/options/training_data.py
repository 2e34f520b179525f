"""Flags of the data that a training reads, and of their division."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cvkit.options import sentences
from cvkit.options.described import Several
from cvkit.options.job import Job
from cvkit.options.panels import DATA, flag


@dataclass(frozen=True, kw_only=True)
class TrainingData(Job):
    """The dataset of a training, its splits, and how data without splits are divided."""

    data: Annotated[
        str,
        Several(),
        flag(
            DATA,
            f"Dataset folder, or 'samples' for the built-in synthetic images; {sentences.JOINED}",
        ),
    ] = "samples"
    train_split: Annotated[str, flag(DATA, "Split to train on")] = "train"
    val_split: Annotated[str, flag(DATA, "Split to evaluate after each epoch")] = "val"
    val_fraction: Annotated[
        float,
        flag(
            DATA,
            "Fraction of each class that becomes the validation split if the data have none; "
            "drawn with --seed",
            min=0,
            max=1,
        ),
    ] = 0.2
    test_fraction: Annotated[
        float,
        flag(
            DATA,
            "Fraction that becomes the split test, which only 'eval --split test' reads; 0: none",
            min=0,
            max=1,
        ),
    ] = 0.0
    group_by: Annotated[
        str | None,
        flag(
            DATA,
            "What keeps samples together when data without splits are divided: folder, "
            "regex:PATTERN, or csv:FILE:COLUMN, as in 'cvkit data split'",
        ),
    ] = None
    splits: Annotated[Path | None, flag(DATA, sentences.SPLITS_HELP)] = None
    fold: Annotated[str | None, flag(DATA, sentences.FOLDS_HELP)] = None
    exclude: Annotated[
        Path | None,
        flag(
            DATA,
            "File with the keys of samples to leave out, one per line, as 'cvkit data check "
            "--fix-list' writes it",
        ),
    ] = None
