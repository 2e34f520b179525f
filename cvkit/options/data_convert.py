"""Flags of the conversion of datasets."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from cvkit.format_table import FORMATS
from cvkit.options.data import DataPlace
from cvkit.options.described import Choice
from cvkit.options.panels import OUTPUT, flag

WRITTEN = tuple(
    dict.fromkeys(name for rows in FORMATS.values() for name, row in rows.items() if row.writer)
)


@dataclass(frozen=True, kw_only=True)
class DataConvert(DataPlace):
    """Write a dataset in another format, and list what that format cannot hold.

    The dataset is checked as for training and not changed. Images are copied.
    """

    to: Annotated[str, Choice(WRITTEN), flag(OUTPUT, "Format to write")]
    out: Annotated[Path, flag(OUTPUT, "New folder for the dataset")]
    lossless: Annotated[
        bool, flag(OUTPUT, "Write nothing if the format cannot hold everything")
    ] = False
    link: Annotated[
        bool, flag(OUTPUT, "Link images (hard links) instead of copying them, on the same disk")
    ] = False
