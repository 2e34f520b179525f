"""Kaggle's run-length tables of classes: a row for each class of an image but the background."""

from pathlib import Path

import numpy as np

from cvkit.data.classes import without_background
from cvkit.data.writing.contract import Content, Feature, Limit
from cvkit.data.writing.labels import MaskLabels
from cvkit.data.writing.rle_table import Codes, place, write_tables
from cvkit.ops.rle import encode
from cvkit.structures import IGNORE

__all__ = ["keeps", "limits", "place", "write"]

keeps: frozenset[Feature] = frozenset()
limits: frozenset[Limit] = frozenset({"lines", "text"})


def write(root: Path, content: Content[MaskLabels]) -> None:
    """Write a table per split, and the classes."""
    names = content.classes.names
    objects = tuple(without_background(names, tuple))

    def codes(read: MaskLabels) -> Codes:
        labels = read()
        found = [n for n in np.unique(labels).tolist() if n != IGNORE and names[n] in objects]
        masks = encode(np.stack([labels == index for index in found])) if found else None
        return zip([names[n] for n in found], masks.codes if masks else (), strict=True)

    write_tables(root, content, objects, codes)
