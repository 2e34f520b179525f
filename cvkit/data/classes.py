"""Class lists: `classes.txt` and `labelmap.txt`."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cvkit.errors import DataError
from cvkit.structures import ClassList, voc_color
from cvkit.texts import counted, read_lines, shown

FILE_NAMES = ("classes.txt", "labelmap.txt")

LONGEST_LINE = 1000
"""Maximum length of a line, in characters; longer lines mean another kind of file."""


def numbered_classes(count: int) -> ClassList:
    """Return a class list for data without class names: "0", "1", ... in VOC colours."""
    return make_classes([str(index) for index in range(count)])


def make_classes(
    names: list[str], colors: dict[int, tuple[int, int, int]] | None = None
) -> ClassList:
    """Return a class list with ids equal to the indices; colours default to VOC's.

    If a class's VOC colour is used by another class, it gets one of VOC's last colours.
    """
    given = colors or {}
    chosen, standard = set(given.values()), voc_colors(len(names))
    taken = chosen.union(standard)
    spare = (color for color in map(voc_color, range(254, 0, -1)) if color not in taken)
    default = [
        next(spare, color) if color in chosen and index not in given else color
        for index, color in enumerate(standard)
    ]
    return ClassList(
        names=tuple(names),
        ids=tuple(range(len(names))),
        colors=tuple(given.get(index, color) for index, color in enumerate(default)),
    )


def object_classes(names: Sequence[str], ids: Iterable[int]) -> ClassList:
    """Return a class list of objects, with VOC's colours from 1: 0 is background.

    Args:
        names: in label order.
        ids: of the categories.
    """
    colors = tuple(voc_color(label % 256) for label in range(1, len(names) + 1))
    return ClassList(tuple(names), tuple(ids), colors)


def voc_colors(count: int) -> list[tuple[int, int, int]]:
    """Return `voc_color` of the first indices, vectorised for long lists."""
    indices: Any = np.arange(count)  # only its bits are used
    channels: Any = voc_color(indices)
    return list(zip(*(channel.tolist() for channel in channels), strict=True))


def dataset_classes(
    root: Path, most: int | None = None
) -> tuple[ClassList | None, dict[tuple[int, int, int], int]]:
    """Return the result of `read_classes` for a folder, or (None, {}) without a class list."""
    path = next((root / name for name in FILE_NAMES if (root / name).is_file()), None)
    return read_classes(path, most) if path else (None, {})


def read_classes(
    path: Path, most: int | None = None
) -> tuple[ClassList, dict[tuple[int, int, int], int]]:
    """Return the classes in a text file and the colours it assigns to them.

    One class per line, in index order: a name, optionally with a colour before or after it
    (`road 128 64 128`, `128,64,128 road`), or CVAT's `road:128,64,128:parts:actions`. Empty lines
    and lines that begin with `#` are ignored.

    Args:
        path: the file.
        most: maximum number of classes: `IGNORE` for 8-bit masks; None for any number.

    Returns:
        The class list, and a map from the given RGB colours to class indices.

    Raises:
        DataError: no classes, more than `most` classes, a name or colour twice, or a malformed
            line.
    """
    return listed_classes(read_lines(path, area="classes"), path, most)


def listed_classes(
    lines: Sequence[str], path: Path, most: int | None = None
) -> tuple[ClassList, dict[tuple[int, int, int], int]]:
    """Return the result of `read_classes` for the lines of a file, whose path messages name."""
    names: list[str] = []
    seen: set[str] = set()
    colors: dict[tuple[int, int, int], int] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, color = _parse_line(line, f"{path}:{number}")
        if name in seen:
            raise DataError(
                f"{path}:{number}: class {shown(name)} occurs twice", code="classes.duplicate"
            )
        if color is not None and color in colors:
            raise DataError(
                f"{path}:{number}: colour {color} occurs twice", code="classes.duplicate"
            )
        if color is not None:
            colors[color] = len(names)
        names.append(name)
        seen.add(name)
    if not names or (most is not None and len(names) > most):
        raise DataError(
            f"{path} lists {counted(len(names), 'class', 'classes')}",
            code="classes.count",
            hint="write one class per line" + (f", at most {most}" if most is not None else ""),
        )
    return make_classes(names, {index: color for color, index in colors.items()}), colors


def _parse_line(line: str, where: str) -> tuple[str, tuple[int, int, int] | None]:
    text = line.strip()
    if len(text) > LONGEST_LINE:
        raise DataError(f"{where} has over {LONGEST_LINE} characters", code="classes.line")
    rgb = r"(?P<r>[0-9]{1,9})[\s,]+(?P<g>[0-9]{1,9})[\s,]+(?P<b>[0-9]{1,9})"
    patterns = (
        rf"(?P<name>[^:]+):\s*(?:{rgb})?\s*(?::.*)?",
        rf"(?P<name>.+?)[\s,]+{rgb}",
        rf"{rgb}[\s,]+(?P<name>.+)",
    )
    for pattern in patterns:
        if match := re.fullmatch(pattern, text):
            name = match["name"].strip()
            if match["r"] is None:
                return name, None
            color = int(match["r"]), int(match["g"]), int(match["b"])
            if max(color) > 255:
                shade = shown(" ".join(match[channel] for channel in "rgb"))
                raise DataError(f"{where}: colour {shade} is outside 0..255", code="classes.color")
            return name, color
    return text, None


BACKGROUND = ("background", "__background__")
"""Names of the background in class lists, such as CVAT's."""


def without_background(names: Sequence[str], used: Callable[[], Collection[str]]) -> list[str]:
    """Return the classes of objects among those of a list.

    Args:
        names: as listed.
        used: returns the classes that objects have; called only if there is a background.
    """
    background = {name for name in names if name.lower() in BACKGROUND}
    unused = background - set(used()) if background else background
    return [name for name in names if name not in unused]


def class_key(name: str) -> str:
    """Return what two names of a class have in common.

    ImageNet's class is its WordNet id, with or without words: `n01440764` and `n01440764 tench`.
    Other names are all that they have in common.
    """
    found = re.match(r"n\d{8}(?= |$)", name)
    return found[0] if found else name
