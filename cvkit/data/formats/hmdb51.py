"""HMDB51: videos in class folders, and for each class a list `CLASS_test_split1.txt`.

In each line is the name of a video and 1 (train), 2 (test) or 0 (not used). Of the three divisions
the first is read.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from cvkit.data.classified import ClassifiedImage
from cvkit.data.files import matches
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.named_files import FilesByName, Named
from cvkit.errors import CvkitError, DataError, defects_of
from cvkit.texts import read_lines, shown

END = "_test_split1.txt"
MARKS = {"train": "1", "test": "2"}
UNUSED = "0"


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder, or one of its folders, has such lists."""
    return bool(_lists(place))


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return both splits."""
    root = query.root
    lists, files = _lists(root), FilesByName(root, query.walk)

    def read_split(split: str) -> Listing[ClassifiedImage]:
        images: list[ClassifiedImage] = []
        defects: list[CvkitError] = []
        for file in lists:
            found = files.listing(file, [*_entries(file, MARKS[split], defects)])
            images += found.images
            defects += found.defects
        return Listing(images, (), defects_of(defects, str(root)))

    return Contents([*MARKS], None, read_split, lambda: {f.name.removesuffix(END) for f in lists})


def _lists(root: Path) -> list[Path]:
    return matches(root, f"*{END}") or matches(root, f"*/*{END}")


def _entries(file: Path, mark: str, defects: list[CvkitError]) -> Iterable[Named]:
    """Yield the videos of a list with a mark; malformed lines are defects."""
    lines = read_lines(file, area="split")
    if not any(map(str.strip, lines)):
        defects.append(DataError(f"{file} lists no videos", code="split.empty"))
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        name, _, found = line.strip().rpartition(" ")
        if not name or found not in (*MARKS.values(), UNUSED):
            reason = f"{file}:{number}: {shown(line)} is not a video and 0, 1 or 2"
            defects.append(DataError(reason, code="list.bad_line"))
        elif found == mark:
            stem = Path(name.strip()).stem
            yield Named(f"{file}:{number}", (stem,), file.name.removesuffix(END))
