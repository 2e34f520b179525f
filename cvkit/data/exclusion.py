"""Samples that `--exclude` leaves out of a dataset."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from cvkit.data.division import Keyed, Parts
from cvkit.errors import CvkitError, DataError, UsageError, defects_of
from cvkit.storage import sha256
from cvkit.texts import counted, read_lines

T = TypeVar("T", bound=Keyed)


@dataclass(frozen=True)
class Exclusion:
    """What `--exclude` leaves out: keys of samples.

    They are left out after data without splits are divided, so that the other samples stay in their
    splits.

    Attributes:
        keys: of the samples.
        file: that lists them; None if nothing is left out.
    """

    keys: frozenset[str] = frozenset()
    file: Path | None = None

    def kept(self, splits: Mapping[str, list[T]]) -> tuple[dict[str, list[T]], list[str]]:
        """Return the samples of splits without those that are left out, and how many these are.

        Raises:
            DataError: nothing is left of a split.
        """
        left = {
            name: [item for item in items if item.key not in self.keys]
            for name, items in splits.items()
        }
        for name, items in splits.items():
            if items and not left[name]:
                raise DataError(
                    f"--exclude {self.file} leaves nothing of split {name!r}",
                    code="exclude.all",
                    hint="leave fewer samples out",
                )
        known = {item.key for items in splits.values() for item in items}
        return left, self.notes(known)

    def without(self, parts: Parts[T]) -> Parts[T]:
        """Return the samples of a dataset without those that are left out, see `kept`."""
        splits, notes = self.kept(parts.splits)
        return replace(parts, splits=splits, notes=(*parts.notes, *notes))

    def notes(self, known: Collection[str]) -> list[str]:
        """Return how many samples are left out, and how many keys name none.

        Args:
            known: keys of all samples of the splits that are read.
        """
        if self.file is None:
            return []
        used = self.keys.intersection(known)
        notes = [f"--exclude {self.file}: {counted(len(used), 'sample')} left out"]
        if unused := sorted(self.keys - used):
            what = counted(len(unused), "key matches", "keys match")
            splits = f"no sample of these splits, such as {unused[0]}"
            notes.append(f"--exclude {self.file}: {what} {splits}")
        return notes

    def tolerated(self, defects: Sequence[CvkitError], what: str) -> list[CvkitError]:
        """Return the defects that concern more than the samples left out.

        Args:
            defects: of a split, some of which may list several.
            what: the dataset, for the message if a part of such a list remains.
        """
        result: list[CvkitError] = []
        for defect in defects:
            single = defect.defects or [defect]
            left = [each for each in single if each.sample not in self.keys]
            result += [defect] if len(left) == len(single) else defects_of(left, what)
        return result


NOTHING = Exclusion()


def read_exclusion(file: Path | None) -> Exclusion:
    """Return what a file with one key per line leaves out; nothing without a file.

    Raises:
        UsageError: it cannot be read.
    """
    if file is None:
        return NOTHING
    try:
        lines = read_lines(file, area="exclude")
    except DataError as error:
        raise UsageError(f"--exclude: {error}", code=error.code, hint=error.hint) from error
    return Exclusion(frozenset(line for line in lines if line), file)


def noted_exclusion(file: Path | None) -> dict[str, str]:
    """Return what a model file says about the list of samples left out; nothing without one."""
    return {} if file is None else {"excluded_by": sha256(file)}
