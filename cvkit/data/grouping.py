"""Groups of samples that a division keeps together, such as the images of a patient."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from cvkit.data.tables import read_rows
from cvkit.errors import DataError, UsageError
from cvkit.texts import counted

SYNTAX = "folder, regex:PATTERN, or csv:FILE:COLUMN"


def group_names(text: str, keys: Sequence[str]) -> list[str]:
    """Return the group of each sample.

    Args:
        text: `folder`: that of the file; `regex:PATTERN`: what the first group of the pattern, or
            else the whole pattern, matches in the path; `csv:FILE:COLUMN`: the value of a column
            in the row whose column `path` is the sample's.
        keys: paths of the samples, relative to the dataset.

    Raises:
        UsageError: the text is malformed.
        DataError: a sample has no group, or the table is malformed.
    """
    kind, _, rest = text.partition(":")
    if text == "folder":
        return [str(PurePosixPath(key).parent) for key in keys]
    if kind == "regex" and rest:
        return _by_pattern(rest, keys)
    file, _, column = rest.rpartition(":")
    if kind == "csv" and file and column:
        return _by_table(Path(file), column, keys)
    raise UsageError(f"--group-by {text!r} is unknown", code="group_by.syntax", hint=SYNTAX)


def _by_pattern(pattern: str, keys: Sequence[str]) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"--group-by regex:{pattern}: {error}", code="group_by.regex", hint="correct it"
        ) from error
    found = [compiled.search(key) for key in keys]
    _require_all(f"regex:{pattern}", [k for k, match in zip(keys, found, strict=True) if not match])
    return [(match[1] if compiled.groups else match[0]) or "" for match in found if match]


def _by_table(file: Path, column: str, keys: Sequence[str]) -> list[str]:
    rows = read_rows(file, ("path", column))
    groups = {row["path"].strip(): row[column].strip() for row in rows}
    _require_all(f"csv:{file}:{column}", [key for key in keys if key not in groups])
    return [groups[key] for key in keys]


def _require_all(what: str, lacking: Sequence[str]) -> None:
    """Check that every sample has a group.

    Raises:
        DataError: counts those without one, and names the first.
    """
    if lacking:
        raise DataError(
            f"--group-by {what}: {counted(len(lacking), 'sample')} without a group, such as "
            f"{lacking[0]}",
            code="group_by.lacking",
            hint="paths are relative to the dataset, as 'cvkit data show' prints them",
        )
