"""What was found in files before, kept in the user's cache.

A finding counts as long as the path, the size and the time of change of its files stay the same.
What cannot be kept is found again: without a cache everything works, and takes longer.
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

from cvkit.data.frames import frame_files
from cvkit.errors import CvkitError, DataError
from cvkit.storage import cache_folder, machine_errors, sha256, write_file

VERSION = 1
"""Part of the names in the cache; raise it when an image is decoded in another way."""
FRESH_NS = 2_000_000_000
"""Files changed within this time are not remembered.

A file that changes again within one tick of the clock of its file system, two seconds on FAT,
may look unchanged.
"""


class Known:
    """Findings of one kind about files that lie together; a context manager that keeps them.

    Args:
        kind: what is looked for, with everything else that a finding depends on.
        paths: the files that will be asked about. The folder around all of them names the place
            in the cache.

    Attributes:
        note: why the findings could not be kept; empty if they were.
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
        """Return the entries in the cache; none where the file is missing or damaged."""
        try:
            content = json.loads(self._place.read_text()) if self._place else {}
            return {key: [str(stamp), value] for key, (stamp, value) in content.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}

    def find(self, paths: Sequence[Path], examine: Callable[[], Any]) -> Any:
        """Return what is known of files that belong together, else what examining them finds.

        Args:
            paths: the files; the first one's path is the key.
            examine: returns JSON values, or raises what is not kept.
        """
        try:
            places = [os.path.abspath(path) for path in paths]
            marks = [(p, (s := os.stat(p)).st_size, s.st_mtime_ns) for p in places]
        except OSError:
            return examine()  # which says what is wrong
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
        """Keep what was found, also when a signal ended the search."""
        if not self._new or self._place is None:
            return
        # Another process may have kept findings about other files since.
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
    """Return the SHA-256 of a file's content; of a folder of frames that of all its frames.

    Names do not count.

    Raises:
        DataError: it cannot be read.
    """
    try:
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
