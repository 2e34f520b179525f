"""Images or videos in one folder per class: CLASS/images."""

from collections.abc import Sequence
from pathlib import Path

from cvkit.data.classified import ClassifiedImage
from cvkit.data.files import Walk, matches, note_beside, require_end, walk_images, walk_videos
from cvkit.data.formats.contract import Contents, Listing, Query
from cvkit.data.formats.recognise import other_data
from cvkit.data.notes import Note
from cvkit.errors import DataError


def looks_like(place: Path, splits: Sequence[str]) -> bool:
    """Return whether a folder has visible folders."""
    return bool(visible_folders(place))


def read(query: Query) -> Contents[Listing[ClassifiedImage]]:
    """Return the content of a dataset folder, all of which may be divided."""
    root = query.root
    content = list_part(root, root, query.walk)
    return Contents([], "", lambda _: content, lambda: {p.name for p in visible_folders(root)})


def list_part(folder: Path, root: Path, walk: Walk) -> Listing[ClassifiedImage]:
    """Return the content of the class folders in a folder, and notes about oddities.

    Args:
        folder: of a split, or of the dataset.
        root: of the dataset, to which keys are relative.
        walk: finds the files in a class folder.
    """
    images, defects = list_classes(folder, root, walk)
    notes = [note_beside(folder, "class", walk)]
    if itself := [image for image in images if image.path == folder / image.label]:
        text = (
            f"{folder}: {len(itself)} class folders contain images directly, such as "
            f"{itself[0].label}; each of them is read as one video. 'cvkit classify' takes "
            "images with classes"
        )
        notes.append(Note(text, "class.is_video"))
    return Listing(images, [note for note in notes if note], defects)


def visible_folders(folder: Path) -> list[Path]:
    """Return the folders in a folder.

    Raises:
        DataError: it cannot be read, or has a broken link, which may have been a folder.
    """
    found = matches(folder, "*")
    for path in found:
        if not path.suffix:
            require_end(path)
    return [path for path in found if path.is_dir()]


def _remedy(folder: Path, walk: Walk) -> str:
    """Return the remedy for an empty class folder."""
    if walk is walk_images and next(walk_videos(folder), None):
        return "it contains videos, for 'cvkit video'"
    return "add files, or check that this is the dataset folder"


def list_classes(
    folder: Path, root: Path, walk: Walk
) -> tuple[list[ClassifiedImage], list[DataError]]:
    """Return the images under the folders of a folder, each of which is a class, and the defects.

    These are classes without images or with an unprintable name, and two that differ in case only.
    """
    images: list[ClassifiedImage] = []
    defects: list[DataError] = []
    seen: dict[str, str] = {}
    for place in visible_folders(folder):
        if not place.name.isprintable():  # this includes names that are not UTF-8
            defects.append(
                DataError(
                    f"{folder}: {place.name!r} cannot be the name of a class",
                    code="class.name",
                    hint="rename the folder",
                )
            )
            continue
        if (twin := seen.setdefault(place.name.casefold(), place.name)) != place.name:
            defects.append(
                DataError(
                    f"{folder}: classes {twin!r} and {place.name!r} differ in case only",
                    code="class.case_collision",
                    hint="rename or merge them",
                )
            )
        found = [
            ClassifiedImage(path.relative_to(root).as_posix(), path, place.name)
            for path in walk(place)
        ]
        if not found:
            defects.append(
                DataError(
                    f"class {place.name!r} of {folder} is empty",
                    code="class.empty",
                    hint=other_data("classes", root) or _remedy(place, walk),
                )
            )
        images += found
    return images, defects
