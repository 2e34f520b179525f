"""YOLO's layout: `data.yaml`, `images/SPLIT`, and `labels/SPLIT` with a line per object.

Boxes are `CLASS CX CY W H`, masks `CLASS X Y X Y ...`, in fractions of the upright image.
"""

from pathlib import Path, PurePosixPath

from cvkit import storage
from cvkit.annotation.marked import marked
from cvkit.annotation.yolo import numbers
from cvkit.data.annotated import AnnotatedImage
from cvkit.data.writing.contract import Content, Feature, Item, Limit
from cvkit.yaml_files import dump_yaml

keeps: frozenset[Feature] = frozenset({"masks", "overlaps"})
limits: frozenset[Limit] = frozenset({"text"})


def place(item: Item[AnnotatedImage]) -> PurePosixPath:
    """Return where the image of a sample lies."""
    return PurePosixPath("images", item.split, item.file_name)


def write(root: Path, content: Content[AnnotatedImage]) -> None:
    """Write a file per image, and `data.yaml`."""
    about: dict[str, object] = {split: f"images/{split}" for split in content.items if split}
    about["names"] = dict(enumerate(content.classes.names))
    text = dump_yaml(about)
    names = content.classes.names
    labels = {name: number for number, name in enumerate(names)}
    storage.write_file(root / "data.yaml", text)
    for items in content.items.values():
        for item in items:
            path = root / "labels" / item.split / f"{item.name}.txt"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = numbers(marked(item.labels.truth, names), labels, item.size_wh)
            lines = [" ".join(map(repr, row)) for row in rows]
            storage.write_file(path, "".join(f"{line}\n" for line in lines))
