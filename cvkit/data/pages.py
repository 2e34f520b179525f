"""Images inside files that hold several, as paths: page 12 of `x.tif` is `x.tif#12`."""

import re
from pathlib import Path

PAGE = re.compile(r"(.+)#(0|[1-9][0-9]*)", re.S)


def page_path(file: Path, number: int) -> Path:
    """Return the path of an image in a file; the first one has number 1."""
    return file.with_name(f"{file.name}#{number}")


def page_of(path: Path) -> tuple[Path, int | None]:
    """Return the file of an image, and the number of the image in it; None for a file of one."""
    name = path.name
    if "#" not in name or not (match := PAGE.fullmatch(name)):
        return path, None
    file = path.with_name(match[1])
    return (path, None) if path.exists() or not file.is_file() else (file, int(match[2]))


def file_of(path: Path) -> Path:
    """Return the file of an image."""
    return page_of(path)[0]
