"""Finds the images and videos named on a command line."""

import contextlib
import errno
import os
import re
import stat
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from glob import glob, has_magic
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NoReturn

from cvkit.data.notes import Note
from cvkit.data.pages import page_of
from cvkit.errors import DataError, UsageError
from cvkit.structures import Failure
from cvkit.texts import is_text, shown

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp")
    + (".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm")
)


VIDEO_SUFFIXES = frozenset(
    (".mp4", ".m4v", ".avi", ".mov", ".mkv", ".webm", ".mpeg", ".mpg", ".gif")
)

READ_SUFFIXES = IMAGE_SUFFIXES | VIDEO_SUFFIXES
UNREAD_SUFFIXES = frozenset(
    (".avif", ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpx", ".mpo", ".apng", ".psd", ".svg")
    + (".tga", ".exr", ".hdr", ".dcm", ".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2")
    + (".wmv", ".flv", ".3gp", ".ts", ".mts", ".m2ts", ".ogv", ".vob")
)
"""Suffixes of images and videos that people expect to be read, and that are not."""


@dataclass(frozen=True)
class InputFile:
    """One image or video to process.

    Attributes:
        path: its location.
        key: its path relative to what the user gave, with `/`; identifies it in all outputs.
    """

    path: Path
    key: str


OnLost = Callable[[OSError], None]
"""Called for a folder that cannot be read, whose content is therefore unknown."""


def refuse(error: OSError) -> NoReturn:
    """Refuse to continue without the content of a folder.

    Raises:
        DataError: always.
    """
    raise _unreadable(error) from error


def _unreadable(error: OSError) -> DataError:
    return DataError(
        f"{error.filename} cannot be read: {error.strerror}",
        code="folder.unreadable",
        hint="make it readable, or remove it",
    )


Walk = Callable[..., Iterator[Path]]
"""`walk_images` or `walk_videos`: called with a folder and optionally an `OnLost`."""


def is_hidden(name: str) -> bool:
    """Return whether a file or folder counts as hidden: `.DS_Store`, `._x.png`, `__MACOSX`."""
    return name.startswith(".") or name == "__MACOSX"


def matches(folder: Path, pattern: str) -> list[Path]:
    """Return the matches of a glob pattern under a folder, sorted, without hidden ones.

    Raises:
        DataError: the folder cannot be read.
    """
    _look_into([str(folder)], refuse)
    found = folder.glob(pattern)
    return sorted(p for p in found if not any(map(is_hidden, p.relative_to(folder).parts)))


def walk_images(folder: Path, on_lost: OnLost = refuse) -> Iterator[Path]:
    """Yield the image files under a folder, sorted, without hidden ones.

    Links are followed, but not in cycles.

    Raises:
        DataError: a folder cannot be read, unless `on_lost` handles it.
    """
    for place, _, names in _walk(folder, on_lost):
        yield from (Path(place, name) for name in names if _suffix(name) in IMAGE_SUFFIXES)


def walk_videos(folder: Path, on_lost: OnLost = refuse) -> Iterator[Path]:
    """Yield the video files under a folder, and the folders of frames, sorted.

    Hidden files and folders are skipped. A folder with images and without videos is a folder of
    frames; its subfolders are ignored.

    Raises:
        DataError: a folder cannot be read, unless `on_lost` handles it.
    """
    for place, folders, names in _walk(folder, on_lost):
        videos = [name for name in names if _suffix(name) in VIDEO_SUFFIXES]
        if not videos and any(_suffix(name) in IMAGE_SUFFIXES for name in names):
            folders.clear()
            yield Path(place)
        else:
            yield from (Path(place, name) for name in videos)


def walk_media(folder: Path, on_lost: OnLost = refuse) -> Iterator[Path]:
    """Yield the image and video files under a folder, as `walk_images` does.

    Raises:
        DataError: a folder cannot be read, unless `on_lost` handles it.
    """
    for place, _, names in _walk(folder, on_lost):
        yield from (Path(place, name) for name in names if _suffix(name) in READ_SUFFIXES)


def unread_in(folder: Path) -> str:
    """Return a note on images and videos under a folder that are not read; "" without any.

    Folders that cannot be read are skipped; who reads the images reports them.
    """
    found = Counter(
        suffix
        for _, _, names in _walk(folder, lambda error: None)
        for name in names
        if (suffix := _suffix(name)) in UNREAD_SUFFIXES
    )
    if not found:
        return ""
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(found.items()))
    text = f"{folder}: {kinds} not read (convert them, such as to .png or .mp4)"
    return Note(text, "file.unread")


def is_video(path: Path) -> bool:
    """Return whether a file's name is that of a video; an image of GIF's has it too."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()


def _walk(folder: Path, on_lost: OnLost) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield each folder once, with its visible folders and files by name."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=on_lost):
        identity = os.path.realpath(place)
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        names = sorted(name for name in names if not is_hidden(name))
        for name in names:
            if _suffix(name) not in READ_SUFFIXES:  # otherwise reading it reports that
                require_end(os.path.join(place, name), on_lost)
        yield place, folders, names


def require_end(path: str | Path, on_lost: OnLost = refuse) -> None:
    """Report a broken link, which may have been a folder."""
    if os.path.islink(path) and not os.path.exists(path):
        on_lost(OSError(errno.ENOENT, "the link is broken", str(path)))


def _look_into(folders: Iterable[str], on_lost: OnLost) -> None:
    """Report the folders that cannot be read; paths that are not folders are skipped."""
    for folder in folders:
        try:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.scandir(folder).close()
        except OSError as error:
            on_lost(error)


def _kind(walk: Walk) -> tuple[str, frozenset[str]]:
    """Return what a walk finds: its name in messages, and the file suffixes."""
    if walk is walk_media:
        return "image or video", READ_SUFFIXES
    return ("image", IMAGE_SUFFIXES) if walk is walk_images else ("video", VIDEO_SUFFIXES)


def note_beside(folder: Path, what: str, walk: Walk = walk_images) -> str:
    """Return a note about files in a folder of which only the subfolders are read; else "".

    Args:
        folder: with the subfolders.
        what: what each of these is, such as `class`.
        walk: finds the files of a subfolder.
    """
    kind, suffixes = _kind(walk)
    lost = [p.name for p in matches(folder, "*") if _suffix(p.name) in suffixes and p.is_file()]
    if not lost:
        return ""
    are = f"{kind} is" if len(lost) == 1 else f"{kind}s are"
    text = f"{folder}: {len(lost)} {are} beside the {what} folders and unused, such as {lost[0]}"
    return Note(text, "file.unused")


def list_inputs(
    inputs: Iterable[str],
    without: Sequence[Path] = (),
    walk: Walk = walk_images,
    lost: list[Failure] | None = None,
    root: Path | None = None,
) -> list[InputFile]:
    """Return the files given by paths, folders, globs, `@list.txt` and `-` (paths on stdin).

    Args:
        inputs: as on the command line.
        without: folders whose files are ignored, such as those of results.
        walk: finds the files in a folder.
        lost: collects the folders that cannot be read; if None, they are refused.
        root: folder that keys are relative to; None: the only folder given, else the common parent.

    Raises:
        UsageError: a path does not exist, is a URL or is outside `root`, or nothing was found.
        DataError: a folder cannot be read, and nothing else was found.
    """
    inputs = list(inputs)
    found: dict[Path, None] = {}
    excluded = tuple(os.path.join(os.path.abspath(folder), "") for folder in without)
    errors: list[OSError] = []
    on_lost = refuse if lost is None else errors.append
    for text in inputs:
        for path in _expand(text, partial(walk, on_lost=on_lost), on_lost):
            if not os.path.join(os.path.abspath(path), "").startswith(excluded):
                found.setdefault(path)
    if not found and errors:
        refuse(errors[0])
    if not found:
        kind, suffixes = _kind(walk)
        raise UsageError(
            f"no {kind} found in {', '.join(inputs) or 'an empty list'}",
            code="inputs.empty",
            hint=f"looked for {', '.join(sorted(suffixes))}",
        )
    if lost is not None:
        once = {os.path.abspath(error.filename): error for error in errors}
        lost += [_lost(error, inputs) for error in once.values()]
    return [InputFile(*pair) for pair in zip(found, _keys(list(found), inputs, root), strict=True)]


def _lost(error: OSError, inputs: Sequence[str]) -> Failure:
    """Return the failure for an unreadable folder, named like an input."""
    reason, path = _unreadable(error), os.path.normpath(error.filename)
    if len(inputs) == 1 and path.startswith(os.path.join(os.path.normpath(inputs[0]), "")):
        path = os.path.relpath(path, inputs[0])
    return Failure(Path(path).as_posix(), reason.code, str(reason))


def _expand(text: str, walk: Walk, on_lost: OnLost) -> Iterator[Path]:
    if "://" in text:
        raise UsageError(f"{text} is a URL", code="inputs.url", hint="download it first")
    if text == "-":
        yield from (Path(line) for line in sys.stdin.read().splitlines() if line.strip())
    elif text.startswith("@"):
        try:
            _require_end_of_list(Path(text[1:]))
            lines = Path(text[1:]).read_text(errors="surrogateescape").splitlines()
        except OSError as error:
            raise UsageError(
                f"cannot read the list {text[1:] or repr('')}: {error.strerror}",
                code="inputs.list",
                hint="after @ comes the name of a text file with one path per line",
            ) from error
        yield from (Path(line) for line in lines if line.strip())
    elif os.path.isdir(text):
        yield from walk(Path(text))
    elif os.path.lexists(text) or page_of(Path(text))[1] is not None:
        yield Path(text)
    elif has_magic(text):
        _look_into(_searched(text), on_lost)
        for match in sorted(glob(text, recursive=True)):
            if os.path.isdir(match):
                yield from walk(Path(match))
            else:
                yield Path(match)
    else:
        shown = text if text.strip() else repr(text)
        raise UsageError(f"{shown} does not exist", code="inputs.missing", hint="check the path")


def _require_end_of_list(path: Path) -> None:
    """Refuse a list that may be endless; pipes made by a shell are accepted.

    Raises:
        UsageError: it is a device.
        OSError: it does not exist.
    """
    mode = path.stat().st_mode
    if stat.S_ISBLK(mode) or stat.S_ISCHR(mode):
        raise UsageError(
            f"the list {path} is a device", code="inputs.list", hint="give a text file, or -"
        )


def _searched(pattern: str) -> Iterator[str]:
    """Yield the folders that a glob pattern searches; `glob` ignores unreadable ones."""
    parts = Path(pattern).parts
    for place, part in enumerate(parts):
        starts = [place] * has_magic(part) + [place + 1] * (part == "**")
        for start in starts:
            yield from glob(str(Path(*parts[:start])), recursive=True)


def _keys(paths: list[Path], inputs: list[str], root: Path | None) -> list[str]:
    """Return each path relative to the root of `list_inputs`."""
    if (
        root is None
        and len(inputs) == 1
        and os.path.isdir(inputs[0])
        and paths != [Path(inputs[0])]
    ):
        return [path.relative_to(inputs[0]).as_posix() for path in paths]
    absolute = [os.path.abspath(path) for path in paths]
    common = str(root or os.path.commonpath([os.path.dirname(path) for path in absolute]))
    for path in absolute:
        if not path.startswith(os.path.join(common, "")):
            raise UsageError(
                f"{path} is not in {common}, after which the earlier results in --out are named",
                code="inputs.elsewhere",
                hint="predict it into another folder",
            )
    return [PurePosixPath(os.path.relpath(path, common)).as_posix() for path in absolute]


USUAL_PATH = re.compile(
    r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}/){0,9}[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}"
)
"""Short paths without anything unusual."""


def escapes(relative: str) -> str:
    """Return why a path from a file must not be followed from its folder; "" if it may.

    Absolute paths, also those of Windows, are refused wherever they lead, and so is `..`. Links in
    the folder were put there by its owner and are followed.
    """
    if USUAL_PATH.fullmatch(relative):  # many times faster than with paths
        return ""
    pure = PurePosixPath(relative)
    if pure.is_absolute() or PureWindowsPath(relative).is_absolute() or ".." in pure.parts:
        return "leaves the dataset folder"
    if "\0" in relative or not is_text(relative):
        return "has a character that no file name can have, in the dataset folder"
    if any(len(os.fsencode(part)) > 255 for part in pure.parts) or len(relative) > 4000:
        return "is too long for a file name in the dataset folder"
    return ""


def inside(root: Path, relative: str, source: Path | None = None) -> Path:
    """Return `root/relative`.

    Args:
        root: a folder.
        relative: a path from a file or a flag.
        source: the file that contains it, for the message.

    Raises:
        DataError: see `escapes`.
    """
    if reason := escapes(relative):
        raise DataError(
            f"{f'{source}: ' if source else ''}{shown(relative)} {reason} {root}",
            code="path.escape",
            hint="use paths inside the folder",
        )
    return root / relative
