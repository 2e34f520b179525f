"""VOC's XML files in other places: beside their images, or in `annotations` beside `images`.

Files beside images may be in a folder for each split, as Roboflow writes them. If all are in one
folder, the dataset has no splits.
"""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.annotated import Annotations
from cvkit.data.division import is_split
from cvkit.data.files import inside, matches, walk_images
from cvkit.data.formats.contract import Contents, Query
from cvkit.data.formats.voc import Entry, read_entries
from cvkit.errors import DataError
from cvkit.structures import ClassList
from cvkit.texts import require_regular

FILES = 5
"""Number of files of a folder that are examined."""
FIRST_BYTES = 4096
"""Number of bytes to search for the root of an annotation."""


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder, or one for a split in it, has annotations in these places."""
    return any(
        file.parent != folder or _is_annotation(file)
        for folder in _folders(place)
        for file in _xml_of(folder)[:FILES]
    )


def read(query: Query) -> Contents[Annotations]:
    """Return the splits of a dataset; without any, all images may be divided."""
    root = query.root
    names = [path.name for path in _folders(root) if path != root and _xml_of(path)]
    known = [name for name in names if is_split(name) or name in query.splits]
    return Contents(known, None if known else "", lambda split: _read_split(root, split))


def _folders(root: Path) -> list[Path]:
    """Return the folders that may have annotations."""
    return [root, *(path for path in matches(root, "*") if path.is_dir())]


def _xml_of(folder: Path) -> list[Path]:
    """Return the annotations of a folder, which has images beside them or in `images`."""
    for place in (folder, folder / "annotations"):
        if files := matches(place, "*.xml"):
            return files if place == folder or (folder / "images").is_dir() else []
    return []


def _is_annotation(file: Path) -> bool:
    try:
        require_regular(file)
        with file.open("rb") as stream:
            return b"<annotation>" in stream.read(FIRST_BYTES)
    except (OSError, DataError):
        return False


def _read_split(root: Path, split: str) -> Annotations:
    """Return the images and boxes of a split; of the whole dataset if its name is ""."""
    folder = inside(root, split)
    files = _xml_of(folder)
    images = folder if not files or files[0].parent == folder else folder / "images"
    entries = [Entry(n, images / file.stem, file) for n, file in enumerate(files, 1)]
    found = Annotations(ClassList((), (), ()))
    read_entries(root, entries, lambda: [x for f in _folders(root) for x in _xml_of(f)], found)
    stems = {file.stem for file in files}
    bare = [path for path in walk_images(images) if path.stem not in stems]
    if bare:
        example = bare[0].relative_to(root)
        found.notes.append(f"images without annotation, unused: {len(bare)}, such as {example}")
    return found
