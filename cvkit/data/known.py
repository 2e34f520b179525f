"""Findings about files, kept in the user's cache.

A finding is valid as long as the path, size and modification time of its files do not change.
Without a cache everything works, but takes longer.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import PIL

from cvkit.data.decode import pixel_hash
from cvkit.data.frames import frame_files
from cvkit.data.pages import file_of
from cvkit.data.parquet_files import is_row, stored_image
from cvkit.errors import CvkitError, DataError
from cvkit.storage import cache_folder, machine_errors, sha256, write_file

VERSION = 1
"""Part of the names in the cache; increase it when images are decoded differently."""
FRESH_NS = 2_000_000_000
"""Files changed more recently than this are not cached.

A file that changes again within one tick of the file system's clock, two seconds on FAT, may look
unchanged.
"""


class Known:
    """Findings of one kind about the files of a folder; a context manager that stores them.

    Args:
        kind: of finding, with everything else on which it depends.
        paths: the files to examine. Their common folder determines the name in the cache.

    Attributes:
        note: why the findings could not be stored; "" if they were.
    """

    def __init__(self, kind: str, paths: Sequence[Path]) -> None:
        folders = {os.path.dirname(os.path.abspath(path)) for path in paths}
        self._base = os.path.join(os.path.commonpath(folders), "") if folders else ""
        self._new: dict[str, list[Any]] = {}
        self.note = ""
        text = f"{VERSION}\0{PIL.__version__}\0{kind}\0{self._base}"
        name = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
        self._place: Path | None = None
        try:
            self._place = cache_folder("checked") / f"{name}.json"
        except CvkitError as error:
            self.note = str(error)
        self._old = self._read()

    def _read(self) -> dict[str, list[Any]]:
        """Return the entries in the cache; none if the file is missing or damaged."""
        try:
            content = json.loads(self._place.read_text()) if self._place else {}
            return {key: [str(stamp), value] for key, (stamp, value) in content.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def find(self, paths: Sequence[Path], examine: Callable[[], Any]) -> Any:
        """Return the known finding about a group of files, or examine them.

        Args:
            paths: the files; the first one's path is the key.
            examine: returns JSON values, or raises an error, which is not stored.
        """
        try:
            places = [os.path.abspath(path) for path in paths]
            marks = [(p, (s := os.stat(file_of(Path(p)))).st_size, s.st_mtime_ns) for p in places]
        except OSError:
            return examine()  # which reports the error
        key = places[0].removeprefix(self._base)
        stamp = hashlib.sha256(repr(marks).encode()).hexdigest()[:32]
        entry = self._new.get(key) or self._old.get(key)
        if entry and entry[0] == stamp:
            return entry[1]
        now, found = time.time_ns(), examine()
        if all(abs(now - changed) > FRESH_NS for _, _, changed in marks):
            self._new[key] = [stamp, found]
        return found

    def __enter__(self) -> "Known":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Store the findings, even if a signal interrupted the search."""
        if not self._new or self._place is None:
            return
        # Another process may have stored findings about other files in the meantime.
        content = json.dumps(self._read() | dict(self._new), separators=(",", ":"))
        try:
            with machine_errors(self._place.parent):
                self._place.parent.mkdir(parents=True, exist_ok=True)
            write_file(self._place, content)
        except OSError as problem:
            self.note = str(problem)
        except CvkitError as problem:
            self.note = problem.as_json()["message"]


def content_hash(path: Path) -> str:
    """Return the SHA-256 of a file's content, or of all frames in a folder.

    Names are not included. An image in a parquet file has the hash of the same image file.

    Raises:
        DataError: it cannot be read.
    """
    try:
        if is_row(path):
            return hashlib.sha256(stored_image(path)).hexdigest()
        if file_of(path) != path:
            return pixel_hash(path)
        if not path.is_dir():
            return sha256(path)
        frames = [sha256(frame) for frame in frame_files(path)]
        return hashlib.sha256("".join(frames).encode()).hexdigest()
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}", code="file.unreadable"
        ) from error


def known_hash(path: Path, known: Known) -> str:
    """Return `content_hash` of a file or a folder of frames, from the cache if it is there.

    Raises:
        DataError: it cannot be read.
    """
    files = frame_files(path) if path.is_dir() else [path]
    return known.find(files or [path], lambda: content_hash(path))
