"""Images or videos that lists and tables name without their folders."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cvkit.data.classified import ClassifiedImage
from cvkit.data.files import Walk
from cvkit.data.formats.contract import Listing
from cvkit.data.labelled import missing_files
from cvkit.errors import CvkitError, DataError
from cvkit.texts import counted, shown

SOME_MISSING = (
    "get them, or leave them out: 'cvkit data check --fix-list FILE' lists them for --exclude FILE"
)
"""The remedy for files that a large public dataset has lost."""


@dataclass(frozen=True)
class Named:
    """An entry of a list.

    Attributes:
        where: file and line, for messages.
        names: of the file without folder and suffix, the likeliest first.
        label: name of the class.
    """

    where: str
    names: tuple[str, ...]
    label: str


class FilesByName:
    """The files of a dataset by their names without suffix.

    Args:
        root: the dataset.
        walk: finds the files.
    """

    def __init__(self, root: Path, walk: Walk) -> None:
        self._root = root
        self._paths: dict[str, list[Path]] = {}
        for path in walk(root):
            self._paths.setdefault(path.stem, []).append(path)

    def find(self, entry: Named) -> Path | None:
        """Return the file of an entry; None if there is none.

        Of several files with its name, it is the one in the folder of its class.

        Raises:
            DataError: there are several.
        """
        for name in entry.names:
            paths = self._paths.get(name, [])
            mine = [path for path in paths if entry.label in path.parts] or paths
            if len(mine) > 1:
                raise DataError(
                    f"{entry.where}: {shown(name)} is the name of "
                    f"{counted(len(mine), 'file')}, such as {mine[0]}",
                    code="split.ambiguous",
                    hint="rename all but one",
                )
            if mine:
                return mine[0]
        return None

    def listing(self, file: Path, entries: Iterable[Named]) -> Listing[ClassifiedImage]:
        """Return the files that a list names; all defects are collected, missing files counted.

        Args:
            file: the list.
            entries: its content.
        """
        images: list[ClassifiedImage] = []
        defects: list[CvkitError] = []
        missing: dict[str, str] = {}
        seen: set[Path] = set()
        for entry in entries:
            try:
                if not entry.label.strip() or not entry.label.isprintable():
                    text = f"{entry.where}: {shown(entry.label)} cannot be a class"
                    raise DataError(text, code="class.name")
                path = self.find(entry)
                if path is None:
                    missing[entry.names[0]] = entry.names[0]
                    continue
                if path in seen:
                    text = f"{entry.where}: {shown(path.name)} is listed twice"
                    raise DataError(text, code="split.duplicate")
            except DataError as defect:
                defects.append(defect)
                continue
            seen.add(path)
            key = path.relative_to(self._root).as_posix()
            images.append(ClassifiedImage(key, path, entry.label))
        return Listing(images, (), [*defects, *missing_files(file, missing, SOME_MISSING)])
