"""Files of splits: which samples of a dataset belong to which split, or to which fold."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cvkit.catalog import nearest
from cvkit.errors import DataError, UsageError
from cvkit.texts import counted, read_json

KIND, VERSION = "cvkit splits", 1
RULE = "shares of every class in every split, rarest first; groups and identical files together"
FOLD = "fold-"
"""First part of the names of folds."""


@dataclass(frozen=True)
class SplitLists:
    """The samples of each split.

    Attributes:
        file: that lists them, for messages.
        splits: content hash of each sample by its key, by split.
    """

    file: Path
    splits: Mapping[str, Mapping[str, str]]

    @property
    def hashes(self) -> dict[str, str]:
        """Content hash of each sample by its key."""
        return {key: digest for keys in self.splits.values() for key, digest in keys.items()}


def folds_of(lists: SplitLists) -> int:
    """Return the number of folds in a file; 0 if it has splits."""
    return sum(name.startswith(FOLD) for name in lists.splits)


def write_lists(content: Mapping[str, Any], splits: Mapping[str, Mapping[str, str]]) -> str:
    """Return the text of a file.

    Args:
        content: what is said about its making.
        splits: see `SplitLists`.
    """
    return json.dumps({"kind": KIND, "version": VERSION, **content, "splits": splits}, indent=1)


def read_lists(path: Path) -> SplitLists:
    """Return the content of a file that `cvkit data split` wrote.

    Raises:
        DataError: it is missing, malformed, of a later version, or lists a sample twice.
    """
    content = read_json(path)
    if not isinstance(content, dict) or content.get("kind") != KIND:
        raise DataError(
            f"{path} is not a file of splits",
            code="splits.kind",
            hint="'cvkit data split' writes such a file",
        )
    if content.get("version") != VERSION:
        raise DataError(
            f"{path} has version {content.get('version')!r} of files of splits, not {VERSION}",
            code="splits.version",
            hint="update cvkit, or write it again",
        )
    splits = content.get("splits")
    if not isinstance(splits, dict) or not splits:
        raise DataError(f"{path} has no splits", code="splits.malformed", hint="write it again")
    for name, keys in splits.items():
        if not isinstance(keys, dict) or not all(isinstance(v, str) for v in keys.values()):
            raise DataError(
                f"{path}: split {name!r} is not a list of samples with their hashes",
                code="splits.malformed",
                hint="write it again",
            )
    _require_once(path, splits)
    return SplitLists(path, splits)


def _require_once(path: Path, splits: Mapping[str, Mapping[str, str]]) -> None:
    seen: dict[str, str] = {}
    for name, keys in splits.items():
        for key in keys:
            if key in seen:
                raise DataError(
                    f"{path}: {key!r} is in {seen[key]!r} and in {name!r}",
                    code="splits.twice",
                    hint="a sample belongs to one split; write the file again",
                )
            seen[key] = name


def parse_fold(text: str, lists: SplitLists) -> int:
    """Return the fold that `--fold I/K` means, from 1.

    Raises:
        UsageError: malformed, or the file has another number of folds.
    """
    match, count = re.fullmatch(r"(\d+)/(\d+)", text), folds_of(lists)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(
            f"--fold {text!r} is not NUMBER/FOLDS", code="fold.syntax", hint="such as 2/5"
        )
    if int(match[2]) != count:
        has = f"has {counted(count, 'fold')}" if count else "has splits, not folds"
        raise UsageError(
            f"--fold {text}: {lists.file} {has}",
            code="fold.count",
            hint=f"such as 1/{count}" if count else "omit --fold",
        )
    return int(match[1])


def with_fold(lists: SplitLists, fold: int, train: str, val: str) -> SplitLists:
    """Return lists in which one fold is the validation split and all others the training split.

    Args:
        lists: with folds.
        fold: its number, from 1.
        train: name of the training split.
        val: name of the validation split.
    """
    held = f"{FOLD}{fold}"
    rest = [keys for name, keys in lists.splits.items() if name.startswith(FOLD) and name != held]
    joined = {key: digest for keys in rest for key, digest in keys.items()}
    others = {name: k for name, k in lists.splits.items() if not name.startswith(FOLD)}
    return SplitLists(lists.file, {**others, train: joined, val: lists.splits[held]})


def listed_keys(lists: SplitLists, split: str) -> Mapping[str, str]:
    """Return the samples of a split.

    Raises:
        DataError: there is no such split; the hint names the nearest.
    """
    if split in lists.splits:
        return lists.splits[split]
    hint = nearest(split, lists.splits)
    if folds_of(lists):
        hint = f"choose a fold with --fold, such as --fold 1/{folds_of(lists)}"
    raise DataError(f"{lists.file} has no split {split!r}", code="split.missing", hint=hint)


def require_unchanged(
    lists: SplitLists, wanted: Mapping[str, str], found: Mapping[str, str], place: Path
) -> None:
    """Check that listed samples are in the dataset with the content that was divided.

    Args:
        lists: the file.
        wanted: hash of each listed sample by its key.
        found: hash of each sample of the dataset by its key.
        place: the dataset.

    Raises:
        DataError: samples are missing, or have another content; they are counted and named.
    """
    missing = [key for key in wanted if key not in found]
    changed = [key for key, digest in wanted.items() if found.get(key, digest) != digest]
    for keys, what, code in (
        (missing, "missing in", "splits.missing"),
        (changed, "changed in", "splits.changed"),
    ):
        if keys:
            raise DataError(
                f"{lists.file}: {counted(len(keys), 'listed sample')} {what} {place}: "
                f"{_some(keys)}",
                code=code,
                hint="restore them, or divide the dataset again with 'cvkit data split'",
            )


def unlisted_note(lists: SplitLists, keys: Iterable[str]) -> str:
    """Return a note on samples of the dataset that no split lists; "" if there are none."""
    known = {key for each in lists.splits.values() for key in each}
    new = [key for key in keys if key not in known]
    return f"{lists.file} does not list {counted(len(new), 'sample')}: {_some(new)}" if new else ""


def _some(keys: Sequence[str]) -> str:
    return ", ".join(keys[:5]) + (" ..." if len(keys) > 5 else "")
