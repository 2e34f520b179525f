"""Names of the mask files of other programs. Does not import torch."""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from cvkit.data.joining import join_names
from cvkit.errors import DataError

LABELS = ("_labelIds", "_labelTrainIds")
"""Ends of the names of label masks beside others of the same image, as Cityscapes has them."""


def label_masks(masks: Sequence[Path], folder: Path) -> list[Path]:
    """Return the label masks of a folder: all files, or Cityscapes' among its colours and others.

    Raises:
        DataError: there are label masks of two kinds.
    """
    kinds = {end: [mask for mask in masks if mask.stem.endswith(end)] for end in LABELS}
    found = {end: files for end, files in kinds.items() if files}
    if len(found) > 1:
        raise DataError(
            f"--truth {folder} has two kinds of label masks, {' and '.join(found)}",
            code="truth.ambiguous",
            hint="keep one kind in the folder",
        )
    return next(iter(found.values()), list(masks))


def joined_without_endings(truths: Sequence[str], found: Sequence[str]) -> dict[str, str]:
    """Return the found name that matches each truth's, where all names of a side share an ending.

    Such as `a_gtFine_labelIds` and `b_gtFine_labelIds`, and `a_leftImg8bit` and `b_leftImg8bit`.

    Args:
        truths: names without suffix.
        found: names without suffix.
    """
    shorter, others = _without_ending(truths), _without_ending(found)
    joined = join_names(list(shorter), list(others))
    return {shorter[name]: others[other] for name, other in joined.items()}


def _without_ending(names: Sequence[str]) -> dict[str, str]:
    """Return names by what remains of them without the ending that all share.

    An ending begins with `_`, `-` or `.`; it is kept if names would become empty or equal.
    """
    levels = zip(*(name[::-1] for name in names), strict=False)  # from the last character on
    equal = itertools.takewhile(lambda level: len(set(level)) == 1 and "/" not in level, levels)
    shared = "".join(level[0] for level in equal)[::-1] if len(names) > 1 else ""
    for match in re.finditer(r"[_.-]", shared):  # the longest ending first
        length = len(shared) - match.start()
        short = {name[:-length]: name for name in names}
        if len(short) == len(names) and all(name.rpartition("/")[2] for name in short):
            return short
    return {name: name for name in names}
